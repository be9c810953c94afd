/** Files of a network's state folder that belong to no attachment: claims without a record, records without an owner. */
import { closeSync, fstatSync, lstatSync } from 'node:fs';
import { type Address, parseAddress } from '../ip/address.ts';
import { tryFlock } from '../kernel/flock.ts';
import {
  type Attachment,
  isNameOf,
  openIfThere,
  READ,
  readFacts,
  recordPath,
  statIfThere,
  tryLockAttachment,
  unlinkIfThere,
} from './attachment.ts';
import { claim, claimPath, holds, release } from './claims.ts';
import { doing } from './error.ts';
import { clearUnlessFile, isNoFile } from './in-the-way.ts';
import { listAttachments } from './listed.ts';
import type { Facts } from './record.ts';
import { namesIn, networkFolders, type Store } from './store.ts';

/**
 * Releases claims whose owner has no record any more: another program removed it, since DEL removes claims first. A claim
 * whose inode is locked is in use, whatever it looks like.
 * @returns names of the claims, which are addresses where they are ours
 * @throws StateError
 */
export const collectOrphans = (store: Store, network: string): readonly string[] =>
  listOrphans(store, network).filter(name =>
    collectOrphan(store, network, `${networkFolders(store, network).claims}/${name}`),
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
  // A folder or link is in the way of a claim if it has an address's name.
  return found
    .filter(({ name, stat }) => (stat.isFile() ? !owners.has(stat.ino) : parseAddress(name)))
    .map(({ name }) => name);
}

/** Addresses that a record names and does not hold, at a moment's view. @throws StateError */
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

/** Whether the claim has no owner, looked at again with its lock held. @throws StateError */
export const isOrphan = (store: Store, network: string, name: string): boolean => {
  const path = `${networkFolders(store, network).claims}/${name}`;
  return isNoFile(path) || ofOrphan(store, network, path, () => true);
};

const collectOrphan = (store: Store, network: string, path: string): boolean =>
  clearUnlessFile(path) || ofOrphan(store, network, path, () => unlinkIfThere(path));

/** A claim is its owner's record by another name, so its lock is the owner's lock. @returns false where it has an owner */
function ofOrphan(store: Store, network: string, path: string, work: () => boolean): boolean {
  return doing('sweep', path, () => {
    const fd = openIfThere(path, READ);
    if (fd === undefined) return false;
    try {
      const inode = fstatSync(fd, { bigint: true });
      if (!tryFlock(fd, path) || !isNameOf(path, inode)) return false;
      return !hasRecord(store, network, path, inode) && work();
    } finally {
      closeSync(fd);
    }
  });
}

/**
 * Claims an address of the attachment again whose claim was lost. What is in the claim's place and tells of no other
 * attachment gives way: a link, a folder, a file whose text was lost with the record's.
 * @returns false where another attachment has the address
 * @throws StateError
 */
export function reclaim(attachment: Attachment, address: Address): boolean {
  if (holds(attachment, address) || claim(attachment, address)) return true;
  const { store, network } = attachment;
  const path = claimPath(attachment, address);
  const clear = () => !namesAnother(path, attachment) && unlinkIfThere(path);
  return (clearUnlessFile(path) || ofOrphan(store, network, path, clear)) && claim(attachment, address);
}

function namesAnother(path: string, { facts }: Attachment): boolean {
  const { containerID, ifname } = readFacts(path) ?? {};
  return containerID !== undefined && (containerID !== facts.containerID || ifname !== facts.ifname);
}

/** Asked under the lock: since we listed the records, a new one may have got the inode number of an old one. */
function hasRecord(store: Store, network: string, path: string, inode: { readonly ino: bigint; readonly dev: bigint }) {
  const { containerID, ifname } = readFacts(path) ?? {};
  if (containerID !== undefined && ifname !== undefined)
    return isNameOf(recordPath(store, { network, containerID, ifname }), inode);
  return inodesOfRecords(store, network).has(inode.ino);
}

/** Records that do not say which attachment they are of, and that no call has locked: nothing is changed. @throws StateError */
export const listNameless = (store: Store, network: string): readonly string[] =>
  listAttachments(store, network).flatMap(({ path, owner }) => {
    if (owner) return [];
    using held = tryLockAttachment(store, network, path);
    return held && held.facts.containerID === undefined ? [path] : [];
  });

/**
 * Removes records that do not say which attachment they are of, with their claims, unless a call has one locked.
 * @returns paths of the records
 * @throws StateError
 */
export const collectNameless = (store: Store, network: string): readonly string[] =>
  listAttachments(store, network).flatMap(({ path, owner }) => {
    if (owner) return [];
    using held: Attachment | undefined = tryLockAttachment(store, network, path);
    if (!held || held.facts.containerID !== undefined) return [];
    release(held);
    held.remove();
    return statIfThere(path) ? [] : [path];
  });
