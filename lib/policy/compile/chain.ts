/** Chains out of drafts, named by what they do, with the sets that their rules look into. */
import type { Direction } from '../model/model.ts';
import { type Draft, familyOf, peersText, peerTexts, portsText } from './draft.ts';
import type { Names } from './names.ts';
import type { ChainRule, Gate, RuleChain, SetRef, SetSpec } from './ruleset.ts';

/** Where an identity's packets go in one direction, with all chains that they may come to. */
export interface CompiledGate {
  readonly gate: Gate;
  readonly chains: readonly RuleChain[];
  /** Those that rules of these chains look into. */
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

const refTo = ({ kind, family, name }: SetSpec): SetRef => ({ kind, family, name });

function ruleOf({ ports, counter, origins }: Draft, set: SetSpec | undefined, to: Gate): ChainRule {
  return {
    peers: set ? refTo(set) : 'any',
    ports: ports.kind === 'numbers' ? { protocol: ports.protocol, spans: ports.spans } : 'any',
    ...(counter === undefined ? {} : { counter }),
    origins,
    ...(to === 'open' ? {} : { to }),
  };
}

/** One text for rules that are the same rule for the kernel. */
function ruleText({ peers, ports, counter, to }: ChainRule): string {
  const portText = ports === 'any' ? 'any' : portsText({ kind: 'numbers', ...ports });
  const matches = `${peers === 'any' ? 'any' : peers.name}; ${portText}; ${counter ?? ''}`;
  return to === undefined ? matches : `${matches}; ${to}`;
}

/** A draft with where it leads. */
export interface LeadingDraft {
  readonly draft: Draft;
  readonly to: Gate;
}

/** The chain of these drafts in their order. @param otherwise absent: what none of them matches is denied */
export function chainOf(
  drafts: readonly LeadingDraft[],
  { direction, policies, otherwise }: Pick<RuleChain, 'direction' | 'policies' | 'otherwise'>,
  names: Names,
): { readonly chain: RuleChain; readonly sets: readonly SetSpec[] } {
  const specs = drafts.map(({ draft }) => setSpecOf(draft, names));
  const rules = drafts.map(({ draft, to }, i) => ruleOf(draft, specs[i], to));
  const end = otherwise === undefined ? [] : [`otherwise ${otherwise}`];
  const name = names.nameOf(prefixOf(direction), [...rules.map(ruleText), ...end].join('\n'));
  const chain = { name, direction, rules, policies, ...(otherwise === undefined ? {} : { otherwise }) };
  return { chain, sets: specs.filter(spec => spec !== undefined) };
}

export const prefixOf = (direction: Direction): string => (direction === 'egress' ? 'out' : 'in');
