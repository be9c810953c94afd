/**
 * Addresses and their owners. A claim is a hard link to its owner's record: link(2) makes it or fails because it is taken, it can
 * be neither empty nor torn nor disagree with its owner, and the record's link count says how many there are.
 */
import { linkSync } from 'node:fs';
import { type Address, formatAddress, parseAddress } from '../ip/address.ts';
import { type Pool, poolSize, poolText, rangeHolding } from '../ipam/pool.ts';
import type { AttachmentKey } from '../tag/link-name.ts';
import { type Attachment, isNameOf, readFacts, recordPath, statIfThere, unlinkIfThere } from './attachment.ts';
import { doing, errnoOf } from './error.ts';
import { clearUnlessFile } from './in-the-way.ts';
import { forgetRelease, noteRelease } from './released.ts';
import { inFolder, namesIn, networkFolders, type Store } from './store.ts';

export const claimPath = ({ store, network }: Attachment, address: Address): string =>
  `${networkFolders(store, network).claims}/${formatAddress(address)}`;

/**
 * Claims the address for the attachment.
 * @param wasReleased false where there is no note of its release: to unlink a note that is not there costs an exception
 * @returns false where the address is taken
 * @throws StateError
 */
export function claim(attachment: Attachment, address: Address, wasReleased = true): boolean {
  const { store, network } = attachment;
  const path = claimPath(attachment, address);
  const isOurs = inFolder(store, networkFolders(store, network).claims, 'reserve', path, () => {
    try {
      linkSync(attachment.path, path);
      return true;
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') return false;
      throw error;
    }
  });
  if (isOurs && wasReleased) forgetRelease(store, network, formatAddress(address));
  return isOurs;
}

/** Whether the address is claimed by this attachment: what CHECK wants to know. */
export function holds(attachment: Attachment, address: Address): boolean {
  return isNameOf(claimPath(attachment, address), attachment);
}

/**
 * Gives back every address of the attachment, noted or not; its record stays. Again and again is fine.
 * Costs the same however many addresses are taken, save after a crash between claim and note.
 * @returns canonical texts
 * @throws StateError
 */
export function release(attachment: Attachment): readonly string[] {
  const released = (attachment.facts.addresses ?? []).filter(text => releaseOne(attachment, text));
  if (attachment.claimCount > 0)
    for (const name of namesIn(networkFolders(attachment.store, attachment.network).claims))
      if (releaseOne(attachment, name)) released.push(name);
  return released;
}

/**
 * Gives back what an attachment without a record holds: of these addresses, those whose claims say that they are its own.
 * Where something else has the record's place, every claim is asked, and that gives way.
 */
export function releaseLost(store: Store, owner: AttachmentKey, addresses: readonly string[]): void {
  const path = recordPath(store, owner);
  if (statIfThere(path)?.isFile()) return;
  const isElse = clearUnlessFile(path);
  const { claims } = networkFolders(store, owner.network);
  for (const name of isElse ? namesIn(claims) : addresses) {
    const claimed = `${claims}/${name}`;
    const { containerID, ifname } = readFacts(claimed) ?? {};
    if (containerID === owner.containerID && ifname === owner.ifname) {
      noteRelease(store, owner.network, name);
      doing('release', claimed, () => unlinkIfThere(claimed));
    } else if (addresses.includes(name)) clearUnlessFile(claimed);
  }
}

/** The note is written first: a call that sees the address free can read since when it is. */
function releaseOne(attachment: Attachment, name: string): boolean {
  const { store, network } = attachment;
  const path = `${networkFolders(store, network).claims}/${name}`;
  if (!isNameOf(path, attachment)) return clearUnlessFile(path);
  noteRelease(store, network, name);
  return doing('release', path, () => unlinkIfThere(path));
}

/** Values of the pool's ranges that attachments have. @throws StateError */
export function takenIn(store: Store, network: string, pool: Pool): ReadonlySet<bigint> {
  const taken = new Set<bigint>();
  for (const name of namesIn(networkFolders(store, network).claims)) {
    const address = parseAddress(name);
    if (address && rangeHolding(pool, address)) taken.add(address.value);
  }
  return taken;
}

export interface PoolUsage {
  readonly pool: string;
  readonly size: bigint;
  readonly taken: number;
}

/** How full the pools are, for STATUS: one look at a folder, no file is opened. @throws StateError */
export const usage = (store: Store, network: string, pools: readonly Pool[]): readonly PoolUsage[] =>
  pools.map(pool => ({ pool: poolText(pool), size: poolSize(pool), taken: takenIn(store, network, pool).size }));
