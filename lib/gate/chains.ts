/**
 * The static part of our table (ARCHITECTURE.md, idea 1): what never changes while pods come and go. Everything that does change
 * stands in the sets and maps that these rules look into.
 */
import type { Prefix } from '../ip/address.ts';
import {
  ACCEPT,
  ADDRTYPE,
  type Chain,
  COUNTER,
  CT_STATE,
  countBy,
  type Datatype,
  DROP,
  goto,
  inSet,
  jump,
  type Match,
  MISSING,
  match,
  matchMasked,
  type NamedSet,
  oneOf,
  PROTOCOL,
  RETURN,
  type Rule,
  rule,
  type Selector,
  type Statement,
  TCP_FLAG,
  vmap,
} from '../nft/model.ts';
import { fnv1a64 } from '../tag/hash.ts';
import { deleting, leavingMask, quarantine, tagBase, tagMask } from '../tag/tag.ts';

/** The judge of the pods of this network namespace; see `enforcer` in the README. */
export type Judge = 'inline' | 'agent' | 'exec' | 'none';

export interface GateSettings {
  readonly judge: Judge;
  readonly nflogGroup: number;
  readonly enforceEgressToNode: boolean;
}

/** True where policies judge pods; false where a program of the admin's judges them, or no enforcer does. */
export const isJudged = ({ judge }: Pick<GateSettings, 'judge'>): boolean => judge === 'inline' || judge === 'agent';

/** Bursts are what a person wants to see; a flood is summed up by the counter. */
const LOG_RATE = { kind: 'limit', rate: 100, per: 'second', burst: 500 } as const;
/** Enough for the headers of IPv6 with options and of the transport. */
const LOG_SNAPLEN = 128;

const fromPod = matchMasked('meta iifgroup', tagMask, '==', tagBase);
const toPod = matchMasked('meta oifgroup', tagMask, '==', tagBase);
const notFromPod = matchMasked('meta iifgroup', tagMask, '!=', tagBase);
const notToPod = matchMasked('meta oifgroup', tagMask, '!=', tagBase);
const fromNode = match('meta iif', '==', 0);
const drop = (...matches: Statement[]): readonly Statement[] => [...matches, COUNTER, DROP];
const loopback: Prefix = { family: 4, value: 0x7f000000n, length: 8 };
const linkLocal: Prefix = { family: 6, value: 0xfe80n << 112n, length: 10 };
const multicast: Prefix = { family: 4, value: 0xe0000000n, length: 4 };

/** Two comparisons cost each packet half of what a look-up in a set of the three groups does (`npm run bench -- gate`). */
const closed = (group: 'meta iifgroup' | 'meta oifgroup'): readonly Rule[] => [
  rule(drop(match(group, '==', quarantine)), 'quarantined'),
  rule(drop(matchMasked(group, leavingMask, '==', deleting)), 'condemned or deleting'),
];

/** The last two rules of a chain that denies: what is logged is limited, what is counted is not. */
export function denial(prefix: string, group: number, comment = 'nothing above allowed it'): readonly Rule[] {
  return [rule([LOG_RATE, { kind: 'log', prefix, group, snaplen: LOG_SNAPLEN }]), rule([COUNTER, DROP], comment)];
}

/** A nflog prefix that says which direction and chain denied; `flows` reads it back. */
export const denialPrefix = (chain: string): string => `tollgate ${chain}`;

/** Router and neighbour solicitation and advertisement, and redirect (RFC 4861, 4). */
const neighbourDiscovery = [133, 134, 135, 136, 137];
const notRoutedBack = match('fib saddr . iif oif', '==', MISSING);

/**
 * The kernel remembers the sender of most neighbour discovery, as it must answer it, and its table of neighbours is one for
 * all links of all namespaces. A pod's routed addresses are few and known; its link-local ones it could invent without end
 * where the link has a route to them all, as links have that other plugins made.
 */
const nothingLearnt: readonly Rule[] = [
  rule(drop(match('ip6 saddr', '==', linkLocal)), 'a neighbour that the node would have to remember'),
  rule(
    drop(oneOf('icmpv6 type', neighbourDiscovery), notRoutedBack),
    'neighbour discovery by an address that is not its own',
  ),
];

