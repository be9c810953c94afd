/** Whole files, read and replaced in one piece: a reader sees the old text or the new one, never half of either. */

import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { messageOf } from '../cni/error.ts';
import { doing, errnoOf } from './error.ts';
import { clearTheWay, isInTheWay } from './in-the-way.ts';

/** Path of a file before it is renamed into place: one that a dead process left is overwritten by the next writer. */
export function asideOf(path: string): string {
  const name = path.lastIndexOf('/') + 1;
  return `${path.slice(0, name)}.${path.slice(name)}.new`;
}

/** Runs the operation; where something else is in its place, that is removed and the operation is tried once more. */
function withTheWayCleared(path: string, operation: () => void): void {
  try {
    operation();
  } catch (error) {
    if (!isInTheWay(errnoOf(error))) throw error;
    clearTheWay(path);
    operation();
  }
}

/**
 * Replaces the file, or leaves it as it was. All who do so must hold one lock. Not synced: see store.ts.
 * @throws StateError
 */
export function replaceFile(path: string, text: string, mode = 0o600): void {
  const aside = asideOf(path);
  doing('write', path, () => {
    try {
      // A link that is there already would lead to another program's file.
      withTheWayCleared(aside, () => writeFileSync(aside, text, { mode, flag: 'wx' }));
      withTheWayCleared(path, () => renameSync(aside, path));
    } catch (error) {
      clearTheWay(aside);
      throw error;
    }
  });
}

/** Writes the value as `replaceFile` does. @throws StateError; TypeError where the value is no JSON */
export function writeJson(path: string, value: unknown): void {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`Cannot write ${path}: the value has no JSON form`);
  replaceFile(path, `${text}\n`);
}

export type JsonFile =
  | { readonly kind: 'absent' }
  | { readonly kind: 'value'; readonly value: unknown }
  /** Not JSON; the reason is for a message. */
  | { readonly kind: 'garbage'; readonly reason: string };

/** Whether the error means that no file of ours is there: a link leads nowhere or to itself, something else is in its place. */
const isNone = (error: unknown): boolean => ['ENOENT', 'ELOOP', 'ENXIO', 'ENOTDIR'].includes(errnoOf(error) ?? '');

/** Undefined where there is no such file. @throws StateError where there is one that cannot be read */
export const readOrNone = <T>(path: string, read: () => T): T | undefined =>
  doing('read', path, () => {
    try {
      return read();
    } catch (error) {
      if (isNone(error)) return undefined;
      throw error;
    }
  });

/** stat(2) of the file that the path leads to; undefined where there is none. @throws StateError */
export const fileAt = (path: string): BigIntStats | undefined =>
  readOrNone(path, () => {
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
    return stat?.isFile() ? stat : undefined;
  });

/** Undefined where there is no such file. @throws StateError where there is one that cannot be read */
export const readText = (path: string): string | undefined =>
  readOrNone(path, () => {
    // A pipe is not waited for.
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      return fstatSync(fd).isFile() ? readFileSync(fd, 'utf8') : undefined;
    } finally {
      closeSync(fd);
    }
  });

export function parseJson(text: string | undefined): JsonFile {
  if (text === undefined) return { kind: 'absent' };
  try {
    return { kind: 'value', value: JSON.parse(text) as unknown };
  } catch (error) {
    return { kind: 'garbage', reason: messageOf(error) };
  }
}

/**
 * Files that are replaced in one piece, and what each meant when it was last read or written: for a process that looks at
 * them call after call. That a file is the same one shows in its inode, its size and its times.
 */
export class FileMemory<T> {
  readonly #understand: (text: string | undefined) => T;
  readonly #known = new Map<string, { readonly stamp: string; readonly meaning: T }>();

  /** @param understand what a text means, or that there is no such file; the same for the same text */
  constructor(understand: (text: string | undefined) => T) {
    this.#understand = understand;
  }

  /** @throws StateError where there is a file that cannot be read */
  read(path: string): T {
    const stamp = stampOf(path);
    const known = this.#known.get(path);
    if (known?.stamp === stamp) return known.meaning;
    const meaning = this.#understand(readText(path));
    this.#keep(path, stamp, meaning);
    return meaning;
  }

  /** Remembers what the caller has just written, under the lock that keeps other processes from writing. */
  learn(path: string, meaning: T): void {
    this.#keep(path, stampOf(path), meaning);
  }

  #keep(path: string, stamp: string, meaning: T): void {
    if (this.#known.size >= MOST_KNOWN) this.#known.clear();
    this.#known.set(path, { stamp, meaning });
  }
}

/** Files that are remembered; a process looks at few. */
const MOST_KNOWN = 16;

/** Changes whenever the file does; empty where there is none. @throws StateError where the folder cannot be searched */
export function stampOf(path: string): string {
  const stat = fileAt(path);
  return stat ? `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}` : '';
}
