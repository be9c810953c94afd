/**
 * Where things are kept: `<stateDir>/boot-<boot id>/<network>/…`, so that a reboot frees whatever the last boot held, and a
 * file that it left torn is never read. Nothing here is synced to disk, for the same reason.
 */
import { readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { doing, errnoOf } from './error.ts';
import { clearTheWay, isInTheWay } from './in-the-way.ts';
import { makeFolders } from './make-folders.ts';

export interface Store {
  readonly stateDir: string;
  /** This boot's folder; made when the first thing is kept in it. */
  readonly folder: string;
  /** Milliseconds since 1970, as file times are. */
  readonly now: () => number;
}

export interface StoreOptions {
  readonly bootId?: string;
  readonly now?: () => number;
}

/** A constant of the process: no process outlives it, and each call would read it again. */
let bootId: string | undefined;

function readBootId(): string {
  bootId ??= doing('read', '/proc/sys/kernel/random/boot_id', () =>
    readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim(),
  );
  return bootId;
}

/** Touches no file of the store: verbs that only read or release make nothing. @throws StateError */
export function openStore(stateDir: string, { bootId = readBootId(), now = Date.now }: StoreOptions = {}): Store {
  return { stateDir, folder: join(stateDir, `boot-${bootId}`), now };
}

/** Longest name that file systems take is 255 bytes; this leaves room for a suffix. */
const longestName = 200;

/**
 * The text itself where it can be a file's name, else a shortened form with a hash: equal only for equal texts, since no
 * text that is used as it is contains `~`. A shortened form stays as it is (no interface name is long enough to feign one).
 */
export function fileName(text: string): string {
  if (text.length <= longestName && /^[A-Za-z0-9][\w.:@-]*$/.test(text)) return text;
  if (/^[\w:@-]{0,100}~[0-9a-f]{64}$/.test(text)) return text;
  const { hash } = process.getBuiltinModule('node:crypto');
  return `${text.replace(/[^\w:@-]/g, '_').slice(0, 100)}~${hash('sha256', text)}`;
}

/** The folders of one network. */
export interface NetworkFolders {
  /** A record for each attachment. */
  readonly attachments: string;
  /** A hard link to its owner's record for each address that is taken. */
  readonly claims: string;
  /** An empty file for each address that was released a short while ago; its mtime says when. */
  readonly released: string;
  /** Marker whose mtime says when old notes in `released` were last removed. */
  readonly cleaned: string;
  /** The address that each pool gave last. */
  readonly last: string;
}

/** Built without `join`, here and below: these paths are normal already, and `join` takes longer than the system call. */
export function networkFolders(store: Store, network: string): NetworkFolders {
  const folder = `${store.folder}/${fileName(network)}`;
  return {
    attachments: `${folder}/attachments`,
    claims: `${folder}/claims`,
    released: `${folder}/released`,
    cleaned: `${folder}/cleaned`,
    last: `${folder}/last`,
  };
}

/** Folder names of the networks that keep anything; for those with a shortened name, that. @throws StateError */
export const listNetworks = (store: Store): readonly string[] => namesIn(store.folder);

/** Names in a folder, of which a missing one has none. @throws StateError */
export function namesIn(folder: string): readonly string[] {
  return doing('list', folder, () => {
    try {
      return readdirSync(folder);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || isInTheWay(errnoOf(error))) return [];
      throw error;
    }
  });
}

/** Makes a folder of the store; who makes the first one of a boot removes those of earlier boots. @throws StateError */
export function makeFolder(store: Store, folder: string): void {
  const made = doing('make folder', folder, () => {
    try {
      return makeFolders(folder);
    } catch (error) {
      if (!isInTheWay(errnoOf(error))) throw error;
      clearTheWayTo(store, folder);
      return makeFolders(folder);
    }
  });
  if (made !== undefined && store.folder.startsWith(made)) clearOtherBoots(store);
}

/** Clears what is in the way of the folders from the boot's down to this one and is not a folder. */
function clearTheWayTo({ folder: top }: Store, folder: string): void {
  for (let path = folder; path.startsWith(top); path = dirname(path))
    if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) clearTheWay(path);
}

const dead = 'dead-';

/**
 * Removes the folders of earlier boots. Each is renamed first, so that a half-deleted one never passes for a boot's. One that
 * cannot be removed stays: it is garbage, not an obstacle, and the next boot tries again.
 */
function clearOtherBoots({ stateDir, folder }: Store): void {
  for (const name of namesIn(stateDir)) {
    const path = join(stateDir, name);
    try {
      if (name.startsWith('boot-') && path !== folder) {
        const aside = join(stateDir, `${dead}${process.pid}-${name}`);
        renameSync(path, aside);
        rmSync(aside, { recursive: true, force: true });
      } else if (name.startsWith(dead)) rmSync(path, { recursive: true, force: true });
    } catch {}
  }
}

/** An operation that needs the folder, which is made where it is missing. @throws StateError */
export function inFolder<T>(store: Store, folder: string, action: string, path: string, operation: () => T): T {
  return doing(action, path, () => {
    try {
      return operation();
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'ENOTDIR') throw error;
    }
    makeFolder(store, folder);
    return operation();
  });
}
