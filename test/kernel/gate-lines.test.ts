/**
 * Each line of the gate, by real packets: what it is there for holds with it, and no longer without it. A line that
 * nothing depends on has no row here and fails the last test.
 */
import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import type { HostPort } from '../../lib/gate/node-state.ts';
import { type Address, type Family, formatAddress } from '../../lib/ip/address.ts';
import type { Statement, Table } from '../../lib/nft/model.ts';
import { match, PROTOCOL, TCP_FLAG } from '../../lib/nft/statements.ts';
import { formatRule } from '../../lib/nft/text.ts';
import type { Ruleset } from '../../lib/policy/compile/ruleset.ts';
import { condemned, deleting, describeTag, leavingMask, quarantine } from '../../lib/tag/tag.ts';
import { GateHost, type GatePod, localPod, tableOf } from '../support/gate-host.ts';
import { NflogReader } from '../support/nflog.ts';
import { encodePacket, type Packet } from '../support/packet.ts';
import type { End } from '../support/tap.ts';
import { until } from '../support/until.ts';
import { addressOf, farAddress, nearAddress, nodeAddress, packetId, tableName } from '../support/wired-host.ts';

/** Who may open what: `mute` nothing to others, `deaf` nothing from others, `shut` neither; `unknown` is in no map. */
const tags = {
  ...{ open: 0x74670001, shut: 0x74670002, deaf: 0x74670003, mute: 0x74670004, unknown: 0x74671234 },
  /** As `mute` and `deaf`, by cluster policies. */
  ...{ curbed: 0x74670005, barred: 0x74670006 },
} as const;

const closed = (direction: 'egress' | 'ingress', name: string) =>
  [name, { name, direction, rules: [], policies: ['NetworkPolicy/test/nothing'] }] as const;
const identity = { namespace: 'test', labels: new Map<string, string>(), namedPorts: [] };
const ruleset: Ruleset = {
  sets: new Map(),
  chains: new Map([closed('egress', 'out-nothing'), closed('ingress', 'in-nothing')]),
  tags: new Map([
    [tags.open, { identity, egress: 'open', ingress: 'open' }],
    [tags.shut, { identity, egress: 'out-nothing', ingress: 'in-nothing' }],
    [tags.deaf, { identity, egress: 'open', ingress: 'in-nothing' }],
    [tags.mute, { identity, egress: 'out-nothing', ingress: 'open' }],
  ]),
};

/** Cluster policies are among those that judge: the own node and a pod itself are for them to deny. */
const ordered: Ruleset = {
  ...ruleset,
  isOrdered: true,
  tags: new Map([
    ...ruleset.tags,
    [
      tags.curbed,
      { identity, egress: 'out-nothing', ingress: 'open', byCluster: { egress: 'out-nothing', ingress: 'open' } },
    ],
    [
      tags.barred,
      { identity, egress: 'open', ingress: 'in-nothing', byCluster: { egress: 'open', ingress: 'in-nothing' } },
    ],
  ]),
};

/** On all of the node's addresses, then on one of each family. */
const hostPorts: readonly HostPort[] = [
  { hostPort: 8080, containerPort: 80, protocol: 'udp' },
  ...Object.values(nodeAddress).map(address => ({
    hostPort: 8081,
    containerPort: 80,
    protocol: 'udp' as const,
    hostIP: formatAddress(address),
  })),
];
const podRanges = ['10.0.0.0/24', 'fd00::/64'];

/** Opened in `before`, since each test needs all of it. */
let host: GateHost;
let a: GatePod;
let b: GatePod;
let whole: Table;
const tableWith = (enforceEgressToNode: boolean): Table =>
  tableOf(
    [
      localPod(a, tags.open, { hostPorts }),
      localPod(b, tags.open, { masquerade: { from: podRanges, except: podRanges } }),
    ],
    { ruleset, settings: { enforceEgressToNode } },
  );

before(async () => {
  host = await GateHost.start(2);
  [a, b] = host.pods as [GatePod, GatePod];
  whole = tableWith(true);
});

after(() => host[Symbol.dispose]());

const lo = { 4: addressOf('127.0.0.1'), 6: addressOf('::1') } as const;
let sports = 10_000;
const udp = (from: Address, to: Address, more: Partial<Packet> = {}): Packet => ({
  from,
  to,
  protocol: PROTOCOL.udp,
  sport: ++sports,
  dport: 80,
  ...more,
});
/** From the middle of a connection that the node knows nothing of. */
const midStream = (from: Address, to: Address): Packet =>
  udp(from, to, { protocol: PROTOCOL.tcp, flags: TCP_FLAG.ack | TCP_FLAG.psh, payload: Buffer.from('more') });
/** The last segment of such a connection, with data in it. */
const ending = (from: Address, to: Address): Packet => ({
  ...midStream(from, to),
  flags: TCP_FLAG.fin | TCP_FLAG.ack | TCP_FLAG.psh,
});
/** DATA of SCTP (RFC 9260, 3.3.1), of an association that the node knows nothing of. */
const association = (from: Address, to: Address): Packet =>
  udp(from, to, { protocol: PROTOCOL.sctp, payload: Uint8Array.of(0, 3, 0, 20, ...Array(12).fill(0), 1, 2, 3, 4) });
/** What somebody sends who could not deliver that packet. */
function unreachable(by: Address, packet: Packet): Packet {
  const quoted = encodePacket(packet);
  const [protocol, type] = by.family === 4 ? [PROTOCOL.icmp, 3] : [PROTOCOL.icmpv6, 1];
  return { from: by, to: packet.from, protocol, sport: 0, dport: 0, type, payload: Buffer.concat([u32, quoted]) };
}
const u32 = Buffer.alloc(4);
const answerTo = ({ from, to, sport, dport, protocol }: Packet): Packet => ({
  from: to,
  to: from,
  protocol,
  sport: dport,
  dport: sport,
});

