import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf } from './error.ts';

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;

/**
 * `mkdir -p`. Node's own (26.10) goes round for ever where the kernel says ENOENT although the parent is there, as it
 * does below /proc.
 * @param mode      of the folders that are made
 * @param hasParent the folder above has just been seen to
 * @returns the uppermost folder that was made; undefined where all were there
 */
export function makeFolders(path: string, mode = 0o700, hasParent = false): string | undefined {
  try {
    mkdirSync(path, { mode });
    return path;
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'EEXIST' && isFolder(path)) return undefined;
    if (code !== 'ENOENT' || hasParent) throw error;
  }
  const uppermost = makeFolders(dirname(path), mode);
  const made = makeFolders(path, mode, true);
  return uppermost ?? made;
}
