/**
 * A connection's way through the policies, as a colleague would walk along it: the rules of the Admin tier, who isolates each
 * end, the rules of the Baseline tier; what about each rule does not fit, where it ended, and what would have to change. The
 * verdict is that of `evaluate`, always.
 */
import type { Family } from '../../ip/address.ts';
import { clusterOf } from '../evaluate/cluster.ts';
import { clusterRuleRef, type PoliciesByTier, policiesFor } from '../evaluate/decision.ts';
import { ask, type EvaluateOptions, evaluate, type Question } from '../evaluate/evaluate.ts';
import { type Action, type ClusterPolicy, type ClusterRule, tiers } from '../model/cluster-policy.ts';
import {
  type AnyPolicy,
  type Direction,
  type DirectionVerdict,
  type Flow,
  type NetworkPolicy,
  type PolicyRule,
  policyRef,
  type RuleRef,
  type Source,
  type Verdict,
  type World,
} from '../model/model.ts';
import { promoted } from '../model/staged.ts';
import { withoutRule } from './cluster-remedy.ts';
import { clusterSubjectMisfit, type Misfit, ruleFit, ruleText, subjectMisfit } from './mismatch.ts';
import { type Remedy, remediesFor } from './remedy.ts';

export interface RuleWalk {
  readonly rule: RuleRef;
  /** The rule's action on traffic that it matches; a cluster policy's only. */
  readonly action?: Action;
  /** The traffic that it allows, in words; for a cluster policy the traffic that it matches. */
  readonly allows: string;
  readonly matches: boolean;
  /** What a cluster policy's rule says is invalid, so it denies everything. */
  readonly isInvalid?: true;
  /** Why its peers do not match, or else its ports; none where it matches. */
  readonly misfits: readonly Misfit[];
}

export interface PolicyWalk {
  /** `Kind/namespace/name`, or `Kind/name` */
  readonly policy: string;
  /** A cluster policy's only. */
  readonly priority?: number;
  readonly source?: Source;
  /** Why it closes more than it says, and heeds no rule that is added to it. */
  readonly closed?: 'invalid' | 'too large';
  /** In the manifest's order; a NetworkPolicy without any allows nothing. Of a cluster policy: up to the first match. */
  readonly rules: readonly RuleWalk[];
}

/** A policy that has no say in this direction, though it may be thought to have one. */
export interface Bystander {
  readonly policy: string;
  readonly why: string;
}

/** The verdict without one rule of a cluster policy. */
export interface Otherwise {
  readonly rule: RuleRef;
  readonly verdict: DirectionVerdict;
}

export interface DirectionWalk {
  readonly direction: Direction;
  readonly verdict: DirectionVerdict;
  /** `namespace/pod` whose policies were asked; undefined where none are. */
  readonly subject?: string;
  /** Policies of the Admin tier that were asked, up to the rule that matches. */
  readonly admin: readonly PolicyWalk[];
  /** NetworkPolicies that isolate the subject, where they were asked. */
  readonly policies: readonly PolicyWalk[];
  /** Policies of the Baseline tier, where it was asked. */
  readonly baseline: readonly PolicyWalk[];
  readonly bystanders: readonly Bystander[];
  /** The outcome without the rule, for each rule of a cluster policy that decided or passed the flow on. */
  readonly otherwise: readonly Otherwise[];
  /** Each alone would let the connection through in this direction; none where it is allowed. */
  readonly remedies: readonly Remedy[];
}

export interface Walkthrough {
  readonly flow: Flow;
  readonly family: Family | null;
  readonly verdict: Verdict;
  readonly egress: DirectionWalk;
  readonly ingress: DirectionWalk;
  /** The verdict if all staged policies were in force; absent where there are none. */
  readonly staged?: Verdict;
}

function walkRule(question: Question, rule: PolicyRule, ref: RuleRef): RuleWalk {
  const { peers, ports } = ruleFit(question, rule);
  return {
    rule: ref,
    allows: ruleText(rule, question.direction),
    matches: peers.length + ports.length === 0,
    misfits: peers.length > 0 ? peers : ports,
  };
}

function placeOf({ source, isInvalid, isBeyondBudget }: AnyPolicy): Pick<PolicyWalk, 'source' | 'closed'> {
  const closed = isBeyondBudget ? 'too large' : isInvalid && 'invalid';
  return { ...(source ? { source } : {}), ...(closed ? { closed } : {}) };
}

function walkPolicy(question: Question, policy: NetworkPolicy): PolicyWalk {
  const { direction } = question;
  const ref = policyRef(policy);
  const rules = (policy[direction] ?? []).map(rule =>
    walkRule(question, rule, { policy: ref, direction, index: rule.index }),
  );
  return { policy: ref, ...placeOf(policy), rules };
}

