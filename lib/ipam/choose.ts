/**
 * Which address next. Strategy: round robin from the one given last, so that an address rests as long as possible
 * before its next owner (stale neighbour and conntrack entries, and rules of a policy that has not caught up, outlive a
 * pod); one released less than a minimum delay ago waits while others are free; where only such are left, the one
 * released longest ago goes first.
 */
import type { RequestedAddress } from '../cni/requested-address.ts';
import { type Address, formatAddress } from '../ip/address.ts';
import { AddressRefused } from './error.ts';
import { type Allotment, type Pool, poolText, rangeHolding } from './pool.ts';

/** A pool's addresses at one moment, as values of the pool's family. */
export interface Occupancy {
  readonly taken: ReadonlySet<bigint>;
  /** Milliseconds since release, of addresses that are free again. */
  readonly rested: ReadonlyMap<bigint, number>;
  readonly minimumRest: number;
}

/** An address of the pool, with its range. */
export function allot(pool: Pool, value: bigint): Allotment {
  const address = { family: pool.family, value };
  const range = rangeHolding(pool, address);
  if (!range) throw new RangeError(`Cannot allot ${formatAddress(address)}: not in ${poolText(pool)}`);
  return { address, subnet: range.subnet, gateway: range.gateway };
}

/**
 * Every address that the pool can give, once: from the one after `last`, range by range, around the end and up to `last`
 * itself. Where `last` is absent or in no range, from the beginning.
 */
export function* inTurn(pool: Pool, last: Address | undefined): Generator<bigint> {
  const { ranges, withheld } = pool;
  const holding = last && rangeHolding(pool, last);
  const start = holding ? ranges.indexOf(holding) : 0;
  const begin = holding && last ? last.value + 1n : ranges[0]!.first;
  for (let turn = 0; turn <= ranges.length; turn++) {
    const range = ranges[(start + turn) % ranges.length]!;
    const from = turn === 0 ? begin : range.first;
    // Back where we began: what was left out at the start of the first turn.
    const to = turn === ranges.length ? begin - 1n : range.last;
    for (let value = from; value <= to; value++) if (!withheld.has(value)) yield value;
  }
}

/** Free addresses, best first; each once. Lazy: of a /64 only as many are looked at as the caller takes. */
export function* inOrder(pool: Pool, last: Address | undefined, occupancy: Occupancy): Generator<bigint> {
  const { taken, rested, minimumRest } = occupancy;
  const resting: { readonly value: bigint; readonly rest: number }[] = [];
  for (const [value, rest] of rested) {
    if (!isInCooldown(rest, minimumRest) || taken.has(value)) continue;
    if (rangeHolding(pool, { family: pool.family, value }) && !pool.withheld.has(value)) resting.push({ value, rest });
  }
  const waits = new Set(resting.map(({ value }) => value));
  for (const value of inTurn(pool, last)) if (!taken.has(value) && !waits.has(value)) yield value;
  for (const { value } of resting.sort((a, b) => b.rest - a.rest)) yield value;
}

/** Released too short a while ago; a release in the future (the clock was set back) counts by its distance. */
export const isInCooldown = (rest: number, minimumRest: number): boolean => Math.abs(rest) < minimumRest;

/**
 * Gives for each pool the address that was asked for in it, or undefined.
 * @throws AddressRefused where a wanted is in no pool, is withheld, or is a second, other one in its pool
 */
export function assignRequested(
  pools: readonly Pool[],
  requested: readonly RequestedAddress[],
): readonly (Address | undefined)[] {
  const assigned: (Address | undefined)[] = pools.map(() => undefined);
  for (const wanted of requested) {
    const text = formatAddress(wanted);
    const index = pools.findIndex(pool => rangeHolding(pool, wanted));
    const pool = pools[index];
    const range = pool && rangeHolding(pool, wanted);
    if (!pool || !range) throw new AddressRefused(text, `not in ${pools.map(poolText).join(' or ')}`);
    if (pool.withheld.has(wanted.value)) throw new AddressRefused(text, 'it is a gateway');
    if (wanted.length !== undefined && wanted.length !== range.subnet.length)
      throw new AddressRefused(`${text}/${wanted.length}`, `its subnet is /${range.subnet.length}`);
    const other = assigned[index];
    if (other && other.value !== wanted.value)
      throw new AddressRefused(text, `${formatAddress(other)} was asked for in ${poolText(pool)} too, which gives one`);
    assigned[index] = { family: wanted.family, value: wanted.value };
  }
  return assigned;
}
