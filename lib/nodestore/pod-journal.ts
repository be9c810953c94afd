/**
 * The node's pods as a file with a line for each that came or went, so that neither costs more where there are many. The file's
 * text counts up to an extent that stands in the node's record, which is replaced in one piece: what a writer that died before
 * that left behind the extent is overwritten by the next writer.
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import type { LocalPod, NodeState } from '../gate/node-state.ts';
import { fileAt, readOrNone, replaceFile } from '../state/atomic.ts';
import { doing } from '../state/error.ts';
import { isJudgedPod } from './shapes.ts';

type Pods = NodeState['pods'];

/** As far as the file counts. */
export interface Extent {
  /** Its first line; another one where it was written anew. */
  readonly id: string;
  readonly bytes: number;
  /** Those of pods that came and of pods that went. */
  readonly lines: number;
}

export interface PodsChange {
  /** By key; some may take the place of one that is there. */
  readonly came: readonly (readonly [key: string, pod: LocalPod])[];
  readonly went: readonly string[];
}

export function differenceOf(before: Pods, after: Pods): PodsChange {
  return {
    came: Object.entries(after).filter(([key, pod]) => before[key] !== pod),
    went: Object.keys(before).filter(key => !after[key]),
  };
}

const came = (key: string): string => `+${JSON.stringify(key)} `;
const went = (key: string): string => `-${JSON.stringify(key)}\n`;
const lineOf = ([key, pod]: readonly [string, LocalPod]): string => `${came(key)}${JSON.stringify(pod)}\n`;

/** The fields by which two pods may collide. */
export type Sharing = Pick<LocalPod, 'addresses' | 'hostPorts'>;

export interface JournalPods {
  readonly find: (key: string) => LocalPod | undefined;
  /** In the order in which they came: pods that have one of these addresses or, where there is a hostPort here, one of theirs. */
  readonly sharing: (wanted: readonly Sharing[]) => Map<string, LocalPod>;
  /** All of them, in the order in which they came. */
  readonly all: () => Record<string, LocalPod>;
}

/** The journal as it was read or written last. A journal with the same id only grows, and lines that once counted stay. */
interface LastJournal {
  readonly ino: bigint;
  readonly id: string;
  readonly bytes: number;
  readonly pods: JournalText | JournalIndex;
}