const received = (end: End, packet: Packet, at: End): Packet[] => host.received(end, packet, at);

const arrives = (end: End, packet: Packet, at: End): boolean =>
  received(end, packet, at).some(found => packetId(found) === packetId(packet) && found.type === packet.type);

const errorArrives = (end: End, packet: Packet, at: End): boolean =>
  received(end, packet, at).some(found => found.type === packet.type && found.protocol === packet.protocol);

/** Under which source a packet arrives. */
function sourceSeen(end: End, packet: Packet, at: End): string | undefined {
  const found = received(end, packet, at).find(one => packetId(one) === packetId(packet));
  return found && formatAddress(found.from);
}

type Tag = keyof typeof tags;

interface Line {
  readonly chain: string;
  /** What of all rules of the chain this one alone says; after `^`, how it alone begins. */
  readonly rule: string;
  /** What holds with the line, and not without it. */
  readonly why: string;
  readonly tags?: readonly [a: Tag | number, b: Tag | number];
  /** Where the pod's own node is judged too, another line would do what this one does. */
  readonly enforceEgressToNode?: false;
  /** Both unless said. */
  readonly families?: readonly Family[];
  readonly holds: (family: Family) => boolean | Promise<boolean>;
}

/** That the port which was asked for is closed. */
function saysClosed(f: Family): boolean {
  const question = udp(a.addresses[f], b.addresses[f]);
  a.end.send(question);
  return errorArrives(b.end, unreachable(b.addresses[f], question), a.end);
}

