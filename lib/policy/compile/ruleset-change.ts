/** The difference that a change makes in a ruleset. */
import type { Structure } from './compile.ts';
import { withElements } from './members.ts';
import type { SetMoves } from './node-sets.ts';
import type { NodeSetSpec, PodSetSpec, Ruleset } from './ruleset.ts';

/** Two rulesets that are parts of those before and after, and whose difference is the whole difference. */
export interface RulesetChange {
  readonly before: Ruleset;
  readonly after: Ruleset;
  /** Chains or tags differ: then all of them are in both. Otherwise nothing but elements of sets that stay. */
  readonly isStructural: boolean;
}

/** By set, for those that stay and do not hold what they held. */
export type Moves = ReadonlyMap<PodSetSpec | NodeSetSpec, SetMoves>;

/** A change of nothing but elements of sets. */
export function elementChange(moves: Moves, { isOrdered }: Structure): RulesetChange {
  const part = (side: keyof SetMoves): Ruleset => ({
    sets: new Map([...moves].map(([spec, found]) => [spec.name, withElements(spec, found[side])])),
    chains: new Map(),
    tags: new Map(),
    ...(isOrdered ? { isOrdered } : {}),
  });
  return { before: part('gone'), after: part('come'), isStructural: false };
}