/** Before conntrack, so that what is dropped here leaves no trace; covers pod → own node, too. */
function raw(judge: Judge): Chain {
  const gated = [...closed('meta iifgroup'), rule(drop(notRoutedBack), 'a source address that is not its own')];
  return {
    name: 'raw',
    base: { type: 'filter', hook: 'prerouting', priority: -300, policy: 'accept' },
    rules: [
      rule([notFromPod, ACCEPT], 'not from a pod of ours'),
      ...(judge === 'none' ? [] : gated),
      ...nothingLearnt,
      rule(drop(match('ip daddr', '==', loopback)), "the node's loopback, which route_localnet would let in"),
      rule(drop(match('ip saddr', '==', loopback))),
    ],
  };
}

/** A neighbour's discovery of neighbours: a forwarded packet never has hop limit 255 (RFC 4861, 11.2). */
const discovery: readonly Statement[] = [oneOf('icmpv6 type', [133, 134, 135, 136]), match('ip6 hoplimit', '==', 255)];

/** Multicast listener reports have hop limit 1; but no router forwards a packet from a link-local address or from none. */
const listening: readonly Statement[] = [
  oneOf('icmpv6 type', [130, 131, 132, 143]),
  oneOf('ip6 saddr', [{ family: 6, value: 0n }, linkLocal]),
];

const { fin, syn, rst, ack } = TCP_FLAG;
const midStream: Match = { kind: 'match', selector: 'tcp flags', mask: fin | syn | rst | ack, op: '!=', datum: syn };

/**
 * Conntrack would take up a cut connection again from a segment in its middle. A segment that ends it, with whatever data
 * is in it, or SCTP's data it takes for no connection's at all, which is not `new`.
 */
const staysCut: readonly Rule[] = [
  rule(drop(match('ct state', 'any', CT_STATE.new), midStream), 'a cut connection stays cut'),
  rule(drop(match('ct state', 'any', CT_STATE.invalid)), 'of no connection that is known'),
];

const established = match('ct state', 'any', CT_STATE.established);
const relatedError: readonly Statement[] = [
  match('ct state', 'any', CT_STATE.related),
  oneOf('meta l4proto', [PROTOCOL.icmp, PROTOCOL.icmpv6]),
];

const itself = 'a pod to itself, through a service';

/** The last rule of what is judged. */
const ofOneMoment = rule([jump('one-moment')]);

/** The base chain runs after DNAT and before SNAT, so that policy sees the addresses of both pods. */
function gate({ judge }: GateSettings, isOrdered: boolean): Chain {
  const toItself = isOrdered ? goto('to-itself') : ACCEPT;
  const judged = [
    rule([established, ACCEPT], 'most packets, so first'),
    rule([fromNode, notToPod, ACCEPT], "the node's own traffic to elsewhere"),
    rule([notFromPod, notToPod, ACCEPT], 'neither from a pod of ours nor to one'),
    // The kernel reports the pod's interface as the input interface of these two, as if the pod had sent them.
    rule([...discovery, ACCEPT], 'neighbour discovery of the node'),
    rule([...listening, ACCEPT], "the node's multicast listener reports"),
    rule([...relatedError, ACCEPT]),
    ...staysCut,
    rule([inSet(['ip saddr', 'ip daddr'], 'self4'), toItself], itself),
    rule([inSet(['ip6 saddr', 'ip6 daddr'], 'self6'), toItself]),
    rule([fromPod, jump('egress')]),
    rule([fromNode, ACCEPT], 'the node to its pods: probes'),
    rule([toPod, jump('ingress')]),
    ...(isOrdered ? [ofOneMoment] : []),
  ];
  return {
    name: 'gate',
    base: { type: 'filter', hook: 'postrouting', priority: 99, policy: 'accept' },
    rules: [...closed('meta oifgroup'), ...(judge === 'exec' ? [] : judged)],
  };
}

/**
 * Pods' connections to their own node: egress like any other with `enforceEgressToNode`, and without it for cluster policies
 * alone to deny.
 */
function nodeGate({ enforceEgressToNode }: GateSettings, isOrdered: boolean): Chain {
  return {
    name: enforceEgressToNode ? 'node-gate' : 'node-tiers',
    base: { type: 'filter', hook: 'input', priority: 0, policy: 'accept' },
    rules: [
      rule([notFromPod, ACCEPT], 'not from a pod of ours'),
      rule([...discovery, ACCEPT], 'neighbour discovery of the pod'),
      rule([established, ACCEPT]),
      rule([...relatedError, ACCEPT]),
      ...staysCut,
      rule([jump(enforceEgressToNode ? 'egress' : 'egress-tiers')]),
      ...(isOrdered ? [ofOneMoment] : []),
    ],
  };
}