const lines: readonly Line[] = [
  {
    chain: 'raw',
    rule: 'meta iifgroup & 0xffff0000 != 0x74670000 accept',
    why: 'a source that is routed elsewhere is nothing to us where no pod of ours sent it',
    holds: f => arrives(host.near, udp(farAddress[f], a.addresses[f]), a.end),
  },
  {
    chain: 'raw',
    rule: 'meta iifgroup 0x74670000',
    why: 'a pod that is not judged does not even reach its own node',
    tags: [quarantine, 'open'],
    enforceEgressToNode: false,
    holds: f => !arrives(a.end, udp(a.addresses[f], nodeAddress[f]), host.node),
  },
  ...([condemned, deleting] as const).map(
    (group): Line => ({
      chain: 'raw',
      rule: 'meta iifgroup & 0xfffffffe == 0x7467fffe',
      why: `a pod that goes does not even reach its own node: ${describeTag(group)}`,
      tags: [group, 'open'],
      enforceEgressToNode: false,
      holds: f => !arrives(a.end, udp(a.addresses[f], nodeAddress[f]), host.node),
    }),
  ),
  {
    chain: 'raw',
    rule: 'ip6 saddr fe80::/10',
    why: 'a pod invents no link-local neighbours where the node has a route to all of them',
    families: [6],
    holds: async () => {
      await host.host.sh(`ip -6 route replace fe80::/64 dev ${a.link}`);
      const isLearnt = await learns(addressOf('fe80::7467'));
      await host.host.sh(`ip -6 route del fe80::/64 dev ${a.link}`);
      return !isLearnt;
    },
  },
  ...([4, 6] as const).map(
    (family): Line => ({
      chain: 'raw',
      rule: `@own${family}`,
      why: "a pod's own address is its own wherever routes lead",
      families: [family],
      holds: f => {
        host.lead(a.addresses[f], 'near');
        const isHeard = arrives(a.end, udp(a.addresses[f], b.addresses[f]), b.end);
        host.lead(a.addresses[f], a);
        return isHeard;
      },
    }),
  ),
  {
    chain: 'raw',
    rule: '^fib saddr . iif oif',
    why: "nothing goes out under another pod's address",
    holds: f => !arrives(a.end, udp(b.addresses[f], nearAddress[f]), host.near),
  },
  {
    chain: 'raw',
    rule: 'ip daddr 127.0.0.0/8',
    why: "a pod with a hostPort does not reach the node's loopback",
    families: [4],
    holds: f => !arrives(a.end, udp(a.addresses[f], lo[4]), host.node),
  },
  {
    chain: 'gate',
    rule: 'meta oifgroup 0x74670000',
    why: 'not even the node reaches a pod that is not judged',
    tags: [quarantine, 'open'],
    holds: f => !arrives(host.node, udp(nodeAddress[f], a.addresses[f]), a.end),
  },
  ...([condemned, deleting] as const).map(
    (group): Line => ({
      chain: 'gate',
      rule: 'meta oifgroup & 0xfffffffe == 0x7467fffe',
      why: `not even the node reaches a pod that goes: ${describeTag(group)}`,
      tags: [group, 'open'],
      holds: f => !arrives(host.node, udp(nodeAddress[f], a.addresses[f]), a.end),
    }),
  ),
  {
    chain: 'gate',
    rule: 'meta iif 0 meta oifgroup & 0xffff0000 != 0x74670000',
    why: "the node's own connections to elsewhere are its own matter, from the middle on too",
    holds: f => arrives(host.node, midStream(nodeAddress[f], farAddress[f]), host.far),
  },
  {
    chain: 'gate',
    rule: 'meta iifgroup & 0xffff0000 != 0x74670000 meta oifgroup & 0xffff0000 != 0x74670000',
    why: 'what the node forwards between others is not judged, from the middle on too',
    holds: f => arrives(host.near, midStream(nearAddress[f], farAddress[f]), host.far),
  },
  {
    chain: 'not-new',
    rule: 'ip6 hoplimit 255',
    why: 'the node finds even a pod that may call nobody and that nobody may call',
    tags: ['shut', 'open'],
    families: [6],
    holds: async f => {
      const entry = `${formatAddress(a.addresses[f])} dev ${a.link}`;
      await host.host.sh(`ip neigh del ${entry}`);
      const seen = received(host.node, udp(nodeAddress[f], a.addresses[f]), a.end);
      await host.host.sh(`ip neigh replace ${entry} lladdr ${a.mac} nud permanent`);
      return seen.some(({ type }) => type === 135);
    },
  },
  {
    chain: 'not-new',
    rule: 'ip6 saddr { ::, fe80::/10 }',
    why: "what the node listens to on a pod's link is not denied to the pod, nor logged as if it were",
    tags: ['mute', 'open'],
    families: [6],
    holds: async () => {
      using reader = new NflogReader(host.place, 7467);
      a.end.take();
      using _ = host.node.join(addressOf(`ff02::7467:${(++sports).toString(16)}`), a.ifindex);
      let isHeard = false;
      let isDenied = false;
      // The kernel reports at once, but by a worker of its own.
      await until('the node reports what it listens to', () => {
        isHeard ||= a.end.take().some(({ protocol }) => protocol === 0);
        isDenied ||= reader.take().some(({ prefix }) => prefix === 'tollgate out-nothing');
        return isHeard || isDenied;
      });
      return isHeard && !isDenied;
    },
  },
  {
    chain: 'gate',
    rule: 'ct state established accept',
    why: 'a pod that nobody may call gets its answers',
    tags: ['deaf', 'open'],
    holds: f => {
      const question = udp(a.addresses[f], b.addresses[f]);
      a.end.send(question);
      host.settle();
      return arrives(b.end, answerTo(question), a.end);
    },
  },
  {
    chain: 'gate',
    rule: 'ct state != new jump not-new',
    why: 'a pod that may call nobody says that a port is closed, since that is no first packet',
    tags: ['deaf', 'mute'],
    holds: saysClosed,
  },
  {
    chain: 'not-new',
    rule: 'ct state related',
    why: 'a pod that may call nobody says that a port is closed',
    tags: ['deaf', 'mute'],
    holds: saysClosed,
  },
  {
    chain: 'gate',
    rule: 'tcp flags',
    why: 'nobody joins a TCP connection in its middle, even who could open one',
    holds: f => !arrives(a.end, midStream(a.addresses[f], b.addresses[f]), b.end),
  },
  {
    chain: 'not-new',
    rule: 'ct state invalid',
    why: 'nor ends it, nor sends the data of an SCTP association that nobody knows',
    holds: f =>
      !arrives(a.end, ending(a.addresses[f], b.addresses[f]), b.end) &&
      !arrives(a.end, association(a.addresses[f], b.addresses[f]), b.end),
  },
  ...([4, 6] as const).map(
    (family): Line => ({
      chain: 'gate',
      rule: `@self${family}`,
      why: 'a pod that nobody may call, and that may call nobody, reaches itself through a service',
      tags: ['shut', 'open'],
      families: [family],
      holds: f => {
        // Under enforceEgressToNode too: after DNAT it is not the node that is called.
        return sourceSeen(a.end, udp(a.addresses[f], nodeAddress[f], { dport: 8080 }), a.end) !== undefined;
      },
    }),
  ),
  {
    chain: 'gate',
    rule: 'meta iifgroup & 0xffff0000 == 0x74670000 jump egress',
    why: 'a pod that may call nobody calls nobody',
    tags: ['mute', 'open'],
    holds: f => !arrives(a.end, udp(a.addresses[f], b.addresses[f]), b.end),
  },
  {
    chain: 'gate',
    rule: 'meta iif 0 accept',
    why: 'the node probes even a pod that nobody may call',
    tags: ['shut', 'open'],
    holds: f => arrives(host.node, udp(nodeAddress[f], a.addresses[f]), a.end),
  },
  {
    chain: 'gate',
    rule: 'meta oifgroup & 0xffff0000 == 0x74670000 jump ingress',
    why: 'a pod that nobody may call is called by nobody',
    tags: ['open', 'deaf'],
    holds: f => !arrives(a.end, udp(a.addresses[f], b.addresses[f]), b.end),
  },
  {
    chain: 'egress',
    rule: 'counter name meta iifgroup map @egress_counts',
    why: 'what a pod tries to open is counted for its identity, allowed or not',
    tags: ['mute', 'open'],
    holds: f => counts('egress/tag/74670004', a.end, udp(a.addresses[f], nearAddress[f])),
  },
  {
    chain: 'egress',
    rule: 'meta iifgroup vmap',
    why: 'a pod that no policy isolates reaches whom it likes',
    holds: f => arrives(a.end, udp(a.addresses[f], nearAddress[f]), host.near),
  },
  {
    chain: 'egress',
    rule: 'limit',
    why: 'what an unknown tag is denied is logged, with direction and chain',
    tags: ['unknown', 'open'],
    holds: f => logs('tollgate egress', a.end, udp(a.addresses[f], nearAddress[f])),
  },
  {
    chain: 'egress',
    rule: 'counter drop',
    why: 'nothing leaves a pod whose tag is in no map',
    tags: ['unknown', 'open'],
    holds: f => !arrives(a.end, udp(a.addresses[f], nearAddress[f]), host.near),
  },
  {
    chain: 'ingress',
    rule: 'counter name meta oifgroup map @ingress_counts',
    why: 'what somebody tries to open to a pod is counted for its identity, allowed or not',
    tags: ['deaf', 'open'],
    holds: f => counts('ingress/tag/74670003', host.near, udp(nearAddress[f], a.addresses[f])),
  },
  {
    chain: 'ingress',
    rule: 'meta oifgroup vmap',
    why: 'a pod that no policy isolates is reached by whoever likes',
    holds: f => arrives(host.near, udp(nearAddress[f], a.addresses[f]), a.end),
  },
  {
    chain: 'ingress',
    rule: 'limit',
    why: 'what is denied towards an unknown tag is logged, with direction and chain',
    tags: ['unknown', 'open'],
    holds: f => logs('tollgate ingress', host.near, udp(nearAddress[f], a.addresses[f])),
  },
  {
    chain: 'ingress',
    rule: 'counter drop',
    why: 'nothing enters a pod whose tag is in no map',
    tags: ['unknown', 'open'],
    holds: f => !arrives(host.near, udp(nearAddress[f], a.addresses[f]), a.end),
  },
  {
    chain: 'node-gate',
    rule: 'meta iifgroup & 0xffff0000 != 0x74670000 accept',
    why: 'others reach the node as ever',
    holds: f => arrives(host.near, udp(nearAddress[f], nodeAddress[f]), host.node),
  },
  {
    chain: 'node-gate',
    rule: 'icmpv6 type',
    why: 'a pod that may call nobody asks the node for its address, with hop limit 255',
    tags: ['mute', 'open'],
    families: [6],
    holds: f => errorArrives(a.end, solicitation(a.addresses[f], nodeAddress[f], 255), host.node),
  },
  {
    chain: 'node-gate',
    rule: 'ct state established accept',
    why: 'a pod that may call nobody answers the node',
    tags: ['mute', 'open'],
    holds: f => {
      const question = udp(nodeAddress[f], a.addresses[f]);
      host.node.send(question);
      host.settle();
      return arrives(a.end, answerTo(question), host.node);
    },
  },
  {
    chain: 'node-gate',
    rule: 'ct state related',
    why: 'a pod that may call nobody tells the node that a port is closed',
    tags: ['mute', 'open'],
    holds: f => {
      const question = udp(nodeAddress[f], a.addresses[f]);
      host.node.send(question);
      return errorArrives(a.end, unreachable(a.addresses[f], question), host.node);
    },
  },
  {
    chain: 'node-gate',
    rule: 'tcp flags',
    why: 'a pod does not join a connection to the node in its middle, even if it could open one',
    holds: f => !arrives(a.end, midStream(a.addresses[f], nodeAddress[f]), host.node),
  },
  {
    chain: 'node-gate',
    rule: 'ct state invalid',
    why: 'nor ends one',
    holds: f => !arrives(a.end, ending(a.addresses[f], nodeAddress[f]), host.node),
  },
  {
    chain: 'node-gate',
    rule: 'jump egress',
    why: 'a pod that may call nobody does not call its node either',
    tags: ['mute', 'open'],
    holds: f => !arrives(a.end, udp(a.addresses[f], nodeAddress[f]), host.node),
  },
  ...([4, 6] as const).flatMap((family): Line[] => {
    const maps = [
      { rule: `@hostports${family} `, dport: 8081, where: 'on one address of the node' },
      { rule: `@hostports${family}_any`, dport: 8080, where: 'on all addresses of the node' },
    ];
    return maps.flatMap(({ rule, dport, where }) => [
      {
        chain: 'hostports-in',
        rule,
        why: `a hostPort ${where} leads from elsewhere to the pod`,
        families: [family],
        holds: (f: Family) => arrives(host.near, udp(nearAddress[f], nodeAddress[f], { dport }), a.end),
      },
      {
        chain: 'hostports-out',
        rule,
        why: `a hostPort ${where} leads from the node to the pod`,
        families: [family],
        holds: (f: Family) => arrives(host.node, udp(nodeAddress[f], nodeAddress[f], { dport }), a.end),
      },
    ]);
  }),
  {
    chain: 'hostports-in',
    rule: 'fib daddr type',
    why: 'a hostPort takes nothing that others send to others',
    holds: f => arrives(host.near, udp(nearAddress[f], farAddress[f], { dport: 8080 }), host.far),
  },
  {
    chain: 'hostports-out',
    rule: 'fib daddr type',
    why: 'a hostPort takes nothing that the node sends to others',
    holds: f => arrives(host.node, udp(nodeAddress[f], farAddress[f], { dport: 8080 }), host.far),
  },
  {
    chain: 'hostports-out',
    rule: 'ip6 daddr ::1',
    why: 'what the node says to its own [::1] stays there, whatever port it is',
    families: [6],
    holds: () => arrives(host.node, udp(lo[6], lo[6], { dport: 8080 }), host.node),
  },
  ...([4, 6] as const).map(
    (family): Line => ({
      chain: 'masquerade-out',
      rule: `@self${family}`,
      why: 'a pod that calls itself through a service is not called by itself, or it would answer past the node',
      families: [family],
      holds: f => {
        const seen = sourceSeen(a.end, udp(a.addresses[f], nodeAddress[f], { dport: 8080 }), a.end);
        return seen !== undefined && seen !== formatAddress(a.addresses[f]);
      },
    }),
  ),
  {
    chain: 'masquerade-out',
    rule: 'ip saddr 127.0.0.0/8',
    why: "the node's 127.0.0.1 reaches a hostPort under an address that the pod can answer",
    families: [4],
    holds: () => {
      const seen = sourceSeen(host.node, udp(lo[4], lo[4], { dport: 8080 }), a.end);
      return seen !== undefined && !seen.startsWith('127.');
    },
  },
  ...([4, 6] as const).map(
    (family): Line => ({
      chain: 'masquerade-out',
      rule: `@masq${family} `,
      why: 'a pod with ipMasq reaches others under an address of the node',
      families: [family],
      holds: f => {
        const seen = sourceSeen(b.end, udp(b.addresses[f], nearAddress[f]), host.near);
        return seen !== undefined && seen !== formatAddress(b.addresses[f]);
      },
    }),
  ),
];

