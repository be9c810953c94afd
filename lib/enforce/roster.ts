/**
 * The node's pods, a line for each that comes or goes, so that neither costs more where there are many. How much of the file
 * counts stands in another one, the state's, which is replaced in one piece: what a writer left behind it who died before
 * that is written over by the next.
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { readOrNone, replaceFile } from '../state/atomic.ts';
import { doing } from '../state/error.ts';
import type { LocalPod, NodeState } from './node.ts';

type Pods = NodeState['pods'];

/** As far as the file counts. */
export interface Extent {
  /** Its first line; another one where it was written anew. */
  readonly id: string;
  readonly bytes: number;
  /** Those of pods that came and of pods that went. */
  readonly lines: number;
}

export interface Difference {
  /** By key; some may take the place of one that is there. */
  readonly came: readonly (readonly [key: string, pod: LocalPod])[];
  readonly went: readonly string[];
}

export function differenceOf(before: Pods, after: Pods): Difference {
  return {
    came: Object.entries(after).filter(([key, pod]) => before[key] !== pod),
    went: Object.keys(before).filter(key => !after[key]),
  };
}

const came = (key: string): string => `+${JSON.stringify(key)} `;
const went = (key: string): string => `-${JSON.stringify(key)}\n`;
const lineOf = ([key, pod]: readonly [string, LocalPod]): string => `${came(key)}${JSON.stringify(pod)}\n`;

/** The file anew. @throws StateError */
export function writeRoster(path: string, pods: Pods): Extent {
  const id = Math.random().toString(36).slice(2);
  const lines = Object.entries(pods).map(lineOf);
  const text = [`${id}\n`, ...lines].join('');
  replaceFile(path, text);
  return { id, bytes: Buffer.byteLength(text), lines: lines.length };
}

/** What has changed, behind what counts. @throws StateError; then what counted is as it was */
export function extendRoster(path: string, { id, bytes, lines }: Extent, difference: Difference): Extent {
  const added = [...difference.went.map(went), ...difference.came.map(lineOf)];
  const text = Buffer.from(added.join(''));
  doing('write', path, () => {
    const fd = openSync(path, 'r+');
    try {
      for (let at = 0; at < text.length; ) at += writeSync(fd, text, at, text.length - at, bytes + at);
    } finally {
      closeSync(fd);
    }
  });
  return { id, bytes: bytes + text.length, lines: lines + added.length };
}

/** What was read last. A roster of the same name only grows, and what once counted stays as it is. */
let last: { readonly path: string; readonly id: string; readonly bytes: number; readonly room: Buffer } | undefined;

/** As much of the file, of which only what is new has to be read. Undefined where there is less of it. */
function textOf(path: string, { id, bytes }: Extent): Buffer | undefined {
  const before = last?.path === path && last.id === id ? last : undefined;
  if (before && before.bytes >= bytes) return before.room.subarray(0, bytes);
  let room = before?.room;
  if (!room || room.length < bytes) {
    room = Buffer.allocUnsafe(2 * bytes);
    before?.room.copy(room, 0, 0, before.bytes);
  }
  const text = room.subarray(0, bytes);
  if (!readRest(path, text, before?.bytes ?? 0)) return undefined;
  last = { path, id, bytes, room };
  return text;
}

function readRest(path: string, text: Buffer, start: number): boolean {
  const isWhole = readOrNone(path, () => {
    const fd = openSync(path, 'r');
    try {
      for (let at = start; at < text.length; ) {
        const read = readSync(fd, text, at, text.length - at, at);
        if (read === 0) return false;
        at += read;
      }
      return true;
    } finally {
      closeSync(fd);
    }
  });
  return isWhole ?? false;
}

const NEWLINE = 10;

export class Roster {
  readonly #text: Buffer;

  /** Undefined where the file is not the one of this extent. @throws StateError where it cannot be read */
  static read(path: string, extent: Extent): Roster | undefined {
    const text = textOf(path, extent);
    const { id } = extent;
    return text?.subarray(0, id.length + 1).toString() === `${id}\n` ? new Roster(text) : undefined;
  }

  constructor(text: Buffer) {
    this.#text = text;
  }

  /** Where the line starts that has the last word on this key; -1: none has. */
  #lastLine(key: string): number {
    return Math.max(this.#text.lastIndexOf(`\n${came(key)}`), this.#text.lastIndexOf(`\n${went(key)}`)) + 1;
  }

  /** The pod of the line that starts there. @throws SyntaxError where it is no such line */
  #podAt(start: number): readonly [key: string, pod: LocalPod] {
    const line = this.#text.toString('utf8', start, this.#text.indexOf(NEWLINE, start));
    const pod = line.indexOf(' {');
    return [JSON.parse(line.slice(1, pod)) as string, JSON.parse(line.slice(pod + 1)) as LocalPod];
  }

  #isArrival(start: number): boolean {
    return this.#text[start] === 0x2b;
  }

  find(key: string): LocalPod | undefined {
    const start = this.#lastLine(key);
    return start > 0 && this.#isArrival(start) ? this.#podAt(start)[1] : undefined;
  }

  /** In the order in which they came: those whose line has one of these texts in it. Only their lines are understood. */
  mentioning(texts: readonly string[]): Map<string, LocalPod> {
    const starts = new Set<number>();
    for (const text of texts)
      for (let at = this.#text.indexOf(text); at >= 0; at = this.#text.indexOf(text, at + 1))
        starts.add(this.#text.lastIndexOf(NEWLINE, at) + 1);
    const found = new Map<string, LocalPod>();
    for (const start of [...starts].sort((a, b) => a - b)) {
      if (!this.#isArrival(start)) continue;
      const [key, pod] = this.#podAt(start);
      if (this.#lastLine(key) === start) found.set(key, pod);
    }
    return found;
  }

  /** All of them, in the order in which they came. */
  all(): Record<string, LocalPod> {
    const pods = new Map<string, LocalPod>();
    for (let start = this.#text.indexOf(NEWLINE) + 1; start < this.#text.length; ) {
      const end = this.#text.indexOf(NEWLINE, start);
      if (this.#isArrival(start)) {
        const [key, pod] = this.#podAt(start);
        pods.delete(key);
        pods.set(key, pod);
      } else {
        pods.delete(JSON.parse(this.#text.toString('utf8', start + 1, end)) as string);
      }
      start = end + 1;
    }
    return Object.fromEntries(pods);
  }
}
