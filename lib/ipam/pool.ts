/**
 * A pool: what host-local calls a range set. An attachment gets exactly one address from each pool; the ranges of a pool
 * are alternatives to each other, in the order of the config, and have one address family.
 */
import { type Address, type Family, formatAddress, type Prefix, type Range, rangeContains } from '../ip/address.ts';

/** A range of addresses that may be handed out, both ends included, and the subnet around it. */
export interface PoolRange extends Range {
  /** Host bits clear. Its length goes into the result. */
  readonly subnet: Prefix;
  /** May lie outside `subnet`. */
  readonly gateway: Address;
}

export interface Pool {
  readonly family: Family;
  /** At least one; they do not overlap. */
  readonly ranges: readonly PoolRange[];
  /** Values inside the ranges that are never handed out: gateways of this pool and of its siblings. */
  readonly withheld: ReadonlySet<bigint>;
}

/** An address, with what its range says of it. */
export interface Allotment {
  readonly address: Address;
  readonly subnet: Prefix;
  readonly gateway: Address;
}

const rangeText = ({ family, first, last }: Range): string =>
  `${formatAddress({ family, value: first })}-${formatAddress({ family, value: last })}`;

/** `10.0.0.1-10.0.0.254`, ranges joined by commas: for messages, and a name for the pool that survives reordering. */
export const poolText = (pool: Pool): string => pool.ranges.map(rangeText).join(',');

/** How many addresses the pool can hand out. */
export const poolSize = (pool: Pool): bigint =>
  pool.ranges.reduce((sum, { first, last }) => sum + last - first + 1n, 0n) - BigInt(pool.withheld.size);

/** The range that holds the address, withheld or not. */
export const rangeHolding = (pool: Pool, address: Address): PoolRange | undefined =>
  pool.ranges.find(range => rangeContains(range, address));

/** Pools from their ranges; whatever is a gateway of any range is withheld from all. */
export function poolsOf(sets: readonly (readonly PoolRange[])[]): readonly Pool[] {
  const gateways = sets.flat().map(range => range.gateway);
  return sets.flatMap(ranges => {
    const family = ranges[0]?.family;
    if (family === undefined) return [];
    const withheld = gateways.filter(gateway => ranges.some(range => rangeContains(range, gateway)));
    return [{ family, ranges, withheld: new Set(withheld.map(gateway => gateway.value)) }];
  });
}
