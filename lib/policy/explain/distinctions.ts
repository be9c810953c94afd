/** Classes of pods that policies cannot tell apart: pods that the same selectors match fare alike, whatever their labels. */
import type { Cluster } from '../evaluate/cluster.ts';
import { PeerIndex } from '../evaluate/peer-index.ts';
import {
  type Direction,
  isNumbered,
  type NetworkPolicy,
  type Pod,
  type PodPeer,
  type PolicyRule,
  type World,
} from '../model/model.ts';
import { podPeerText } from '../model/selector.ts';

export const rulesOf = ({ policies, clusterPolicies = [] }: World): readonly PolicyRule[] =>
  [...policies, ...clusterPolicies].flatMap(policy =>
    (['egress', 'ingress'] as const).flatMap((direction: Direction) => policy[direction] ?? []),
  );

const subjectOf = ({ namespace, subject }: NetworkPolicy): PodPeer => ({ kind: 'pods', namespace, pods: subject });

const podPeersOf = ({ peers }: PolicyRule): readonly PodPeer[] =>
  peers === 'any' ? [] : peers.filter(peer => peer.kind === 'pods');

const portName = ({ protocol, name }: { readonly protocol: string; readonly name: string }): string =>
  `${protocol}/${name}`;

/** Classes of several worlds together: pods that one world tells apart are of two classes in all. */
export class Distinctions {
  /** Numbers of lists of peers: a rule asks whether one of its peers means the pod, and not which. */
  readonly #lists = new PeerIndex<number>();
  readonly #numbers = new Map<string, number>();
  readonly #portNames: ReadonlySet<string>;

  constructor(worlds: readonly World[]) {
    const rules = worlds.flatMap(rulesOf);
    for (const { policies, clusterPolicies = [] } of worlds)
      for (const subject of [...policies.map(subjectOf), ...clusterPolicies.map(each => each.subject)])
        this.#add([subject]);
    for (const rule of rules) this.#add(podPeersOf(rule));
    const ports = rules.flatMap(rule => (rule.ports === 'any' ? [] : rule.ports));
    this.#portNames = new Set(ports.flatMap(port => (isNumbered(port) ? [] : [portName(port)])));
  }

  #add(peers: readonly PodPeer[]): void {
    const byText = new Map(peers.map(peer => [podPeerText(peer), peer]));
    const text = [...byText.keys()].sort().join('\n');
    if (this.#numbers.has(text)) return;
    const number = this.#numbers.size;
    this.#numbers.set(text, number);
    for (const peer of byText.values()) this.#lists.add(peer, number);
  }

  /** The same for pods that no policy of these worlds can tell apart but by their addresses and nodes. */
  of(cluster: Cluster, pod: Pod): readonly unknown[] {
    const lists = new Set(this.#lists.of(pod, cluster.namespaceLabels(pod.namespace)));
    return [[...lists].sort((a, b) => a - b), pod.namedPorts.filter(port => this.#portNames.has(portName(port)))];
  }
}
