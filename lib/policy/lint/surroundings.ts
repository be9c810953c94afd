/** The world that policies are checked in: what many of them ask of it is found once, and only for pods that differ. */

import { membersOf } from '../compile/members.ts';
import { type Cluster, clusterOf, isSeen } from '../evaluate/cluster.ts';
import type { Labels, NetworkPolicy, Pod, PodPeer, World } from '../model/model.ts';
import { selectorText, selects } from '../model/selector.ts';

/** `node`: the pods are those of one node, since no agent tells the node of others. */
export type Scope = 'cluster' | 'node';

/** Policies that apply to one pod together, in the order of the world. */
export type Companions = readonly NetworkPolicy[];

/** Pods of one namespace that no selector tells apart. */
interface Kind {
  readonly labels: Labels;
  readonly pods: Pod[];
}

const labelsText = (labels: Labels): string => JSON.stringify([...labels].sort(([a], [b]) => (a < b ? -1 : 1)));

export class Surroundings {
  readonly scope: Scope;
  readonly cluster: Cluster;
  /** Pods that can be subject or peer. */
  readonly pods: readonly Pod[];
  readonly policies: readonly NetworkPolicy[];
  readonly #places: ReadonlyMap<Pod, number>;
  readonly #subjects = new Map<NetworkPolicy, Pod[]>();
  readonly #companions = new Map<NetworkPolicy, Set<Companions>>();

  constructor(world: World, scope: Scope) {
    this.scope = scope;
    this.cluster = clusterOf(world);
    this.pods = world.pods.filter(isSeen);
    this.policies = world.policies;
    this.#places = new Map(this.pods.map((pod, i) => [pod, i]));
    const pods = Map.groupBy(this.pods, ({ namespace }) => namespace);
    for (const [namespace, policies] of Map.groupBy(world.policies, each => each.namespace))
      this.#enter(policies, pods.get(namespace) ?? []);
  }

  /** All policies and pods of one namespace. */
  #enter(policies: Companions, pods: readonly Pod[]): void {
    const kinds = new Map<string, Kind>();
    for (const pod of pods) {
      const text = labelsText(pod.labels);
      const kind = kinds.get(text) ?? { labels: pod.labels, pods: [] };
      kind.pods.push(pod);
      kinds.set(text, kind);
    }
    for (const policy of policies) {
      this.#subjects.set(policy, []);
      this.#companions.set(policy, new Set());
    }
    const known = new Map<string, Companions>();
    const together = (numbers: readonly number[]): Companions => {
      const key = numbers.join();
      const companions = known.get(key) ?? numbers.map(i => policies[i]!);
      known.set(key, companions);
      return companions;
    };
    const isIdle = (policy: NetworkPolicy): boolean => this.#subjects.get(policy)!.length === 0;
    for (const { labels, pods: alike } of kinds.values()) {
      const companions = together(policies.flatMap(({ subject }, i) => (selects(subject, labels) ? [i] : [])));
      for (const policy of companions) {
        this.#subjects.get(policy)!.push(...alike);
        this.#companions.get(policy)!.add(companions);
      }
    }
    // Unknown pods that one policy selects, another one may select by the same selector, or by an empty one.
    const byText = Map.groupBy(policies.keys(), i => selectorText(policies[i]!.subject));
    const forAll = byText.get('') ?? [];
    for (const [text, numbers] of byText) {
      if (!isIdle(policies[numbers[0]!]!)) continue;
      const companions = together(text === '' ? numbers : [...forAll, ...numbers].sort((a, b) => a - b));
      for (const policy of companions) if (isIdle(policy)) this.#companions.get(policy)!.add(companions);
    }
  }

  #inOrder(pods: Iterable<Pod>): readonly Pod[] {
    return [...pods].sort((a, b) => this.#places.get(a)! - this.#places.get(b)!);
  }

  /** Pods that the policy selects, as far as they are known. */
  subjectsOf(policy: NetworkPolicy): readonly Pod[] {
    return this.#inOrder(this.#subjects.get(policy) ?? []);
  }

  /** For each kind of pod that the policy may select: all policies that apply to such a pod, this policy included. */
  companionsOf(policy: NetworkPolicy): Iterable<Companions> {
    return this.#companions.get(policy) ?? [];
  }

  /** Whether the peer selects any pod. */
  isAnybody(peer: PodPeer): boolean {
    for (const _ of membersOf(this.cluster, peer)) return true;
    return false;
  }

  /** The pods that one of the peers selects. */
  selectedBy(peers: readonly PodPeer[]): readonly Pod[] {
    return this.#inOrder(new Set(peers.flatMap(peer => [...membersOf(this.cluster, peer)])));
  }
}
