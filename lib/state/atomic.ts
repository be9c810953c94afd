/** Whole files, read and replaced in one piece: a reader sees the old text or the new one, never half of either. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { unlinkIfThere } from './attachment.ts';
import { doing, errnoOf } from './error.ts';

/** Replaces the file, or leaves it as it was. Not synced: see store.ts. @throws StateError */
export function replaceFile(path: string, text: string, mode = 0o600): void {
  const aside = join(dirname(path), `.${basename(path)}.${Math.random().toString(36).slice(2)}`);
  doing('write', path, () => {
    try {
      writeFileSync(aside, text, { mode, flag: 'wx' });
      renameSync(aside, path);
    } catch (error) {
      unlinkIfThere(aside);
      throw error;
    }
  });
}

/** As `replaceFile`. @throws StateError; TypeError where the value is no JSON */
export function writeJson(path: string, value: unknown, mode = 0o600): void {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`Cannot write ${path}: the value has no JSON form`);
  replaceFile(path, `${text}\n`, mode);
}

export type Found =
  | { readonly kind: 'absent' }
  | { readonly kind: 'value'; readonly value: unknown }
  /** Not JSON; the reason is for a message. */
  | { readonly kind: 'garbage'; readonly reason: string };

/** Undefined where there is no such file. @throws StateError where there is one that cannot be read */
export const readOrNone = <T>(path: string, read: () => T): T | undefined =>
  doing('read', path, () => {
    try {
      return read();
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  });

/** Undefined where there is no such file. @throws StateError where there is one that cannot be read */
export const readText = (path: string): string | undefined => readOrNone(path, () => readFileSync(path, 'utf8'));

export function parseJson(text: string | undefined, reviver?: (key: string, value: unknown) => unknown): Found {
  if (text === undefined) return { kind: 'absent' };
  try {
    return { kind: 'value', value: JSON.parse(text, reviver) as unknown };
  } catch (error) {
    return { kind: 'garbage', reason: error instanceof Error ? error.message : String(error) };
  }
}

/** @throws StateError where there is a file that cannot be read */
export const readJson = (path: string): Found => parseJson(readText(path));
