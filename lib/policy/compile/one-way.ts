/**
 * Tells changes of sets that a packet may see in part: one set as it was, and the next as it is. Where all that changes allows
 * more, such a packet passes only what is allowed afterwards; where all of it allows less, only what was allowed before. For
 * rules that pass packets on neither is so.
 */
import type { SetMoves } from './node-sets.ts';
import type { Gate, RuleChain, SetSpec } from './ruleset.ts';

/** What becomes of a packet whose peer is in the set. */
export type Effect = 'allows' | 'denies';

/** By name; absent where the rules that look into the set do not agree, or pass packets on. */
export type Effects = ReadonlyMap<string, Effect>;

type Chains = ReadonlyMap<string, RuleChain>;

/** Whether all that comes to the gate is denied. */
function isShut(gate: Gate, chains: Chains): boolean {
  const chain = chains.get(gate);
  if (!chain || (chain.otherwise !== undefined && !isShut(chain.otherwise, chains))) return false;
  return chain.rules.every(({ to }) => to !== undefined && isShut(to, chains));
}

function effectOf(to: Gate | undefined, chains: Chains): Effect | undefined {
  if (to === undefined) return 'allows';
  return isShut(to, chains) ? 'denies' : undefined;
}

/** Of the sets that these chains look into. */
export function effectsOf(chains: Chains): Effects {
  const found = new Map<string, Effect | undefined>();
  for (const { rules } of chains.values())
    for (const { peers, to } of rules) {
      if (peers === 'any') continue;
      const effect = effectOf(to, chains);
      found.set(peers.name, !found.has(peers.name) || found.get(peers.name) === effect ? effect : undefined);
    }
  return new Map([...found].filter((entry): entry is [string, Effect] => entry[1] !== undefined));
}

/** Whether all of it allows more, or all of it allows less. */
export function isOneWay(moves: ReadonlyMap<SetSpec, SetMoves>, effects: Effects): boolean {
  const opens = new Set<boolean>();
  for (const [{ name }, { gone, come }] of moves) {
    const effect = effects.get(name);
    if (effect === undefined) return false;
    if (come.length > 0) opens.add(effect === 'allows');
    if (gone.length > 0) opens.add(effect === 'denies');
  }
  return opens.size <= 1;
}