/** Whether the node remembers that a router solicitation of the pod came from this address. */
async function learns(from: Address): Promise<boolean> {
  const option = Uint8Array.of(1, 1, 2, 0, 0, 0, 0, 0x67);
  const payload = Buffer.concat([u32, option]);
  const to = addressOf('ff02::2');
  a.end.send({ from, to, protocol: PROTOCOL.icmpv6, sport: 0, dport: 0, type: 133, hoplimit: 255, payload });
  host.settle();
  const entry = `${formatAddress(from)} dev ${a.link}`;
  const found = await host.host.sh(`ip -6 neigh show nud all ${entry}`);
  if (found !== '') await host.host.sh(`ip -6 neigh del ${entry}`);
  return found !== '';
}

/** With enforcer `none` no other source is looked up, so that these lines stand alone there. */
const ungated: readonly Line[] = [
  {
    chain: 'raw',
    rule: 'icmpv6 type { 133, 134, 135, 136, 137 }',
    why: 'a pod invents no neighbours by addresses that are not its own',
    families: [6],
    holds: async () => !(await learns(addressOf('fd99::7467'))),
  },
  {
    chain: 'raw',
    rule: 'ip saddr 127.0.0.0/8',
    why: "no pod speaks under an address of the node's loopback",
    families: [4],
    holds: f => !arrives(a.end, udp(addressOf('127.0.0.2'), nodeAddress[f]), host.node),
  },
];

