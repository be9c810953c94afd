/**
 * A tier of cluster policies as a chain: its rules in their order, each leading to where its action says. Many neighbours for
 * pods are looked up at once (`decided.ts`), by ports that others cut (`port-cuts.ts`). Of other neighbours with one action many become few rules, since it does not matter
 * which of them comes first; others keep their place.
 */
import type { Identity } from '../../tag/identity.ts';
import { clusterRuleRef } from '../evaluate/decision.ts';
import { type Action, type ClusterPolicy, rulesInOrder, type Tier } from '../model/cluster-policy.ts';
import { type Direction, formatRule, policyRef, type RuleRef } from '../model/model.ts';
import { type CompiledGate, chainOf, prefixOf, type RuleWithSet, ruleOf, ruleOfSet } from './chain.ts';
import { decidedSets, type OrderedDraft, PortBudget } from './decided.ts';
import { type Draft, draftsOfClusterRule } from './draft.ts';
import { mergeDrafts } from './merge.ts';
import type { Names } from './names.ts';
import { cutByPorts, type PortCut, reachable } from './port-cuts.ts';
import type { Gate, RuleChain } from './ruleset.ts';

export interface TierContext {
  readonly tier: Tier;
  readonly direction: Direction;
  readonly identity: Identity;
  readonly names: Names;
  /** The number of neighbouring rules with one action that keep rules of their own. */
  readonly apart: number;
}

function draftsOf(policies: readonly ClusterPolicy[], { direction, identity }: TierContext): readonly OrderedDraft[] {
  return rulesInOrder(policies, direction).flatMap(({ policy, rule }) => {
    const { action } = rule;
    const counted = action === 'Accept' ? { counter: policyRef(policy) } : {};
    const origin = clusterRuleRef(policy, direction, rule);
    return draftsOfClusterRule(rule, origin, identity).map(draft => ({ ...draft, ...counted, action }));
  });
}

/** Neighbours of one kind. */
function runsOf<T, K>(
  items: readonly T[],
  kindOf: (item: T) => K,
): readonly { readonly kind: K; readonly items: T[] }[] {
  const runs: { readonly kind: K; readonly items: T[] }[] = [];
  for (const item of items) {
    const [kind, last] = [kindOf(item), runs.at(-1)];
    if (last?.kind === kind) last.items.push(item);
    else runs.push({ kind, items: [item] });
  }
  return runs;
}

/** Runs of drafts that are looked up at once, which are longer than `apart`, and of others. */
function stretchesOf(drafts: readonly OrderedDraft[], apart: number) {
  const ports = new PortBudget();
  const runs = runsOf(drafts, draft => ports.admits(draft));
  const placed = runs.flatMap(({ kind, items }) =>
    items.map(draft => ({ draft, isDecided: kind && items.length > apart })),
  );
  return runsOf(placed, ({ isDecided }) => isDecided).map(({ kind, items }) => {
    return { isDecided: kind, drafts: items.map(({ draft }) => draft) };
  });
}

/** Denies everything, in the name of these rules. */
function denyingChain(rules: readonly RuleRef[], { tier, direction, names }: TierContext): RuleChain {
  const name = names.nameOf(`${prefixOf(direction)}-deny`, `${tier}\n${rules.map(formatRule).join('\n')}`);
  const policies = [...new Set(rules.map(({ policy }) => policy))].sort();
  return { name, direction, rules: [], policies, denies: { tier, rules } };
}

/** Rules of a tier, and the chains of their own that these lead to, with their sets. */
interface TierPart extends Pick<CompiledGate, 'chains' | 'sets'> {
  readonly rules: readonly RuleWithSet[];
}

/** Rules one after the other. @param next where those that pass lead to */
function inOrder(drafts: readonly OrderedDraft[], next: Gate, context: TierContext): TierPart {
  const { apart, names } = context;
  const chains: RuleChain[] = [];
  const gateOf = (action: Action, { origins }: Draft): Gate => {
    if (action !== 'Deny') return action === 'Accept' ? 'open' : next;
    const chain = denyingChain(origins, context);
    chains.push(chain);
    return chain.name;
  };
  const rules = runsOf(drafts, ({ action }) => action).flatMap(({ kind, items }) =>
    (items.length <= apart ? items : mergeDrafts(items, apart)).map(draft => ruleOf(draft, gateOf(kind, draft), names)),
  );
  return { rules, chains, sets: [] };
}