/**
 * A packet that ordered rules judge must not meet one set from before a change and another from after it. In the middle of a
 * ruleset a packet goes on with the rules of its beginning. Each change makes the map that these name anew, and empties the map
 * of before.
 */
export const MOMENT = 'moment';
const NFPROTO = { ipv4: 2, ipv6: 10 } as const;

/** Chains that only a table with ordered rules has. */
function orderedChains(nflogGroup: number): readonly Chain[] {
  return [
    dispatch('egress', 'egress-tiers', 'egress_tiers_by_tag', nflogGroup),
    dispatch('ingress', 'ingress-tiers', 'ingress_tiers_by_tag', nflogGroup),
    { name: 'to-itself', rules: [rule([jump('egress-tiers')]), rule([jump('ingress-tiers')]), ofOneMoment] },
    {
      name: 'one-moment',
      rules: [rule([vmap('meta nfproto', MOMENT)]), rule(drop(), 'policies changed while it was judged')],
    },
  ];
}

/** Each identity's packets are counted before they are judged. A tag that no entry of the map knows is closed. */
function dispatch(direction: 'egress' | 'ingress', name: string, map: string, nflogGroup: number): Chain {
  const selector: Selector = direction === 'egress' ? 'meta iifgroup' : 'meta oifgroup';
  const counted = rule([countBy(selector, `${direction}_counts`)]);
  return { name, rules: [counted, rule([vmap(selector, map)]), ...denial(denialPrefix(name), nflogGroup)] };
}

const ports = oneOf('meta l4proto', [PROTOCOL.tcp, PROTOCOL.udp, PROTOCOL.sctp]);
const notToThisNode = match('fib daddr type', '!=', ADDRTYPE.local);

/**
 * hostPorts: those bound to one address first, then those bound to every address of the node. Both hold only for what is
 * sent to the node: who may write a hostIP could take any other machine's, pod's or Service's traffic otherwise. An address
 * that the node gets later, a floating one, is local from then on.
 */
function hostPortRules(): Rule[] {
  const byPort = ([4, 6] as const).flatMap(family => {
    const daddr = family === 4 ? 'ip daddr' : 'ip6 daddr';
    const dnat = (key: readonly Selector[], map: string): Statement => ({
      kind: 'dnat',
      family,
      to: { key, map, port: true },
    });
    return [
      rule([ports, dnat([daddr, 'meta l4proto', 'th dport'], `hostports${family}`)]),
      rule([ports, dnat(['meta l4proto', 'th dport'], `hostports${family}_any`)]),
    ];
  });
  return [rule([notToThisNode, ACCEPT], 'sent elsewhere'), ...byPort];
}

function nat(): Chain[] {
  const own6 = rule([match('ip6 daddr', '==', { family: 6, value: 1n }), ACCEPT], '[::1] cannot be a hostPort');
  return [
    {
      name: 'hostports-in',
      base: { type: 'nat', hook: 'prerouting', priority: -100, policy: 'accept' },
      rules: hostPortRules(),
    },
    {
      name: 'hostports-out',
      base: { type: 'nat', hook: 'output', priority: -100, policy: 'accept' },
      rules: [own6, ...hostPortRules()],
    },
    {
      name: 'masquerade-out',
      base: { type: 'nat', hook: 'postrouting', priority: 100, policy: 'accept' },
      rules: [
        rule([inSet(['ip saddr', 'ip daddr'], 'self4'), { kind: 'masquerade' }], itself),
        rule([inSet(['ip6 saddr', 'ip6 daddr'], 'self6'), { kind: 'masquerade' }]),
        rule([match('ip saddr', '==', loopback), toPod, { kind: 'masquerade' }], '127.0.0.1 to a hostPort'),
        rule([
          inSet('ip saddr', 'masq4'),
          inSet('ip daddr', 'nomasq4', '!='),
          match('ip daddr', '!=', multicast),
          { kind: 'masquerade' },
        ]),
        rule([inSet('ip6 saddr', 'masq6'), inSet('ip6 daddr', 'nomasq6', '!='), { kind: 'masquerade' }]),
      ],
    },
  ];
}