function solicitation(from: Address, to: Address, hoplimit: number): Packet {
  const target = Buffer.from(to.value.toString(16).padStart(32, '0'), 'hex');
  const payload = Buffer.concat([u32, target, Buffer.from('with a message in it that is nobody else to read')]);
  return { from, to, protocol: PROTOCOL.icmpv6, sport: 0, dport: 0, type: 135, hoplimit, payload };
}

function logs(prefix: string, end: End, packet: Packet): boolean {
  using reader = new NflogReader(host.place, 7467);
  end.send(packet);
  host.settle();
  return reader.take().some(logged => logged.prefix === prefix && logged.packet?.sport === packet.sport);
}

/** Whether this counter, of all that tags have, counts the packet, and once. */
function counts(name: string, end: End, packet: Packet): boolean {
  const read = () => [...host.nft.readCounters(tableName)].filter(([name]) => name.includes('/tag/'));
  const earlier = new Map(read());
  end.send(packet);
  host.settle();
  const more = read().map(([name, { packets }]) => [name, packets - (earlier.get(name)?.packets ?? 0n)] as const);
  return isDeepStrictEqual(
    more.filter(([, packets]) => packets > 0n),
    [[name, 1n]],
  );
}

const ruleAt = (table: Table, { chain, rule }: Line): number[] => {
  const rules = table.chains.find(({ name }) => name === chain)?.rules ?? [];
  const isIt = (text: string) => (rule.startsWith('^') ? text.startsWith(rule.slice(1)) : text.includes(rule));
  return rules.flatMap(({ statements }, i) => (isIt(`${formatRule({ statements })} `) ? [i] : []));
};

const textsAt = (table: Table, line: Line): string[] =>
  ruleAt(table, line).map(i => {
    const { name, rules } = table.chains.find(({ name }) => name === line.chain)!;
    return `${name}: ${formatRule(rules[i]!)}`;
  });

/** The table without that rule. */
function without(table: Table, line: Line): Table {
  const found = ruleAt(table, line);
  assert.equal(found.length, 1, `chain ${line.chain} has ${found.length} rules with ${line.rule}`);
  const chains = table.chains.map(chain =>
    chain.name === line.chain ? { ...chain, rules: chain.rules.filter((_, i) => i !== found[0]) } : chain,
  );
  return { ...table, chains };
}

function setTags([first, second]: readonly [Tag | number, Tag | number] = ['open', 'open']): void {
  host.tag(a, typeof first === 'number' ? first : tags[first]);
  host.tag(b, typeof second === 'number' ? second : tags[second]);
}

async function prove(table: Table, line: Line): Promise<void> {
  setTags(line.tags);
  for (const family of line.families ?? ([4, 6] as const)) {
    for (const [name, each, expected] of [
      ['with', table, true],
      ['without', without(table, line), false],
    ] as const) {
      host.bring(each);
      host.forget();
      assert.equal(await line.holds(family), expected, `IPv${family}, ${name} the line`);
    }
  }
}

for (const line of lines)
  test(`${line.chain}: ${line.why} (${line.rule.trim()})`, async () => {
    await prove(tableWith(line.enforceEgressToNode ?? true), line);
  });

for (const line of ungated)
  test(`${line.chain}, enforcer none: ${line.why}`, async () => {
    await prove(tableOf([localPod(a, tags.open)], { settings: { judge: 'none' } }), line);
  });