/** Up to the first rule that matches, at which the tier ends. */
function walkTier(question: Question, policies: readonly ClusterPolicy[]): readonly PolicyWalk[] {
  const walked: PolicyWalk[] = [];
  for (const policy of policies) {
    const rules: RuleWalk[] = [];
    walked.push({ policy: policyRef(policy), priority: policy.priority, ...placeOf(policy), rules });
    for (const rule of policy[question.direction]) {
      const walk = walkClusterRule(question, policy, rule);
      rules.push(walk);
      if (walk.matches) return walked;
    }
  }
  return walked;
}

function walkClusterRule(question: Question, policy: ClusterPolicy, rule: ClusterRule): RuleWalk {
  const walk = walkRule(question, rule, clusterRuleRef(policy, question.direction, rule));
  const isToday = policy.kind === 'ClusterNetworkPolicy';
  const misfits = walk.misfits.map(each => (isToday ? { ...each, place: inToday(each.place) } : each));
  // Every rule that is valid has peers.
  return { ...walk, action: rule.action, misfits, ...(rule.peers === 'any' ? { isInvalid: true } : {}) };
}

/** ClusterNetworkPolicy calls them so. */
const inToday = (place: string): string => place.replace(/^ports/, 'protocols');

function bystander({ direction, subject }: Question, policy: NetworkPolicy): Bystander {
  const misfit = subjectMisfit(policy.subject, `${subject.namespace}/${subject.name}`, subject.labels);
  return { policy: policyRef(policy), why: misfit?.says ?? `it does not isolate for ${direction}` };
}

function clusterBystander({ cluster, direction, subject }: Question, policy: ClusterPolicy): Bystander {
  const misfit = clusterSubjectMisfit(policy.subject, subject, cluster.namespaceLabels(subject.namespace));
  return { policy: policyRef(policy), why: misfit?.says ?? `it has no rules for ${direction}` };
}

function bystanders(world: World, question: Question, said: PoliciesByTier): readonly Bystander[] {
  const { cluster, subject } = question;
  const asked = new Set<AnyPolicy>([...said.admin, ...said.isolating, ...said.baseline]);
  const own = [...clusterOf(world).policiesIn(subject.namespace)].filter(each => !asked.has(each));
  const others = tiers.flatMap(tier => cluster.clusterPolicies(tier)).filter(each => !asked.has(each));
  return [
    ...own.map(policy => bystander(question, policy)),
    ...others.map(policy => clusterBystander(question, policy)),
  ];
}

function walkDirection(
  world: World,
  direction: Direction,
  flow: Flow,
  verdict: DirectionVerdict,
  options: EvaluateOptions,
): DirectionWalk {
  const asked = ask(world, flow, options)[direction];
  const nothing = { admin: [], policies: [], baseline: [], bystanders: [], otherwise: [], remedies: [] };
  if ('exempt' in asked) return { direction, verdict, ...nothing };
  const said = policiesFor(asked.cluster, direction, asked.subject);
  const hasAdminDecided = verdict.tier === 'Admin';
  const isJudged = !hasAdminDecided && !asked.unjudged;
  const turning = verdict.tier === 'NetworkPolicy' ? verdict.passed : [...verdict.passed, ...verdict.rules];
  return {
    direction,
    verdict,
    subject: `${asked.subject.namespace}/${asked.subject.name}`,
    admin: walkTier(asked, said.admin),
    policies: isJudged ? said.isolating.map(policy => walkPolicy(asked, policy)) : [],
    baseline: hasAdminDecided || said.isolating.length > 0 ? [] : walkTier(asked, said.baseline),
    bystanders: bystanders(world, asked, said),
    otherwise: turning.map(rule => ({
      rule,
      verdict: evaluate(withoutRule(world, rule), flow, options)[direction],
    })),
    remedies: verdict.allowed ? [] : remediesFor(world, asked, verdict, said, options),
  };
}

/** The connection's way, in the one address family that the flow names. */
export function walk(world: World, flow: Flow, options: EvaluateOptions = {}): Walkthrough {
  const verdict = evaluate(world, flow, options);
  const after = promoted(world);
  return {
    flow,
    family: flow.family,
    verdict,
    egress: walkDirection(world, 'egress', flow, verdict.egress, options),
    ingress: walkDirection(world, 'ingress', flow, verdict.ingress, options),
    ...(after ? { staged: evaluate(after, flow, options) } : {}),
  };
}
