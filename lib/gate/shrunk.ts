/** Addresses whose connections a change may forbid: no connection of other addresses can be forbidden by it. */
import { type Address, parseAddress } from '../ip/address.ts';
import { type DecidedElement, hasSameGates, type Ruleset } from '../policy/compile/ruleset.ts';
import type { LocalPod } from './node-state.ts';

type Element = Address | DecidedElement;

/** Where to look for connections to cut: those of some addresses, or everywhere. */
export type CutScope = readonly Address[] | 'everywhere';

export const mergedScopes = (a: CutScope, b: CutScope): CutScope =>
  a === 'everywhere' || b === 'everywhere' ? 'everywhere' : [...a, ...b];

/** Two rulesets, whole or in those parts in which they differ. */
export interface RulesetPair {
  readonly before: Ruleset;
  readonly after: Ruleset;
}

/** Tags that were there before and lead elsewhere now. */
export function redirectedTags({ before, after }: RulesetPair): ReadonlySet<number> {
  const redirected = [...before.tags].filter(([tag, entry]) => {
    const now = after.tags.get(tag);
    return now !== undefined && !hasSameGates(now, entry);
  });
  return new Set(redirected.map(([tag]) => tag));
}

const textOf = (element: Element): string =>
  'address' in element ? `${element.address.value} ${element.protocol} ${element.port}` : `${element.value}`;

/** Addresses that go from sets that stay. A set of ranges is its policy's, and never loses any. */
export const lostPeers = ({ before, after }: RulesetPair): readonly Address[] =>
  [...before.sets.values()].flatMap(set => {
    const stays = after.sets.get(set.name);
    if (!stays || stays.kind === 'ranges' || set.kind === 'ranges') return [];
    const kept = new Set(stays.elements.map(textOf));
    const gone = (set.elements as readonly Element[]).filter(element => !kept.has(textOf(element)));
    return gone.map(element => ('address' in element ? element.address : element));
  });

export const addressesOf = (pods: Iterable<LocalPod>): readonly Address[] =>
  [...pods].flatMap(({ addresses }) => addresses.flatMap(text => parseAddress(text) ?? []));

/** Addresses that have come into a set, where rules are ordered: a rule with that set may deny them. */
function comers({ before, after }: RulesetPair): readonly Address[] {
  return before.isOrdered || after.isOrdered ? lostPeers({ before: after, after: before }) : [];
}

/** Addresses of pods of this node whose gates have changed, of peers that have left a set, and of comers to one. */
export function shrunkBetween(change: RulesetPair, pods: Iterable<LocalPod>): readonly Address[] {
  const redirected = redirectedTags(change);
  const regated = redirected.size > 0 ? [...pods].filter(({ tag }) => redirected.has(tag)) : [];
  return [...addressesOf(regated), ...lostPeers(change), ...comers(change)];
}
