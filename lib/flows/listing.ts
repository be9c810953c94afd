/** Lists of what a journal keeps. A list costs a number for each entry until that entry is asked for: it may be read slowly. */
import type { Filter } from './filter.ts';
import type { Entry, Note } from './model.ts';
import type { FlowRing } from './ring.ts';

export interface ListQuery {
  readonly filter: Filter;
  /** Seconds since 1970: what ended before is left out. */
  readonly since?: number | undefined;
  /** The newest flows that pass, at most so many. */
  readonly last: number;
}

/** Ids of flows, and notes, in the order of time. */
type Chosen = readonly (number | Note)[];

/** Notes pass every filter; those before the oldest flow of a full list are left out. */
function choose(ring: FlowRing, notes: readonly Note[], { filter, since = 0, last }: ListQuery): Chosen {
  const ids: number[] = [];
  for (let id = ring.next - 1; id >= ring.first && ids.length < last; id--) {
    const end = ring.stateOf(id) === 'open' ? Number.POSITIVE_INFINITY : ring.endOf(id);
    if (end >= since && filter(ring.get(id)!)) ids.push(id);
  }
  const timeOf = (each: number | Note): number => (typeof each === 'number' ? ring.timeOf(each) : each.time);
  const oldest = ids.at(-1);
  const full = oldest === undefined ? Number.POSITIVE_INFINITY : timeOf(oldest);
  const from = ids.length < last ? since : Math.max(since, full);
  return [...ids.reverse(), ...notes.filter(({ time }) => time >= from)].sort((a, b) => timeOf(a) - timeOf(b));
}

function* entriesOf(ring: FlowRing, chosen: Chosen, now: number): Generator<Entry, void> {
  let changes = 0;
  for (const each of chosen) {
    const entry = typeof each === 'number' ? ring.get(each) : each;
    if (entry) yield entry;
    else changes++;
  }
  if (changes > 0) yield { kind: 'gap', time: now, changes };
}

/**
 * The entries of now, chosen before this returns. Each flow is given as it is when it is asked for; how many have given way
 * to newer ones by then is told last.
 * @param now seconds since 1970
 */
export const listOf = (ring: FlowRing, notes: readonly Note[], query: ListQuery, now: number) =>
  entriesOf(ring, choose(ring, notes, query), now);
