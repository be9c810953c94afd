/** The policies folder, watched: whatever happens in it rings the bell. */
import { existsSync, type FSWatcher, statSync, watch } from 'node:fs';
import { dirname } from 'node:path';

/** The folder, or the nearest one above it that is there: the one that will see it appear. */
const nearest = (path: string): string => (existsSync(path) || dirname(path) === path ? path : nearest(dirname(path)));

const inodeOf = (path: string): string | undefined => {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat && `${stat.dev}:${stat.ino}`;
};

export class FolderWatch implements Disposable {
  readonly #path: string;
  readonly #ring: () => void;
  #watcher: FSWatcher | undefined;
  #watched: string | undefined;

  constructor(path: string, ring: () => void) {
    this.#path = path;
    this.#ring = ring;
  }

  /**
   * To be called before each look at the folder: it may have appeared, or another may have come in its place.
   * @throws Error where the kernel has no watch to give
   */
  renew(): void {
    const folder = nearest(this.#path);
    const inode = inodeOf(folder);
    if (this.#watcher && inode === this.#watched) return;
    this[Symbol.dispose]();
    this.#watcher = watch(folder, { persistent: false }, this.#ring).on('error', () => this[Symbol.dispose]());
    this.#watched = inode;
  }

  [Symbol.dispose](): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }
}
