/** A node and what its agent hears, from world to world. */
import { identityOf, type LocalPod, type NodeState, podKey, withoutPod, withPod } from '../../lib/gate/node-state.ts';
import type { LiveRules } from '../../lib/policy/compile/live.ts';
import { type Pod, policyRef, type World } from '../../lib/policy/model/model.ts';
import { identityKey } from '../../lib/tag/identity.ts';
import { untaggedPod } from './local-pod.ts';
import { localPods } from './worlds.ts';

export const remotePods = (world: World): readonly Pod[] => world.pods.filter(pod => !localPods(world).includes(pod));

/** The changes that lead from the first world, nothing where absent, to the second. */
export function hear(rules: LiveRules, before: World | undefined, after: World): void {
  for (const name of before?.namespaces.keys() ?? []) if (!after.namespaces.has(name)) rules.deleteNamespace(name);
  for (const [name, labels] of after.namespaces) rules.setNamespace(name, labels);
  const policies = new Set(after.policies.map(policyRef));
  for (const policy of before?.policies ?? []) if (!policies.has(policyRef(policy))) rules.deletePolicy(policy);
  for (const policy of after.policies) rules.setPolicy(policy);
  for (const pod of before ? remotePods(before) : []) rules.deletePod(pod);
  for (const pod of remotePods(after)) rules.setPod(pod);
}

/** A pod of the world, as it is plugged in. */
export const plugged = ({ namespace, name, labels, namedPorts, addresses }: Pod): Omit<LocalPod, 'tag'> =>
  untaggedPod(`${namespace}-${name}`, {
    namespace,
    name,
    labels: Object.fromEntries(labels),
    namedPorts,
    addresses,
  });

/** The node as that world has it: some pods go, some come, some are relabelled, and others stay what they are. */
export function turned(state: NodeState, world: World): NodeState {
  const wanted = localPods(world).map(plugged);
  const keys = new Set(wanted.map(podKey));
  const left = Object.keys(state.pods)
    .filter(key => !keys.has(key))
    .reduce(withoutPod, state);
  const isAsBefore = (pod: (typeof wanted)[number], known: LocalPod | undefined): boolean =>
    known !== undefined &&
    identityKey(identityOf(known)) === identityKey(identityOf(pod)) &&
    known.addresses.join() === pod.addresses.join();
  return wanted
    .filter(pod => !isAsBefore(pod, left.pods[podKey(pod)]))
    .reduce((current, pod) => withPod(current, pod, () => false).state, left);
}
