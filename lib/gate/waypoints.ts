/** The way from one ruleset to the next, in steps. */

import type { PeerSet, Ruleset } from '../policy/compile/ruleset.ts';
import type { RulesetChange } from '../policy/compile/ruleset-change.ts';
import { lostPeers, redirectedTags } from './shrunk.ts';

/** The part with sets that both parts have emptied: their elements neither come nor go yet. */
function emptied(part: Ruleset, other: Ruleset): Ruleset {
  const sets = [...part.sets].map(([name, set]): [string, PeerSet] =>
    other.sets.has(name) ? [name, { ...set, elements: [] } as PeerSet] : [name, set],
  );
  return { ...part, sets: new Map(sets) };
}

export const isRedirected = (change: RulesetChange): boolean => redirectedTags(change).size > 0;

const gainsElements = ({ before, after }: RulesetChange): boolean =>
  [...after.sets].some(([name, { elements }]) => elements.length > 0 && before.sets.has(name));

/**
 * The rulesets to go through, so that no packet passes that neither the first nor the last would let pass: it may see one
 * set before and another one after a commit. First goes what is closed, then gates change, then comes what is opened.
 */
export function waypoints(change: RulesetChange): readonly Ruleset[] {
  const { before, after } = change;
  // Where rules are ordered no packet sees two moments, and there is neither more nor less open in between.
  if (before.isOrdered) return [before, after];
  if (after.isOrdered) return [before, { ...before, isOrdered: true }, after];
  const gains = gainsElements(change);
  const closed = lostPeers(change).length > 0 && (gains || isRedirected(change)) ? [emptied(before, after)] : [];
  const regated = gains && isRedirected(change) ? [emptied(after, before)] : [];
  return [before, ...closed, ...regated, after];
}