/** The map of one moment as a packet finds it that began before a change. */
const ofAnotherMoment = (table: Table): Table => ({
  ...table,
  sets: table.sets.map(each => (each.name === 'moment' ? { ...each, elements: [] } : each)),
});
const withoutIngressTags = (table: Table): Table => ({
  ...table,
  sets: table.sets.map(each => (each.name === 'ingress_tiers_by_tag' ? { ...each, elements: [] } : each)),
});

/** So that the one counter alone can tell. */
const withoutEgressCount = (table: Table): Table => ({
  ...table,
  chains: table.chains.map(chain =>
    chain.name === 'egress-tiers' ? { ...chain, rules: chain.rules.slice(1) } : chain,
  ),
});

interface OrderedLine extends Line {
  /** How the table differs, with and without the line. */
  readonly but?: (table: Table) => Table;
}

/** Through a hostPort, which comes back to the pod. */
const toItself = (f: Family): boolean =>
  sourceSeen(a.end, udp(a.addresses[f], nodeAddress[f], { dport: 8080 }), a.end) !== undefined;
const toNode = (f: Family): boolean => arrives(a.end, udp(a.addresses[f], nodeAddress[f]), host.node);

/** What is there where rules are ordered, and nowhere else. */
const orderedLines: readonly OrderedLine[] = [
  ...([4, 6] as const).map(
    (family): OrderedLine => ({
      chain: 'gate',
      rule: `@self${family} goto to-itself`,
      why: 'a pod that NetworkPolicies let call nobody calls itself through a service',
      tags: ['mute', 'open'],
      families: [family],
      holds: toItself,
    }),
  ),
  {
    chain: 'gate',
    rule: 'jump one-moment',
    why: 'what met a change in the middle of the gate does not pass',
    but: ofAnotherMoment,
    holds: f => !arrives(a.end, udp(a.addresses[f], nearAddress[f]), host.near),
  },
  {
    chain: 'to-itself',
    rule: 'jump egress-tiers',
    why: 'a pod that cluster policies let call nobody does not call itself through a service',
    tags: ['curbed', 'open'],
    holds: f => !toItself(f),
  },
  {
    chain: 'to-itself',
    rule: 'jump ingress-tiers',
    why: 'nor is one called by itself that they let nobody call',
    tags: ['barred', 'open'],
    holds: f => !toItself(f),
  },
  {
    chain: 'to-itself',
    rule: 'jump one-moment',
    why: 'what met a change on the way of a pod to itself does not pass',
    but: ofAnotherMoment,
    holds: f => !toItself(f),
  },
  {
    chain: 'one-moment',
    rule: 'meta nfproto vmap',
    why: 'what met no change passes',
    holds: f => arrives(a.end, udp(a.addresses[f], nearAddress[f]), host.near),
  },
  {
    chain: 'one-moment',
    rule: 'counter drop',
    why: 'what met one does not',
    but: ofAnotherMoment,
    holds: f => !arrives(a.end, udp(a.addresses[f], nearAddress[f]), host.near),
  },
  {
    chain: 'egress-tiers',
    rule: '@egress_counts',
    why: 'what a pod tries to open to its node is counted for its identity',
    tags: ['mute', 'open'],
    holds: f => counts('egress/tag/74670004', a.end, udp(a.addresses[f], nodeAddress[f])),
  },
  {
    chain: 'egress-tiers',
    rule: 'meta iifgroup vmap',
    why: 'a pod that NetworkPolicies let call nobody calls its node',
    tags: ['mute', 'open'],
    holds: toNode,
  },
  {
    chain: 'egress-tiers',
    rule: 'limit',
    why: 'what an unknown tag is denied is logged',
    tags: ['unknown', 'open'],
    holds: f => logs('tollgate egress-tiers', a.end, udp(a.addresses[f], nodeAddress[f])),
  },
  {
    chain: 'egress-tiers',
    rule: 'counter drop',
    why: 'a pod whose tag is in no map does not call its node',
    tags: ['unknown', 'open'],
    holds: f => !toNode(f),
  },
  {
    chain: 'ingress-tiers',
    rule: '@ingress_counts',
    why: 'what comes back to a pod is counted for its identity',
    tags: ['mute', 'open'],
    but: withoutEgressCount,
    holds: f => counts('ingress/tag/74670004', a.end, udp(a.addresses[f], nodeAddress[f], { dport: 8080 })),
  },
  {
    chain: 'ingress-tiers',
    rule: 'meta oifgroup vmap',
    why: 'a pod that NetworkPolicies let be called by nobody is called by itself',
    tags: ['deaf', 'open'],
    holds: toItself,
  },
  {
    chain: 'ingress-tiers',
    rule: 'limit',
    why: 'what an unknown tag is denied is logged',
    but: withoutIngressTags,
    holds: f => logs('tollgate ingress-tiers', a.end, udp(a.addresses[f], nodeAddress[f], { dport: 8080 })),
  },
  {
    chain: 'ingress-tiers',
    rule: 'counter drop',
    why: 'a pod whose tag is in no map is not called by itself',
    but: withoutIngressTags,
    holds: f => !toItself(f),
  },
  ...lines
    .filter(({ chain, rule }) => chain === 'node-gate' && rule !== 'jump egress')
    .map(
      ({ tags: [first] = ['open', 'open'], ...line }): OrderedLine => ({
        ...line,
        chain: 'node-tiers',
        why: line.why.replace('a pod that may call nobody', 'a pod that cluster policies let call nobody'),
        tags: [first === 'mute' ? 'curbed' : first, 'open'],
      }),
    ),
  {
    chain: 'node-tiers',
    rule: 'jump egress-tiers',
    why: 'a pod that cluster policies let call nobody does not call its node either',
    tags: ['curbed', 'open'],
    holds: f => !toNode(f),
  },
  {
    chain: 'node-tiers',
    rule: 'jump one-moment',
    why: 'what met a change on its way to the node does not pass',
    but: ofAnotherMoment,
    holds: f => !toNode(f),
  },
];

