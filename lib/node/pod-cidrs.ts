/**
 * Which of the nodes' pod CIDRs are believed. Node objects are written by many: a controller gives CIDRs, each kubelet tells
 * its own addresses. A CIDR that is believed becomes a route on every node, and takes traffic away from whatever else has
 * these addresses, so one mistake, or one node in wrong hands, must not reach other nodes' pods.
 *
 * Where two claims cannot both be true, the older node's stands: no node can make itself older. Where ages do not tell,
 * none of two overlapping ones stands. Whatever is refused has a reason, which status and readiness tell.
 */
import {
  type Address,
  type Family,
  formatAddress,
  formatPrefix,
  networkOf,
  type Prefix,
  parseAddress,
  parsePrefix,
  prefixContains,
} from '../ip/address.ts';
import type { KubeNode } from '../kube/object.ts';

/** Addresses that no pod can have, wherever it is. @see https://www.iana.org/assignments/iana-ipv4-special-registry */
const neverPods: readonly (readonly [Prefix, string])[] = (
  [
    ['0.0.0.0/8', 'this network'],
    ['127.0.0.0/8', 'loopback'],
    ['169.254.0.0/16', 'link-local'],
    ['224.0.0.0/4', 'multicast'],
    ['255.255.255.255/32', 'broadcast'],
    ['::/128', 'the unspecified address'],
    ['::1/128', 'loopback'],
    ['::ffff:0:0/96', 'IPv4-mapped'],
    ['fe80::/10', 'link-local'],
    ['ff00::/8', 'multicast'],
  ] as const
).map(([text, what]) => [parsePrefix(text)!, what]);

/** The shortest prefix that one node's pods can have: what is wider is a default route, or a good part of one. */
const shortest: Readonly<Record<Family, number>> = { 4: 8, 6: 32 };

const overlap = (a: Prefix, b: Prefix): boolean =>
  prefixContains(a, { family: b.family, value: networkOf(b).value }) ||
  prefixContains(b, { family: a.family, value: networkOf(a).value });

/** Why no node's pods can have this range; undefined where they can. */
export function unfit(cidr: Prefix): string | undefined {
  if (cidr.length < shortest[cidr.family]) return `it is wider than /${shortest[cidr.family]}, so no node's`;
  const found = neverPods.find(([range]) => overlap(range, cidr));
  return found && `pods have no addresses of ${formatPrefix(found[0])} (${found[1]})`;
}

const isSpecial = (address: Address): boolean => neverPods.some(([range]) => prefixContains(range, address));

/** Values by prefix, found by the longest that has an address, or by all of them. */
export class LongestMatch<T> {
  readonly #byLength = new Map<
    string,
    { readonly family: Family; readonly length: number; readonly at: Map<bigint, T> }
  >();

  /** The first of two for one prefix stays. @returns what was there */
  add(prefix: Prefix, value: T): T | undefined {
    const { family, length } = prefix;
    const key = `${family}/${length}`;
    const group = this.#byLength.get(key) ?? { family, length, at: new Map() };
    this.#byLength.set(key, group);
    const network = networkOf(prefix).value;
    const before = group.at.get(network);
    if (before === undefined) group.at.set(network, value);
    return before;
  }

  get(prefix: Prefix): T | undefined {
    return this.#byLength.get(`${prefix.family}/${prefix.length}`)?.at.get(networkOf(prefix).value);
  }

  find(address: Address): T | undefined {
    return this.findAll(address)[0];
  }

