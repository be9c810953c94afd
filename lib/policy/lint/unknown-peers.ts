/** Peers of cluster policies that a node without an agent cannot know: it has only the manifests of its folder. */
import { membersOf } from '../compile/members.ts';
import { type NodePeer, nameLabel, type PodPeer } from '../model/model.ts';
import { podPeerText, selectorText, selects } from '../model/selector.ts';
import { type ClusterCase, type ClusterCheck, directions, fieldOf, peersOf } from './cluster-rule.ts';
import type { Scope } from './surroundings.ts';

const inline = 'without an agent a node knows';

function missingNodes({ cluster }: ClusterCase, { nodes }: NodePeer, scope: Scope): string | undefined {
  const known = [...cluster.nodes()];
  if (known.some(({ labels }) => selects(nodes, labels))) return undefined;
  if (scope === 'cluster' && known.length === 0) return undefined;
  const hint =
    scope === 'node' ? `: ${inline} the Nodes that manifests of the folder declare: write these, or networks` : '';
  return `Matches no node with ${selectorText(nodes) || 'any labels'}, of ${known.length} that are known${hint}`;
}

function missingPods({ cluster, pods }: ClusterCase, peer: PodPeer, scope: Scope): string | undefined {
  if (scope === 'cluster') return undefined;
  for (const _ of membersOf(cluster, peer)) return undefined;
  const { namespace } = peer;
  const isKnown =
    typeof namespace === 'string' || pods.some(pod => selects(namespace, cluster.namespaceLabels(pod.namespace)));
  const of = `Matches none of the ${pods.length} pods that are known, with ${podPeerText(peer)}`;
  return isKnown
    ? `${of}: ${inline} its own pods and those that manifests of the folder declare`
    : `${of}: ${inline} the labels that Namespaces of the folder declare: write these, or select by ${nameLabel}`;
}

/** @param scope `node`: what a node without an agent knows is all there is */
export const unknownPeers =
  (scope: Scope): ClusterCheck =>
  it => {
    for (const direction of directions)
      for (const rule of it.policy[direction])
        for (const peer of peersOf(rule)) {
          const missing =
            peer.kind === 'nodes'
              ? missingNodes(it, peer, scope)
              : peer.kind === 'pods'
                ? missingPods(it, peer, scope)
                : undefined;
          if (missing !== undefined) it.report(`${fieldOf(direction, rule)}.${sideOf[direction]}`, missing);
        }
  };

const sideOf = { ingress: 'from', egress: 'to' } as const;
