/**
 * When an address was released, for as long as that may matter. Hints: nothing but the order of reuse hangs on them, so what
 * cannot be written or read is passed over.
 */
import { closeSync, constants, futimesSync, openSync, readdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseAddress } from '../ip/address.ts';
import { type Pool, rangeHolding } from '../ipam/pool.ts';
import { unlinkIfThere } from './attachment.ts';
import { inFolder, namesIn, networkFolders, type Store } from './store.ts';

/** Milliseconds; no sensible minimum rest is longer. */
const kept = 3_600_000;
const betweenCleanings = 600_000;
/** Notes that one call removes at most: no single DEL pays for the deletion of a whole cluster. */
const removalsAtOnce = 1024;

const noteOf = (store: Store, network: string, address: string): string =>
  `${networkFolders(store, network).released}/${address}`;

/** Notes that the address is released now; to be called before its claim is removed. */
export function noteRelease(store: Store, network: string, address: string): void {
  touch(store, noteOf(store, network, address));
  cleanNowAndThen(store, network);
}

/** Milliseconds since the address was released; undefined where there is no note of it. */
export function restOf(store: Store, network: string, address: string): number | undefined {
  const mtime = modified(noteOf(store, network, address));
  return mtime === undefined ? undefined : store.now() - mtime;
}

export function forgetRelease(store: Store, network: string, address: string): void {
  try {
    unlinkIfThere(noteOf(store, network, address));
  } catch {}
}

/** All that are remembered in the pool, by value, in milliseconds. */
export function restsIn(store: Store, network: string, pool: Pool): ReadonlyMap<bigint, number> {
  const rests = new Map<bigint, number>();
  for (const name of namesIn(networkFolders(store, network).released)) {
    const address = parseAddress(name);
    const rest = address && rangeHolding(pool, address) && restOf(store, network, name);
    if (rest !== undefined) rests.set(address!.value, rest);
  }
  return rests;
}

/** The marker's mtime says when the folder was last gone through. */
function cleanNowAndThen(store: Store, network: string): void {
  const marker = networkFolders(store, network).cleaned;
  const last = modified(marker);
  if (last !== undefined && Math.abs(store.now() - last) < betweenCleanings) return;
  touch(store, marker);
  forgetOldReleases(store, network);
}

/** Removes old notes: those of an IPv6 range, which never comes round, would grow for ever. */
function forgetOldReleases(store: Store, network: string): void {
  let removed = 0;
  for (const name of quietly(() => readdirSync(networkFolders(store, network).released)) ?? []) {
    if (removed === removalsAtOnce) return;
    if (Math.abs(restOf(store, network, name) ?? 0) < kept) continue;
    forgetRelease(store, network, name);
    removed++;
  }
}

const TOUCH = constants.O_WRONLY | constants.O_CREAT | constants.O_NONBLOCK | constants.O_NOFOLLOW;

function touch(store: Store, path: string): void {
  quietly(() => {
    const fd = inFolder(store, dirname(path), 'write', path, () => openSync(path, TOUCH, 0o600));
    try {
      futimesSync(fd, store.now() / 1000, store.now() / 1000);
    } finally {
      closeSync(fd);
    }
  });
}

/** When the file was last written, in whole milliseconds since 1970: a float of seconds comes back a little less than it was. */
function modified(path: string): number | undefined {
  const mtime = quietly(() => statSync(path, { throwIfNoEntry: false })?.mtimeMs);
  return mtime === undefined ? undefined : Math.round(mtime);
}

function quietly<T>(operation: () => T): T | undefined {
  try {
    return operation();
  } catch {
    return undefined;
  }
}
