/** Claims in memory: what allocation is tested with where no disk is needed. */
import { type Address, formatAddress } from '../../lib/ip/address.ts';
import type { Claims, Holder } from '../../lib/ipam/claims.ts';
import { type Pool, poolText, rangeHolding } from '../../lib/ipam/pool.ts';

/** The addresses of one network; `now` is its clock, in milliseconds. */
export class MapClaims {
  now = 0;
  /** Address → container. */
  readonly taken = new Map<string, string>();
  /** Containers that have no record: their claims are orphans. */
  readonly unrecorded = new Set<string>();
  readonly #addresses = new Map<string, Address>();
  readonly #releasedAt = new Map<string, number>();
  readonly #last = new Map<string, Address>();

  /** As the attachment of this container sees them. @param lost addresses that another call takes first, each once */
  of(containerID: string, lost = new Set<string>()): Claims {
    const { taken } = this;
    const keyOf = (address: Address): string => {
      const key = formatAddress(address);
      this.#addresses.set(key, { family: address.family, value: address.value });
      return key;
    };
    const rest = (address: Address): number | undefined => {
      const at = this.#releasedAt.get(keyOf(address));
      return at === undefined ? undefined : this.now - at;
    };
    const isIn = (pool: Pool, key: string): boolean => rangeHolding(pool, this.#addresses.get(key)!) !== undefined;
    const numberOf = (key: string): bigint => this.#addresses.get(key)!.value;
    return {
      isTaken: address => taken.has(keyOf(address)),
      holder: (address): Holder | undefined => {
        const holder = taken.get(keyOf(address));
        return holder === undefined ? undefined : { containerID: holder, ifname: 'eth0', pod: undefined };
      },
      claim: (address, wasReleased) => {
        const key = keyOf(address);
        if (taken.has(key)) return false;
        if (lost.delete(key)) {
          taken.set(key, 'another call');
          return false;
        }
        taken.set(key, containerID);
        if (wasReleased) this.#releasedAt.delete(key);
        return true;
      },
      putBack: address => void taken.delete(keyOf(address)),
      note: () => {},
      rest,
      occupancy: pool => ({
        taken: new Set([...taken.keys()].filter(key => isIn(pool, key)).map(numberOf)),
        rested: new Map(
          [...this.#releasedAt].filter(([key]) => isIn(pool, key)).map(([key, at]) => [numberOf(key), this.now - at]),
        ),
      }),
      last: pool => this.#last.get(poolText(pool)),
      setLast: (pool, address) => void this.#last.set(poolText(pool), address),
      collectOrphans: () => {
        const orphans = [...taken].filter(([, holder]) => this.unrecorded.has(holder));
        for (const [key] of orphans) taken.delete(key);
        return orphans.length;
      },
    };
  }

  release(containerID: string): readonly string[] {
    const released = [...this.taken].filter(([, holder]) => holder === containerID).map(([key]) => key);
    for (const key of released) {
      this.taken.delete(key);
      this.#releasedAt.set(key, this.now);
    }
    return released;
  }
}
