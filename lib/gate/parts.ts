/**
 * The parts of two states in which their tables may differ. A pod that comes or goes changes its own elements only, whatever
 * other pods there are; `counts` and `tags` hold what all pods need together, and are whole in either part.
 */
import type { LocalPod, NodeState } from './node-state.ts';

/** Two states, whole or in those pods in which they differ. */
export interface StatePair {
  readonly before: NodeState;
  readonly after: NodeState;
}

type Pods = NodeState['pods'];

/** Pods that only one of the two has. */
const differing = (a: Pods, b: Pods): LocalPod[] =>
  Object.entries(a).flatMap(([key, pod]) => (b[key] === pod ? [] : [pod]));

/** Both states without the pods that have nothing to do with those in which they differ. */
export function partsOf({ before, after }: StatePair): StatePair {
  if (before === after) return { before: { ...before, pods: {} }, after: { ...after, pods: {} } };
  const different = [...differing(before.pods, after.pods), ...differing(after.pods, before.pods)];
  const addresses = new Set(different.flatMap(pod => pod.addresses));
  const isMapped = different.some(({ hostPorts }) => hostPorts.length > 0);
  // An address or a port of the node that one has is the other's when that one goes.
  const isConcerned = (pod: LocalPod): boolean =>
    (isMapped && pod.hostPorts.length > 0) || pod.addresses.some(address => addresses.has(address));
  const part = (state: NodeState): NodeState => ({
    ...state,
    pods: Object.fromEntries(
      Object.entries(state.pods).filter(([, pod]) => isConcerned(pod) || different.includes(pod)),
    ),
  });
  return { before: part(before), after: part(after) };
}
