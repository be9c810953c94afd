/**
 * A connection's way through the policies, as a colleague would walk along it: who isolates each end, which rules were
 * tried, what about each does not fit, and what would have to change. The verdict is that of `evaluate`, always.
 */
import type { Family } from '../../ip/address.ts';
import { clusterOf } from '../evaluate/cluster.ts';
import { ask, type EvaluateOptions, evaluate, isolatingPolicies, type Question } from '../evaluate/evaluate.ts';
import {
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
import { type Misfit, ruleFit, ruleText, subjectMisfit } from './mismatch.ts';
import { type Remedy, remediesFor } from './remedy.ts';

export interface RuleWalk {
  readonly rule: RuleRef;
  /** What it allows, in words. */
  readonly allows: string;
  readonly matches: boolean;
  /** Of its peers, or else of its ports; none where it matches. */
  readonly misfits: readonly Misfit[];
}

export interface PolicyWalk {
  /** `Kind/namespace/name` */
  readonly policy: string;
  readonly source?: Source;
  /** In the manifest's order; none: it isolates, and allows nothing. */
  readonly rules: readonly RuleWalk[];
}

/** A policy of the subject's namespace that has no say in this direction. */
export interface Bystander {
  readonly policy: string;
  readonly why: string;
}

export interface DirectionWalk {
  readonly direction: Direction;
  readonly verdict: DirectionVerdict;
  /** `namespace/pod` whose policies were asked; undefined where none are. */
  readonly subject?: string;
  /** Those that isolate the subject. */
  readonly policies: readonly PolicyWalk[];
  readonly bystanders: readonly Bystander[];
  /** Each alone would let the connection through in this direction; none where it is allowed. */
  readonly remedies: readonly Remedy[];
}

export interface Walkthrough {
  readonly flow: Flow;
  readonly family: Family | null;
  readonly verdict: Verdict;
  readonly egress: DirectionWalk;
  readonly ingress: DirectionWalk;
}

function walkRule(question: Question, policy: NetworkPolicy, rule: PolicyRule): RuleWalk {
  const { direction } = question;
  const { peers, ports } = ruleFit(question, rule);
  return {
    rule: { policy: policyRef(policy), direction, index: rule.index },
    allows: ruleText(rule, direction),
    matches: peers.length + ports.length === 0,
    misfits: peers.length > 0 ? peers : ports,
  };
}

const walkPolicy = (question: Question, policy: NetworkPolicy): PolicyWalk => ({
  policy: policyRef(policy),
  ...(policy.source ? { source: policy.source } : {}),
  rules: (policy[question.direction] ?? []).map(rule => walkRule(question, policy, rule)),
});

function bystander({ direction, subject }: Question, policy: NetworkPolicy): Bystander {
  const misfit = subjectMisfit(policy.subject, `${subject.namespace}/${subject.name}`, subject.labels);
  return { policy: policyRef(policy), why: misfit?.says ?? `it does not isolate for ${direction}` };
}

function walkDirection(
  world: World,
  direction: Direction,
  flow: Flow,
  verdict: DirectionVerdict,
  options: EvaluateOptions,
): DirectionWalk {
  const asked = ask(world, flow, options)[direction];
  if ('exempt' in asked) return { direction, verdict, policies: [], bystanders: [], remedies: [] };
  const isolating = isolatingPolicies(asked);
  const others = [...clusterOf(world).policiesIn(asked.subject.namespace)].filter(each => !isolating.includes(each));
  return {
    direction,
    verdict,
    subject: `${asked.subject.namespace}/${asked.subject.name}`,
    policies: isolating.map(policy => walkPolicy(asked, policy)),
    bystanders: others.map(policy => bystander(asked, policy)),
    remedies: verdict.allowed ? [] : remediesFor(world, asked, isolating, options),
  };
}

/** The connection's way, in the one address family that the flow names. */
export function walk(world: World, flow: Flow, options: EvaluateOptions = {}): Walkthrough {
  const verdict = evaluate(world, flow, options);
  return {
    flow,
    family: flow.family,
    verdict,
    egress: walkDirection(world, 'egress', flow, verdict.egress, options),
    ingress: walkDirection(world, 'ingress', flow, verdict.ingress, options),
  };
}
