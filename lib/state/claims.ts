/**
 * Who has which address. A claim is a hard link to its owner's record: link(2) makes it or fails because it is taken, it can
 * be neither empty nor torn nor disagree with its owner, and the record's link count says how many there are.
 */
import { linkSync } from 'node:fs';
import type { RequestedAddress } from '../cni/address.ts';
import { type Address, formatAddress, parseAddress } from '../ip/address.ts';
import { allot, assignRequested, inOrder, inTurn, isInCooldown } from '../ipam/choose.ts';
import { AddressRefused, PoolExhausted } from '../ipam/error.ts';
import { type Allotment, type Pool, poolSize, poolText, rangeHolding } from '../ipam/pool.ts';
import type { AttachmentKey } from '../tag/link-name.ts';
import { type Attachment, isNameOf, readFacts, recordPath, statIfThere, unlinkIfThere } from './attachment.ts';
import { AlreadyReserved, doing, errnoOf } from './error.ts';
import { clearUnlessFile } from './in-the-way.ts';
import { readLast, writeLast } from './last.ts';
import { sweepOrphans } from './orphans.ts';
import type { Facts } from './record.ts';
import { forgetRelease, noteRelease, restOf, restsIn } from './released.ts';
import { inFolder, namesIn, networkFolders, type Store } from './store.ts';

export interface Reservation {
  /** One address from each. */
  readonly pools: readonly Pool[];
  /** Addresses asked for by number; each must be had. */
  readonly requested: readonly RequestedAddress[];
  /** Milliseconds that a released address waits while others are free. */
  readonly minimumRest: number;
  /** True for an address that this node has a route of its own to, so that it must not be given; none by default. */
  readonly isBusy?: (address: Address) => boolean;
  /** Finishes "Cannot reserve 10.0.0.7: …" for a requested address that is busy and that no claim of this network explains. */
  readonly explainBusy?: (address: Address) => string;
  /** What an error message calls the pod of a record; its container is named in any case. */
  readonly podNameOf?: (facts: Facts) => string | undefined;
}

/** That many are tried blindly before the folder is read. */
const blindTries = 64;

/**
 * Takes one address from each pool for the attachment and notes them in its record; all or none.
 * @throws AlreadyReserved, PoolExhausted, AddressRefused, StateError
 */
export function reserve(attachment: Attachment, reservation: Reservation): readonly Allotment[] {
  const { addresses = [], containerID, ifname } = attachment.facts;
  if (attachment.claimCount > 0) throw new AlreadyReserved(`${containerID} ${ifname}`, addresses);
  const requested = assignRequested(reservation.pools, reservation.requested);
  const held: Address[] = [];
  try {
    const allotments = reservation.pools.map((pool, i) => {
      const wanted = requested[i];
      const value = wanted ? takeRequested(attachment, wanted, reservation) : takeNext(attachment, pool, reservation);
      const allotment = allot(pool, value);
      held.push(allotment.address);
      return allotment;
    });
    attachment.append({ addresses: held.map(formatAddress) });
    return allotments;
  } catch (error) {
    for (const address of held) putBack(attachment, address);
    throw error;
  }
}

/** A pod of this network that has the address has a route to it, too, so the claim is looked at first. */
function takeRequested(attachment: Attachment, wanted: Address, reservation: Reservation): bigint {
  const { isBusy, explainBusy } = reservation;
  const text = formatAddress(wanted);
  const taken = () => new AddressRefused(text, `taken by ${ownerOf(attachment, wanted, reservation)}`);
  if (statIfThere(claimPath(attachment, wanted))) throw taken();
  if (isBusy?.(wanted)) throw new AddressRefused(text, explainBusy?.(wanted) ?? 'this node has a route to it');
  if (!claim(attachment, wanted)) throw taken();
  return wanted.value;
}

/** Blindly first, which costs the same however many are taken; then by what the folder says. */
function takeNext(attachment: Attachment, pool: Pool, reservation: Reservation): bigint {
  const { store, network } = attachment;
  const last = readLast(store, network, pool);
  const value = takeBlindly(attachment, pool, last, reservation) ?? takeByList(attachment, pool, last, reservation);
  writeLast(store, network, pool, { family: pool.family, value });
  return value;
}

