/**
 * One pod that comes or goes changes what it brings, whoever else is there: the same two tables with fewer pods in them
 * have the same difference, as long as each identity and each way of masquerading still has somebody.
 */
import { type LocalPod, type NodeState, podKey } from './node-state.ts';

const sameBut = (a: NodeState, b: NodeState): boolean =>
  !a.leaving &&
  !b.leaving &&
  JSON.stringify([a.owner, a.settings, a.refused ?? []]) === JSON.stringify([b.owner, b.settings, b.refused ?? []]);

/** The one pod that only one of them has; undefined where more than that differs. */
function onlyDifference(a: NodeState['pods'], b: NodeState['pods']): LocalPod | undefined {
  const [fewer, more] = Object.keys(a).length < Object.keys(b).length ? [a, b] : [b, a];
  const extra = Object.keys(more).filter(key => fewer[key] !== more[key]);
  return extra.length === 1 && Object.keys(more).length === Object.keys(fewer).length + 1 ? more[extra[0]!] : undefined;
}

/** Whether what one of them has in the table may be the other's when that one goes: an address, a port of the node. */
const mayInherit = (a: LocalPod, b: LocalPod): boolean =>
  (a.hostPorts.length > 0 && b.hostPorts.length > 0) || a.addresses.some(address => b.addresses.includes(address));

/** One pod for each identity and for each way of masquerading, and those that have to do with the one that comes or goes. */
function representatives(pods: Iterable<LocalPod>, extra: LocalPod): Map<string, LocalPod> {
  const chosen = new Map<string, LocalPod>();
  const seen = new Set<number | string>();
  for (const pod of pods) {
    const masquerade = pod.masquerade ? `${pod.masquerade.from.join()} but ${pod.masquerade.except.join()}` : '';
    if (seen.has(pod.tag) && seen.has(masquerade) && !mayInherit(pod, extra)) continue;
    seen.add(pod.tag).add(masquerade);
    chosen.set(podKey(pod), pod);
  }
  return chosen;
}

/**
 * Both states with fewer pods, whose tables differ by the same operations; undefined where it takes all pods to tell.
 * Only what a *new* set holds cannot be told from these: its members are among those that were left out.
 */
export function withFewerPods(
  before: NodeState,
  after: NodeState,
): { readonly before: NodeState; readonly after: NodeState } | undefined {
  const extra = sameBut(before, after) ? onlyDifference(before.pods, after.pods) : undefined;
  if (!extra) return undefined;
  const key = podKey(extra);
  const others = Object.values(before.pods).filter(pod => pod !== extra);
  const pods = Object.fromEntries(representatives(others, extra));
  const both = { ...pods, [key]: extra };
  return before.pods[key]
    ? { before: { ...before, pods: both }, after: { ...after, pods } }
    : { before: { ...before, pods }, after: { ...after, pods: both } };
}
