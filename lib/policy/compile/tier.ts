/**
 * A tier of cluster policies as a chain: its rules in their order, each leading to where its action says. Many neighbours with
 * one action become few rules, since it does not matter which of them comes first; others keep their place.
 */
import type { Identity } from '../../tag/identity.ts';
import { clusterRuleRef } from '../evaluate/decision.ts';
import { type ClusterPolicy, type PlacedClusterRule, rulesInOrder, type Tier } from '../model/cluster-policy.ts';
import { type Direction, formatRule, policyRef, type RuleRef } from '../model/model.ts';
import { type CompiledGate, chainOf, type LeadingDraft, prefixOf } from './chain.ts';
import { type Draft, draftsOfClusterRule } from './draft.ts';
import { mergeDrafts } from './merge.ts';
import type { Names } from './names.ts';
import type { RuleChain } from './ruleset.ts';

/** Runs of neighbours with one action. */
function runsOf(rules: readonly PlacedClusterRule[]): readonly (readonly PlacedClusterRule[])[] {
  const runs: PlacedClusterRule[][] = [];
  for (const placed of rules) {
    const last = runs.at(-1);
    if (last?.[0]?.rule.action === placed.rule.action) last.push(placed);
    else runs.push([placed]);
  }
  return runs;
}

export interface TierContext {
  readonly tier: Tier;
  readonly direction: Direction;
  readonly identity: Identity;
  readonly names: Names;
  /** How many neighbours with one action keep rules of their own. */
  readonly apart: number;
}

/** Denies everything, in the name of these rules. */
function denyingChain(rules: readonly RuleRef[], { tier, direction, names }: TierContext): RuleChain {
  const name = names.nameOf(`${prefixOf(direction)}-deny`, `${tier}\n${rules.map(formatRule).join('\n')}`);
  const policies = [...new Set(rules.map(({ policy }) => policy))].sort();
  return { name, direction, rules: [], policies, denies: { tier, rules } };
}

function draftsOf(run: readonly PlacedClusterRule[], { direction, identity, apart }: TierContext): readonly Draft[] {
  const drafts = run.flatMap(({ policy, rule }) => {
    const counted = rule.action === 'Accept' ? { counter: policyRef(policy) } : {};
    const origin = clusterRuleRef(policy, direction, rule);
    return draftsOfClusterRule(rule, origin, identity).map(draft => ({ ...draft, ...counted }));
  });
  return drafts.length <= apart ? drafts : mergeDrafts(drafts, apart);
}

/**
 * The chain of a tier; what comes after it where none of its rules matches anything.
 * @param policies that select the identity, in the order in which they are asked
 * @param next where it goes on that no rule decides
 */
export function tierGate(policies: readonly ClusterPolicy[], next: CompiledGate, context: TierContext): CompiledGate {
  const { direction, names } = context;
  const denying = new Map<string, RuleChain>();
  const leading = runsOf(rulesInOrder(policies, direction)).flatMap(run =>
    draftsOf(run, context).map((draft): LeadingDraft => {
      const { action } = run[0]!.rule;
      if (action === 'Accept') return { draft, to: 'open' };
      if (action === 'Pass') return { draft, to: next.gate };
      const chain = denyingChain(draft.origins, context);
      denying.set(chain.name, chain);
      return { draft, to: chain.name };
    }),
  );
  if (leading.length === 0) return next;
  const named = policies.filter(policy => policy[direction].length > 0).map(policyRef);
  const { chain, sets } = chainOf(leading, { direction, policies: named.sort(), otherwise: next.gate }, names);
  return {
    gate: chain.name,
    chains: [chain, ...denying.values(), ...next.chains],
    sets: [...sets, ...next.sets],
  };
}
