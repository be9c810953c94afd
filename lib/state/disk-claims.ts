/** The claims of `lib/ipam/claims.ts` as hard links, by `lib/state/claims.ts`. */
import { type Address, formatAddress } from '../ip/address.ts';
import type { Claims, Holder } from '../ipam/claims.ts';
import type { Allotment, Pool } from '../ipam/pool.ts';
import { type Reservation, reserve as reserveIn } from '../ipam/reserve.ts';
import { type Attachment, readFacts, statIfThere, unlinkIfThere } from './attachment.ts';
import { claim, claimPath, takenIn } from './claims.ts';
import { AlreadyReserved } from './error.ts';
import { readLast, writeLast } from './last.ts';
import { collectOrphans } from './leftovers.ts';
import type { Facts } from './record.ts';
import { restOf, restsIn } from './released.ts';

/** The name of a record's pod in an error message, which names its container in any case. */
export type PodNameOf = (facts: Facts) => string | undefined;

class DiskClaims implements Claims {
  readonly #attachment: Attachment;
  readonly #podNameOf: PodNameOf;

  constructor(attachment: Attachment, podNameOf: PodNameOf) {
    this.#attachment = attachment;
    this.#podNameOf = podNameOf;
  }

  isTaken(address: Address): boolean {
    return statIfThere(claimPath(this.#attachment, address)) !== undefined;
  }

  holder(address: Address): Holder | undefined {
    const facts = readFacts(claimPath(this.#attachment, address)) ?? {};
    const { containerID, ifname } = facts;
    return containerID === undefined ? undefined : { containerID, ifname, pod: this.#podNameOf(facts) };
  }

  claim(address: Address, wasReleased: boolean): boolean {
    return claim(this.#attachment, address, wasReleased);
  }

  /** A claim that cannot be removed stays counted by the record's links, so release() finds it. */
  putBack(address: Address): void {
    try {
      unlinkIfThere(claimPath(this.#attachment, address));
    } catch {}
  }

  note(addresses: readonly Address[]): void {
    this.#attachment.append({ addresses: addresses.map(formatAddress) });
  }

  rest(address: Address): number | undefined {
    return restOf(this.#attachment.store, this.#attachment.network, formatAddress(address));
  }

  occupancy(pool: Pool) {
    const { store, network } = this.#attachment;
    return { taken: takenIn(store, network, pool), rested: restsIn(store, network, pool) };
  }

  last(pool: Pool): Address | undefined {
    return readLast(this.#attachment.store, this.#attachment.network, pool);
  }

  setLast(pool: Pool, address: Address): void {
    writeLast(this.#attachment.store, this.#attachment.network, pool, address);
  }

  collectOrphans(): number {
    return collectOrphans(this.#attachment.store, this.#attachment.network).length;
  }
}

/**
 * Takes one address from each pool for the attachment and notes them in its record; all or none.
 * @throws AlreadyReserved, PoolExhausted, AddressRefused, StateError
 */
export function reserve(
  attachment: Attachment,
  reservation: Reservation,
  podNameOf: PodNameOf = () => undefined,
): readonly Allotment[] {
  const { addresses = [], containerID, ifname } = attachment.facts;
  if (attachment.claimCount > 0) throw new AlreadyReserved(`${containerID} ${ifname}`, addresses);
  return reserveIn(new DiskClaims(attachment, podNameOf), reservation);
}
