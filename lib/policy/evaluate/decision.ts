/** Decides one direction of a connection by the policies of all tiers, and says in one sentence which decides, and why. */
import type { Action, ClusterPolicy, ClusterRule } from '../model/cluster-policy.ts';
import {
  type Direction,
  type DirectionVerdict,
  type Flow,
  formatRule,
  type NetworkPolicy,
  type PolicyRule,
  policyRef,
  type RuleRef,
  trafficText,
} from '../model/model.ts';
import { selects } from '../model/selector.ts';
import type { Cluster } from './cluster.ts';
import type { Question } from './evaluate.ts';

/** A sentence about a flow whose ends are not named yet, so that it is one for all flows that fare alike. */
export type Sentence = readonly (string | typeof FROM | typeof TO)[];

export const FROM = { end: 'from' } as const;
export const TO = { end: 'to' } as const;

/** @param names of the two ends, as `partyOf` names them */
export const sentenceText = (sentence: Sentence, names: Readonly<Record<'from' | 'to', string>>): string =>
  sentence.map(part => (typeof part === 'string' ? part : names[part.end])).join('');

/** A verdict in one direction, for all pairs of ends that policies judge alike: its sentence leaves places for their names. */
export interface Decision extends Omit<DirectionVerdict, 'why'> {
  readonly why: Sentence;
}

/** The policies that have a say in one direction, tier by tier. */
export interface PoliciesByTier {
  readonly admin: readonly ClusterPolicy[];
  /** NetworkPolicies that isolate the subject: where there are any, Baseline is not asked. */
  readonly isolating: readonly NetworkPolicy[];
  readonly baseline: readonly ClusterPolicy[];
}

/** The policies that select the subject and say something of the direction. */
export function policiesFor(cluster: Cluster, direction: Direction, subject: Question['subject']): PoliciesByTier {
  const isolating = [...cluster.policiesIn(subject.namespace)].filter(
    policy => policy[direction] !== undefined && selects(policy.subject, subject.labels),
  );
  const [admin, baseline] = (['Admin', 'Baseline'] as const).map(tier =>
    cluster.clusterPoliciesFor(tier, subject).filter(policy => policy[direction].length > 0),
  );
  return { admin: admin!, isolating, baseline: baseline! };
}

/** The reference by which a rule of a cluster policy is named. */
export const clusterRuleRef = (policy: ClusterPolicy, direction: Direction, { index, name }: ClusterRule): RuleRef => ({
  ...{ policy: policyRef(policy), direction, index },
  ...(name === undefined ? {} : { name }),
});

interface Found {
  readonly action: Action;
  readonly ref: RuleRef;
}

/** The first rule that matches, of policies in the order in which they are asked. */
function firstOf(
  policies: readonly ClusterPolicy[],
  direction: Direction,
  matches: (rule: PolicyRule) => boolean,
): Found | undefined {
  for (const policy of policies) {
    const rule = policy[direction].find(matches);
    if (rule) return { action: rule.action, ref: clusterRuleRef(policy, direction, rule) };
  }
  return undefined;
}

/** `a`, `a and b`, `a, b and 3 more`. */
function enumerated(texts: readonly string[]): string {
  if (texts.length <= 1) return texts[0] ?? '';
  if (texts.length > 3) return `${texts.slice(0, 2).join(', ')} and ${texts.length - 2} more`;
  return `${texts.slice(0, -1).join(', ')} and ${texts.at(-1)}`;
}

const unique = (texts: readonly string[]): readonly string[] => [...new Set(texts)].sort();

/** The decision where no policy decides: the flow passes. */
export const exempt = (why: Sentence): Decision => ({
  ...{ allowed: true, isolated: false, by: [], rules: [], passed: [], why },
});

/** `TCP 80 to ` */
const directedText = (direction: Direction, flow: Flow): string =>
  `${trafficText(flow)} ${direction === 'egress' ? 'to' : 'from'} `;

const endsOf = (direction: Direction) =>
  direction === 'egress' ? { subject: FROM, peer: TO } : { subject: TO, peer: FROM };

function byClusterRule(tier: 'Admin' | 'Baseline', { action, ref }: Found, { direction, flow }: Question): Decision {
  const does = action === 'Accept' ? 'accepts' : 'denies';
  const why = [
    `${formatRule(ref)} ${does} ${directedText(direction, flow)}`,
    endsOf(direction).peer,
    ` (tier ${tier})`,
  ];
  return { allowed: action === 'Accept', isolated: false, tier, by: [ref.policy], rules: [ref], passed: [], why };
}

/** @param policies that isolate the subject in this direction */
function byNetworkPolicies(
  { direction, flow, unjudged }: Question,
  policies: readonly NetworkPolicy[],
  matches: (rule: PolicyRule) => boolean,
): Decision {
  if (unjudged) return exempt(unjudged);
  const { subject, peer } = endsOf(direction);
  const rules = policies.flatMap(policy =>
    (policy[direction] ?? [])
      .filter(matches)
      .map(({ index }): RuleRef => ({ policy: policyRef(policy), direction, index })),
  );
  const decided = { isolated: true, tier: 'NetworkPolicy', rules, passed: [] } as const;
  if (rules.length > 0) {
    const allow = `${enumerated(rules.map(formatRule))} ${rules.length === 1 ? 'allows' : 'allow'} `;
    const why = [`${allow}${directedText(direction, flow)}`, peer];
    return { ...decided, allowed: true, by: unique(rules.map(({ policy }) => policy)), why };
  }
  const by = unique(policies.map(policyRef));
  const isolate = `${enumerated(by)} ${by.length === 1 ? 'isolates' : 'isolate'} `;
  const why = [isolate, subject, ` for ${direction}, and no rule allows ${directedText(direction, flow)}`, peer];
  return { ...decided, allowed: false, by, why };
}

/** `X ingress[0] passes it on; ` before what is decided by those that come after. */
function afterPass(passed: readonly Found[], decision: Decision): Decision {
  if (passed.length === 0) return decision;
  const refs = passed.map(({ ref }) => ref);
  const prefix = refs.map(ref => `${formatRule(ref)} passes it on; `).join('');
  return { ...decision, passed: refs, why: [prefix, ...decision.why] };
}

/**
 * The tiers in their order: Admin, where the first rule that matches accepts, denies or passes it on; the NetworkPolicies that
 * isolate the subject, whose word is final; Baseline, like Admin; and where no policy has decided the flow passes.
 * @param matches whether a rule of one of the policies matches the flow
 */
export function decide(
  question: Question,
  { admin, isolating, baseline }: PoliciesByTier,
  matches: (rule: PolicyRule) => boolean,
): Decision {
  const { direction, unjudged } = question;
  const first = firstOf(admin, direction, matches);
  if (first && first.action !== 'Pass') return byClusterRule('Admin', first, question);
  const passed = first ? [first] : [];
  if (isolating.length > 0) return afterPass(passed, byNetworkPolicies(question, isolating, matches));
  const last = firstOf(baseline, direction, matches);
  if (last && last.action !== 'Pass') return afterPass(passed, byClusterRule('Baseline', last, question));
  const unisolated: Sentence = ['No policy isolates ', endsOf(direction).subject, ` for ${direction}`];
  return afterPass([...passed, ...(last ? [last] : [])], exempt(unjudged ?? unisolated));
}
