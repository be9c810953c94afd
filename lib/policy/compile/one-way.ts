/**
 * Tells changes of sets that a packet may see in part: one set as it was, and the next as it is. Where all that changes allows
 * more, such a packet passes only what is allowed afterwards; where all of it allows less, only what was allowed before. For
 * rules that pass packets on neither is so. A packet has one port, so what changes for other ports is nothing to it.
 */
import type { SetMember } from './members.ts';
import type { SetMoves } from './node-sets.ts';
import type { Gate, RuleChain, SetSpec } from './ruleset.ts';

/** What becomes of a packet whose peer is in the set; `nothing`: it is denied anyway, and the set tells in whose name. */
export type Effect = 'allows' | 'denies' | 'nothing';

/** By name; absent where the rules that look into the set do not agree, or pass packets on. */
export type Effects = ReadonlyMap<string, Effect>;

type Chains = ReadonlyMap<string, RuleChain>;

/** Whether all that comes to the gate is denied. */
function isShut(gate: Gate, chains: Chains): boolean {
  const chain = chains.get(gate);
  if (!chain || (chain.otherwise !== undefined && !isShut(chain.otherwise, chains))) return false;
  return chain.rules.every(({ numbers, to }) => (to === undefined ? numbers !== undefined : isShut(to, chains)));
}

function effectOf(to: Gate | undefined, chains: Chains): Effect | undefined {
  if (to === undefined) return 'allows';
  return isShut(to, chains) ? 'denies' : undefined;
}

const joined = (a: Effect | undefined, b: Effect | undefined): Effect | undefined =>
  a === 'nothing' || a === b ? b : undefined;

/** Of the sets that these chains look into. */
export function effectsOf(chains: Chains): Effects {
  const found = new Map<string, Effect | undefined>();
  for (const { name, rules } of chains.values()) {
    const isDenied = isShut(name, chains);
    for (const { peers, to } of rules) {
      if (peers === 'any') continue;
      const before = found.has(peers.name) ? found.get(peers.name) : 'nothing';
      found.set(peers.name, isDenied ? before : joined(before, effectOf(to, chains)));
    }
  }
  return new Map([...found].filter((entry): entry is [string, Effect] => entry[1] !== undefined));
}

const ALL = 'all ports';

const portOf = (member: SetMember): string =>
  'address' in member && member.port !== undefined ? `${member.protocol} ${member.port}` : ALL;

/**
 * Whether, for the packets of each port, all of it allows more, or all of it allows less.
 * @param beside what else changes for all ports
 */
export function isOneWay(
  moves: ReadonlyMap<SetSpec, SetMoves>,
  effects: Effects,
  beside: readonly Effect[] = [],
): boolean {
  const ways = new Map<string, Set<Effect>>([[ALL, new Set(beside)]]);
  const note = (effect: Effect) => (member: SetMember) => {
    const port = portOf(member);
    ways.set(port, (ways.get(port) ?? new Set()).add(effect));
  };
  for (const [{ name }, { gone, come }] of moves) {
    const effect = effects.get(name);
    if (effect === undefined) return false;
    if (effect === 'nothing') continue;
    come.forEach(note(effect));
    gone.forEach(note(effect === 'allows' ? 'denies' : 'allows'));
  }
  const forAll = ways.get(ALL)!;
  return [...ways.values()].every(way => new Set([...way, ...forAll]).size <= 1);
}
