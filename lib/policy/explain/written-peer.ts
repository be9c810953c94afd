/** The other end of a flow, and its port, as a rule would name them: in the model, and as a manifest has it. */
import { bitsOf, formatPrefix } from '../../ip/address.ts';
import type { Question } from '../evaluate/evaluate.ts';
import { type BlockPeer, type Labels, nameLabel, type Peer, type Pod, type Port } from '../model/model.ts';
import type { Party } from '../model/party.ts';

/** A manifest's value, to be written as YAML. */
export type ManifestValue = string | number | readonly ManifestValue[] | { readonly [key: string]: ManifestValue };

/** The flow's own port, as a rule would say it; undefined for traffic without ports. */
export const portOf = ({ flow }: Question): Port | undefined =>
  flow.protocol === 'other' ? undefined : { protocol: flow.protocol, first: flow.port, last: flow.port };

/** Labels that say what a pod is, rather than which copy of it. */
const telling = ['app', 'app.kubernetes.io/name', 'k8s-app', 'name', 'role', 'component', 'tier', 'run'];

function tellingLabels(labels: Labels): Labels {
  const key = telling.find(each => labels.has(each));
  return key === undefined ? labels : new Map([[key, labels.get(key)!]]);
}

export interface WrittenPeer {
  readonly peer: Peer;
  readonly text: ManifestValue;
}

function podPeer({ namespace, labels }: Pod, subject: Pod): WrittenPeer {
  const kept = tellingLabels(labels);
  const requirements = [...kept].map(([key, value]) => ({ key, operator: 'In' as const, values: [value] }));
  const matchLabels = Object.fromEntries(kept);
  const podSelector = kept.size === 0 ? {} : { matchLabels };
  if (namespace === subject.namespace)
    return { peer: { kind: 'pods', namespace, pods: { requirements } }, text: { podSelector } };
  const named = { requirements: [{ key: nameLabel, operator: 'In' as const, values: [namespace] }] };
  return {
    peer: { kind: 'pods', namespace: named, pods: { requirements } },
    text: { namespaceSelector: { matchLabels: { [nameLabel]: namespace } }, podSelector },
  };
}

const blockOf = (address: NonNullable<Party['address']>): BlockPeer => ({
  kind: 'block',
  cidr: { ...address, length: bitsOf(address.family) },
  except: [],
});

function blockPeer(address: NonNullable<Party['address']>): WrittenPeer {
  const peer = blockOf(address);
  return { peer, text: { ipBlock: { cidr: formatPrefix(peer.cidr) } } };
}

/** The other end as a new rule would name it; undefined where it is a node whose address is not known. */
export function writtenPeer({ peer, subject }: Question): WrittenPeer | undefined {
  if (peer.peer) return podPeer(peer.peer, subject);
  return peer.address && blockPeer(peer.address);
}

/** The other end as a cluster policy's rule would name it. Its ingress rules can name pods only. */
export function clusterPeer({ peer, direction }: Question): WrittenPeer | undefined {
  const pod = peer.peer;
  if (pod) {
    const kept = tellingLabels(pod.labels);
    const equal = (labels: Labels) =>
      [...labels].map(([key, value]) => ({ key, operator: 'In' as const, values: [value] }));
    const namespace = { requirements: equal(new Map([[nameLabel, pod.namespace]])) };
    const namespaceSelector = { matchLabels: { [nameLabel]: pod.namespace } };
    const podSelector = kept.size === 0 ? {} : { matchLabels: Object.fromEntries(kept) };
    return {
      peer: { kind: 'pods', namespace, pods: { requirements: equal(kept) } },
      text: { pods: { namespaceSelector, podSelector } },
    };
  }
  if (!peer.address || direction === 'ingress') return undefined;
  const block = blockOf(peer.address);
  return { peer: block, text: { networks: [formatPrefix(block.cidr)] } };
}
