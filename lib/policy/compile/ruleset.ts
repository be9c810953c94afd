/**
 * The ruleset of a gate, in policy's terms: which sets of peers there are, which chains of rules, and which chain
 * each tag goes to. Pods that come and go change elements of sets; only policies and local identities change the rest.
 */
import type { Address, Family, Range } from '../../ip/address.ts';
import type { Identity } from '../../tag/identity.ts';
import type { Action, Tier } from '../model/cluster-policy.ts';
import type { Direction, LabelSelector, PodPeer, PortName, Protocol, RuleRef } from '../model/model.ts';

export interface Ruleset {
  readonly sets: ReadonlyMap<string, PeerSet>;
  readonly chains: ReadonlyMap<string, RuleChain>;
  readonly tags: ReadonlyMap<number, TagEntry>;
  /**
   * Rules of cluster policies are among them, which also deny and pass on: more in a set may then mean less that is allowed, so
   * that a packet must not see one set of before a change and another one of after it.
   */
  readonly isOrdered?: true;
}

export interface TagEntry {
  readonly identity: Identity;
  readonly egress: Gate;
  readonly ingress: Gate;
  /**
   * Where cluster policies select the identity: what judges in the place of these where NetworkPolicies have no say, which is
   * the pod's own node, and the pod itself through a Service.
   */
  readonly byCluster?: Readonly<Record<Direction, Gate>>;
}

export const hasSameGates = (a: TagEntry, b: TagEntry): boolean =>
  a.egress === b.egress &&
  a.ingress === b.ingress &&
  a.byCluster?.egress === b.byCluster?.egress &&
  a.byCluster?.ingress === b.byCluster?.ingress;

/** `open` where nothing is denied, else the name of a chain. */
export type Gate = 'open' | string;

/** The first of its rules that matches decides. */
export interface RuleChain {
  /** `in-` or `out-` and a hash of the rules' content: what they match and where they count, but not who wrote them. */
  readonly name: string;
  readonly direction: Direction;
  readonly rules: readonly ChainRule[];
  /** By `policyRef`, those that isolate the identities that share the chain, or cluster policies; for people. */
  readonly policies: readonly string[];
  /** Gate for a packet that none of its rules matches; absent: the packet is denied. */
  readonly otherwise?: Gate;
  /** The rules of cluster policies that it denies for; none where its own rules do, by number. Absent for other chains. */
  readonly denies?: { readonly tier: Tier; readonly rules: readonly RuleRef[] };
}

/** Matches where both do: `peers` the other end's address (source in, destination out), `ports` the destination port. */
export interface ChainRule {
  /** `any` is every address of both families; a set says its own. A set of tuples judges the port too, and a decided one may. */
  readonly peers: 'any' | SetRef;
  /** `any` is every port and protocol. */
  readonly ports: 'any' | PortMatch;
  /** By `policyRef`, the policy that counts what it allows; none where several were merged, or the set's elements say which. */
  readonly counter?: string;
  /** It matches a packet to which a set of what is denied has given one of these numbers. */
  readonly numbers?: Numbers;
  /** The rules of policies that this one carries out; for people, not content. */
  readonly origins: readonly RuleRef[];
  /** Gate for a packet that it matches; absent: the packet is allowed, or with numbers denied, in the name of `origins`. */
  readonly to?: Gate;
}

/** Whether each rule of the chain denies what has its number, or leads to one that does. */
export const isByNumber = ({ rules: [first] }: RuleChain): boolean => first?.numbers !== undefined;

/** What a log's prefix and a counter tell of: the last rule of a chain, or of a chain by number the one of this number. */
export interface DenyingRule {
  readonly chain: string;
  readonly number?: number;
}

/** In whose name packets are denied. */
export type Denier = Pick<RuleChain, 'direction' | 'policies' | 'denies'>;

/** Undefined where there is no such chain or rule by now. */
export function denierOf(chains: Ruleset['chains'], { chain: name, number }: DenyingRule): Denier | undefined {
  const chain = chains.get(name);
  // No rule of ours counts in a chain by number without its number.
  if (number === undefined) return chain && isByNumber(chain) ? undefined : chain;
  if (!chain?.denies) return chain;
  const { direction, denies } = chain;
  const rules = chain.rules.find(({ numbers, to }) => numbers && to === undefined && isAmong(numbers, number))?.origins;
  return rules && { direction, policies: policiesOf(rules), denies: { ...denies, rules } };
}

/** Each once, ascending. */
export const policiesOf = (rules: readonly RuleRef[]): readonly string[] =>
  [...new Set(rules.map(({ policy }) => policy))].sort();

export type SetRef =
  | Pick<Exclude<PeerSet, DecidedSet>, 'kind' | 'family' | 'name'>
  | Pick<DecidedSet, 'kind' | 'family' | 'name' | 'action' | 'key'>;

/** Each element of what is accepted has the counter of its policy. */
export const isCounting = (set: SetRef): boolean => set.kind === 'decided' && set.action === 'Accept';

/** Each element of what is denied has the number of the rule that denies it, by which its log names it. */
export const isNumbering = (set: SetRef): boolean => set.kind === 'decided' && set.action === 'Deny';

/** Policies that count what the rule allows. */
export function countedBy({ peers, counter, origins }: ChainRule): readonly string[] {
  if (counter !== undefined) return [counter];
  return peers !== 'any' && isCounting(peers) ? origins.map(({ policy }) => policy) : [];
}

