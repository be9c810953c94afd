/** The flows that the page holds: the newest ones, each once, denied ones in front if that is wanted. */
import type { Entry, FlowRecord, Note } from '../../../flows/model.ts';

export const MOST_ROWS = 10_000;

export class Rows {
  /** Oldest first: by id, where a note has the place at which it came. */
  readonly #flows = new Map<number, FlowRecord>();
  #notes: Note[] = [];
  isDeniedFirst = true;
  #view: readonly Entry[] | undefined;

  take(entries: readonly Entry[]): void {
    for (const entry of entries)
      if (entry.kind === 'flow') this.#flows.set(entry.id, entry);
      else this.#notes.push(entry);
    this.#notes = this.#notes.slice(-100);
    for (const id of this.#flows.keys()) {
      if (this.#flows.size <= MOST_ROWS) break;
      this.#flows.delete(id);
    }
    this.#view = undefined;
  }

  clear(): void {
    this.#flows.clear();
    this.#notes = [];
    this.#view = undefined;
  }

  reorder(isDeniedFirst: boolean): void {
    this.isDeniedFirst = isDeniedFirst;
    this.#view = undefined;
  }

  /** Newest first. */
  get view(): readonly Entry[] {
    if (this.#view) return this.#view;
    const all = [...this.#flows.values(), ...this.#notes].sort((a, b) => b.time - a.time);
    const isFront = (entry: Entry): boolean => entry.kind === 'flow' && entry.verdict === 'denied';
    this.#view = this.isDeniedFirst ? [...all.filter(isFront), ...all.filter(entry => !isFront(entry))] : all;
    return this.#view;
  }
}
