/** The chain that pods' packets pass before conntrack sees them, so that what it drops leaves no trace. */
import type { Chain, Rule } from '../nft/model.ts';
import { ACCEPT, inSet, MISSING, match, oneOf, rule } from '../nft/statements.ts';
import type { Judge } from './settings.ts';
import { closed, drop, linkLocal, loopback, notFromPod } from './whose-packet.ts';

/** Router and neighbour solicitation and advertisement, and redirect (RFC 4861, 4). */
const neighbourDiscovery = [133, 134, 135, 136, 137];
const notRoutedBack = match('fib saddr . iif oif', '==', MISSING);

/**
 * The kernel remembers the sender of most neighbour discovery, as it must answer it, and its table of neighbours is one for
 * all links of all namespaces. A pod's routed addresses are few and known; its link-local ones it could invent without end
 * where the link has a route to them all, as links have that other plugins made.
 */
const fromLinkLocal = rule(
  drop(match('ip6 saddr', '==', linkLocal)),
  'a neighbour that the node would have to remember',
);
const nothingLearnt: readonly Rule[] = [
  fromLinkLocal,
  rule(
    drop(oneOf('icmpv6 type', neighbourDiscovery), notRoutedBack),
    'neighbour discovery by an address that is not its own',
  ),
];

const toLoopback = rule(
  drop(match('ip daddr', '==', loopback)),
  "the node's loopback, which route_localnet would let in",
);

/**
 * A pod's own addresses are looked up, which costs a packet half of the way back to its source. That way is asked for those that
 * the node was told of later, by a route to the pod.
 */
const ownSource: readonly Rule[] = [
  rule([inSet(['meta iif', 'ip saddr'], 'own4'), ACCEPT], 'a source address that is its own'),
  rule([inSet(['meta iif', 'ip6 saddr'], 'own6'), ACCEPT]),
  rule(drop(notRoutedBack), 'a source address that is not its own'),
  fromLinkLocal,
];

/** Where policies do not judge, other sources of a pod are nothing to us. */
const anySource: readonly Rule[] = [...nothingLearnt, rule(drop(match('ip saddr', '==', loopback)))];

/** Before conntrack, so that what is dropped here leaves no trace; covers pod → own node, too. */
export const beforeConntrack = (judge: Judge): Chain => ({
  name: 'raw',
  base: { type: 'filter', hook: 'prerouting', priority: -300, policy: 'accept' },
  rules: [
    rule([notFromPod, ACCEPT], 'not from a pod of ours'),
    ...(judge === 'none' ? [] : closed('meta iifgroup')),
    toLoopback,
    ...(judge === 'none' ? anySource : ownSource),
  ],
});