/** One text for each counter that the chain's rules count with: a policy has one in each direction. */
export const countersOf = ({ direction, rules }: RuleChain): readonly string[] =>
  rules.flatMap(countedBy).map(policy => `${direction} ${policy}`);

/** Those whose bits under the mask are these. */
export interface Numbers {
  readonly bits: number;
  readonly mask: number;
}

export const isAmong = ({ bits, mask }: Numbers, number: number): boolean => (number & mask) >>> 0 === bits;

export interface PortMatch {
  readonly protocol: Protocol;
  /** Disjoint, not touching, ascending, inclusive; one span of 0 to 65535 is every port. */
  readonly spans: readonly PortSpan[];
}

export interface PortSpan {
  readonly first: number;
  readonly last: number;
}

interface Named {
  /** At most 31 characters; content-addressed, so equal sets are one set. */
  readonly name: string;
  readonly family: Family;
  /** The set's members in words; as long as the selectors are, so cut it where it is written. */
  readonly comment: string;
}

/** Addresses of the pods that at least one of the selectors matches. */
export interface AddressSetSpec extends Named {
  readonly kind: 'addresses';
  readonly pods: readonly PodPeer[];
}

/** Addresses of the nodes that at least one of the selectors matches. */
export interface NodeSetSpec extends Named {
  readonly kind: 'nodes';
  readonly nodes: readonly LabelSelector[];
}

/** Blocks minus their holes. */
export interface BlockSetSpec extends Named {
  readonly kind: 'ranges';
  /** Disjoint, not touching, ascending. */
  readonly ranges: readonly Range[];
}

/** Destinations whose named port differs by pod: each address with the number that the name has there. */
export interface NamedPortSetSpec extends Named {
  readonly kind: 'tuples';
  readonly whose:
    | { readonly kind: 'pods'; readonly pods: readonly PodPeer[] }
    | { readonly kind: 'ranges'; readonly ranges: readonly Range[] };
  readonly names: readonly PortName[];
}

/** Pods, and the ports that are for them: other ones for others. */
export interface Pair {
  readonly pods: readonly PodPeer[];
  readonly protocol: Protocol;
  /** Ascending, each once. */
  readonly ports: readonly number[];
}

/** Set for many rules that differ in peers and ports: the kernel looks once, however many they are. */
export interface PairSetSpec extends Named {
  readonly kind: 'tuples';
  readonly whose: { readonly kind: 'pairs'; readonly pairs: readonly Pair[] };
}

export type TupleSetSpec = NamedPortSetSpec | PairSetSpec;

export const isOfPairs = (spec: TupleSetSpec): spec is PairSetSpec => spec.whose.kind === 'pairs';

/** One of many rules of which the first that matches decides. */
export interface OrderedRule {
  readonly pods: readonly PodPeer[];
  /** Few numbers; or names, which each pod has numbers of its own for. */
  readonly ports: 'any' | Omit<Pair, 'pods'> | { readonly names: readonly PortName[] };
  readonly action: Action;
  /** The policy that counts what the rule accepts. */
  readonly counter?: string;
  /** Of a rule that denies: from a hash of its policy, and its place there, so that other policies do not change it. */
  readonly number?: number;
}

/**
 * Pods of which a rule with this action is the first that matches, of many rules in their order: by address and port where the
 * rule names ports, by address where it names none. Who looks by port first, and then by address, finds the one that decides.
 */
export interface DecidedSetSpec extends Named {
  readonly kind: 'decided';
  readonly direction: Direction;
  readonly action: Action;
  readonly key: 'address' | 'tuple';
  readonly rules: readonly OrderedRule[];
}

export type SetSpec = AddressSetSpec | NodeSetSpec | BlockSetSpec | TupleSetSpec | DecidedSetSpec;

/** A set whose members come and go with pods. */
export type PodSetSpec = AddressSetSpec | TupleSetSpec | DecidedSetSpec;

export const comesWithPods = (spec: SetSpec): spec is PodSetSpec =>
  spec.kind === 'addresses' || spec.kind === 'tuples' || spec.kind === 'decided';

/** `address . protocol . port` */
export interface Tuple {
  readonly address: Address;
  readonly protocol: Protocol;
  readonly port: number;
}

export interface AddressSet extends AddressSetSpec {
  /** Ascending, each once. */
  readonly elements: readonly Address[];
}

export interface NodeSet extends NodeSetSpec {
  /** Ascending, each once. */
  readonly elements: readonly Address[];
}

export interface RangeSet extends BlockSetSpec {
  readonly elements: readonly Range[];
}

export type TupleSet = TupleSetSpec & {
  /** Ascending by address and port, each once. */
  readonly elements: readonly Tuple[];
};

/** The element of an address, or of an address and port, as its set says. */
export interface DecidedElement extends Pick<Tuple, 'address'>, Partial<Pick<Tuple, 'protocol' | 'port'>> {
  /** The policy that counts it: of accepted ones. */
  readonly counter?: string;
  /** By which its log names the rule that denies it: of denied ones. */
  readonly number?: number;
}

export interface DecidedSet extends DecidedSetSpec {
  /** Ascending by address and port, each once. */
  readonly elements: readonly DecidedElement[];
}

export type PeerSet = AddressSet | NodeSet | RangeSet | TupleSet | DecidedSet;