/** Few lookups for many drafts. What they deny goes through those that deny one by one, since its log names the rule. */
function atOnce(drafts: readonly OrderedDraft[], next: Gate, context: TierContext): TierPart {
  const { direction, names } = context;
  const denying = inOrder(
    drafts.filter(({ action }) => action === 'Deny'),
    next,
    { ...context, apart: Number.POSITIVE_INFINITY },
  );
  const policies = [...new Set(denying.rules.flatMap(({ rule }) => rule.origins.map(({ policy }) => policy)))].sort();
  const { chain, sets } = chainOf(denying.rules, { direction, policies }, names);
  const gates: Readonly<Record<Action, Gate>> = { Accept: 'open', Pass: next, Deny: chain.name };
  const rules = decidedSets(drafts, direction, names).map(({ set, origins }) =>
    ruleOfSet(set, origins, gates[set.action]),
  );
  return denying.rules.length === 0
    ? { rules, chains: [], sets: [] }
    : { rules, chains: [chain, ...denying.chains], sets };
}

const joined = (parts: readonly TierPart[]): TierPart => ({
  rules: parts.flatMap(({ rules }) => rules),
  chains: parts.flatMap(({ chains }) => chains),
  sets: parts.flatMap(({ sets }) => sets),
});

function partOf(drafts: readonly OrderedDraft[], next: Gate, context: TierContext): TierPart {
  const stretches = stretchesOf(reachable(drafts), context.apart);
  return joined(stretches.map(each => (each.isDecided ? atOnce : inOrder)(each.drafts, next, context)));
}

/** A chain for the ports of the cut, and the rule that leads there. */
function cutPart({ ports, drafts }: PortCut, next: Gate, context: TierContext, policies: readonly string[]): TierPart {
  const { rules, chains, sets } = partOf(drafts, next, context);
  const { direction, names } = context;
  const own = chainOf(rules, { direction, policies, otherwise: next }, names);
  const rule = { peers: 'any', ports, origins: [], to: own.chain.name } as const;
  return { rules: [{ rule, set: undefined }], chains: [own.chain, ...chains], sets: [...own.sets, ...sets] };
}

/** The rules of a whole tier; many rules are looked up at once, by the ports at which others cut them. */
function wholePart(
  drafts: readonly OrderedDraft[],
  next: Gate,
  context: TierContext,
  policies: readonly string[],
): TierPart {
  const ports = new PortBudget();
  const lookedUp = new Set(drafts.filter(draft => ports.admits(draft)));
  const cut = lookedUp.size > context.apart ? cutByPorts(drafts, draft => lookedUp.has(draft)) : undefined;
  if (!cut) return partOf(drafts, next, context);
  return joined([...cut.cuts.map(each => cutPart(each, next, context, policies)), partOf(cut.rest, next, context)]);
}

/**
 * The chain of a tier; what comes after it where none of its rules matches anything.
 * @param policies that select the identity, in the order in which they are asked
 * @param next where it goes on that no rule decides
 */
export function tierGate(policies: readonly ClusterPolicy[], next: CompiledGate, context: TierContext): CompiledGate {
  const { direction, names } = context;
  const drafts = draftsOf(policies, context);
  if (drafts.length === 0) return next;
  const named = policies
    .filter(policy => policy[direction].length > 0)
    .map(policyRef)
    .sort();
  const part = wholePart(drafts, next.gate, context, named);
  const { chain, sets } = chainOf(part.rules, { direction, policies: named, otherwise: next.gate }, names);
  return {
    gate: chain.name,
    chains: [chain, ...part.chains, ...next.chains],
    sets: [...sets, ...part.sets, ...next.sets],
  };
}
