/**
 * The flows that the page holds: the newest ones, each once, denied ones in front if that is wanted. What a message costs
 * depends on its length: rows are kept in order, a new one finds its place by binary search, and a change of one stays there.
 */
import type { Entry, FlowRecord } from '../../../flows/model.ts';

export const MOST_ROWS = 10_000;

export interface Row {
  /** As it is now. */
  entry: Entry;
  /** Rises with each row: the order of those that have one time. */
  readonly number: number;
}

/** A flow by its number; a loss or a sum, which has none, by all that it says. */
export type RowKey = number | string;

export const keyOf = (entry: Entry): RowKey => (entry.kind === 'flow' ? entry.id : JSON.stringify(entry));

/** The oldest first. */
const inTime = (a: Row, b: Row): number => a.entry.time - b.entry.time || a.number - b.number;

/** The row's place among others in the order of time: where it is, or where it belongs. */
function placeIn(rows: readonly Row[], row: Row): number {
  let [from, to] = [0, rows.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (inTime(rows[middle]!, row) < 0) from = middle + 1;
    else to = middle;
  }
  return from;
}

export class Rows {
  /** In the order in which they came, which is that in which they give way. */
  readonly #all = new Map<RowKey, Row>();
  /** In the order of time: those that stand in front, and the others. */
  #front: Row[] = [];
  #others: Row[] = [];
  #isDeniedFirst = true;
  #next = 0;

  get size(): number {
    return this.#all.size;
  }

  /** As they are now, in the order in which they came. */
  get entries(): readonly Entry[] {
    return [...this.#all.values()].map(({ entry }) => entry);
  }

  #isInFront({ entry }: Row): boolean {
    return this.#isDeniedFirst && entry.kind === 'flow' && entry.verdict === 'denied';
  }

  #ranksOf(row: Row): Row[] {
    return this.#isInFront(row) ? this.#front : this.#others;
  }

  #place(row: Row): void {
    const ranks = this.#ranksOf(row);
    ranks.splice(placeIn(ranks, row), 0, row);
  }

  #displace(row: Row): void {
    const ranks = this.#ranksOf(row);
    const place = placeIn(ranks, row);
    // The oldest gives way with each one that comes: only `shift` leaves 10,000 others where they are.
    if (place === 0) ranks.shift();
    else ranks.splice(place, 1);
  }

  /** New flows, and known ones as they are now. */
  take(entries: Iterable<Entry>): void {
    for (const entry of entries) this.#put(keyOf(entry), entry);
    for (const [key, row] of this.#all) {
      if (this.#all.size <= MOST_ROWS) break;
      this.#displace(row);
      this.#all.delete(key);
    }
  }

  #put(key: RowKey, entry: Entry): void {
    const known = this.#all.get(key);
    if (!known) {
      const row = { entry, number: this.#next++ };
      this.#all.set(key, row);
      this.#place(row);
    } else if (known.entry.time === entry.time) known.entry = entry;
    else {
      // The kernel tells the time of its first packet only when it has ended.
      this.#displace(known);
      known.entry = entry;
      this.#place(known);
    }
  }

  clear(): void {
    this.#all.clear();
    this.#front = [];
    this.#others = [];
  }

  reorder(isDeniedFirst: boolean): void {
    this.#isDeniedFirst = isDeniedFirst;
    const rows = [...this.#all.values()].sort(inTime);
    this.#front = rows.filter(row => this.#isInFront(row));
    this.#others = rows.filter(row => !this.#isInFront(row));
  }

  /** The row in that place of the table, the newest in front. */
  at(index: number): Row | undefined {
    const behind = index - this.#front.length;
    return behind < 0 ? this.#front[-1 - behind] : this.#others[this.#others.length - 1 - behind];
  }

  get(key: RowKey): Row | undefined {
    return this.#all.get(key);
  }

  /** Whether the entry is there as it is now. */
  holds(entry: Entry): boolean {
    const known = this.#all.get(keyOf(entry))?.entry;
    return known !== undefined && (entry.kind !== 'flow' || (known as FlowRecord).state === entry.state);
  }

  /** The place in the table of a row that is there. */
  indexOf(row: Row): number {
    const ranks = this.#ranksOf(row);
    const before = ranks === this.#others ? this.#front.length : 0;
    return before + ranks.length - 1 - placeIn(ranks, row);
  }
}
