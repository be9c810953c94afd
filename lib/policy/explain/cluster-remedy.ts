/** Finds changes to a cluster policy under which a connection that it denies would be allowed. */
import type { Question } from '../evaluate/evaluate.ts';
import { type ClusterPolicy, type ClusterRule, LAST, mostRules } from '../model/cluster-policy.ts';
import { type Direction, formatRule, heedsRules, policyRef, type RuleRef, type World } from '../model/model.ts';
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

interface AddedRule {
  readonly rule: ClusterRule;
  readonly direction: Direction;
  readonly denied: RuleRef;
}

type Addition = Pick<Remedy, 'says' | 'world'>;

function addedBefore(world: World, policy: ClusterPolicy, { rule, direction, denied }: AddedRule): Addition {
  const at = policy[direction].findIndex(({ index }) => index === denied.index);
  return {
    says: `Add before ${formatRule(denied)}`,
    world: withClusterPolicy(world, policy, { ...policy, [direction]: policy[direction].toSpliced(at, 0, rule) }),
  };
}

/** In a policy that is asked before one that the API takes no more rules of; undefined where none can be. */
function addedElsewhere(world: World, policy: ClusterPolicy, { rule, direction }: AddedRule): Addition | undefined {
  const { kind, tier, priority } = policy;
  if (priority <= 0 || priority === LAST) return undefined;
  const other = { ...policy, name: `before-${policy.name}`, priority: priority - 1, ingress: [], egress: [] };
  const place = kind === 'ClusterNetworkPolicy' ? `a ${kind} of tier ${tier}` : `an ${kind}`;
  return {
    says: `Add to ${place} for the same pods, of a priority below ${priority}, since the API takes no more than ${mostRules(kind)} rules of ${policyRef(policy)}`,
    world: { ...world, clusterPolicies: [...(world.clusterPolicies ?? []), { ...other, [direction]: [rule] }] },
  };
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
  const text = {
    action: isToday ? 'Accept' : 'Allow',
    [direction === 'ingress' ? 'from' : 'to']: [written.text],
    ...clusterPortText(question, isToday),
  };
  const add = policy[direction].length < mostRules(policy.kind) ? addedBefore : addedElsewhere;
  const added = add(world, policy, { rule, direction, denied });
  return added && { kind: 'rule', add: text, ...added };
}
