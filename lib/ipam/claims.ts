/** Addresses of a network as an allocation for one attachment sees them. On disk: `lib/state/disk-claims.ts`. */
import type { Address } from '../ip/address.ts';
import type { Occupancy } from './choose.ts';
import type { Pool } from './pool.ts';

/** The attachment that has an address, as far as it is known. */
export interface Holder {
  readonly containerID: string;
  readonly ifname: string | undefined;
  /** `namespace/name` */
  readonly pod: string | undefined;
}

export interface Claims {
  /** Whether an attachment, this one or another, has the address. */
  isTaken(address: Address): boolean;
  /** The attachment that has the address; undefined where it is not known. */
  holder(address: Address): Holder | undefined;
  /**
   * Claims the address for the attachment, in one step: of several callers one succeeds.
   * @param wasReleased whether `rest` may know the address: what it knows is then forgotten
   * @returns false where the address is taken
   */
  claim(address: Address, wasReleased: boolean): boolean;
  /** Takes back a claim of this allocation, as if it had never been; an address that cannot be put back stays claimed. */
  putBack(address: Address): void;
  /** Writes down that the attachment has these addresses: the end of an allocation. */
  note(addresses: readonly Address[]): void;
  /** Milliseconds since the address was released; undefined where that is long ago or was never. */
  rest(address: Address): number | undefined;
  /** Addresses of the pool that are taken, and those that rest, at one moment. */
  occupancy(pool: Pool): Pick<Occupancy, 'taken' | 'rested'>;
  /** The address that the pool gave last; a hint, which may be stale or missing. */
  last(pool: Pool): Address | undefined;
  setLast(pool: Pool, address: Address): void;
  /** Releases claims that have no owner. @returns how many */
  collectOrphans(): number;
}
