import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Denials, type DropCounter, type NodeNames } from '../../../lib/controller/flow-denials.ts';
import { parseAddress } from '../../../lib/ip/address.ts';
import { endsOf, type LoggedPacket } from '../../../lib/kernel/nflog.ts';

const names: NodeNames = {
  who: address => (address === '10.0.0.2' ? 'a/x' : address),
  policies: chain => (chain === 'in-1' ? ['NetworkPolicy/a/deny'] : []),
};

const packet = (changes: Partial<LoggedPacket> = {}): LoggedPacket => ({
  prefix: 'tollgate in-1',
  time: 100,
  indev: 2,
  outdev: 3,
  source: parseAddress('10.0.0.3')!,
  destination: parseAddress('10.0.0.2')!,
  protocol: 6,
  sourcePort: 40000,
  destinationPort: 80,
  ...changes,
});

test('a denied packet becomes a flow with both names, its port and the policies that denied it', () => {
  assert.deepEqual(new Denials().take(packet(), names), {
    time: 100,
    direction: 'ingress',
    from: '10.0.0.3',
    to: 'a/x',
    source: '10.0.0.3',
    destination: '10.0.0.2',
    protocol: 'TCP',
    sourcePort: 40000,
    port: 80,
    by: ['NetworkPolicy/a/deny'],
  });
});

test('a cluster policy’s denial says which tier, policy and rule it is by', () => {
  const denying: NodeNames = {
    ...names,
    policies: chain => (chain === 'out-deny-1' ? ['ClusterNetworkPolicy/x'] : []),
  };
  const prefix = "tollgate out-deny-1 Admin ClusterNetworkPolicy/x egress[2] 'no shop'";
  const { direction, by, rule } = new Denials().take(packet({ prefix }), denying)!;
  assert.deepEqual(
    [direction, by, rule],
    [...['egress', ['ClusterNetworkPolicy/x']], "Admin ClusterNetworkPolicy/x egress[2] 'no shop'"],
  );
});

test('pods with the same rules share a chain, and each is told of its own policies', () => {
  const shared: NodeNames = {
    ...names,
    policies: (_, subject) => ['NetworkPolicy/a/one', 'NetworkPolicy/b/two'].slice(0, subject === '10.0.0.2' ? 1 : 2),
  };
  assert.deepEqual(new Denials().take(packet(), shared)?.by, ['NetworkPolicy/a/one']);
});

const again: [string, Partial<LoggedPacket>, boolean][] = [
  ['the same ends within ten seconds are the same flow', { time: 109.9 }, false],
  ['the same ends ten seconds later are shown again', { time: 110 }, true],
  ['another source port is another flow', { sourcePort: 40001 }, true],
  ['another direction is another flow', { prefix: 'tollgate out-1' }, true],
  ["somebody else's prefix is none of ours", { prefix: 'ulogd', time: 200 }, false],
];
for (const [name, changes, isShown] of again) {
  test(name, () => {
    const denials = new Denials();
    denials.take(packet(), names);
    assert.equal(denials.take(packet(changes), names) !== undefined, isShown);
  });
}

/** The denying rule of one chain, and what it has counted. */
const counted = (packets: number, rule = 1): DropCounter[] => [{ denial: 'in-1', rule, packets }];

test('what the counter knows and the log did not tell by the next look is summed up, once', () => {
  const denials = new Denials();
  denials.begin(counted(1000));
  denials.take(packet(), names);
  assert.deepEqual(denials.sum(counted(1600), 1, names), [], 'packets may still be on their way');
  const [sum] = denials.sum(counted(1600), 2, names);
  assert.deepEqual(sum, { time: 2, direction: 'ingress', by: ['NetworkPolicy/a/deny'], packets: 599 });
  assert.deepEqual(denials.sum(counted(1600), 3, names), []);
});

