/** Whether state can be kept: a look that changes nothing. */
import { accessSync, constants, statfsSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Why nothing could be written below the folder; undefined where it could. The nearest folder above it stands for one that is not
 * there, since the first ADD makes the rest.
 */
export function unwritable(folder: string): string | undefined {
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
    // A file system that counts no inodes (btrfs) has none of either kind.
    const { bavail, files, ffree } = statfsSync(folder);
    if (bavail > 0 && (files === 0 || ffree > 0)) return undefined;
    return `Cannot keep state in ${folder}: not writable (ENOSPC)`;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' && folder !== '/') return unwritable(dirname(folder));
    return `Cannot keep state in ${folder}: not writable (${String(code)})`;
  }
}
