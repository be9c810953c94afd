/** Reserving addresses: one from each pool, or none at all. */
import type { RequestedAddress } from '../cni/requested-address.ts';
import { type Address, formatAddress } from '../ip/address.ts';
import { allot, assignRequested, inOrder, inTurn, isInCooldown } from './choose.ts';
import type { Claims } from './claims.ts';
import { AddressRefused, PoolExhausted } from './error.ts';
import { type Allotment, type Pool, poolSize, poolText } from './pool.ts';

export interface Reservation {
  /** One address is taken from each. */
  readonly pools: readonly Pool[];
  /** Addresses asked for by number; each must be had. */
  readonly requested: readonly RequestedAddress[];
  /** Milliseconds that a released address waits while others are free. */
  readonly minimumRest: number;
  /** True for an address that this node has a route of its own to, so that it must not be given; none by default. */
  readonly isBusy?: (address: Address) => boolean;
  /** Finishes "Cannot reserve 10.0.0.7: …" for a requested address that is busy and that no claim of this network explains. */
  readonly explainBusy?: (address: Address) => string;
}

/** Addresses that are tried one by one before the pool's occupancy is read. */
const MOST_TRIES = 64;

/**
 * Claims one address from each pool, and notes them; where one cannot be had, none stays claimed.
 * @throws PoolExhausted, AddressRefused, and what the claims throw
 */
export function reserve(claims: Claims, reservation: Reservation): readonly Allotment[] {
  const requested = assignRequested(reservation.pools, reservation.requested);
  const held: Address[] = [];
  try {
    const allotments = reservation.pools.map((pool, i) => {
      const wanted = requested[i];
      const value = wanted ? takeRequested(claims, wanted, reservation) : takeNext(claims, pool, reservation);
      const allotment = allot(pool, value);
      held.push(allotment.address);
      return allotment;
    });
    claims.note(held);
    return allotments;
  } catch (error) {
    for (const address of held) claims.putBack(address);
    throw error;
  }
}

/** `pod shop/till-7 (container 3f2a, eth0)` */
function holderText(claims: Claims, address: Address): string {
  const holder = claims.holder(address);
  if (!holder) return 'another attachment';
  const { containerID, ifname, pod } = holder;
  return pod === undefined ? `container ${containerID} ${ifname}` : `pod ${pod} (container ${containerID}, ${ifname})`;
}

/** The claim is looked at before the route: a pod of this network that has the address has a route to it, too. */
function takeRequested(claims: Claims, wanted: Address, { isBusy, explainBusy }: Reservation): bigint {
  const text = formatAddress(wanted);
  const taken = () => new AddressRefused(text, `taken by ${holderText(claims, wanted)}`);
  if (claims.isTaken(wanted)) throw taken();
  if (isBusy?.(wanted)) throw new AddressRefused(text, explainBusy?.(wanted) ?? 'this node has a route to it');
  if (!claims.claim(wanted, true)) throw taken();
  return wanted.value;
}

/** Tries addresses one by one, which costs the same however many are taken; then reads the pool's occupancy. */
function takeNext(claims: Claims, pool: Pool, reservation: Reservation): bigint {
  const last = claims.last(pool);
  const value = takeOneByOne(claims, pool, last, reservation) ?? takeByOccupancy(claims, pool, last, reservation);
  claims.setLast(pool, { family: pool.family, value });
  return value;
}

function takeOneByOne(
  claims: Claims,
  pool: Pool,
  last: Address | undefined,
  { minimumRest, isBusy }: Reservation,
): bigint | undefined {
  let tries = 0;
  for (const value of inTurn(pool, last)) {
    if (tries++ === MOST_TRIES) return undefined;
    const address = { family: pool.family, value };
    // Read the claim before the note: a release is noted before its address is free, so a released address has its note by then.
    if (claims.isTaken(address)) continue;
    const rest = claims.rest(address);
    if ((rest !== undefined && isInCooldown(rest, minimumRest)) || isBusy?.(address)) continue;
    if (claims.claim(address, rest !== undefined)) return value;
  }
  return undefined;
}

function takeByOccupancy(
  claims: Claims,
  pool: Pool,
  last: Address | undefined,
  { minimumRest, isBusy }: Reservation,
): bigint {
  for (;;) {
    const { taken, rested } = claims.occupancy(pool);
    let busy = 0;
    let lost = 0;
    for (const value of inOrder(pool, last, { taken, rested, minimumRest })) {
      const address = { family: pool.family, value };
      if (isBusy?.(address)) busy++;
      else if (claims.claim(address, true)) return value;
      else lost++;
    }
    // An address that another call took since the look may have freed another one: look again.
    if (lost === 0 && claims.collectOrphans() === 0)
      throw new PoolExhausted({ pool: poolText(pool), size: poolSize(pool), taken: taken.size, busy });
  }
}
