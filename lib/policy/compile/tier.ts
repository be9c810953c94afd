/**
 * A tier of cluster policies as a chain: its rules in their order, each leading to where its action says. Many neighbours for
 * pods are looked up at once (`decided.ts`), by ports that others cut (`port-cuts.ts`). Of other neighbours with one action
 * many become few rules, since it does not matter which of them comes first; others keep their place.
 */
import type { Identity } from '../../tag/identity.ts';
import { clusterRuleRef } from '../evaluate/decision.ts';
import type { Action, ClusterPolicy, ClusterRule, Tier } from '../model/cluster-policy.ts';
import { type Direction, formatRule, isNumbered, policyRef, type RuleRef } from '../model/model.ts';
import { type CompiledGate, chainOf, ledTo, prefixOf, type RuleWithSet, ruleOf, ruleOfSet } from './chain.ts';
import { decidedSets, numberOf, type OrderedDraft, originsOf, POLICY_BITS, PortBudget, RULE_BITS } from './decided.ts';
import { type Draft, draftsOfClusterRule, familyOf } from './draft.ts';
import { mergeDrafts } from './merge.ts';
import type { Names } from './names.ts';
import { once } from './once.ts';
import { cutByPorts, reachable } from './port-cuts.ts';
import { type ChainRule, type Gate, type Numbers, type PortMatch, policiesOf, type RuleChain } from './ruleset.ts';

export interface TierContext {
  readonly tier: Tier;
  readonly direction: Direction;
  readonly identity: Identity;
  readonly names: Names;
  /** The number of neighbouring rules with one action that keep rules of their own. */
  readonly apart: number;
}

/** Stands in a plan for the gate that comes after the tier. */
const NEXT = 'next';

const namesPort = ({ ports }: ClusterRule): boolean => ports !== 'any' && !ports.every(isNumbered);

/** Whether what the policy comes to depends on the ports of the pods that it selects. */
export const asksForOwnPorts = once((policy: ClusterPolicy): boolean => policy.ingress.some(namesPort));

const draftsFor = (policy: ClusterPolicy, direction: Direction, identity: Identity): readonly OrderedDraft[] =>
  policy[direction].flatMap(rule => {
    const { action } = rule;
    const counted = action === 'Accept' ? { counter: policyRef(policy) } : {};
    const origin = clusterRuleRef(policy, direction, rule);
    return draftsOfClusterRule(rule, origin, identity).map(draft => ({ ...draft, ...counted, action }));
  });

const noIdentity: Identity = { namespace: '', labels: new Map(), namedPorts: [] };

/** Drafts that are the same for each identity. */
const commonDrafts = {
  egress: once((policy: ClusterPolicy) => draftsFor(policy, 'egress', noIdentity)),
  ingress: once((policy: ClusterPolicy) => draftsFor(policy, 'ingress', noIdentity)),
} as const;

const draftsOf = (
  policies: readonly ClusterPolicy[],
  { direction, identity }: Pick<TierContext, 'direction' | 'identity'>,
): readonly OrderedDraft[] =>
  policies.flatMap(policy =>
    direction === 'ingress' && asksForOwnPorts(policy)
      ? draftsFor(policy, direction, identity)
      : commonDrafts[direction](policy),
  );

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
  return { name, direction, rules: [], policies: policiesOf(rules), denies: { tier, rules } };
}

/** Rules for packets to some ports, which have a chain of their own. */
interface CutRules {
  readonly ports: PortMatch;
  readonly rules: readonly RuleWithSet[];
}

/** Rules, with the chains that deny for them, and the sets of these. */
interface TierPart extends Pick<CompiledGate, 'chains' | 'sets'> {
  readonly rules: readonly RuleWithSet[];
}

/** A tier before it is known what comes after it: where rules pass packets on they lead to `NEXT`. */
export interface TierPlan extends TierPart {
  readonly policies: readonly string[];
  /** They come before the rules. */
  readonly cuts: readonly CutRules[];
}

/** Rules one after the other. */
function inOrder(drafts: readonly OrderedDraft[], context: TierContext): TierPart {
  const { apart, names } = context;
  const chains: RuleChain[] = [];
  const gateOf = (action: Action, { origins }: Draft): Gate => {
    if (action !== 'Deny') return action === 'Accept' ? 'open' : NEXT;
    const chain = denyingChain(origins, context);
    chains.push(chain);
    return chain.name;
  };
  const rules = runsOf(drafts, ({ action }) => action).flatMap(({ kind, items }) =>
    (items.length <= apart ? items : mergeDrafts(items, apart)).map(draft => ruleOf(draft, gateOf(kind, draft), names)),
  );
  return { rules, chains, sets: [] };
}

/** Chains that a chain by number leads to, about: a packet does not ask all policies for its own. */
const LED = 32;
const ALL_BITS = 0xffffffff;

/** What has one of these numbers, and the chain for it. */
interface NumberedChain {
  readonly numbers: Numbers;
  readonly chain: RuleChain;
}

/**
 * The chain that denies each packet in the name of the rule whose number it has been given, and those that it leads to: one for
 * each policy, so that the counters of its rules go on for as long as they stay what they are.
 */
function byNumber(drafts: readonly OrderedDraft[], context: TierContext): readonly RuleChain[] {
  const denying = drafts.filter(({ action }) => action === 'Deny');
  if (denying.length === 0) return [];
  const ofPolicies = [...Map.groupBy(denying, draft => (numberOf(draft) & POLICY_BITS) >>> 0)].map(([bits, own]) => {
    const rules = [...Map.groupBy(own, numberOf)].map(([number, same]) => {
      return { numbers: { bits: number, mask: ALL_BITS }, origins: originsOf(same) };
    });
    return { numbers: { bits, mask: POLICY_BITS }, chain: chainByNumber(rules, policiesOf(originsOf(own)), context) };
  });
  return ledByNumber(ofPolicies, context);
}

