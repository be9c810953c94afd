/** The chains that judge: after routing and DNAT, and on the way to the pod's own node. */
import type { Chain, Match, Selector, Statement } from '../nft/model.ts';
import {
  ACCEPT,
  CT_STATE,
  countBy,
  goto,
  inSet,
  jump,
  match,
  oneOf,
  PROTOCOL,
  rule,
  TCP_FLAG,
  vmap,
} from '../nft/statements.ts';
import { denial, denialPrefix } from './denial.ts';
import { type GateSettings, isJudged } from './settings.ts';
import { MOMENT, ONE_MOMENT } from './static-sets.ts';
import { closed, drop, fromNode, fromPod, itself, linkLocal, notFromPod, notToPod, toPod } from './whose-packet.ts';

/** A neighbour's discovery of neighbours: a forwarded packet never has hop limit 255 (RFC 4861, 11.2). */
const discovery: readonly Statement[] = [oneOf('icmpv6 type', [133, 134, 135, 136]), match('ip6 hoplimit', '==', 255)];

/** Multicast listener reports have hop limit 1; but no router forwards a packet from a link-local address or from none. */
const listening: readonly Statement[] = [
  oneOf('icmpv6 type', [130, 131, 132, 143]),
  oneOf('ip6 saddr', [{ family: 6, value: 0n }, linkLocal]),
];

const { fin, syn, rst, ack } = TCP_FLAG;
const midStream: Match = { kind: 'match', selector: 'tcp flags', mask: fin | syn | rst | ack, op: '!=', datum: syn };

/** Conntrack would take up a cut connection again from a segment in its middle. */
const noneJoined = rule(drop(midStream, match('ct state', 'any', CT_STATE.new)), 'a cut connection stays cut');

/** A segment that ends a cut connection, with whatever data is in it, or SCTP's data: not `new` to conntrack, but of none. */
const noneEnded = rule(drop(match('ct state', 'any', CT_STATE.invalid)), 'of no connection that is known');

const established = match('ct state', 'any', CT_STATE.established);
const relatedError: readonly Statement[] = [
  match('ct state', 'any', CT_STATE.related),
  oneOf('meta l4proto', [PROTOCOL.icmp, PROTOCOL.icmpv6]),
];

/** The last rule of what is judged. */
const ofOneMoment = rule([jump(ONE_MOMENT)]);

/** The base chain runs after DNAT and before SNAT, so that policy sees the addresses of both pods. */
function gate({ judge }: GateSettings, isOrdered: boolean): Chain {
  const toItself = isOrdered ? goto('to-itself') : ACCEPT;
  const judged = [
    rule([established, ACCEPT], 'most packets, so first'),
    rule([fromNode, notToPod, ACCEPT], "the node's own traffic to elsewhere"),
    rule([notFromPod, notToPod, ACCEPT], 'neither from a pod of ours nor to one'),
    rule(
      [match('ct state', '!=', CT_STATE.new), jump('not-new')],
      'neither the first packet of a connection nor established',
    ),
    noneJoined,
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

/** Apart from the gate, so that a connection's first packet passes one comparison. Conntrack tracks neither of the first two. */
const notNew: Chain = {
  name: 'not-new',
  rules: [
    // The kernel reports the pod's interface as the input interface of these two, as if the pod had sent them.
    rule([...discovery, ACCEPT], 'neighbour discovery of the node'),
    rule([...listening, ACCEPT], "the node's multicast listener reports"),
    rule([...relatedError, ACCEPT]),
    noneEnded,
  ],
};

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
      noneJoined,
      noneEnded,
      rule([jump(enforceEgressToNode ? 'egress' : 'egress-tiers')]),
      ...(isOrdered ? [ofOneMoment] : []),
    ],
  };
}

/** Chains that only a table with ordered rules has. */
function orderedChains(nflogGroup: number): readonly Chain[] {
  return [
    dispatch('egress', 'egress-tiers', 'egress_tiers_by_tag', nflogGroup),
    dispatch('ingress', 'ingress-tiers', 'ingress_tiers_by_tag', nflogGroup),
    { name: 'to-itself', rules: [rule([jump('egress-tiers')]), rule([jump('ingress-tiers')]), ofOneMoment] },
    {
      name: ONE_MOMENT,
      rules: [rule([vmap('meta nfproto', MOMENT)]), rule(drop(), 'policies changed while it was judged')],
    },
  ];
}

/** Each identity's packets are counted before they are judged. A tag that no entry of the map knows is closed. */
function dispatch(direction: 'egress' | 'ingress', name: string, map: string, nflogGroup: number): Chain {
  const selector: Selector = direction === 'egress' ? 'meta iifgroup' : 'meta oifgroup';
  const counted = rule([countBy(selector, `${direction}_counts`)]);
  return { name, rules: [counted, rule([vmap(selector, map)]), ...denial(denialPrefix({ chain: name }), nflogGroup)] };
}

/** Where a program of the admin's judges, the gate keeps closed pods closed, and no more. */
export function afterRouting(settings: GateSettings, isOrdered: boolean): readonly Chain[] {
  const { judge, nflogGroup, enforceEgressToNode } = settings;
  if (judge === 'none') return [];
  if (!isJudged(settings)) return [gate(settings, isOrdered)];
  return [
    gate(settings, isOrdered),
    notNew,
    ...(enforceEgressToNode || isOrdered ? [nodeGate(settings, isOrdered)] : []),
    dispatch('egress', 'egress', 'egress_by_tag', nflogGroup),
    dispatch('ingress', 'ingress', 'ingress_by_tag', nflogGroup),
    ...(isOrdered ? orderedChains(nflogGroup) : []),
  ];
}
