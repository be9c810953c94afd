/** Recognises and removes a link, a pipe or a folder in the place of a file of ours, or a file in that of a folder. */
import { lstatSync, renameSync, rmdirSync, unlinkSync } from 'node:fs';
import { doing, errnoOf } from './error.ts';

/**
 * Codes by which open(2) with O_NOFOLLOW, rename(2) and mkdir(2) say that something else is there: a folder, a link, a pipe
 * without a reader or a socket, a file where a folder belongs.
 */
const codes: readonly (string | undefined)[] = ['EISDIR', 'ELOOP', 'ENXIO', 'ENOTEMPTY', 'EEXIST', 'ENOTDIR'];

export const isInTheWay = (code: string | undefined): boolean => codes.includes(code);

/**
 * Takes away whatever has the path, a file of ours too; nothing is there afterwards. A link goes and what it leads to stays;
 * a folder with something in it is moved aside, since we did not make what is in it.
 * @throws StateError
 */
export function clearTheWay(path: string): void {
  doing('remove', path, () => {
    if (!lstatSync(path, { throwIfNoEntry: false })) return;
    try {
      unlinkSync(path);
    } catch (error) {
      if (errnoOf(error) !== 'EISDIR') throw error;
      removeFolder(path);
    }
  });
}

/** Whether something else than a file has the path. @throws StateError */
export function isNoFile(path: string): boolean {
  const found = doing('look at', path, () => lstatSync(path, { throwIfNoEntry: false }));
  return found !== undefined && !found.isFile();
}

/** Clears the path as `clearTheWay` does, unless it is a file. @returns whether it was something else */
export function clearUnlessFile(path: string): boolean {
  if (!isNoFile(path)) return false;
  clearTheWay(path);
  return true;
}

function removeFolder(path: string): void {
  try {
    rmdirSync(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOTEMPTY') throw error;
    const name = path.lastIndexOf('/') + 1;
    renameSync(path, `${path.slice(0, name)}.not-ours-${Date.now().toString(36)}-${path.slice(name)}`);
  }
}