/** Remembers what it read and wrote, as long as the record that has the extent says so. */
export class PodJournal {
  readonly #path: string;
  #last: LastJournal | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** The file anew. @throws StateError */
  replace(pods: Pods): Extent {
    const id = Math.random().toString(36).slice(2);
    const lines = Object.entries(pods).map(lineOf);
    const text = [`${id}\n`, ...lines].join('');
    replaceFile(this.#path, text);
    return { id, bytes: Buffer.byteLength(text), lines: lines.length };
  }

  /** Writes the change behind the lines that count. @throws StateError; then these are as they were */
  extend({ id, bytes, lines }: Extent, change: PodsChange): Extent {
    const added = [...change.went.map(went), ...change.came.map(lineOf)];
    const text = Buffer.from(added.join(''));
    doing('write', this.#path, () => {
      const fd = openSync(this.#path, 'r+');
      try {
        for (let at = 0; at < text.length; ) at += writeSync(fd, text, at, text.length - at, bytes + at);
      } finally {
        closeSync(fd);
      }
    });
    const now = { id, bytes: bytes + text.length, lines: lines + added.length };
    // This object need not read again the lines that it wrote itself.
    const known = this.#last;
    if (known?.id === id && known.bytes === bytes) {
      this.#last = undefined;
      this.#last = { ...known, bytes: now.bytes, pods: known.pods.grown(text) };
    }
    return now;
  }

  /** To be called where the record did not follow: what was added does not count, and another process may overwrite it. */
  forget(): void {
    this.#last = undefined;
  }

  /**
   * Undefined where the file is not the one of this extent.
   * @throws StateError where it cannot be read, SyntaxError where what was added to it is not what we write
   */
  read({ id, bytes }: Extent): JournalPods | undefined {
    const file = fileAt(this.#path);
    if (!file || file.size < bytes) return undefined;
    const { ino } = file;
    const last = this.#last;
    const before = last?.ino === ino && last.id === id && last.bytes <= bytes ? last : undefined;
    this.#last = undefined;
    if (!before) {
      const text = readBytes(this.#path, 0, bytes);
      if (text?.subarray(0, id.length + 1).toString() !== `${id}\n`) return undefined;
      const pods = new JournalText(text);
      this.#last = { ino, id, bytes, pods };
      return pods;
    }
    const added = readBytes(this.#path, before.bytes, bytes);
    if (!added) return undefined;
    const pods = before.pods.grown(added);
    this.#last = { ino, id, bytes, pods };
    return pods;
  }
}

function readBytes(path: string, from: number, to: number): Buffer | undefined {
  const text = Buffer.allocUnsafe(to - from);
  if (text.length === 0) return text;
  const isWhole = readOrNone(path, () => {
    const fd = openSync(path, 'r');
    try {
      for (let at = 0; at < text.length; ) {
        const read = readSync(fd, text, at, text.length - at, from + at);
        if (read === 0) return false;
        at += read;
      }
      return true;
    } finally {
      closeSync(fd);
    }
  });
  return isWhole ? text : undefined;
}

const NEWLINE = 10;
const ARRIVAL = 0x2b;

/** A pod's line. @throws SyntaxError where it is no such line */
function podIn(line: string): readonly [key: string, pod: LocalPod] {
  const at = line.indexOf(' {');
  const pod: unknown = JSON.parse(line.slice(at + 1));
  if (!isJudgedPod(pod)) throw new SyntaxError('Cannot read a line of the journal: it is not a pod');
  return [keyIn(line.slice(1, at)), pod];
}

/** @throws SyntaxError */
function keyIn(json: string): string {
  const key: unknown = JSON.parse(json);
  if (typeof key !== 'string') throw new SyntaxError('Cannot read a line of the journal: it begins with no key');
  return key;
}

/** A process that carries out one call looks no more often than this; one that looks more often stays, and gets an index. */
const FEW_LOOKS = 3;

/** The journal for a process that carries out one call: it parses only the lines that are asked for. */
class JournalText implements JournalPods {
  readonly #text: Buffer;
  #looks: number;

  constructor(text: Buffer, looks = 0) {
    this.#text = text;
    this.#looks = looks;
  }

  /** Offset of the last line about this key; 0 where there is none. */
  #lastLine(key: string): number {
    return Math.max(this.#text.lastIndexOf(`\n${came(key)}`), this.#text.lastIndexOf(`\n${went(key)}`)) + 1;
  }

  #podAt(start: number): readonly [key: string, pod: LocalPod] {
    return podIn(this.#text.toString('utf8', start, this.#text.indexOf(NEWLINE, start)));
  }

  #isArrival(start: number): boolean {
    return this.#text[start] === ARRIVAL;
  }

  find(key: string): LocalPod | undefined {
    const start = this.#lastLine(key);
    return start > 0 && this.#isArrival(start) ? this.#podAt(start)[1] : undefined;
  }

  sharing(wanted: readonly Sharing[]): Map<string, LocalPod> {
    const texts = wanted.flatMap(({ addresses }) => addresses.map(address => JSON.stringify(address)));
    if (wanted.some(({ hostPorts }) => hostPorts.length > 0)) texts.push('"hostPort":');
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

  all(): Record<string, LocalPod> {
    return new JournalIndex(this.#text).all();
  }

  /** The journal with the lines that follow; an index for a process that has looked often. @throws SyntaxError */
  grown(added: Buffer): JournalText | JournalIndex {
    if (++this.#looks > FEW_LOOKS) return new JournalIndex(this.#text).grown(added);
    return added.length === 0 ? this : new JournalText(Buffer.concat([this.#text, added]), this.#looks);
  }
}

/** The journal for a process that looks call after call: it parses a line once, and finds the pod by its key. */
class JournalIndex implements JournalPods {
  /** With the number of its line. */
  readonly #pods = new Map<string, { readonly pod: LocalPod; readonly line: number }>();
  readonly #byAddress = new Map<string, Set<string>>();
  readonly #withPorts = new Set<string>();
  #lines = 0;

  /** @param text from its first line on, which is its name */
  constructor(text: Buffer) {
    this.grown(text.subarray(text.indexOf(NEWLINE) + 1));
  }

  /** Itself, with the lines that follow. @throws SyntaxError */
  grown(text: Buffer): this {
    for (let start = 0; start < text.length; ) {
      const end = text.indexOf(NEWLINE, start);
      const line = text.toString('utf8', start, end);
      if (text[start] === ARRIVAL) this.#add(...podIn(line));
      else this.#delete(keyIn(line.slice(1)));
      start = end + 1;
    }
    return this;
  }

  #add(key: string, pod: LocalPod): void {
    this.#delete(key);
    this.#pods.set(key, { pod, line: this.#lines++ });
    for (const address of pod.addresses)
      this.#byAddress.set(address, (this.#byAddress.get(address) ?? new Set()).add(key));
    if (pod.hostPorts.length > 0) this.#withPorts.add(key);
  }

  #delete(key: string): void {
    for (const address of this.find(key)?.addresses ?? []) {
      const keys = this.#byAddress.get(address);
      keys?.delete(key);
      if (keys?.size === 0) this.#byAddress.delete(address);
    }
    this.#withPorts.delete(key);
    this.#pods.delete(key);
  }

  find(key: string): LocalPod | undefined {
    return this.#pods.get(key)?.pod;
  }

  sharing(wanted: readonly Sharing[]): Map<string, LocalPod> {
    const keys = new Set(
      wanted.flatMap(({ addresses, hostPorts }) => [
        ...addresses.flatMap(address => [...(this.#byAddress.get(address) ?? [])]),
        ...(hostPorts.length > 0 ? this.#withPorts : []),
      ]),
    );
    const found = [...keys].map(key => [key, this.#pods.get(key)!] as const);
    return new Map(found.sort(([, a], [, b]) => a.line - b.line).map(([key, { pod }]) => [key, pod]));
  }

  all(): Record<string, LocalPod> {
    return Object.fromEntries([...this.#pods].map(([key, { pod }]) => [key, pod]));
  }
}
