/**
 * Finds the policies that may allow all that another policy allows, without a look at the rest: each policy is indexed by what
 * it asks of its pods and of one peer.
 */
import { type Address, type Family, formatPrefix, networkOf } from '../../ip/address.ts';
import { rangesOfBlocks } from '../compile/ranges.ts';
import type { BlockPeer, Direction, LabelSelector, NetworkPolicy, Peer, PodPeer, PolicyRule } from '../model/model.ts';
import { requirementText } from '../model/selector.ts';

/** One text for each requirement: a selector that asks for fewer of them selects whatever one with more does. */
const requirementsOf = ({ requirements }: LabelSelector): readonly string[] =>
  [...new Set(requirements.map(requirementText))].sort();

/** The selectors of a peer. A namespace that is named is no requirement of a label. */
export function askedBy({ namespace, pods }: PodPeer): readonly string[] {
  const where =
    typeof namespace === 'string' ? [`in ${namespace}`] : requirementsOf(namespace).map(text => `in one with ${text}`);
  return [typeof namespace === 'string' ? 'by name' : 'by labels', ...where, ...requirementsOf(pods)];
}

export const subjectOf = ({ namespace, subject }: NetworkPolicy): readonly string[] => [
  `in ${namespace}`,
  ...requirementsOf(subject),
];

/** A rule that matches nothing is covered by whatever there is. */
export const matchesNothing = ({ peers, ports }: PolicyRule): boolean => peers.length === 0 || ports.length === 0;

/** The requirements of a rule on its peer; a rule with fewer of them allows more. */
type Asked = readonly string[];

const anybody: Asked = [];
const toAll = (direction: Direction): Asked => [`${direction} of all`];
const toPods = (direction: Direction, peer: PodPeer): Asked => [`${direction} of pods`, ...askedBy(peer)];
const toBlock = (direction: Direction, { cidr }: Pick<BlockPeer, 'cidr'>): Asked => [
  `${direction} of ${formatPrefix(networkOf(cidr))}`,
];

const heeded = (policy: NetworkPolicy): readonly (readonly [Direction, PolicyRule])[] =>
  (['egress', 'ingress'] as const).flatMap(direction =>
    (policy[direction] ?? []).filter(rule => !matchesNothing(rule)).map(rule => [direction, rule] as const),
  );

/** All keys of the policy; a candidate shares one of them. */
function allAskedBy(policy: NetworkPolicy): readonly Asked[] {
  const asked = heeded(policy).flatMap(([direction, { peers }]): Asked[] => {
    if (peers === 'any') return [toAll(direction)];
    return peers.flatMap(peer => {
      if (peer.kind === 'pods') return [toPods(direction, peer)];
      return peer.kind === 'block' ? [toBlock(direction, peer)] : [];
    });
  });
  return [anybody, ...asked];
}

/** An address that the block has, its holes left out. */
function addressOf(block: BlockPeer): Address | undefined {
  const [first] = rangesOfBlocks([block], block.cidr.family);
  return first && { family: first.family, value: first.first };
}

interface Entry {
  readonly policy: NetworkPolicy;
  readonly subject: readonly string[];
  readonly asked: Asked;
}

/** So many entries under one key are looked at, and so many candidates given: the others are most likely more of the same. */
const MOST = 100;

const isWithin = (asked: readonly string[], all: ReadonlySet<string>): boolean => asked.every(text => all.has(text));

function lengthsIn(policies: readonly NetworkPolicy[], family: Family): ReadonlySet<number> {
  const peers = policies.flatMap(heeded).flatMap(([, rule]) => (rule.peers === 'any' ? [] : rule.peers));
  return new Set(
    peers.flatMap(peer => (peer.kind === 'block' && peer.cidr.family === family ? [peer.cidr.length] : [])),
  );
}

/** How often each text is asked for. */
function countsOf(lists: Iterable<readonly string[]>): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const list of lists) for (const text of list) counts.set(text, (counts.get(text) ?? 0) + 1);
  return counts;
}

/** The text that fewest others ask for. */
const rarest = (list: readonly string[], counts: ReadonlyMap<string, number>): string =>
  list.reduce((a, b) => (counts.get(b)! < counts.get(a)! ? b : a), list[0] ?? '');

export class Candidates {
  readonly #byKey = new Map<string, Entry[]>();
  readonly #places: ReadonlyMap<NetworkPolicy, number>;
  /** Prefix lengths of all blocks that some policy names. */
  readonly #lengths: Readonly<Record<Family, ReadonlySet<number>>>;

  /** @param policies in the order in which candidates are given */
  constructor(policies: readonly NetworkPolicy[]) {
    this.#places = new Map(policies.map((policy, i) => [policy, i]));
    const entries = policies.flatMap(policy => {
      const subject = subjectOf(policy);
      return allAskedBy(policy).map((asked): Entry => ({ policy, subject, asked }));
    });
    const subjects = countsOf(entries.map(({ subject }) => subject));
    const peers = countsOf(entries.map(({ asked }) => asked));
    for (const entry of entries) {
      const key = keyOf(rarest(entry.subject, subjects), rarest(entry.asked, peers));
      const known = this.#byKey.get(key);
      if (known) known.push(entry);
      else this.#byKey.set(key, [entry]);
    }
    this.#lengths = { 4: lengthsIn(policies, 4), 6: lengthsIn(policies, 6) };
  }

  /** Policies, in declared order, that select all pods of this one and allow at least one thing that this one allows. */
  of(policy: NetworkPolicy): readonly NetworkPolicy[] {
    const subject = new Set(subjectOf(policy));
    const found = new Set<NetworkPolicy>();
    for (const asked of this.#needed(policy))
      for (const one of subject)
        for (const other of asked.length === 0 ? [''] : asked)
          for (const entry of (this.#byKey.get(keyOf(one, other)) ?? []).slice(0, MOST))
            if (entry.policy !== policy && isWithin(entry.subject, subject) && isWithin(entry.asked, new Set(asked)))
              found.add(entry.policy);
    return [...found].sort((a, b) => this.#places.get(a)! - this.#places.get(b)!).slice(0, MOST);
  }

  /** Whatever allows all that the policy does stands under one of these. */
  #needed(policy: NetworkPolicy): readonly Asked[] {
    for (const [direction, { peers }] of heeded(policy)) {
      if (peers === 'any') return [toAll(direction)];
      for (const peer of peers) {
        const needed = this.#neededFor(direction, peer);
        if (needed) return [toAll(direction), ...needed];
      }
    }
    return [anybody];
  }

  /** Undefined where the peer names neither pods nor an address. */
  #neededFor(direction: Direction, peer: Peer): readonly Asked[] | undefined {
    if (peer.kind === 'pods') return [toPods(direction, peer)];
    const address = peer.kind === 'block' ? addressOf(peer) : undefined;
    if (!address) return undefined;
    const lengths = [...this.#lengths[address.family]];
    return lengths.map(length => toBlock(direction, { cidr: { ...address, length } }));
  }
}

const keyOf = (subject: string, asked: string): string => JSON.stringify([subject, asked]);
