/**
 * Fewer rules that mean the same. Every new connection walks its chain, so a chain must not grow with the number of
 * policies: beyond a few, rules that ask for the same ports share one set of peers, rules with the same peers share
 * their ports, and those that have neither in common share a set of peers with ports. Up to then each keeps to itself, since
 * that lets each policy count.
 */
import type { Family } from '../../ip/address.ts';
import { formatRule, type RuleRef } from '../model/model.ts';
import { podPeerText, selectorText } from '../model/selector.ts';
import { type Draft, type DraftPeers, type DraftPorts, familyOf, peersText, portsText } from './draft.ts';
import { unionOfRanges, unionOfSpans } from './ranges.ts';
import type { Pair } from './ruleset.ts';

/** The default number of rules of one shape that stay apart: each costs a connection some 30 ns. */
export const usuallyApart = 16;

const groupsBy = <T>(items: readonly T[], keyOf: (item: T) => string): readonly (readonly T[])[] => [
  ...Map.groupBy(items, keyOf).values(),
];

function originsOf(drafts: readonly Draft[]): readonly RuleRef[] {
  const byText = new Map(drafts.flatMap(({ origins }) => origins.map(origin => [formatRule(origin), origin])));
  const ascending = (a: RuleRef, b: RuleRef): number =>
    a.policy === b.policy ? a.index - b.index : a.policy < b.policy ? -1 : 1;
  return [...byText.values()].sort(ascending);
}

/** Drafts that match the same become one, and the first of their policies counts, as the first of the rules would have. */
const withoutDoubles = (drafts: readonly Draft[]): readonly Draft[] =>
  groupsBy(drafts, draftText).map(same => {
    if (same.length === 1) return same[0]!;
    const origins = originsOf(same);
    return { ...same[0]!, origins, counter: origins[0]!.policy };
  });

/** Many drafts in one; it counts for a policy only where it is the only one. */
function joined(drafts: readonly Draft[], peers: DraftPeers, ports: DraftPorts): Draft {
  const origins = originsOf(drafts);
  const counter = origins[0]!.policy;
  const isOne = origins.every(({ policy }) => policy === counter);
  return { peers, ports, origins, ...(isOne ? { counter } : {}) };
}

/** One text for drafts that match the same. */
const draftText = ({ peers, ports }: Draft): string =>
  `${peers.kind}${familyOf(peers) ?? ''} ${peersText(peers)}; ${portsText(ports)}`;

function unionOfPeers(drafts: readonly Draft[], family: Family): DraftPeers {
  const ranges = drafts.flatMap(({ peers }) => (peers.kind === 'ranges' ? peers.ranges : []));
  if (ranges.length > 0) return { kind: 'ranges', family, ranges: unionOfRanges(ranges, family) };
  const nodes = drafts.flatMap(({ peers }) => (peers.kind === 'nodes' ? peers.nodes : []));
  if (nodes.length > 0) return { kind: 'nodes', family, nodes: inOneOrder(nodes, selectorText) };
  const pods = drafts.flatMap(({ peers }) => (peers.kind === 'pods' ? peers.pods : []));
  return { kind: 'pods', family, pods: inOneOrder(pods, podPeerText) };
}

/** Each once, in the order of their texts. */
function inOneOrder<T>(items: readonly T[], textOf: (item: T) => string): readonly T[] {
  const byText = new Map(items.map(item => [textOf(item), item]));
  return [...byText].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, item]) => item);
}

/** Pods stay apart from ranges, since their sets change as pods come and go. */
function mergePeers(drafts: readonly Draft[], apart: number): readonly Draft[] {
  const keyOf = ({ peers, ports }: Draft) => `${peers.kind}${familyOf(peers) ?? ''} ${portsText(ports)}`;
  return groupsBy(drafts, keyOf).flatMap(group => {
    const family = familyOf(group[0]!.peers);
    if (group.length <= apart || family === undefined) return group;
    return [joined(group, unionOfPeers(group, family), group[0]!.ports)];
  });
}

function mergePorts(drafts: readonly Draft[], apart: number): readonly Draft[] {
  const keyOf = ({ peers, ports }: Draft) =>
    `${peers.kind}${familyOf(peers) ?? ''} ${peersText(peers)}; ${ports.kind === 'numbers' ? ports.protocol : ports.kind}`;
  return groupsBy(drafts, keyOf).flatMap(group => {
    const { ports } = group[0]!;
    if (group.length <= apart || ports.kind !== 'numbers') return group;
    const spans = unionOfSpans(group.flatMap(draft => (draft.ports.kind === 'numbers' ? draft.ports.spans : [])));
    return [joined(group, group[0]!.peers, { ...ports, spans })];
  });
}

/** The number of ports of one rule up to which each is an element of its own. */
const PORTS = 16;

/** The numbers, where they are few; undefined for ranges and for names. */
export function fewPorts(ports: DraftPorts): Pick<Pair, 'protocol' | 'ports'> | undefined {
  if (ports.kind !== 'numbers') return undefined;
  const { protocol, spans } = ports;
  const number = spans.reduce((sum, { first, last }) => sum + last - first + 1, 0);
  if (number > PORTS) return undefined;
  const numbers = spans.flatMap(({ first, last }) => Array.from({ length: last - first + 1 }, (_, i) => first + i));
  return { protocol, ports: numbers };
}

function pairOf({ peers, ports }: Draft): Pair | undefined {
  const few = fewPorts(ports);
  return peers.kind === 'pods' && few ? { pods: peers.pods, ...few } : undefined;
}

/** Merges drafts that share neither peers nor ports: the kernel looks up peer and port together, in one set of pairs. */
function mergePairs(drafts: readonly Draft[], apart: number): readonly Draft[] {
  const keyOf = (draft: Draft): string => (pairOf(draft) ? String(familyOf(draft.peers)) : 'others');
  return groupsBy(drafts, keyOf).flatMap(group => {
    const family = familyOf(group[0]!.peers);
    const pairs = group.flatMap(draft => pairOf(draft) ?? []);
    if (group.length <= apart || family === undefined || pairs.length < group.length) return group;
    return [joined(group, { kind: 'pairs', family, pairs }, { kind: 'any' })];
  });
}

/** The same permissions, more than `apart` of one shape merged, in one order whatever order the policies came in. */
export function mergeDrafts(drafts: readonly Draft[], apart: number): readonly Draft[] {
  const single = withoutDoubles(drafts);
  const isFew = single.length <= apart;
  const merged = isFew ? single : withoutDoubles(mergePairs(mergePorts(mergePeers(single, apart), apart), apart));
  const byText = merged.map(draft => [draftText(draft), draft] as const);
  return byText.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, draft]) => draft);
}