const orderedTable = (): Table =>
  tableOf([localPod(a, tags.open, { hostPorts }), localPod(b, tags.open)], { ruleset: ordered });

for (const { but = (table: Table) => table, ...line } of orderedLines)
  test(`${line.chain}, with cluster policies: ${line.why} (${line.rule.trim()})`, async () => {
    await prove(but(orderedTable()), line);
  });

test('no line that comes with cluster policies is without its test', () => {
  const table = orderedTable();
  const usual = new Set(whole.chains.flatMap(({ name, rules }) => rules.map(rule => `${name}: ${formatRule(rule)}`)));
  const bare = table.chains.flatMap(chain =>
    chain.rules.flatMap((rule, i) => {
      const text = `${chain.name}: ${formatRule(rule)}`;
      if (usual.has(text)) return [];
      return orderedLines.some(line => line.chain === chain.name && ruleAt(table, line).includes(i)) ? [] : [text];
    }),
  );
  assert.deepEqual(bare, []);
});

test('no line of the gate is without its test', () => {
  const base = whole.chains.filter(({ name }) => !name.startsWith('in-') && !name.startsWith('out-'));
  const bare = base.flatMap(chain =>
    chain.rules.flatMap((rule, i) =>
      [...lines, ...ungated].some(line => line.chain === chain.name && ruleAt(whole, line).includes(i))
        ? []
        : [`${chain.name}: ${formatRule(rule)}`],
    ),
  );
  assert.deepEqual(bare, []);
});

test('the gates of the other enforcers have no line that this one lacks', () => {
  const texts = (table: Table) =>
    table.chains.flatMap(({ name, rules }) => rules.map(rule => `${name}: ${formatRule(rule)}`));
  const all = new Set(texts(whole));
  for (const judge of ['agent', 'exec', 'none'] as const) {
    const table = tableOf([localPod(a, tags.open)], { settings: { judge } });
    const own = judge === 'none' ? ungated.flatMap(line => textsAt(table, line)) : [];
    for (const text of texts(table)) assert.ok(all.has(text) || own.includes(text), text);
  }
});

const everyWay = (f: Family): readonly { readonly from: End; readonly packet: Packet; readonly at: End }[] => [
  { from: a.end, packet: udp(a.addresses[f], nodeAddress[f]), at: host.node },
  { from: a.end, packet: udp(a.addresses[f], b.addresses[f]), at: b.end },
  { from: a.end, packet: udp(a.addresses[f], nearAddress[f]), at: host.near },
  { from: b.end, packet: udp(b.addresses[f], a.addresses[f]), at: a.end },
  { from: host.node, packet: udp(nodeAddress[f], a.addresses[f]), at: a.end },
  { from: host.near, packet: udp(nearAddress[f], a.addresses[f]), at: a.end },
  { from: host.near, packet: udp(nearAddress[f], nodeAddress[f], { dport: 8080 }), at: a.end },
];

for (const [name, group] of [
  ['quarantine', quarantine],
  ['condemned', condemned],
  ['deleting', deleting],
] as const)
  for (const judge of ['inline', 'agent', 'exec'] as const)
    test(`${name} is closed in every direction, both families, under enforcer ${judge}`, () => {
      host.bring(
        tableOf([localPod(a, tags.open, { hostPorts }), localPod(b, tags.open)], { ruleset, settings: { judge } }),
      );
      for (const [now, expected] of [
        [group, false],
        [tags.open, true],
      ] as const) {
        setTags([now, tags.open]);
        for (const f of [4, 6] as const)
          for (const [i, { from, packet, at }] of everyWay(f).entries()) {
            host.forget();
            assert.equal(arrives(from, packet, at), expected, `IPv${f}, way ${i} with group ${now.toString(16)}`);
          }
      }
    });

const isOwn = (statement: Statement): boolean => statement.kind === 'lookup' && /^own[46]$/.test(String(statement.set));

/** As releases made it that knew of no such group: they asked the routes for each source. */
const withoutBuried = (table: Table): Table => ({
  ...table,
  chains: table.chains.map(chain => ({
    ...chain,
    rules: chain.rules
      .filter(({ statements }) => !statements.some(isOwn))
      .map(rule => ({
        ...rule,
        statements: rule.statements.map(statement =>
          statement.kind === 'match' && statement.mask === leavingMask
            ? match(statement.selector, '==', condemned)
            : statement,
        ),
      })),
  })),
});

test('a pod whose link waits to be deleted, so unrouted, is closed by a table that knows nothing of it, too', () => {
  host.bring(withoutBuried(whole));
  assert.notDeepEqual(withoutBuried(whole), whole);
  for (const isGone of [true, false]) {
    setTags([isGone ? deleting : tags.open, tags.open]);
    for (const f of [4, 6] as const) host.lead(a.addresses[f], isGone ? 'near' : a);
    for (const f of [4, 6] as const)
      for (const [i, { from, packet, at }] of everyWay(f).entries()) {
        host.forget();
        assert.equal(arrives(from, packet, at), !isGone, `IPv${f}, way ${i}, ${isGone ? 'deleting' : 'open'}`);
      }
  }
});