function chainByNumber(
  rules: readonly Pick<ChainRule, 'numbers' | 'origins' | 'to'>[],
  policies: readonly string[],
  { tier, direction, names }: TierContext,
): RuleChain {
  const inOrder = rules.toSorted((a, b) => a.numbers!.bits - b.numbers!.bits);
  const ordered = inOrder.map(each => ({ rule: { peers: 'any', ports: 'any', ...each } as const, set: undefined }));
  return chainOf(ordered, { direction, policies, denies: { tier, rules: [] } }, names).chain;
}

/** The one that leads to all of these, with those on the way, and these. */
function ledByNumber(chains: readonly NumberedChain[], context: TierContext): readonly RuleChain[] {
  if (chains.length === 1) return [chains[0]!.chain];
  const groups = 2 ** Math.ceil(Math.log2(chains.length / LED));
  const mask = ((groups - 1) << RULE_BITS) >>> 0;
  const parts = [...Map.groupBy(chains, ({ numbers }) => (numbers.bits & mask) >>> 0)];
  const leading = (to: readonly NumberedChain[]): RuleChain => {
    const rules = to.map(({ numbers, chain: { name } }) => ({ numbers, origins: [], to: name }));
    return chainByNumber(rules, [...new Set(to.flatMap(({ chain }) => chain.policies))].sort(), context);
  };
  const all = chains.map(({ chain }) => chain);
  if (groups <= 1) return [leading(chains), ...all];
  const between = parts.map(([bits, part]) => ({ numbers: { bits, mask }, chain: leading(part) }));
  return [leading(between), ...between.map(({ chain }) => chain), ...all];
}

/** Few lookups for many drafts. */
function atOnce(drafts: readonly OrderedDraft[], context: TierContext): TierPart {
  const { direction, names } = context;
  const parts = ([4, 6] as const).map((family): TierPart => {
    const own = drafts.filter(({ peers }) => familyOf(peers) === family);
    const chains = byNumber(own, context);
    const gates: Readonly<Record<Action, Gate>> = { Accept: 'open', Pass: NEXT, Deny: chains[0]?.name ?? NEXT };
    const rules = decidedSets(family, own, direction, names).map(({ set, origins }) =>
      ruleOfSet(set, origins, gates[set.action]),
    );
    return { rules, chains, sets: [] };
  });
  return joined(parts);
}

const joined = (parts: readonly TierPart[]): TierPart => ({
  rules: parts.flatMap(({ rules }) => rules),
  chains: parts.flatMap(({ chains }) => chains),
  sets: parts.flatMap(({ sets }) => sets),
});

function partOf(drafts: readonly OrderedDraft[], context: TierContext): TierPart {
  const stretches = stretchesOf(reachable(drafts), context.apart);
  return joined(stretches.map(each => (each.isDecided ? atOnce : inOrder)(each.drafts, context)));
}

/** The rules of a whole tier; many rules are looked up at once, by the ports at which others cut them. */
function wholePart(drafts: readonly OrderedDraft[], context: TierContext): TierPart & Pick<TierPlan, 'cuts'> {
  const ports = new PortBudget();
  const lookedUp = new Set(drafts.filter(draft => ports.admits(draft)));
  const cut = lookedUp.size > context.apart ? cutByPorts(drafts, draft => lookedUp.has(draft)) : undefined;
  const rest = partOf(cut?.rest ?? drafts, context);
  const parts = (cut?.cuts ?? []).map(each => ({ ports: each.ports, ...partOf(each.drafts, context) }));
  return { ...joined([rest, ...parts]), rules: rest.rules, cuts: parts };
}

/**
 * Undefined where the policies say nothing of the direction.
 * @param policies that select the identity, in the order in which they are asked
 */
export function tierPlan(policies: readonly ClusterPolicy[], context: TierContext): TierPlan | undefined {
  const drafts = draftsOf(policies, context);
  if (drafts.length === 0) return undefined;
  const named = policies
    .filter(policy => policy[context.direction].length > 0)
    .map(policyRef)
    .sort();
  return { ...wholePart(drafts, context), policies: named };
}

/** The chain of a tier. @param next where it goes on that no rule decides */
export function gateOfPlan(
  { policies, cuts, rules, ...plan }: TierPlan,
  next: CompiledGate,
  { direction, names }: Pick<TierContext, 'direction' | 'names'>,
): CompiledGate {
  const made = (list: readonly RuleWithSet[]) => {
    const led = list.map(each => (each.rule.to === NEXT ? ledTo(each, next.gate) : each));
    return chainOf(led, { direction, policies, otherwise: next.gate }, names);
  };
  const parts = cuts.map(cut => ({ ports: cut.ports, ...made(cut.rules) }));
  const leading = parts.map(({ ports, chain }): RuleWithSet => {
    return { rule: { peers: 'any', ports, origins: [], to: chain.name }, set: undefined };
  });
  const whole = made([...leading, ...rules]);
  const own = [whole, ...parts];
  return {
    gate: whole.chain.name,
    chains: [...own.map(({ chain }) => chain), ...plan.chains, ...next.chains],
    sets: [...own.flatMap(({ sets }) => sets), ...plan.sets, ...next.sets],
  };
}
