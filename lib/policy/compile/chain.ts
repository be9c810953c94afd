/** Chains out of drafts, named by what they do, with the sets that their rules look into. */
import { type Direction, formatRule, type RuleRef } from '../model/model.ts';
import { type Draft, familyOf, peersText, peerTexts, portsText } from './draft.ts';
import type { Names } from './names.ts';
import type { ChainRule, Gate, RuleChain, SetRef, SetSpec } from './ruleset.ts';

/** The gate of an identity's packets in one direction, with all chains that they may reach. */
export interface CompiledGate {
  readonly gate: Gate;
  readonly chains: readonly RuleChain[];
  /** Sets that rules of these chains look into. */
  readonly sets: readonly SetSpec[];
}

export const openGate: CompiledGate = { gate: 'open', chains: [], sets: [] };

/** Enough for a person: a set of many selectors names the first. Made of content alone, so equal sets have equal comments. */
function commentOf(peers: Draft['peers']): string {
  const parts = peerTexts(peers);
  return parts.length <= 4 ? parts.join(' or ') : `${parts.slice(0, 3).join(' or ')} or ${parts.length - 3} more`;
}

function setSpecOf({ peers, ports }: Draft, names: Names): SetSpec | undefined {
  const [family, text] = [familyOf(peers), peersText(peers)];
  if (peers.kind === 'any' || family === undefined) return undefined;
  if (ports.kind === 'names' && (peers.kind === 'pods' || peers.kind === 'ranges')) {
    const ofPeers = (whom: string) => `${portsText(ports)} of ${whom}`;
    const comment = ofPeers(commentOf(peers));
    const whose =
      peers.kind === 'pods' ? { kind: peers.kind, pods: peers.pods } : { kind: peers.kind, ranges: peers.ranges };
    return {
      ...{ kind: 'tuples', name: names.nameOf(`ports${family}`, ofPeers(text)), family, comment, whose },
      names: ports.names,
    };
  }
  const [name, comment] = [names.nameOf(`${peers.kind}${family}`, text), commentOf(peers)];
  if (peers.kind === 'pairs')
    return { kind: 'tuples', name, family, comment, whose: { kind: peers.kind, pairs: peers.pairs } };
  if (peers.kind === 'ranges') return { kind: 'ranges', name, family, comment, ranges: peers.ranges };
  if (peers.kind === 'nodes') return { kind: 'nodes', name, family, comment, nodes: peers.nodes };
  return { kind: 'addresses', name, family, comment, pods: peers.pods };
}

function refTo(spec: SetSpec): SetRef {
  const { family, name } = spec;
  if (spec.kind !== 'decided') return { kind: spec.kind, family, name };
  const { kind, action, key } = spec;
  return { kind, family, name, action, key };
}

const leading = (to: Gate) => (to === 'open' ? {} : { to });

/** A rule of a chain, and the set that it looks into. */
export interface RuleWithSet {
  readonly rule: ChainRule;
  readonly set: SetSpec | undefined;
}

/** The rule of a draft. @param to where it leads */
export function ruleOf(draft: Draft, to: Gate, names: Names): RuleWithSet {
  const { ports, counter, origins } = draft;
  const set = setSpecOf(draft, names);
  const rule = {
    peers: set ? refTo(set) : ('any' as const),
    ports: ports.kind === 'numbers' ? { protocol: ports.protocol, spans: ports.spans } : ('any' as const),
    ...(counter === undefined ? {} : { counter }),
    origins,
    ...leading(to),
  };
  return { rule, set };
}

/** The rule for all that is in the set. */
export const ruleOfSet = (set: SetSpec, origins: readonly RuleRef[], to: Gate): RuleWithSet => ({
  rule: { peers: refTo(set), ports: 'any', origins, ...leading(to) },
  set,
});

/** The same rule, leading to another gate. */
export const ledTo = ({ rule: { to: _, ...rule }, set }: RuleWithSet, gate: Gate): RuleWithSet => ({
  rule: { ...rule, ...leading(gate) },
  set,
});

/** One text for rules that are the same rule for the kernel. */
function ruleText({ peers, ports, counter, numbers, origins, to }: ChainRule): string {
  if (numbers) return `numbers ${numbers.bits} ${numbers.mask}; ${to ?? origins.map(formatRule).join()}`;
  const portText = ports === 'any' ? 'any' : portsText({ kind: 'numbers', ...ports });
  const matches = `${peers === 'any' ? 'any' : peers.name}; ${portText}; ${counter ?? ''}`;
  return to === undefined ? matches : `${matches}; ${to}`;
}

/** The chain of these rules in their order. @param otherwise absent: what none of them matches is denied */
export function chainOf(
  ordered: readonly RuleWithSet[],
  { otherwise, ...rest }: Omit<RuleChain, 'name' | 'rules'>,
  names: Names,
): { readonly chain: RuleChain; readonly sets: readonly SetSpec[] } {
  const rules = ordered.map(({ rule }) => rule);
  const end = otherwise === undefined ? [] : [`otherwise ${otherwise}`];
  const tier = rest.denies ? [rest.denies.tier] : [];
  const name = names.nameOf(prefixOf(rest.direction), [...tier, ...rules.map(ruleText), ...end].join('\n'));
  const chain = { name, rules, ...rest, ...(otherwise === undefined ? {} : { otherwise }) };
  return { chain, sets: ordered.flatMap(({ set }) => set ?? []) };
}

export const prefixOf = (direction: Direction): string => (direction === 'egress' ? 'out' : 'in');
