/** ipBlocks that mean more, or other things, than they seem to. */
import {
  type Address,
  type Family,
  formatPrefix,
  type Prefix,
  parseAddress,
  type Range,
  rangeOf,
} from '../../ip/address.ts';
import { RangeIndex, rangesOfBlocks } from '../compile/ranges.ts';
import { rangeText } from '../explain/classes.ts';
import {
  type BlockPeer,
  type Direction,
  formatRule,
  type NetworkPolicy,
  type Pod,
  type PolicyRule,
  policyRef,
  type RuleRef,
} from '../model/model.ts';
import { type PortsMatched, portsMatched, sharePorts } from './ports-matched.ts';
import { type Case, type Check, isBlock, nameOf, peersOf } from './rule.ts';
import type { Companions, Surroundings } from './surroundings.ts';

/** So many pods of one block are counted: a message is not better for more. */
const MOST_COUNTED = 100;

interface Placed {
  readonly address: Address;
  readonly pod: Pod;
}

function placesOf({ pods }: Surroundings): Readonly<Record<Family, readonly Placed[]>> {
  const all = pods.flatMap(pod =>
    pod.addresses.flatMap((text): Placed[] => {
      const address = parseAddress(text);
      return address ? [{ address, pod }] : [];
    }),
  );
  const ascending = all.sort((a, b) =>
    a.address.value < b.address.value ? -1 : a.address.value > b.address.value ? 1 : 0,
  );
  const of = (family: Family) => ascending.filter(({ address }) => address.family === family);
  return { 4: of(4), 6: of(6) };
}

/** The place of the first address that is not below. */
function firstFrom(places: readonly Placed[], value: bigint): number {
  let [low, high] = [0, places.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (places[middle]!.address.value < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Pods with an address in the ranges, by address; no more than are counted. */
function podsIn(ranges: readonly Range[], places: readonly Placed[]): ReadonlySet<Pod> {
  const found = new Set<Pod>();
  for (const { first, last } of ranges)
    for (let i = firstFrom(places, first); i < places.length && places[i]!.address.value <= last; i++) {
      found.add(places[i]!.pod);
      if (found.size >= MOST_COUNTED) return found;
    }
  return found;
}

/** `a/p, a/q and 3 more` */
function coveredText(pods: ReadonlySet<Pod>): string {
  const names = [...pods].slice(0, 2).map(nameOf).join(', ');
  if (pods.size <= 2) return names;
  return `${names} and ${pods.size === MOST_COUNTED ? 'at least ' : ''}${pods.size - 2} more`;
}

/** The check of one world. */
export function coversPods(around: Surroundings): Check {
  const places = placesOf(around);
  return ({ policy, report }) => {
    for (const { peer, field, direction } of peersOf(policy).filter(isBlock)) {
      const own = places[peer.cidr.family];
      // Where the whole block covers no pod, its holes do not matter.
      if (podsIn([rangeOf(peer.cidr)], own).size === 0) continue;
      const covered = podsIn(rangesOfBlocks([peer], peer.cidr.family), own);
      if (covered.size === 0) continue;
      const whose = direction === 'ingress' ? 'from' : 'to';
      report(
        `${field}.ipBlock.cidr`,
        `${formatPrefix(peer.cidr)} covers pods (${coveredText(covered)}), so connections ${whose} them are allowed too: except the pods' range, or select pods by their labels`,
      );
    }
  };
}

/** Rules of one direction that match the same ports, by the addresses that their ipBlocks allow. */
interface Openers {
  readonly ports: PortsMatched;
  /** The first rule that allows every address. */
  readonly toAll: RuleRef | undefined;
  readonly byRange: Readonly<Record<Family, RangeIndex<RuleRef>>>;
}

function openersOf(companions: Companions, direction: Direction): readonly Openers[] {
  const rules = companions.flatMap(policy => (policy[direction] ?? []).map(rule => ({ policy, rule })));
  const byPorts = Map.groupBy(
    rules.map(each => ({ ...each, ports: portsMatched(each.rule) })),
    ({ ports }) => ports.text,
  );
  return [...byPorts.values()].map(group => {
    const refTo = ({ policy, rule }: { readonly policy: NetworkPolicy; readonly rule: PolicyRule }): RuleRef => ({
      policy: policyRef(policy),
      direction,
      index: rule.index,
    });
    const toAll = group.find(({ rule }) => rule.peers === 'any');
    const indexOf = (family: Family) =>
      new RangeIndex(
        group.flatMap(each => {
          const { peers } = each.rule;
          const blocks = peers === 'any' ? [] : peers.filter(peer => peer.kind === 'block');
          return rangesOfBlocks(blocks, family).map(range => [range, refTo(each)] as const);
        }),
      );
    return {
      ports: group[0]!.ports,
      toAll: toAll && refTo(toAll),
      byRange: { 4: indexOf(4), 6: indexOf(6) },
    };
  });
}

/** A part of the hole that some rule allows again, and that rule. A rule's own block never reaches into its holes. */
function reopened(hole: Prefix, openers: readonly Openers[]): readonly [Range, RuleRef] | undefined {
  const whole = rangeOf(hole);
  for (const { toAll, byRange } of openers) {
    if (toAll) return [whole, toAll];
    const [found, rule] = byRange[hole.family].meeting(whole) ?? [];
    if (!found || !rule) continue;
    const lower = found.first > whole.first ? found : whole;
    const upper = found.last < whole.last ? found : whole;
    return [{ family: hole.family, first: lower.first, last: upper.last }, rule];
  }
  return undefined;
}

const hasHole = ({ except }: BlockPeer): boolean => except.length > 0;

function reportReopened({ policy, report }: Case, openersOfAll: (direction: Direction) => readonly Openers[]): void {
  const reported = new Map<PolicyRule, readonly Openers[]>();
  const openersFor = (rule: PolicyRule, direction: Direction): readonly Openers[] => {
    const ports = portsMatched(rule);
    const known = reported.get(rule) ?? openersOfAll(direction).filter(each => sharePorts(ports, each.ports));
    reported.set(rule, known);
    return known;
  };
  for (const { peer, field, direction, rule } of peersOf(policy).filter(isBlock)) {
    if (!hasHole(peer)) continue;
    for (const [i, hole] of peer.except.entries()) {
      const found = reopened(hole, openersFor(rule, direction));
      if (found)
        report(
          `${field}.ipBlock.except[${i}]`,
          `${formatRule(found[1])} allows ${rangeText(found[0])} again, since an except only carves a hole into its own block: except it there, too`,
        );
    }
  }
}

/** The check of one world. */
export function exceptReopened(around: Surroundings): Check {
  const known = {
    egress: new Map<Companions, readonly Openers[]>(),
    ingress: new Map<Companions, readonly Openers[]>(),
  };
  const openers = (companions: Companions, direction: Direction): readonly Openers[] => {
    const found = known[direction].get(companions) ?? openersOf(companions, direction);
    known[direction].set(companions, found);
    return found;
  };
  return it =>
    reportReopened(it, direction =>
      [...around.companionsOf(it.policy)].flatMap(companions => openers(companions, direction)),
    );
}
