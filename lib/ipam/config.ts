/**
 * Range sets as an admin wrote them → pools, by host-local's rules and defaults. Syntax is lib/cni's; here is the sense.
 * @see containernetworking/plugins plugins/ipam/host-local/backend/allocator: config.go, range.go, range_set.go
 */
import type { RangeSetSpec, RangeSpec } from '../cni/ipam.ts';
import { atLeast, type CniVersion } from '../cni/version.ts';
import {
  type Address,
  bitsOf,
  formatAddress,
  formatPrefix,
  networkOf,
  type Prefix,
  type Range,
  rangeContains,
  rangeOf,
} from '../ip/address.ts';
import { unassignable } from '../ip/special.ts';
import { IpamConfigError } from './error.ts';
import { type Pool, type PoolRange, poolsOf, poolText } from './pool.ts';

export interface RangeSources {
  /** `runtimeConfig.ipRanges`. */
  readonly runtime?: readonly RangeSetSpec[];
  /** `ipam.subnet` as a set of its own, then `ipam.ranges`. */
  readonly config: readonly RangeSetSpec[];
  /** Ranges that the agent gives this node; used where neither of the others names one. Undefined: there is no agent. */
  readonly node?: readonly RangeSetSpec[] | undefined;
  readonly cniVersion: CniVersion;
  /** The range that a subnet covers. */
  readonly covers?: Covers;
}

export interface PoolPlan {
  /** One address from each, in this order. */
  readonly pools: readonly Pool[];
  /** Lines for stderr. */
  readonly warnings: readonly string[];
}

/**
 * The pools of a network: the runtime's first, then the config's; the node's where there are none.
 * @throws IpamConfigError where no range is known, or one of them makes no sense
 */
export function planPools({ runtime = [], config, node, cniVersion, covers = rangeOf }: RangeSources): PoolPlan {
  const said = [...runtime, ...config];
  const sets = said.length > 0 ? said : node;
  if (!sets || sets.length === 0)
    throw new IpamConfigError(
      'ipam.ranges',
      'no address range is known: name one in "ipam.ranges", or run the agent, which learns this node\'s from the cluster',
    );
  const warnings: string[] = [];
  const pools = poolsOf(sets.map((set, index) => resolveSet(set, `range set ${index}`, warnings, covers)));
  refuseOverlap(pools);
  if (!atLeast(cniVersion, '0.3.0')) refuseSecondOfFamily(pools, cniVersion);
  return { pools, warnings };
}

type Covers = (subnet: Prefix) => Range;

function resolveSet(set: RangeSetSpec, at: string, warnings: string[], covers: Covers): readonly PoolRange[] {
  if (set.length === 0) throw new IpamConfigError(at, 'it is empty: name at least one subnet');
  const ranges = set.map(spec => resolveRange(spec, `${at}, ${formatPrefix(spec.subnet)}`, warnings, covers));
  for (const [i, range] of ranges.entries()) {
    if (range.family !== ranges[0]?.family)
      throw new IpamConfigError(at, 'IPv4 and IPv6 are mixed: they are alternatives, so give each a set of its own');
    const other = ranges.slice(0, i).find(before => overlap(before, range));
    if (other) throw new IpamConfigError(at, `${formatPrefix(other.subnet)} and ${formatPrefix(range.subnet)} overlap`);
  }
  return ranges;
}

function resolveRange(
  { subnet, rangeStart, rangeEnd, gateway }: RangeSpec,
  at: string,
  warnings: string[],
  covers: Covers,
): PoolRange {
  const { family, length } = subnet;
  if (length > bitsOf(family) - 2)
    throw new IpamConfigError(at, `too small to allocate from: /${bitsOf(family) - 2} is the least`);
  const whole = covers(subnet);
  if (whole.first !== subnet.value)
    throw new IpamConfigError(at, `host bits are set: the network address is ${formatPrefix(networkOf(subnet))}`);
  const usable = { family, first: whole.first + 1n, last: family === 4 ? whole.last - 1n : whole.last };
  const stated: Range = {
    family,
    first: inside(whole, rangeStart, 'rangeStart', at)?.value ?? usable.first,
    last: inside(whole, rangeEnd, 'rangeEnd', at)?.value ?? usable.last,
  };
  if (stated.first > stated.last)
    throw new IpamConfigError(at, `rangeStart ${text(family, stated.first)} is after ${text(family, stated.last)}`);
  if (gateway && gateway.family !== family)
    throw new IpamConfigError(at, `gateway ${formatAddress(gateway)} is of the other address family`);
  const resolved = gateway ?? { family, value: whole.first + 1n };
  refuseUnassignable({ family, value: usable.first }, 'its addresses are', at);
  refuseUnassignable(resolved, `gateway ${formatAddress(resolved)} is`, at);
  return { ...withoutEnds(stated, whole, usable, at, warnings), subnet, gateway: resolved };
}

function refuseUnassignable(address: Address, what: string, at: string): void {
  const kind = unassignable(address);
  if (kind) throw new IpamConfigError(at, `${what} ${kind}, which no interface can have`);
}

function inside(whole: Range, address: Address | undefined, key: string, at: string): Address | undefined {
  if (address && !rangeContains(whole, address))
    throw new IpamConfigError(at, `${key} ${formatAddress(address)} is not in it`);
  return address;
}

/** Neither the network nor the broadcast address is ever a pod's; people do name them as ends (multus-cni #1087). */
function withoutEnds(stated: Range, whole: Range, usable: Range, at: string, warnings: string[]): Range {
  const { family } = stated;
  const namesNetwork = stated.first < usable.first;
  const namesBroadcast = stated.last > usable.last;
  const first = namesNetwork ? usable.first : stated.first;
  const last = namesBroadcast ? usable.last : stated.last;
  if (first > last) throw new IpamConfigError(at, 'no address is left without its network and broadcast address');
  if (namesNetwork) warnings.push(`${at}: ${text(family, whole.first)} is skipped, it is the network address`);
  if (namesBroadcast) warnings.push(`${at}: ${text(family, whole.last)} is skipped, it is the broadcast address`);
  return { family, first, last };
}

const text = (family: Address['family'], value: bigint): string => formatAddress({ family, value });

const overlap = (a: Range, b: Range): boolean => a.family === b.family && a.first <= b.last && b.first <= a.last;

/** Two sets with an address in common could give it twice to one attachment. */
function refuseOverlap(pools: readonly Pool[]): void {
  for (const [i, pool] of pools.entries())
    for (const [j, other] of pools.slice(0, i).entries())
      if (pool.ranges.some(a => other.ranges.some(b => overlap(a, b))))
        throw new IpamConfigError(
          `range set ${i}`,
          `${poolText(pool)} overlaps with range set ${j}, ${poolText(other)}`,
        );
}

/** Results before 0.3.0 have room for `ip4` and `ip6` only. */
function refuseSecondOfFamily(pools: readonly Pool[], cniVersion: CniVersion): void {
  for (const family of [4, 6] as const)
    if (pools.filter(pool => pool.family === family).length > 1)
      throw new IpamConfigError('ipam.ranges', `cniVersion ${cniVersion} allows only one IPv${family} address`);
}