let made: { readonly key: string; readonly chains: readonly Chain[] } | undefined;
let digested: { readonly key: string; readonly digest: string } | undefined;

/**
 * For the same settings the same value, which two tables need not compare.
 * @param isOrdered cluster policies judge pods of this node
 */
export function gateChains(settings: GateSettings, isOrdered: boolean): readonly Chain[] {
  const key = JSON.stringify([settings, isOrdered]);
  if (made?.key !== key) made = { key, chains: makeChains(settings, isOrdered) };
  return made.chains;
}

/** Tells these chains from those that another release of ours makes for the same settings. */
export function gateDigest(settings: GateSettings): string {
  const key = JSON.stringify(settings);
  if (digested?.key === key) return digested.digest;
  const chains = [false, true].map(isOrdered => makeChains(settings, isOrdered));
  const digest = fnv1a64(JSON.stringify(chains, (_, value) => (typeof value === 'bigint' ? String(value) : value)));
  digested = { key, digest };
  return digest;
}

function makeChains(settings: GateSettings, isOrdered: boolean): readonly Chain[] {
  const { judge, nflogGroup, enforceEgressToNode } = settings;
  const judged = isJudged(settings);
  return [
    raw(judge),
    ...(judge === 'none' ? [] : [gate(settings, isOrdered)]),
    ...(judged && (enforceEgressToNode || isOrdered) ? [nodeGate(settings, isOrdered)] : []),
    ...(judged
      ? [
          dispatch('egress', 'egress', 'egress_by_tag', nflogGroup),
          dispatch('ingress', 'ingress', 'ingress_by_tag', nflogGroup),
        ]
      : []),
    ...(isOrdered ? orderedChains(nflogGroup) : []),
    ...nat(),
  ];
}

const set = (name: string, key: readonly Datatype[], comment: string, interval = false): NamedSet => ({
  name,
  key,
  comment,
  ...(interval ? { interval } : {}),
  elements: [],
});

/** Its one element is the number that the state file has, too. */
export const markerSet: NamedSet = set('marker', ['mark'], 'the state file that this table goes with');

/** @see MOMENT */
const momentMap: NamedSet = {
  ...set(MOMENT, ['nf_proto'], 'made anew with each change of what is judged'),
  value: 'verdict',
  elements: Object.values(NFPROTO).map(family => ({ key: [family], value: RETURN })),
};

/** The sets and maps that the static chains look into, without their elements. */
export function gateSets(judge: Judge, isOrdered: boolean): readonly NamedSet[] {
  const addresses = ([4, 6] as const).flatMap(family => {
    const address: Datatype = family === 4 ? 'ipv4_addr' : 'ipv6_addr';
    const value: readonly Datatype[] = [address, 'inet_service'];
    return [
      set(`self${family}`, [address, address], 'each pod to itself'),
      set(`masq${family}`, [address], 'subnets of pods with ipMasq', true),
      set(`nomasq${family}`, [address], 'what they reach under their own address', true),
      { ...set(`hostports${family}`, [address, 'inet_proto', 'inet_service'], 'hostPorts with a hostIP'), value },
      {
        ...set(`hostports${family}_any`, ['inet_proto', 'inet_service'], "hostPorts on all of the node's addresses"),
        value,
      },
    ];
  });
  const byTag = (name: string, comment: string): NamedSet => ({
    ...set(name, ['devgroup'], comment),
    value: 'verdict',
  });
  const counts = (name: string, comment: string): NamedSet => ({
    ...set(name, ['devgroup'], comment),
    value: 'counter',
  });
  const maps = [
    byTag('egress_by_tag', "what a pod may open, by its interface's group"),
    byTag('ingress_by_tag', "what may be opened to a pod, by its interface's group"),
    counts('egress_counts', 'what pods opened or tried to, each identity for itself'),
    counts('ingress_counts', 'what was opened to pods or tried to be, each identity for itself'),
  ];
  const ordered = [
    byTag('egress_tiers_by_tag', 'what cluster policies let a pod open where NetworkPolicies have no say'),
    byTag('ingress_tiers_by_tag', 'what cluster policies let be opened to a pod where NetworkPolicies have no say'),
    momentMap,
  ];
  return [...addresses, ...(isJudged({ judge }) ? maps : []), ...(isOrdered ? ordered : []), markerSet];
}
