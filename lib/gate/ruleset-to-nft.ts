/** From policy's terms to nftables': each chain and set of a ruleset as the kernel shall hold it. */
import type { Family } from '../ip/address.ts';
import { keptComment, keptPrefix } from '../nft/comment.ts';
import type {
  Chain,
  CounterStatement,
  Datatype,
  Element,
  NamedSet,
  NftVerdict,
  Rule,
  Selector,
  Statement,
} from '../nft/model.ts';
import {
  countBy,
  DROP,
  goto,
  inSet,
  markBy,
  match,
  matchMasked,
  oneOf,
  PROTOCOL,
  RETURN,
  rule,
} from '../nft/statements.ts';
import {
  type ChainRule,
  countedBy,
  type DecidedSet,
  type Gate,
  isByNumber,
  isCounting,
  isNumbering,
  type PeerSet,
  type RuleChain as PolicyChain,
  type PortMatch,
  type Ruleset,
  type SetRef,
  type TagEntry,
} from '../policy/compile/ruleset.ts';
import type { Tier } from '../policy/model/cluster-policy.ts';
import { type Direction, formatRule, type Protocol, type RuleRef } from '../policy/model/model.ts';
import { fnv1a64 } from '../tag/hash.ts';
import { describeIdentity } from '../tag/identity.ts';
import { denial, denialByNumber, denialPrefix } from './denial.ts';

const protocolNumber: Readonly<Record<Protocol, number>> = {
  TCP: PROTOCOL.tcp,
  UDP: PROTOCOL.udp,
  SCTP: PROTOCOL.sctp,
};
const portOf = { TCP: 'tcp dport', UDP: 'udp dport', SCTP: 'sctp dport' } as const;
const peerOf = (direction: Direction, family: Family): Selector =>
  `${family === 4 ? 'ip' : 'ip6'} ${direction === 'ingress' ? 'saddr' : 'daddr'}`;

/** `ingress/NetworkPolicy/a/web`, shortened with a hash where the kernel's 255 bytes would not do. */
export function policyCounter(direction: Direction, policy: string): string {
  const name = `${direction}/${policy}`;
  return name.length <= 200 ? name : `${name.slice(0, 180)}-${fnv1a64(name)}`;
}

/** `egress/tag/74670001`: what is judged of an identity, whichever chains judge it in the course of time. */
export const tagCounter = (direction: Direction, tag: number): string => `${direction}/tag/${tag.toString(16)}`;

/** The tag that it counts for; undefined for a policy's counter. */
export function tagOfCounter(name: string): number | undefined {
  const tag = /^(?:egress|ingress)\/tag\/([0-9a-f]{8})$/.exec(name)?.[1];
  return tag === undefined ? undefined : Number.parseInt(tag, 16);
}

function matchPeers(direction: Direction, set: SetRef): Statement {
  const { kind, family, name } = set;
  const peer = peerOf(direction, family);
  const isByPort = kind === 'tuples' || (kind === 'decided' && set.key === 'tuple');
  const key = isByPort ? ([peer, 'meta l4proto', 'th dport'] as const) : ([peer] as const);
  if (isCounting(set)) return countBy(key, name);
  // No other program reads the mark of a packet that is dropped.
  return isNumbering(set) ? markBy(key, name) : inSet(key, name);
}

function matchPorts({ protocol, spans }: PortMatch): Statement {
  const [only] = spans;
  if (spans.length === 1 && only!.first === 0 && only!.last === 65535)
    return match('meta l4proto', '==', protocolNumber[protocol]);
  const data = spans.map(({ first, last }) => (first === last ? first : { first, last }));
  return spans.length === 1 ? match(portOf[protocol], '==', data[0]!) : oneOf(portOf[protocol], data);
}

/** Allowed is `return`, never `accept`: the other direction has its say, too. */
const leadTo = (gate: Gate): NftVerdict => (gate === 'open' ? RETURN : goto(gate));

/** Ports are compared, peers looked up: where rules are ordered, and so can be many, the cheaper of the two comes first. */
function chainRule(
  { direction, otherwise }: PolicyChain,
  { peers, ports, counter, origins, to = 'open' }: ChainRule,
): Rule {
  const ofPeers = peers === 'any' ? [] : [matchPeers(direction, peers)];
  const ofPorts = ports === 'any' ? [] : [matchPorts(ports)];
  const statements: Statement[] = [
    ...(otherwise === undefined ? [...ofPeers, ...ofPorts] : [...ofPorts, ...ofPeers]),
    ...(counter === undefined ? [] : [{ kind: 'counter', name: policyCounter(direction, counter) } as const]),
    leadTo(to),
  ];
  return rule(statements, keptComment(origins.map(formatRule).join(', ')));
}

/** `Admin ClusterNetworkPolicy/bank ingress[0] "no shop" and 2 more` */
function denierText(tier: Tier, rules: readonly RuleRef[]): string {
  const [first, ...more] = rules.map(formatRule);
  return `${tier} ${first}${more.length > 0 ? ` and ${more.length} more` : ''}`;
}

/** `tollgate in-deny-… Admin ClusterNetworkPolicy/bank ingress[0] "no shop"`: programs read the chain, people the rest. */
function denialOf({ name, denies }: PolicyChain, nflogGroup: number): readonly Rule[] {
  const prefix = denialPrefix({ chain: name });
  if (!denies) return denial(prefix, nflogGroup);
  const which = denierText(denies.tier, denies.rules);
  return denial(keptPrefix(`${prefix} ${which}`), nflogGroup, keptComment(which));
}

