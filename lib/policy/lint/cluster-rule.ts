/** Shared by the checks for what is legal in a cluster policy and probably unmeant: their input, and questions of several. */
import { type Cluster, isSeen } from '../evaluate/cluster.ts';
import type { ClusterPolicy, ClusterRule } from '../model/cluster-policy.ts';
import type { Direction, Pod, PodPeer, World } from '../model/model.ts';
import { selectsPod } from '../model/selector.ts';
import { askedBy } from './candidates.ts';

/** One cluster policy in its world. */
export interface ClusterCase {
  readonly policy: ClusterPolicy;
  readonly world: World;
  readonly cluster: Cluster;
  /** Pods that can be subject or peer. */
  readonly pods: readonly Pod[];
  /** @param field below the policy's own place: `spec.ingress[0]` */
  readonly report: (field: string, message: string) => void;
}

export type ClusterCheck = (it: ClusterCase) => void;

export const directions: readonly Direction[] = ['ingress', 'egress'];

export const fieldOf = (direction: Direction, { index }: ClusterRule): string => `spec.${direction}[${index}]`;

export const peersOf = ({ peers }: ClusterRule): Exclude<ClusterRule['peers'], 'any'> => (peers === 'any' ? [] : peers);

export const podsSelectedBy = (cluster: Cluster, pods: readonly Pod[], subject: PodPeer): readonly Pod[] =>
  pods.filter(pod => isSeen(pod) && selectsPod(subject, pod, cluster.namespaceLabels(pod.namespace)));

/** Whether `wider` selects all pods that `narrower` does, whatever pods there are. */
export function coversSubject(wider: ClusterPolicy, narrower: ClusterPolicy): boolean {
  const asked = new Set(askedBy(narrower.subject));
  return askedBy(wider.subject).every(text => asked.has(text));
}

/** Whether both select some pod: of those that are known, or where one selects none of these, by their selectors. */
export function mayMeet({ cluster, pods }: ClusterCase, a: ClusterPolicy, b: ClusterPolicy): boolean {
  const [of, also] = [a, b].map(({ subject }) => new Set(podsSelectedBy(cluster, pods, subject)));
  if (of!.size > 0 && also!.size > 0) return [...of!].some(pod => also!.has(pod));
  return coversSubject(a, b) || coversSubject(b, a);
}

/** Policies of the same tier that are asked before this one, or after it. */
export function neighbours({ cluster, policy }: ClusterCase, side: 'before' | 'after'): readonly ClusterPolicy[] {
  const all = cluster.clusterPolicies(policy.tier);
  const at = all.indexOf(policy);
  return side === 'before' ? all.slice(0, at) : all.slice(at + 1);
}
