/** Policies that could as well not be there, whatever pods there are. */
import type { Family } from '../../ip/address.ts';
import { RangeIndex, rangesOfBlocks } from '../compile/ranges.ts';
import { type BlockPeer, type Direction, type NetworkPolicy, type PolicyRule, policyRef } from '../model/model.ts';
import { askedBy, Candidates, matchesNothing, subjectOf } from './candidates.ts';
import { coverPorts, type PortsMatched, portsMatched } from './ports-matched.ts';
import type { Check } from './rule.ts';
import type { Surroundings } from './surroundings.ts';

const families = [4, 6] as const;

/** Lists of requirements, found by one that asks for as much or more. Each stands under the last of its requirements. */
class Askers<T> {
  readonly #byLast = new Map<string, { readonly asked: readonly string[]; readonly value: T }[]>();

  add(asked: readonly string[], value: T): void {
    const key = asked.at(-1) ?? '';
    const found = this.#byLast.get(key);
    if (found) found.push({ asked, value });
    else this.#byLast.set(key, [{ asked, value }]);
  }

  /** Values of those that ask for nothing but some of this. */
  *within(asked: readonly string[]): Generator<T> {
    const all = new Set(asked);
    for (const key of ['', ...all])
      for (const entry of this.#byLast.get(key) ?? [])
        if (entry.asked.every(requirement => all.has(requirement))) yield entry.value;
  }
}

/** All rules of a policy and direction that match the same ports. */
export interface Allowed {
  readonly ports: PortsMatched;
  readonly isForAll: boolean;
  readonly pods: readonly (readonly string[])[];
  readonly askers: Askers<true>;
  readonly ranges: Readonly<Record<Family, RangeIndex<undefined>>>;
  readonly blocks: readonly BlockPeer[];
}

export function allowedBy(rules: readonly PolicyRule[]): readonly Allowed[] {
  const heeded = rules.filter(rule => !matchesNothing(rule)).map(rule => ({ rule, ports: portsMatched(rule) }));
  return [...Map.groupBy(heeded, ({ ports }) => ports.text).values()].map(group => {
    const peers = group.flatMap(({ rule }) => (rule.peers === 'any' ? [] : rule.peers));
    const blocks = peers.filter(peer => peer.kind === 'block');
    const pods = peers.filter(peer => peer.kind === 'pods').map(askedBy);
    const askers = new Askers<true>();
    for (const asked of pods) askers.add(asked, true);
    const indexOf = (family: Family) =>
      new RangeIndex(rangesOfBlocks(blocks, family).map(range => [range, undefined] as const));
    return {
      ports: group[0]!.ports,
      isForAll: group.some(({ rule }) => rule.peers === 'any'),
      ...{ pods, askers, blocks, ranges: { 4: indexOf(4), 6: indexOf(6) } },
    };
  });
}

const hasPods = ({ askers }: Allowed, asked: readonly string[]): boolean => {
  for (const _ of askers.within(asked)) return true;
  return false;
};

/** Whether `wider` together allow all that `narrower` does: each of its peers lies within one of theirs. */
export function cover(wider: readonly Allowed[], narrower: Allowed): boolean {
  const able = wider.filter(each => coverPorts(each.ports, narrower.ports));
  if (able.some(({ isForAll }) => isForAll)) return true;
  if (narrower.isForAll || able.length === 0) return false;
  const coverPods = narrower.pods.every(asked => able.some(each => hasPods(each, asked)));
  return (
    coverPods &&
    families.every(family =>
      rangesOfBlocks(narrower.blocks, family).every(range =>
        able.some(({ ranges }) => {
          const [found] = ranges[family].meeting(range) ?? [];
          return found !== undefined && found.first <= range.first && range.last <= found.last;
        }),
      ),
    )
  );
}

/** Compares what policies of one world allow; each is taken apart once. */
export class Coverage {
  /** How often two policies were compared. */
  asked = 0;
  readonly #known = new Map<readonly PolicyRule[], readonly Allowed[]>();

  #allowed(rules: readonly PolicyRule[]): readonly Allowed[] {
    const known = this.#known.get(rules) ?? allowedBy(rules);
    this.#known.set(rules, known);
    return known;
  }

  /** Whether `wider` isolates where `narrower` does, and allows whatever it allows, for pods that both select. */
  holds(wider: NetworkPolicy, narrower: NetworkPolicy): boolean {
    this.asked++;
    return (['egress', 'ingress'] as const).every((direction: Direction) => {
      const [rules, asked] = [wider[direction], narrower[direction]];
      if (!asked) return true;
      return rules !== undefined && this.#allowed(asked).every(each => cover(this.#allowed(rules), each));
    });
  }
}

/** Whether `wider` isolates wherever `narrower` does, and allows whatever it allows, for all of its pods. */
export function covers(wider: NetworkPolicy, narrower: NetworkPolicy): boolean {
  const subjects = new Askers<true>();
  subjects.add(subjectOf(wider), true);
  const [isWider] = subjects.within(subjectOf(narrower));
  return isWider === true && new Coverage().holds(wider, narrower);
}

/** The check of one world: of two policies that cover each other, the one that was declared first stays. */
export function pointless({ policies }: Surroundings, coverage = new Coverage()): Check {
  const places = new Map(policies.map((policy, i) => [policy, i]));
  const candidates = new Candidates(policies);
  const isSameSubject = (a: NetworkPolicy, b: NetworkPolicy): boolean =>
    subjectOf(a).join('\n') === subjectOf(b).join('\n');
  return ({ policy, report }) => {
    const own = places.get(policy)!;
    const other = candidates
      .of(policy)
      .find(
        each =>
          coverage.holds(each, policy) &&
          (places.get(each)! < own || !isSameSubject(each, policy) || !coverage.holds(policy, each)),
      );
    if (!other) return;
    report(
      '',
      `${policyRef(other)} isolates the same pods and allows all that this policy does, so it changes nothing: take one of the two out`,
    );
  };
}