function takeBlindly(
  attachment: Attachment,
  pool: Pool,
  last: Address | undefined,
  { minimumRest, isBusy }: Reservation,
): bigint | undefined {
  const { store, network } = attachment;
  let tries = 0;
  for (const value of inTurn(pool, last)) {
    if (tries++ === blindTries) return undefined;
    const address = { family: pool.family, value };
    // In this order: whoever releases an address notes it first, so of one that is free the note is to be seen.
    if (statIfThere(claimPath(attachment, address))) continue;
    const rest = restOf(store, network, formatAddress(address));
    if ((rest !== undefined && isInCooldown(rest, minimumRest)) || isBusy?.(address)) continue;
    // Nothing to forget where nobody remembers: to find that out anew is an error, dear for what is the rule.
    if (claim(attachment, address, rest !== undefined)) return value;
  }
  return undefined;
}

function takeByList(
  attachment: Attachment,
  pool: Pool,
  last: Address | undefined,
  { minimumRest, isBusy }: Reservation,
): bigint {
  const { store, network } = attachment;
  for (;;) {
    const taken = takenIn(store, network, pool);
    const rested = restsIn(store, network, pool);
    let busy = 0;
    let lost = 0;
    for (const value of inOrder(pool, last, { taken, rested, minimumRest })) {
      const address = { family: pool.family, value };
      if (isBusy?.(address)) busy++;
      else if (claim(attachment, address)) return value;
      else lost++;
    }
    // What others took since we looked may have made them give back something else: look again.
    if (lost === 0 && sweepOrphans(store, network).length === 0)
      throw new PoolExhausted({ pool: poolText(pool), size: poolSize(pool), taken: taken.size, busy });
  }
}

const claimPath = ({ store, network }: Attachment, address: Address): string =>
  `${networkFolders(store, network).claims}/${formatAddress(address)}`;

/** True where the address was free and is the attachment's now. @throws StateError */
function claim(attachment: Attachment, address: Address, hasRested = true): boolean {
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
  if (isOurs && hasRested) forgetRelease(store, network, formatAddress(address));
  return isOurs;
}

/** `pod shop/till-7 (container 3f2a, eth0)`, as far as the claim says. */
function ownerOf(attachment: Attachment, address: Address, { podNameOf }: Reservation): string {
  const facts = readFacts(claimPath(attachment, address)) ?? {};
  const { containerID, ifname } = facts;
  if (containerID === undefined) return 'another attachment';
  const pod = podNameOf?.(facts);
  return pod === undefined ? `container ${containerID} ${ifname}` : `pod ${pod} (container ${containerID}, ${ifname})`;
}

/** As if it had never been taken. A claim that cannot be removed stays counted by the record, so it is not lost. */
function putBack(attachment: Attachment, address: Address): void {
  try {
    unlinkIfThere(claimPath(attachment, address));
  } catch {}
}

/** Whether the address is claimed by this attachment: what CHECK wants to know. */
export function holds(attachment: Attachment, address: Address): boolean {
  return isNameOf(claimPath(attachment, address), attachment);
}

/** Takes an address of the attachment's again whose claim was lost. False where somebody has it by now. @throws StateError */
export const reclaim = (attachment: Attachment, address: Address): boolean =>
  holds(attachment, address) || claim(attachment, address);

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

/** The note first: from the moment that the address is free, everyone can see since when. */
function releaseOne(attachment: Attachment, name: string): boolean {
  const { store, network } = attachment;
  const path = `${networkFolders(store, network).claims}/${name}`;
  if (!isNameOf(path, attachment)) return clearUnlessFile(path);
  noteRelease(store, network, name);
  return doing('release', path, () => unlinkIfThere(path));
}

/** Values of the pool's range that are taken, by whomever. @throws StateError */
function takenIn(store: Store, network: string, pool: Pool): ReadonlySet<bigint> {
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
