/** Compares two states of a node, pod by pod. */
import type { LocalPod, NodeState } from './node-state.ts';

/** Pods as they were that get another identity. */
export const leavingBetween = (before: NodeState, after: NodeState): readonly LocalPod[] =>
  Object.entries(after.pods).flatMap(([key, pod]) => {
    const earlier = before.pods[key];
    return earlier && earlier.tag !== pod.tag && earlier.tag !== 0 ? [earlier] : [];
  });

/** Pods of which the links carry another tag than the state gives them, with that one. */
export const mistagged = (open: NodeState['pods'], { pods }: NodeState): LocalPod[] =>
  Object.entries(open).flatMap(([key, { tag }]) => {
    const pod = pods[key];
    return pod && pod.tag !== tag ? [pod] : [];
  });
