import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { isNameOf, readFacts, recordPath, statIfThere, unlinkIfThere } from './attachment.ts';
import { doing, errnoOf } from './error.ts';
import { tryFlock } from './lock.ts';
import type { Facts } from './record.ts';
import { namesIn, networkFolders, type Store } from './store.ts';

/**
 * Takes back claims whose owner has no record any more: somebody meddled, since we remove claims first. One whose inode is
 * locked is in use, whatever it looks like.
 * @returns names of the claims, which are addresses where they are ours
 * @throws StateError
 */
export const sweepOrphans = (store: Store, network: string): readonly string[] =>
  listOrphans(store, network).filter(name =>
    sweepOrphan(store, network, `${networkFolders(store, network).claims}/${name}`),
  );

/** Claims whose owner has no record, at a moment's view: nothing is changed. @throws StateError */
export function listOrphans(store: Store, network: string): readonly string[] {
  const { claims } = networkFolders(store, network);
  // Claims before records: the record of a claim that is seen here exists until the claim is gone.
  const names = namesIn(claims).map(name => ({ name, ino: statIfThere(`${claims}/${name}`)?.ino }));
  const owners = inodesOfRecords(store, network);
  return names.filter(({ ino }) => ino !== undefined && !owners.has(ino)).map(({ name }) => name);
}

/** Of the addresses that a record speaks of, those that are not claimed by it, at a moment's view. @throws StateError */
export function listUnclaimed(
  store: Store,
  network: string,
  { path, facts }: { readonly path: string; readonly facts: Facts },
): readonly string[] {
  const { claims } = networkFolders(store, network);
  const record = statIfThere(path);
  if (!record) return [];
  return (facts.addresses ?? []).filter(address => !isNameOf(`${claims}/${address}`, record));
}

function inodesOfRecords(store: Store, network: string): ReadonlySet<bigint | undefined> {
  const { attachments } = networkFolders(store, network);
  return new Set(namesIn(attachments).map(name => statIfThere(`${attachments}/${name}`)?.ino));
}

/** A claim is its owner's record by another name, so its lock is the owner's lock. */
function sweepOrphan(store: Store, network: string, path: string): boolean {
  return doing('sweep', path, () => {
    const fd = openClaim(path);
    if (fd === undefined) return false;
    try {
      const inode = fstatSync(fd, { bigint: true });
      if (!inode.isFile() || !tryFlock(fd) || !isNameOf(path, inode)) return false;
      return hasRecord(store, network, path, inode) ? false : unlinkIfThere(path);
    } finally {
      closeSync(fd);
    }
  });
}

/** Asked under the lock: since we listed the records, a new one may have got the inode number of an old one. */
function hasRecord(store: Store, network: string, path: string, inode: { readonly ino: bigint; readonly dev: bigint }) {
  const { containerID, ifname } = readFacts(path) ?? {};
  if (containerID !== undefined && ifname !== undefined)
    return isNameOf(recordPath(store, { network, containerID, ifname }), inode);
  return inodesOfRecords(store, network).has(inode.ino);
}

function openClaim(path: string): number | undefined {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
