/** A folder, watched: whatever happens in it rings the bell. */
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
  readonly #unwatched: (error: unknown) => void;
  #isTold = false;
  #watcher: FSWatcher | undefined;
  #watched: string | undefined;

  /** @param unwatched told once for as long as the kernel has no watch to give (fs.inotify.max_user_instances) */
  constructor(path: string, ring: () => void, unwatched: (error: unknown) => void) {
    this.#path = path;
    this.#ring = ring;
    this.#unwatched = unwatched;
  }

  /**
   * To be called before each look at the folder: it may have appeared, or another may have come in its place. Without a
   * watch the folder is still looked at, later.
   */
  renew(): void {
    try {
      this.#renew();
      this.#isTold = false;
    } catch (error) {
      if (!this.#isTold) this.#unwatched(error);
      this.#isTold = true;
    }
  }

  #renew(): void {
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