/** `tollgate in-…/9a3f21c4 Admin ClusterNetworkPolicy/bank ingress[0] "no shop"`, of one number; others lead on. */
function ruleByNumber({ name, denies }: PolicyChain, { numbers, origins, to }: ChainRule, nflogGroup: number): Rule {
  const { bits, mask } = numbers!;
  if (to !== undefined) return rule([matchMasked('meta mark', mask, '==', bits), goto(to)]);
  const which = denierText(denies!.tier, origins);
  const prefix = keptPrefix(`${denialPrefix({ chain: name, number: bits })} ${which}`);
  return denialByNumber(bits, prefix, nflogGroup, keptComment(which));
}

/** The rules for a packet that no other rule of the chain matches. */
function endOf(chain: PolicyChain, nflogGroup: number): readonly Rule[] {
  const { otherwise } = chain;
  if (otherwise === undefined) return denialOf(chain, nflogGroup);
  return otherwise === 'open' ? [] : [rule([goto(otherwise)])];
}

const policyChain = (chain: PolicyChain, nflogGroup: number): Chain => ({
  name: chain.name,
  comment: keptComment(chain.policies.join(', ')),
  rules: isByNumber(chain)
    ? [...chain.rules.map(each => ruleByNumber(chain, each, nflogGroup)), rule([DROP])]
    : [...chain.rules.map(each => chainRule(chain, each)), ...endOf(chain, nflogGroup)],
});

function decidedSet(set: DecidedSet, address: Datatype): NamedSet {
  const { name, comment, key, direction, elements } = set;
  return {
    ...{ name, comment: keptComment(comment) },
    key: key === 'tuple' ? [address, 'inet_proto', 'inet_service'] : [address],
    ...(isCounting(set) ? { value: 'counter' } : isNumbering(set) ? { value: ['mark'] } : {}),
    elements: elements.map(({ address, protocol, port, counter, number }) => ({
      key: port === undefined ? [address] : [address, protocolNumber[protocol!], port],
      ...(counter === undefined ? {} : { value: { counter: policyCounter(direction, counter) } }),
      ...(number === undefined ? {} : { value: [number] }),
    })),
  };
}

function peerSet(set: PeerSet): NamedSet {
  const address: Datatype = set.family === 4 ? 'ipv4_addr' : 'ipv6_addr';
  const { name, kind } = set;
  const comment = keptComment(set.comment);
  if (kind === 'addresses' || kind === 'nodes')
    return { name, comment, key: [address], elements: set.elements.map(a => ({ key: [a] })) };
  if (kind === 'ranges')
    return { name, comment, key: [address], interval: true, elements: set.elements.map(r => ({ key: [r] })) };
  if (kind === 'decided') return decidedSet(set, address);
  const elements = set.elements.map(t => ({ key: [t.address, protocolNumber[t.protocol], t.port] }));
  return { name, comment, key: [address, 'inet_proto', 'inet_service'], elements };
}

const entry = (tag: number, gate: Gate, comment: string): Element => ({
  key: [tag],
  value: leadTo(gate),
  comment,
});

/** A ruleset as parts of the table. `elements`: by the name of the map or set that they belong to. */
export interface Compiled {
  readonly chains: readonly Chain[];
  readonly sets: readonly NamedSet[];
  readonly counters: readonly CounterStatement[];
  readonly elements: Readonly<Record<string, readonly Element[]>>;
}

const directions = ['egress', 'ingress'] as const;
const openTo = { egress: 'open', ingress: 'open' } as const;

function elementsOf(tags: Ruleset['tags']): Compiled['elements'] {
  const entries = [...tags].map(([tag, found]) => {
    return { tag, found, comment: keptComment(describeIdentity(found.identity)) };
  });
  const leading = (gateOf: (found: TagEntry) => Gate) =>
    entries.map(({ tag, found, comment }) => entry(tag, gateOf(found), comment));
  const elements = directions.map(direction => ({
    [`${direction}_by_tag`]: leading(found => found[direction]),
    [`${direction}_tiers_by_tag`]: leading(({ byCluster = openTo }) => byCluster[direction]),
    [`${direction}_counts`]: entries.map(({ tag, comment }) => {
      return { key: [tag], value: { counter: tagCounter(direction, tag) }, comment };
    }),
  }));
  return Object.assign({}, ...elements);
}

export function toNft({ sets, chains, tags }: Ruleset, nflogGroup: number): Compiled {
  const counted = [...chains.values()].flatMap(({ direction, rules }) =>
    rules.flatMap(rule => countedBy(rule).map(policy => policyCounter(direction, policy))),
  );
  const ofTags = directions.flatMap(direction =>
    [...tags].map(([tag, { identity }]) => {
      return { name: tagCounter(direction, tag), comment: keptComment(describeIdentity(identity)) };
    }),
  );
  return {
    chains: [...chains.values()].map(chain => policyChain(chain, nflogGroup)),
    sets: [...sets.values()].map(peerSet),
    counters: [...[...new Set(counted)].map(name => ({ name })), ...ofTags],
    elements: elementsOf(tags),
  };
}
