/** Interval arithmetic for what the kernel takes disjoint only: addresses of ipBlocks, and ports. */
import { type Family, type Range, rangeOf } from '../../ip/address.ts';
import type { BlockPeer } from '../model/model.ts';
import type { PortSpan } from './ruleset.ts';

interface Interval<T> {
  readonly first: T;
  readonly last: T;
}

/** Ascending, and merged where `touches` says that the second begins within or right after the first. */
function merged<T extends number | bigint>(
  intervals: readonly Interval<T>[],
  touches: (last: T, first: T) => boolean,
): Interval<T>[] {
  const ascending = intervals.toSorted((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
  const union: Interval<T>[] = [];
  for (const { first, last } of ascending) {
    const previous = union.at(-1);
    if (!previous || !touches(previous.last, first)) union.push({ first, last });
    else if (last > previous.last) union[union.length - 1] = { first: previous.first, last };
  }
  return union;
}

const mergedAddresses = (intervals: readonly Interval<bigint>[]): Interval<bigint>[] =>
  merged(intervals, (last, first) => first <= last + 1n);

/** The block without its holes; these come ascending and disjoint. */
function without(block: Interval<bigint>, holes: readonly Interval<bigint>[]): Interval<bigint>[] {
  const left: Interval<bigint>[] = [];
  let next = block.first;
  for (const hole of holes) {
    if (hole.last < next) continue;
    if (hole.first > block.last) break;
    if (hole.first > next) left.push({ first: next, last: hole.first - 1n });
    next = hole.last + 1n;
  }
  if (next <= block.last) left.push({ first: next, last: block.last });
  return left;
}

/** This family's blocks, each minus its own holes, all together, as disjoint ranges that do not touch, ascending. */
export function rangesOfBlocks(blocks: readonly BlockPeer[], family: Family): Range[] {
  const kept = blocks
    .filter(({ cidr }) => cidr.family === family)
    .flatMap(({ cidr, except }) => without(rangeOf(cidr), mergedAddresses(except.map(rangeOf))));
  return mergedAddresses(kept).map(({ first, last }) => ({ family, first, last }));
}

/** The union, as disjoint ranges that do not touch, ascending; all of one family. */
export const unionOfRanges = (ranges: readonly Range[], family: Family): Range[] =>
  mergedAddresses(ranges).map(({ first, last }) => ({ family, first, last }));

/** The union, as disjoint spans that do not touch, ascending. */
export const unionOfSpans = (spans: readonly PortSpan[]): PortSpan[] =>
  merged(spans, (last, first) => first <= last + 1);

/** Ranges of one family, each with what it stands for, found by a range that they meet. They may overlap. */
export class RangeIndex<T> {
  readonly #entries: readonly (readonly [Range, T])[];
  /** For each range the highest address of it and of all before it. */
  readonly #reach: readonly bigint[];

  constructor(entries: readonly (readonly [Range, T])[]) {
    this.#entries = entries.toSorted(([a], [b]) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
    let reach = -1n;
    this.#reach = this.#entries.map(([{ last }]) => {
      if (last > reach) reach = last;
      return reach;
    });
  }

  /** The first entry that has an address in common with the range. */
  meeting({ first, last }: Interval<bigint>): readonly [Range, T] | undefined {
    let [low, high] = [0, this.#entries.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#reach[middle]! < first) low = middle + 1;
      else high = middle;
    }
    const found = this.#entries[low];
    return found && found[0].first <= last ? found : undefined;
  }
}