test('an established connection ends with its pod: condemned is closed to it, too', () => {
  host.bring(whole);
  for (const f of [4, 6] as const) {
    setTags();
    const question = udp(b.addresses[f], a.addresses[f]);
    assert.ok(arrives(b.end, question, a.end));
    assert.ok(arrives(a.end, answerTo(question), b.end));
    setTags([condemned, 'open']);
    assert.ok(!arrives(a.end, answerTo(question), b.end));
    assert.ok(!arrives(b.end, question, a.end));
  }
});

test('a spoofed packet leaves no trace in conntrack, whoever it was for and whatever it was', () => {
  host.bring(whole);
  setTags();
  host.forget();
  const { tcp, udp: datagram, sctp } = PROTOCOL;
  for (const f of [4, 6] as const)
    for (const protocol of [tcp, datagram, sctp])
      for (const to of [nearAddress[f], nodeAddress[f], b.addresses[f]])
        for (const liar of [b.addresses[f], farAddress[f], nodeAddress[f]])
          if (liar !== to) a.end.send(udp(liar, to, { protocol }));
  host.settle();
  assert.deepEqual(host.flows(), []);
  a.end.send(udp(a.addresses[4], nearAddress[4]));
  host.settle();
  assert.equal(host.flows().length, 1);
});

test("another pod's spoofed packet joins no connection: it does not arrive, and conntrack takes it for neither side's", () => {
  host.bring(tableOf([localPod(a, tags.open), localPod(b, tags.open)], { ruleset }));
  setTags();
  for (const f of [4, 6] as const) {
    host.forget();
    const question = udp(a.addresses[f], nearAddress[f]);
    assert.ok(arrives(a.end, question, host.near));
    const asked = host.flows();
    assert.equal(asked.length, 1);
    // As the caller, and as the one who was called: an answer would have changed the flow's status.
    assert.ok(!arrives(b.end, { ...question, payload: Buffer.from('not from a') }, host.near), `IPv${f}, question`);
    assert.ok(!arrives(b.end, answerTo(question), a.end), `IPv${f}, answer`);
    assert.deepEqual(host.flows(), asked);
    assert.ok(arrives(host.near, answerTo(question), a.end));
    assert.notDeepEqual(host.flows(), asked);
  }
});

test('what looks like neighbour discovery but was forwarded is no exception to policy, whatever hop limit it began with', () => {
  host.bring(whole);
  for (const hoplimit of [255, 64]) {
    for (const [now, expected] of [
      [['mute', 'deaf'], false],
      [['open', 'open'], true],
    ] as const) {
      setTags(now);
      const packet = solicitation(a.addresses[6], b.addresses[6], hoplimit);
      assert.equal(errorArrives(a.end, packet, b.end), expected, `hop limit ${hoplimit}, ${now}`);
    }
  }
});

test('policy sees the pod behind a hostPort: after DNAT, before SNAT', () => {
  host.bring(whole);
  for (const f of [4, 6] as const)
    for (const [now, expected] of [
      [['open', 'open'], true],
      [['deaf', 'open'], false],
    ] as const) {
      setTags(now);
      host.forget();
      const packet = udp(nearAddress[f], nodeAddress[f], { dport: 8080 });
      assert.equal(arrives(host.near, packet, a.end), expected, `IPv${f} ${now}`);
    }
  // b is masqueraded on its way out, and still is b to its own gate.
  for (const f of [4, 6] as const) {
    setTags(['open', 'mute']);
    host.forget();
    assert.ok(!arrives(b.end, udp(b.addresses[f], nearAddress[f]), host.near));
  }
});

test('a connection that was forgotten is not taken up again from either side', () => {
  host.bring(whole);
  setTags();
  for (const f of [4, 6] as const) {
    const syn = udp(a.addresses[f], b.addresses[f], { protocol: PROTOCOL.tcp });
    assert.ok(arrives(a.end, syn, b.end));
    host.forget();
    const fromClient = { ...syn, flags: TCP_FLAG.ack, payload: Buffer.from('more') };
    const fromServer = { ...answerTo(syn), flags: TCP_FLAG.ack, payload: Buffer.from('more') };
    assert.ok(!arrives(a.end, fromClient, b.end), `IPv${f}, from the client`);
    assert.ok(!arrives(b.end, fromServer, a.end), `IPv${f}, from the server`);
    for (const flags of [TCP_FLAG.fin | TCP_FLAG.ack, TCP_FLAG.rst, TCP_FLAG.syn | TCP_FLAG.ack, 0])
      assert.ok(!arrives(b.end, { ...answerTo(syn), flags }, a.end), `IPv${f}, flags ${flags}`);
  }
});

test('without enforceEgressToNode a pod that may call nobody still reaches its own node', () => {
  host.bring(tableOf([localPod(a, tags.mute)], { ruleset }));
  setTags(['mute', 'open']);
  for (const f of [4, 6] as const) assert.ok(arrives(a.end, udp(a.addresses[f], nodeAddress[f]), host.node));
});

test('every denied packet is counted, and a flood is logged in part', () => {
  host.bring(whole);
  setTags(['shut', 'open']);
  host.settle();
  using reader = new NflogReader(host.place, 7467);
  const counted = () => host.nft.read(tableName)?.ruleCounters.get('out-nothing')?.at(-1)?.packets ?? 0n;
  const earlier = counted();
  const flood = 2000;
  for (let i = 0; i < flood; i++) a.end.send(udp(a.addresses[4], b.addresses[4]));
  host.settle();
  const logged = reader.take();
  assert.ok(logged.length >= 500 && logged.length < flood, `${logged.length} logged`);
  assert.ok(logged.every(({ prefix }) => prefix === 'tollgate out-nothing'));
  assert.equal(counted() - earlier, BigInt(flood));
});
