/**
 * Flows as lines of a file, once each has ended or was denied: for an audit, or for what gathers logs. The file is exchanged
 * when it is full, and a few of those before it are kept, so that a flood costs no more of the disk than that.
 */
import { appendFileSync, closeSync, openSync, readSync, renameSync, statSync } from 'node:fs';
import { messageOf } from '../cni/error.ts';
import type { Filter } from '../flows/filter.ts';
import type { FlowJournal } from '../flows/journal.ts';
import type { AwayNote, GapNote } from '../flows/model.ts';
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

/** Bytes at the end of a file in which its last whole line is looked for: a flow may have hundreds of labels. */
const TAIL = 256 * 1024;

/** Bytes of the file; 0 where the path names no regular file. */
function sizeOf(path: string): number {
  const found = statSync(path, { throwIfNoEntry: false });
  return found?.isFile() ? found.size : 0;
}

function endOf(path: string, most: number): string {
  const size = sizeOf(path);
  const bytes = Buffer.alloc(Math.min(size, most));
  const fd = openSync(path, 'r');
  try {
    return bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, size - bytes.length));
  } finally {
    closeSync(fd);
  }
}

/** @returns seconds since 1970; undefined where the line is none of ours, or not whole */
function timeOf(line: string): number | undefined {
  try {
    const { until, end, time } = JSON.parse(line) as { until?: unknown; end?: unknown; time?: unknown };
    return [until, end, time].find(each => typeof each === 'number');
  } catch {
    return undefined;
  }
}

/** From the last record until now; nothing where the file is new. Where no record can be read, the file's own time counts. */
function awayUntil(until: number, path: string): readonly AwayNote[] {
  const last = [path, `${path}.1`].find(each => sizeOf(each) > 0);
  if (last === undefined) return [];
  const times = endOf(last, TAIL).split('\n').map(timeOf);
  const time = times.findLast(each => each !== undefined) ?? statSync(last).mtimeMs / 1000;
  return [{ kind: 'away', time: Math.min(time, until), until }];
}

/** Whether the last write was cut short, by a crash or a full disk: the next line begins after a line break of its own. */
const isTorn = (path: string): boolean => sizeOf(path) > 0 && endOf(path, 1) !== '\n';

export class FlowLog implements Disposable {
  readonly #options: FlowLogOptions;
  readonly #journal: FlowJournal;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;
  readonly #start = Date.now() / 1000;
  /** Whether the file tells since when another agent writes to it. */
  #isBegun = false;
  #cursor: number;
  /** Changes that are in no line: they came faster than they were written, or could not be. */
  #missing = 0;
  #trouble: string | undefined;

  constructor(journal: FlowJournal, options: FlowLogOptions) {
    this.#options = options;
    this.#journal = journal;
    this.#cursor = journal.cursor;
    this.write();
    this.#goOn();
  }

  /** Waits for a change; where the disk has not taken what there was, it is tried again after a tick. */
  #goOn(): void {
    if (this.#missing > 0 || !this.#isBegun) this.#writeSoon();
    else this.#journal.awaitChange(() => this.#writeSoon());
  }

  #writeSoon(): void {
    if (this.#isOver) return;
    this.#timer = setTimeout(() => {
      this.write();
      this.#goOn();
    }, TICK).unref();
  }

  /** All that has ended since it was last called. A disk that is full keeps no flow from being recorded in memory. */
  write(): void {
    const { filter, path, log } = this.#options;
    const page = this.#journal.read(this.#cursor, { filter, most: AT_ONCE });
    this.#cursor = page.cursor;
    const entries = page.entries.filter(entry => entry.kind !== 'flow' || entry.state !== 'open');
    this.#missing += page.skipped;
    const gap: GapNote = { kind: 'gap', time: Date.now() / 1000, changes: this.#missing };
    try {
      const away = this.#isBegun ? [] : awayUntil(this.#start, path);
      const all = [...away, ...(this.#missing > 0 ? [gap] : []), ...entries];
      if (all.length > 0) this.#append(all);
      this.#isBegun = true;
      this.#missing = 0;
      this.#trouble = undefined;
    } catch (error) {
      this.#missing += entries.length;
      if (this.#trouble !== messageOf(error)) log('warn', `Cannot write flows to ${path}: ${messageOf(error)}`);
      this.#trouble = messageOf(error);
    }
  }

  #append(all: readonly object[]): void {
    const { path } = this.#options;
    this.#makeRoom();
    const lines = all.map(each => `${JSON.stringify(each)}\n`);
    // Only root may read which pod opened which connection.
    appendFileSync(path, (isTorn(path) ? '\n' : '') + lines.join(''), { mode: 0o600 });
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