  /** The longest first. */
  findAll({ family, value }: Address): readonly T[] {
    const groups = [...this.#byLength.values()].filter(group => group.family === family);
    return groups
      .sort((a, b) => b.length - a.length)
      .flatMap(({ length, at }) => at.get(networkOf({ family, value, length }).value) ?? []);
  }
}

interface Claim {
  readonly node: KubeNode;
  readonly cidr: Prefix;
  refusal?: string;
}

/** Below 0: `a` is the older node; 0: ages do not tell. */
function byAge(a: KubeNode, b: KubeNode): number {
  if (a.created === b.created) return 0;
  return (a.created ?? '~') < (b.created ?? '~') ? -1 : 1;
}

const byName = (a: KubeNode, b: KubeNode): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

const told = ({ node, cidr }: Claim): string => `${formatPrefix(cidr)} of node ${node.name}`;

/** Claims that overlap one of another node's, with those; found by one pass over all in the order of their addresses. */
function overlapping(claims: readonly Claim[]): ReadonlyMap<Claim, readonly Claim[]> {
  const found = new Map<Claim, Claim[]>();
  const note = (claim: Claim, other: Claim): void => {
    const others = found.get(claim);
    if (others) others.push(other);
    else found.set(claim, [other]);
  };
  const ascending = claims.toSorted(
    ({ cidr: a }, { cidr: b }) =>
      a.family - b.family || (a.value < b.value ? -1 : a.value > b.value ? 1 : a.length - b.length),
  );
  let around: Claim[] = [];
  for (const claim of ascending) {
    around = around.filter(({ cidr }) => overlap(cidr, claim.cidr));
    for (const other of around.filter(({ node }) => node !== claim.node)) {
      note(claim, other);
      note(other, claim);
    }
    around.push(claim);
  }
  return found;
}

function why(other: Claim, claim: Claim): string {
  const relation =
    other.cidr.length === claim.cidr.length
      ? `node ${other.node.name} has the same`
      : `it ${other.cidr.length > claim.cidr.length ? 'contains' : 'is within'} ${told(other)}`;
  return byAge(other.node, claim.node) < 0 ? `${relation}, and is the older one` : relation;
}

/** Claims in groups of equally old nodes, the oldest first. */
function byAges(claims: readonly Claim[]): readonly Claim[][] {
  const groups = Map.groupBy(claims, ({ node }) => node.created);
  return [...groups.values()].sort(([a], [b]) => byAge(a!.node, b!.node));
}

/** Refuses what contradicts an older claim that stands, and then what contradicts each other. */
function contest(group: readonly Claim[], contested: ReadonlyMap<Claim, readonly Claim[]>): void {
  for (const claim of group) {
    const older = contested.get(claim)!.find(other => !other.refusal && byAge(other.node, claim.node) < 0);
    if (older) claim.refusal = why(older, claim);
  }
  const left = new Set(group.filter(({ refusal }) => refusal === undefined));
  const rivals = [...left].map(claim => {
    const isBefore = (other: Claim): boolean =>
      other.cidr.length !== claim.cidr.length || byName(other.node, claim.node) < 0;
    return [claim, contested.get(claim)!.find(other => left.has(other) && isBefore(other))] as const;
  });
  for (const [claim, rival] of rivals) if (rival) claim.refusal = why(rival, claim);
}

export interface CidrClaims {
  /** Why the node's pod CIDR is not believed; undefined where it is. */
  readonly refusal: (node: KubeNode, cidr: Prefix) => string | undefined;
  /** Why no packet is to be sent by way of this address that the node says it has; undefined where it can be. */
  readonly badAddress: (node: KubeNode, address: Address) => string | undefined;
  /** Pod CIDRs of all nodes that hold pods and nothing else, by what is known. */
  readonly believed: readonly Prefix[];
}

const keyOf = ({ name }: KubeNode, cidr: Prefix): string => `${name} ${formatPrefix(networkOf(cidr))}`;

/** Judges the addresses of nodes against claims on pod CIDRs, and the claims against the addresses. */
class Addresses {
  readonly #bad = new Map<string, string>();
  /** The oldest node of each address. */
  readonly #owners = new Map<string, KubeNode>();

  constructor(nodes: readonly KubeNode[], claims: readonly Claim[]) {
    const within = new LongestMatch<Claim[]>();
    for (const claim of claims) within.add(claim.cidr, [claim])?.push(claim);
    for (const node of nodes)
      for (const text of node.addresses) {
        const address = parseAddress(text);
        if (!address) continue;
        const owner = this.#owners.get(text);
        if (!owner || byAge(node, owner) < 0) this.#owners.set(text, node);
        for (const claim of within.findAll(address).flat()) this.#judge(claim, node, text);
      }
  }

  /** A younger node cannot take an older one's range away by saying that it has an address in it. */
  #judge(claim: Claim, node: KubeNode, text: string): void {
    if (claim.node !== node && byAge(claim.node, node) < 0)
      this.#bad.set(`${node.name} ${text}`, `its address ${text} is within ${told(claim)}`);
    else claim.refusal ??= `node ${node.name} has its own address ${text} in it`;
  }

  badAddress(node: KubeNode, address: Address): string | undefined {
    const text = formatAddress(address);
    if (isSpecial(address)) return `its address ${text} is none that another node can reach it by`;
    const owner = this.#owners.get(text);
    if (owner && owner.name !== node.name && byAge(owner, node) < 0)
      return `its address ${text} is that of node ${owner.name}`;
    return this.#bad.get(`${node.name} ${text}`);
  }
}

/**
 * @param nodes all of the cluster
 * @param clusterCidrs where the admin says that pods are; a family of which it has none is not narrowed
 */
export function judgeClaims(nodes: readonly KubeNode[], clusterCidrs: readonly Prefix[] = []): CidrClaims {
  const claims: Claim[] = nodes.flatMap(node => node.podCidrs.map(cidr => ({ node, cidr: networkOf(cidr) })));
  for (const claim of claims) {
    const refusal = unfit(claim.cidr) ?? outside(claim.cidr, clusterCidrs);
    if (refusal !== undefined) claim.refusal = refusal;
  }
  const standing = (): Claim[] => claims.filter(({ refusal }) => refusal === undefined);
  const addresses = new Addresses(nodes, standing());
  const contested = overlapping(standing());
  for (const group of byAges([...contested.keys()])) contest(group, contested);
  const refusals = new Map(
    claims.flatMap(({ node, cidr, refusal }) => (refusal === undefined ? [] : [[keyOf(node, cidr), refusal] as const])),
  );
  return {
    refusal: (node, cidr) => refusals.get(keyOf(node, cidr)),
    badAddress: (node, address) => addresses.badAddress(node, address),
    believed: standing().map(({ cidr }) => cidr),
  };
}

function outside(cidr: Prefix, clusterCidrs: readonly Prefix[]): string | undefined {
  const given = clusterCidrs.filter(({ family }) => family === cidr.family);
  if (given.length === 0 || given.some(one => one.length <= cidr.length && overlap(one, cidr))) return undefined;
  return `it is outside of --cluster-cidr ${given.map(formatPrefix).join()}`;
}
