/** The chains of the kernel's NAT: hostPorts, and what leaves under an address of the node. */
import type { Prefix } from '../ip/address.ts';
import type { Chain, Rule, Selector, Statement } from '../nft/model.ts';
import { ACCEPT, ADDRTYPE, inSet, match, oneOf, PROTOCOL, rule } from '../nft/statements.ts';
import type { NodeState } from './node-state.ts';
import { itself, loopback, toPod } from './whose-packet.ts';

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

const multicast: Prefix = { family: 4, value: 0xe0000000n, length: 4 };

const own6 = rule([match('ip6 daddr', '==', { family: 6, value: 1n }), ACCEPT], '[::1] cannot be a hostPort');

const hostPorts: readonly Chain[] = [
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
];

const masquerade: Chain = {
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
};

/** NAT of which pods of the node are in need. */
export interface NatNeeds {
  readonly hostPorts: boolean;
  readonly masquerade: boolean;
}

/**
 * On a Kubernetes node other programs translate what goes to a Service, so that a pod may call itself whether or not it has a
 * hostPort. They have the kernel ask its NAT anyway.
 */
export function neededBy({ settings, counts }: Pick<NodeState, 'settings' | 'counts'>): NatNeeds {
  const hostPorts = counts.mapped > 0;
  const isMasked = Object.keys(counts.ways).length > 0;
  return { hostPorts, masquerade: hostPorts || isMasked || settings.judge === 'agent' };
}

/**
 * The kernel asks its NAT about each connection for as long as a table has a chain of this type, whatever is in it, which costs a
 * connection 4 %: so there is one only while a pod is in need of it. Connections that exist when the first one comes are left as
 * they are.
 */
export const translation = (needed: NatNeeds): readonly Chain[] => [
  ...(needed.hostPorts ? hostPorts : []),
  ...(needed.masquerade ? [masquerade] : []),
];
