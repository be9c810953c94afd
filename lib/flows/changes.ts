/** The last changes of a journal, in order: each reader knows how far it has come. */

/** Changes that a reader may be behind. */
const MOST = 1 << 16;

export class Changes {
  /** A flow's id, or -1 - a note's number. */
  readonly #numbers = new Float64Array(MOST);
  readonly #awaited: (() => void)[] = [];
  /** Number of the change that comes next. */
  next = 0;

  static readonly bytes = MOST * 8;

  add(number: number): void {
    this.#numbers[this.next++ % MOST] = number;
    if (this.#awaited.length > 0) for (const tell of this.#awaited.splice(0)) tell();
  }

  /** Calls back at the next change, once. */
  await(tell: () => void): void {
    this.#awaited.push(tell);
  }

  /** The first change from this one on that is kept. */
  keptFrom(change: number): number {
    return Math.max(change, this.next - MOST);
  }

  at(change: number): number {
    return this.#numbers[change % MOST]!;
  }
}
