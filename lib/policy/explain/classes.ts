/**
 * Classes of ports and addresses that policies cannot tell apart. Between two numbers that no policy and no container port
 * names, all ports fare alike, and so do all addresses between the edges of two ipBlocks: one of each class speaks for the
 * others, exactly.
 */
import {
  type Address,
  bitsOf,
  type Family,
  formatAddress,
  type Prefix,
  parseAddress,
  parsePrefix,
  type Range,
  rangeOf,
} from '../../ip/address.ts';
import { type Cluster, clusterOf } from '../evaluate/cluster.ts';
import { type BlockPeer, type Flow, isNumbered, type Peer, type Port, protocols, type World } from '../model/model.ts';
import { rulesOf } from './distinctions.ts';

export interface PortClass {
  readonly protocol: Flow['protocol'];
  /** Inclusive; traffic without ports is 0 to 0. */
  readonly first: number;
  readonly last: number;
}

const listed = <T>(entries: 'any' | readonly T[]): readonly T[] => (entries === 'any' ? [] : entries);

/** Ascending, each once: where a class begins. */
function edgesOf(ports: readonly Port[], named: readonly number[]): readonly number[] {
  const edges = [0, ...named.flatMap(port => [port, port + 1])];
  for (const port of ports) if (isNumbered(port)) edges.push(port.first, port.last + 1);
  return [...new Set(edges)].filter(edge => edge <= 65535).sort((a, b) => a - b);
}

/** Every port of every protocol, in classes that none of the worlds tells apart further. */
export function portClasses(worlds: readonly World[]): readonly PortClass[] {
  const ports = worlds.flatMap(rulesOf).flatMap(rule => listed<Port>(rule.ports));
  const named = worlds.flatMap(({ pods }) => pods.flatMap(({ namedPorts }) => namedPorts));
  const classes = protocols.flatMap(protocol => {
    const edges = edgesOf(
      ports.filter(port => port.protocol === protocol),
      named.filter(port => port.protocol === protocol).map(({ port }) => port),
    );
    return edges.map((first, i): PortClass => ({ protocol, first, last: (edges[i + 1] ?? 65536) - 1 }));
  });
  return [...classes, { protocol: 'other', first: 0, last: 0 }];
}

/** A family's addresses, cut where a block or hole of a world begins or ends, and around nodes that may be meant; ascending. */
export class AddressClasses {
  readonly #ranges: Readonly<Record<Family, readonly Range[]>>;

  constructor(worlds: readonly World[]) {
    const peers = worlds.flatMap(rulesOf).flatMap(rule => listed<Peer>(rule.peers));
    const blocks = peers.filter((peer): peer is BlockPeer => peer.kind === 'block');
    const prefixes = blocks.flatMap(({ cidr, except }) => [cidr, ...except]);
    // Where policies select nodes, each address of a node is a class of its own.
    if (peers.some(({ kind }) => kind === 'nodes')) prefixes.push(...worlds.flatMap(nodePrefixes));
    this.#ranges = { 4: rangesBetween(prefixes, 4), 6: rangesBetween(prefixes, 6) };
  }

  ranges(family: Family): readonly Range[] {
    return this.#ranges[family];
  }

  /** The number of the class that has the address. */
  indexOf({ family, value }: Address): number {
    const ranges = this.#ranges[family];
    let [low, high] = [0, ranges.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (value > ranges[middle]!.last) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const nodePrefixes = ({ nodes = [] }: World): readonly Prefix[] =>
  nodes
    .flatMap(({ addresses }) => addresses.flatMap(text => parseAddress(text) ?? []))
    .map(address => ({ ...address, length: bitsOf(address.family) }));

function rangesBetween(prefixes: readonly Prefix[], family: Family): readonly Range[] {
  const edges = new Set([0n]);
  for (const prefix of prefixes) {
    if (prefix.family !== family) continue;
    const { first, last } = rangeOf(prefix);
    edges.add(first).add(last + 1n);
  }
  const end = 1n << BigInt(bitsOf(family));
  const ascending = [...edges].filter(edge => edge < end).sort((a, b) => (a < b ? -1 : 1));
  return ascending.map((first, i) => ({ family, first, last: (ascending[i + 1] ?? end) - 1n }));
}

/** Addresses that belong to neither pod nor node, all of one class. */
export interface Outside {
  readonly range: Range;
  /** One address of the class, canonical text. */
  readonly address: string;
}

const isTaken = (clusters: readonly Cluster[], text: string): boolean =>
  clusters.some(cluster => cluster.ownerOf(text) !== undefined || cluster.nodeWith(text) !== undefined);

/** One free address of each class that has any. */
export function outsideOf(worlds: readonly World[], classes: AddressClasses): readonly Outside[] {
  const clusters = worlds.map(clusterOf);
  return ([4, 6] as const).flatMap(family =>
    classes.ranges(family).flatMap((range): Outside[] => {
      // The loop passes over addresses of pods and nodes only, so it takes at most one step more than there are of these.
      for (let value = range.first; value <= range.last; value++) {
        const address = formatAddress({ family, value });
        if (!isTaken(clusters, address)) return [{ range, address }];
      }
      return [];
    }),
  );
}

/** `10.0.0.0/8` where it is one prefix, else `10.0.0.0-10.0.0.6`. */
export function rangeText({ family, first, last }: Range): string {
  const [from, to] = [first, last].map(value => formatAddress({ family, value }));
  const size = last - first + 1n;
  const bits = size.toString(2).length - 1;
  const prefix = size === 1n << BigInt(bits) ? parsePrefix(`${from}/${bitsOf(family) - bits}`) : undefined;
  return prefix && rangeOf(prefix).first === first ? `${from}/${prefix.length}` : `${from}-${to}`;
}