test('a packet that is counted before it is logged is not told twice', () => {
  const denials = new Denials();
  denials.begin(counted(0));
  denials.sum(counted(1), 1, names);
  denials.take(packet(), names);
  assert.deepEqual(denials.sum(counted(1), 2, names), []);
});

test('a chain that comes again counts from nothing, though it counted more than before', () => {
  const denials = new Denials();
  denials.begin(counted(500));
  denials.sum(counted(700, 2), 1, names);
  assert.equal(denials.sum(counted(700, 2), 2, names)[0]?.packets, 700);
});

test('a table that was made anew counts from nothing', () => {
  const denials = new Denials();
  denials.begin(counted(500));
  denials.sum(counted(7), 1, names);
  assert.equal(denials.sum(counted(7), 2, names)[0]?.packets, 7);
});

test('what a chain had denied that goes is told, to its last packet, with the policies that it had', () => {
  let policies = ['NetworkPolicy/a/deny'];
  const changing = { ...names, policies: () => policies };
  const denials = new Denials();
  denials.begin(counted(0));
  denials.sum(counted(10), 1, changing);
  policies = [];
  denials.close(counted(25)[0]!);
  const sums = [2, 3, 4, 5].flatMap(time => denials.sum([], time, changing));
  const sum = { direction: 'ingress', by: ['NetworkPolicy/a/deny'] } as const;
  // What the kernel told of since the last look may be on its way to the log still.
  assert.deepEqual(sums, [
    { time: 2, ...sum, packets: 10 },
    { time: 3, ...sum, packets: 15 },
  ]);
});

test('a packet that is heard of after its chain has gone is told with the policies that denied it', () => {
  let policies = ['NetworkPolicy/a/deny'];
  const changing = { ...names, policies: () => policies };
  const denials = new Denials();
  denials.sum(counted(0), 1, changing);
  policies = [];
  denials.sum([], 2, changing);
  assert.deepEqual(denials.take(packet(), changing)?.by, ['NetworkPolicy/a/deny']);
});

test('a flood of new flows is remembered only so far, and the rest is summed up', () => {
  const denials = new Denials();
  denials.begin(counted(0));
  let shown = 0;
  for (let port = 1; port <= 60_000; port++) if (denials.take(packet({ sourcePort: port }), names)) shown++;
  assert.equal(shown, 4096);
  denials.sum(counted(60_000), 1, names);
  assert.equal(denials.sum(counted(60_000), 2, names)[0]?.packets, 60_000 - 4096);
});

const bytes = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const v4 = '45000028 00004000 4006 0000 0a000003 0a000002';
const v6 = (next: string) => `60000000 0014 ${next} 40 ${'00'.repeat(15)}01 ${'00'.repeat(15)}02`;
const packets: [string, string, unknown][] = [
  ['TCP over IPv4 shows its ports', `${v4} 9c40 0050`, [6, 40000, 80]],
  [
    'a later fragment has no ports',
    `45000028 00000001 4006 0000 0a000003 0a000002 9c40 0050`,
    [6, undefined, undefined],
  ],
  ['UDP over IPv6 shows its ports', `${v6('11')} 9c40 0035`, [17, 40000, 53]],
  ['IPv6 hop-by-hop options are passed over', `${v6('00')} 06 00 000000000000 9c40 0050`, [6, 40000, 80]],
  ['a later IPv6 fragment has no ports', `${v6('2c')} 06 00 0008 00000000 9c40 0050`, [6, undefined, undefined]],
  ['ICMP has no ports', `45000028 00004000 4001 0000 0a000003 0a000002 0800 0000`, [1, undefined, undefined]],
  ['half a packet is none', '4500', undefined],
  ['an ARP packet is none', `0001${'00'.repeat(40)}`, undefined],
];
for (const [name, hex, want] of packets) {
  test(name, () => {
    const ends = endsOf(bytes(hex));
    assert.deepEqual(ends && [ends.protocol, ends.sourcePort, ends.destinationPort], want);
  });
}
