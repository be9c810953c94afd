/**
 * Flows as lines of a file, once each has ended or was denied: for an audit, or for what gathers logs. The file is exchanged
 * when it is full, and a few of those before it are kept, so that a flood costs no more of the disk than that.
 */
import { appendFileSync, renameSync, statSync } from 'node:fs';
import { messageOf } from '../cni/error.ts';
import type { Filter } from '../flows/filter.ts';
import type { FlowJournal } from '../flows/journal.ts';
import type { GapNote } from '../flows/model.ts';
import type { Log } from '../rpc/log.ts';

export interface FlowLogOptions {
  readonly path: string;
  readonly filter: Filter;
  /** Bytes of one file. */
  readonly most?: number;
  readonly log: Log;
}

const MOST = 64 * 1024 * 1024;
/** Files before the one of now: `flows.jsonl.1` is the youngest. */
const KEPT = 4;
/** Milliseconds between a change and its line, and entries in one write. */
const TICK = 500;
const AT_ONCE = 20_000;

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

export class FlowLog implements Disposable {
  readonly #options: FlowLogOptions;
  readonly #journal: FlowJournal;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;
  #cursor: number;
  /** Changes that are in no line: they came faster than they were written, or could not be. */
  #missing = 0;
  #trouble: string | undefined;

  constructor(journal: FlowJournal, options: FlowLogOptions) {
    this.#options = options;
    this.#journal = journal;
    this.#cursor = journal.cursor;
    this.#await();
  }

  #await(): void {
    this.#journal.awaitChange(() => this.#writeSoon());
  }

  /** Writes after a tick, and again for as long as the disk does not take it. */
  #writeSoon(): void {
    if (this.#isOver) return;
    this.#timer = setTimeout(() => {
      this.write();
      if (this.#missing > 0) this.#writeSoon();
      else this.#await();
    }, TICK).unref();
  }

  /** All that has ended since it was last called. A disk that is full keeps no flow from being recorded in memory. */
  write(): void {
    const { filter, path, log } = this.#options;
    const page = this.#journal.read(this.#cursor, { filter, most: AT_ONCE });
    this.#cursor = page.cursor;
    const entries = page.entries.filter(entry => entry.kind !== 'flow' || entry.state !== 'open');
    this.#missing += page.skipped;
    if (entries.length === 0 && this.#missing === 0) return;
    const gap: GapNote = { kind: 'gap', time: Date.now() / 1000, changes: this.#missing };
    const lines = [...(this.#missing > 0 ? [gap] : []), ...entries].map(entry => `${JSON.stringify(entry)}\n`);
    try {
      this.#makeRoom();
      // Only root may read which pod opened which connection.
      appendFileSync(path, lines.join(''), { mode: 0o600 });
      this.#missing = 0;
      this.#trouble = undefined;
    } catch (error) {
      this.#missing += entries.length;
      if (this.#trouble !== messageOf(error)) log('warn', `Cannot write flows to ${path}: ${messageOf(error)}`);
      this.#trouble = messageOf(error);
    }
  }

  #makeRoom(): void {
    const { path, most = MOST } = this.#options;
    if (sizeOf(path) < most) return;
    for (let i = KEPT - 1; i >= 0; i--) {
      const from = i === 0 ? path : `${path}.${i}`;
      if (sizeOf(from) > 0) renameSync(from, `${path}.${i + 1}`);
    }
  }

  /** Flows that are still open get no line. */
  [Symbol.dispose](): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.write();
  }
}
