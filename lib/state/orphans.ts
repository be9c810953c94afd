import { closeSync, fstatSync, lstatSync } from 'node:fs';
import { parseAddress } from '../ip/address.ts';
import { isNameOf, openIfThere, READ, readFacts, recordPath, statIfThere, unlinkIfThere } from './attachment.ts';
import { doing } from './error.ts';
import { clearUnlessFile, isNoFile } from './in-the-way.ts';
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
  const found = namesIn(claims).flatMap(name => {
    const stat = doing('look at', claims, () =>
      lstatSync(`${claims}/${name}`, { bigint: true, throwIfNoEntry: false }),
    );
    return stat ? [{ name, stat }] : [];
  });
  const owners = inodesOfRecords(store, network);
  // Of what is no file, that is in the way which has an address's name.
  return found
    .filter(({ name, stat }) => (stat.isFile() ? !owners.has(stat.ino) : parseAddress(name)))
    .map(({ name }) => name);
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

/** Whether the claim is nobody's, by another look with its lock held. @throws StateError */
export const isOrphan = (store: Store, network: string, name: string): boolean => {
  const path = `${networkFolders(store, network).claims}/${name}`;
  return isNoFile(path) || ofOrphan(store, network, path, () => true);
};

const sweepOrphan = (store: Store, network: string, path: string): boolean =>
  clearUnlessFile(path) || ofOrphan(store, network, path, () => unlinkIfThere(path));

/** A claim is its owner's record by another name, so its lock is the owner's lock. @returns false where it has an owner */
function ofOrphan(store: Store, network: string, path: string, work: () => boolean): boolean {
  return doing('sweep', path, () => {
    const fd = openIfThere(path, READ);
    if (fd === undefined) return false;
    try {
      const inode = fstatSync(fd, { bigint: true });
      if (!tryFlock(fd) || !isNameOf(path, inode)) return false;
      return !hasRecord(store, network, path, inode) && work();
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
