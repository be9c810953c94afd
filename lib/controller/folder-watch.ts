/**
 * A folder, watched: whatever changes what its files say rings the bell. That is the folder itself, each link on the way
 * to it and to its files, and files that can be written by another name than the folder's.
 */
import { existsSync, type FSWatcher, lstatSync, readdirSync, readlinkSync, statSync, watch } from 'node:fs';
import { dirname, join } from 'node:path';
import { STAGED_FOLDER } from '../nodestore/folder-listing.ts';

/** Links on one path; more count as a circle, as in the kernel (ELOOP). */
const MOST_LINKS = 40;

/** Paths to watch, each with the names in it that matter; undefined: whatever happens there. */
type Wanted = Map<string, ReadonlySet<string> | undefined>;

function want(wanted: Wanted, path: string, name?: string): void {
  const names = wanted.get(path);
  if (name === undefined || (wanted.has(path) && !names)) wanted.set(path, undefined);
  else wanted.set(path, new Set([...(names ?? []), name]));
}

const partsOf = (path: string): string[] => path.split('/').filter(part => part !== '' && part !== '.');

/**
 * Follows the path through all links; undefined where it leads nowhere.
 * @param wanted gets the folder of each link on the way, and the one in which the way ends
 */
function follow(path: string, wanted: Wanted): string | undefined {
  let at = '/';
  let links = 0;
  for (const rest = partsOf(path); rest.length > 0; ) {
    const name = rest.shift()!;
    const next = name === '..' ? dirname(at) : join(at, name);
    const stat = lstatSync(next, { throwIfNoEntry: false });
    if (!stat || stat.isSymbolicLink()) want(wanted, at, name);
    if (!stat) return undefined;
    if (!stat.isSymbolicLink()) at = next;
    else {
      if (++links > MOST_LINKS) return undefined;
      const target = readlinkSync(next);
      rest.unshift(...partsOf(target));
      if (target.startsWith('/')) at = '/';
    }
  }
  return at;
}

/** The folder, and the one of staged policies in it. */
function wantedFor(path: string): Wanted {
  const wanted: Wanted = new Map();
  const folder = wantFolder(path, wanted);
  if (folder !== undefined && existsSync(join(folder, STAGED_FOLDER))) wantFolder(join(folder, STAGED_FOLDER), wanted);
  return wanted;
}

/** @returns where it is, if it is there */
function wantFolder(path: string, wanted: Wanted): string | undefined {
  const folder = follow(path, wanted);
  if (folder === undefined) return undefined;
  want(wanted, folder);
  if (!statSync(folder).isDirectory()) return undefined;
  for (const name of readdirSync(folder)) {
    const file = join(folder, name);
    const stat = lstatSync(file, { throwIfNoEntry: false });
    const real = stat?.isSymbolicLink() ? follow(file, wanted) : stat?.isFile() && stat.nlink > 1 ? file : undefined;
    // A write to the file by a name in another folder is no event of this folder.
    if (real !== undefined) want(wanted, real);
  }
  return folder;
}

/** Tells one watch from another: a path is watched as what it was when the watch was set. */
function keyOf(path: string, names: ReadonlySet<string> | undefined): string {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return `${path} ${stat?.dev}:${stat?.ino} ${names ? [...names].sort().join('/') : '*'}`;
}

/** Looks at links that change while they are followed; after these, the next event has the folder looked at again. */
const MOST_TURNS = 5;

export class FolderWatch implements Disposable {
  readonly #path: string;
  readonly #ring: () => void;
  readonly #unwatched: (error: unknown) => void;
  readonly #watchers = new Map<string, FSWatcher>();
  #isTold = false;

  /** @param unwatched told once for as long as the kernel has no watch to give (fs.inotify.max_user_instances) */
  constructor(path: string, ring: () => void, unwatched: (error: unknown) => void) {
    this.#path = path;
    this.#ring = ring;
    this.#unwatched = unwatched;
  }

  /**
   * To be called before each look at the folder: it may have appeared, or other links and files may have come. Without a
   * watch the folder is still looked at, later.
   * @returns whether the kernel watches all of it
   */
  renew(): boolean {
    try {
      // A link that is exchanged before its folder is watched would be missed.
      for (let turn = 0; turn < MOST_TURNS && this.#renew(); turn++);
      this.#isTold = false;
      return true;
    } catch (error) {
      if (!this.#isTold) this.#unwatched(error);
      this.#isTold = true;
      return false;
    }
  }

  /** @returns whether it set or took away any watch */
  #renew(): boolean {
    const wanted = new Map([...wantedFor(this.#path)].map(([path, names]) => [keyOf(path, names), { path, names }]));
    const gone = [...this.#watchers.keys()].filter(key => !wanted.has(key));
    for (const key of gone) this.#drop(key);
    const missing = [...wanted].filter(([key]) => !this.#watchers.has(key));
    for (const [key, { path, names }] of missing) this.#watchers.set(key, this.#watch(key, path, names));
    return gone.length + missing.length > 0;
  }

  #watch(key: string, path: string, names: ReadonlySet<string> | undefined): FSWatcher {
    const heed = (_: string, name: string | null): void => {
      if (!names || name === null || names.has(name)) this.#ring();
    };
    return watch(path, { persistent: false }, heed).on('error', () => this.#drop(key));
  }

  #drop(key: string): void {
    this.#watchers.get(key)?.close();
    this.#watchers.delete(key);
  }

  [Symbol.dispose](): void {
    for (const key of [...this.#watchers.keys()]) this.#drop(key);
  }
}
