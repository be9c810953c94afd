/** Finds changes to a cluster policy under which a connection that it denies would be allowed. */
import type { Question } from '../evaluate/evaluate.ts';
import type { ClusterPolicy } from '../model/cluster-policy.ts';
import { formatRule, heedsRules, policyRef, type RuleRef, type World } from '../model/model.ts';
import type { Remedy } from './remedy.ts';
import { clusterPeer, type ManifestValue, portOf } from './written-peer.ts';

const withClusterPolicy = (world: World, old: ClusterPolicy, policy: ClusterPolicy): World => ({
  ...world,
  clusterPolicies: (world.clusterPolicies ?? []).map(each => (each === old ? policy : each)),
});

const clusterPolicyNamed = ({ clusterPolicies = [] }: World, ref: string): ClusterPolicy | undefined =>
  clusterPolicies.find(policy => policyRef(policy) === ref);

/** The world without one rule of a cluster policy. */
export function withoutRule(world: World, { policy: ref, direction, index }: RuleRef): World {
  const policy = clusterPolicyNamed(world, ref);
  if (!policy) return world;
  const kept = policy[direction].filter(rule => rule.index !== index);
  return withClusterPolicy(world, policy, { ...policy, [direction]: kept });
}

/** The flow's port as a cluster policy of the kind writes it. */
function clusterPortText({ flow }: Question, isToday: boolean): { readonly [key: string]: ManifestValue } {
  if (flow.protocol === 'other') return {};
  return isToday
    ? { protocols: [{ [flow.protocol.toLowerCase()]: { destinationPort: { number: flow.port } } }] }
    : { ports: [{ portNumber: { protocol: flow.protocol, port: flow.port } }] };
}

/** Before the rule that denies, one that accepts. */
export function acceptRemedy(world: World, question: Question, denied: RuleRef): Remedy | undefined {
  const policy = clusterPolicyNamed(world, denied.policy);
  const written = clusterPeer(question);
  if (!policy || !written || !heedsRules(policy)) return undefined;
  const { direction } = question;
  const port = portOf(question);
  const isToday = policy.kind === 'ClusterNetworkPolicy';
  const rule = { index: -1, action: 'Accept', peers: [written.peer], ports: port ? [port] : 'any' } as const;
  const at = policy[direction].findIndex(({ index }) => index === denied.index);
  const text = {
    action: isToday ? 'Accept' : 'Allow',
    [direction === 'ingress' ? 'from' : 'to']: [written.text],
    ...clusterPortText(question, isToday),
  };
  return {
    kind: 'rule',
    says: `Add before ${formatRule(denied)}`,
    add: text,
    world: withClusterPolicy(world, policy, { ...policy, [direction]: policy[direction].toSpliced(at, 0, rule) }),
  };
}
