import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { RangeSetSpec, RangeSpec } from '../../../lib/cni/ipam.ts';
import { type Address, formatAddress, parseAddress, parsePrefix, rangeOf } from '../../../lib/ip/address.ts';
import { cidrRange } from '../../../lib/ipam/cidr.ts';
import { planPools, type RangeSources } from '../../../lib/ipam/config.ts';
import { IpamConfigError } from '../../../lib/ipam/error.ts';
import { poolSize, poolText } from '../../../lib/ipam/pool.ts';
import { parseResolvConf } from '../../../lib/ipam/resolv-conf.ts';

type Written = { subnet: string; rangeStart?: string; rangeEnd?: string; gateway?: string };

function spec({ subnet, rangeStart, rangeEnd, gateway }: Written): RangeSpec {
  const address = (text: string | undefined) => text && parseAddress(text);
  return {
    subnet: parsePrefix(subnet)!,
    ...(rangeStart && { rangeStart: address(rangeStart) as Address }),
    ...(rangeEnd && { rangeEnd: address(rangeEnd) as Address }),
    ...(gateway && { gateway: address(gateway) as Address }),
  };
}

const sets = (written: Written[][]): RangeSetSpec[] => written.map(set => set.map(spec));

const plan = (written: Written[][], others: Partial<RangeSources> = {}) =>
  planPools({ config: sets(written), cniVersion: '1.1.0', ...others });

const accepted: [sentence: string, written: Written[][], pools: string[], gateways: string[], warnings?: number][] = [
  [
    'an IPv4 subnet gives .1 to broadcast-1, gateway .1',
    [[{ subnet: '10.0.0.0/24' }]],
    ['10.0.0.1-10.0.0.254'],
    ['10.0.0.1'],
  ],
  [
    'an IPv6 subnet gives ::1 to all-ones, gateway ::1',
    [[{ subnet: 'fd00::/120' }]],
    ['fd00::1-fd00::ff'],
    ['fd00::1'],
  ],
  [
    'start, end and gateway are taken as written',
    [[{ subnet: '10.0.0.0/24', rangeStart: '10.0.0.50', rangeEnd: '10.0.0.60', gateway: '10.0.0.254' }]],
    ['10.0.0.50-10.0.0.60'],
    ['10.0.0.254'],
  ],
  [
    'the smallest subnet has two addresses, one of them the gateway',
    [[{ subnet: '10.0.0.0/30' }]],
    ['10.0.0.1-10.0.0.2'],
    ['10.0.0.1'],
  ],
  [
    'a set may have several ranges',
    [[{ subnet: '10.0.0.0/24' }, { subnet: '10.2.0.0/24' }]],
    ['10.0.0.1-10.0.0.254,10.2.0.1-10.2.0.254'],
    ['10.0.0.1', '10.2.0.1'],
  ],
  [
    'several sets give several addresses, in their order',
    [[{ subnet: 'fd00::/64' }], [{ subnet: '10.0.0.0/24' }], [{ subnet: '10.1.0.0/24' }]],
    ['fd00::1-fd00::ffff:ffff:ffff:ffff', '10.0.0.1-10.0.0.254', '10.1.0.1-10.1.0.254'],
    ['fd00::1', '10.0.0.1', '10.1.0.1'],
  ],
  [
    'two parts of one subnet may be two sets',
    [[{ subnet: '10.0.0.0/24', rangeEnd: '10.0.0.9' }], [{ subnet: '10.0.0.0/24', rangeStart: '10.0.0.10' }]],
    ['10.0.0.1-10.0.0.9', '10.0.0.10-10.0.0.254'],
    ['10.0.0.1', '10.0.0.1'],
  ],
  [
    'network and broadcast address are skipped with a warning each, where a range names them',
    [[{ subnet: '10.0.0.0/24', rangeStart: '10.0.0.0', rangeEnd: '10.0.0.255' }]],
    ['10.0.0.1-10.0.0.254'],
    ['10.0.0.1'],
    2,
  ],
  [
    'the IPv6 anycast address of the routers is skipped with a warning',
    [[{ subnet: 'fd00::/120', rangeStart: 'fd00::' }]],
    ['fd00::1-fd00::ff'],
    ['fd00::1'],
    1,
  ],
  [
    'a gateway outside of the subnet is the admin’s business',
    [[{ subnet: '10.0.0.0/30', gateway: '192.168.0.1' }]],
    ['10.0.0.1-10.0.0.2'],
    ['192.168.0.1'],
  ],
];
for (const [sentence, written, pools, gateways, warnings = 0] of accepted) {
  test(sentence, () => {
    const planned = plan(written);
    assert.deepEqual(planned.pools.map(poolText), pools);
    assert.deepEqual(
      planned.pools.flatMap(pool => pool.ranges.map(range => formatAddress(range.gateway))),
      gateways,
    );
    assert.equal(planned.warnings.length, warnings, planned.warnings.join('\n'));
  });
}

const refused: [sentence: string, written: Written[][], says: RegExp, others?: Partial<RangeSources>][] = [
  ['no ranges at all', [], /no address range is known/],
  ['an agent that knows of no ranges either', [], /no address range is known/, { node: [] }],
  ['an empty set', [[]], /range set 0: it is empty/],
  ['host bits in the subnet', [[{ subnet: '10.0.0.7/24' }]], /the network address is 10\.0\.0\.0\/24/],
  ['a /31', [[{ subnet: '10.0.0.0/31' }]], /too small to allocate from: \/30/],
  ['a /32', [[{ subnet: '10.0.0.1/32' }]], /too small/],
  ['a /127', [[{ subnet: 'fd00::/127' }]], /too small to allocate from: \/126/],
  ['a start outside', [[{ subnet: '10.0.0.0/24', rangeStart: '10.0.1.1' }]], /rangeStart 10\.0\.1\.1 is not in it/],
  ['an end outside', [[{ subnet: '10.0.0.0/24', rangeEnd: '10.0.1.1' }]], /rangeEnd 10\.0\.1\.1 is not in it/],
  ['a start of the other family', [[{ subnet: '10.0.0.0/24', rangeStart: 'fd00::1' }]], /rangeStart/],
  ['a gateway of the other family', [[{ subnet: '10.0.0.0/24', gateway: 'fd00::1' }]], /gateway .* other address/],
  ['an unspecified gateway', [[{ subnet: '10.0.0.0/24', gateway: '0.0.0.0' }]], /gateway 0\.0\.0\.0 is unspecified/],
  ['a loopback gateway', [[{ subnet: '10.0.0.0/24', gateway: '127.0.0.1' }]], /gateway 127\.0\.0\.1 is loopback/],
  [
    'a broadcast gateway',
    [[{ subnet: '10.0.0.0/24', gateway: '255.255.255.255' }]],
    /is broadcast, which no interface/,
  ],
  ['a multicast gateway', [[{ subnet: 'fd00::/64', gateway: 'ff02::1' }]], /gateway ff02::1 is multicast/],
  ['a default gateway that is loopback', [[{ subnet: '::/64' }]], /: its addresses are loopback/],
  [
    'a loopback subnet',
    [[{ subnet: '127.1.0.0/24', gateway: '10.0.0.1' }]],
    /127\.1\.0\.0\/24: its addresses are loopback/,
  ],
  ['a multicast subnet', [[{ subnet: '239.0.0.0/24', gateway: '10.0.0.1' }]], /its addresses are multicast/],
  [
    'an end before the start',
    [[{ subnet: '10.0.0.0/24', rangeStart: '10.0.0.9', rangeEnd: '10.0.0.8' }]],
    /rangeStart 10\.0\.0\.9 is after 10\.0\.0\.8/,
  ],
  [
    'nothing but the network address',
    [[{ subnet: '10.0.0.0/24', rangeEnd: '10.0.0.0', rangeStart: '10.0.0.0' }]],
    /no address is left/,
  ],
  ['both families in one set', [[{ subnet: '10.0.0.0/24' }, { subnet: 'fd00::/64' }]], /are mixed/],
  ['ranges of a set that overlap', [[{ subnet: '10.0.0.0/24' }, { subnet: '10.0.0.0/16' }]], /overlap/],
  ['sets that overlap', [[{ subnet: '10.0.0.0/24' }], [{ subnet: '10.0.0.0/16' }]], /overlaps with range set 0/],
  [
    'an old version with two IPv4 sets',
    [[{ subnet: '10.0.0.0/24' }], [{ subnet: '10.1.0.0/24' }]],
    /cniVersion 0\.2\.0 allows only one IPv4 address/,
    { cniVersion: '0.2.0' },
  ],
  [
    'runtime and config ranges that overlap',
    [[{ subnet: '10.0.0.0/24' }]],
    /overlaps/,
    { runtime: sets([[{ subnet: '10.0.0.0/16' }]]) },
  ],
];
for (const [sentence, written, says, others] of refused) {
  test(`refused: ${sentence}`, () => {
    assert.throws(
      () => plan(written, others),
      error => error instanceof IpamConfigError && error.field !== '' && says.test(error.message),
    );
  });
}

test('an old version may have one address of each family', () => {
  assert.equal(plan([[{ subnet: '10.0.0.0/24' }], [{ subnet: 'fd00::/64' }]], { cniVersion: '0.1.0' }).pools.length, 2);
});

test('the runtime’s ranges come before the config’s', () => {
  const runtime = sets([[{ subnet: '10.9.0.0/24' }]]);
  const { pools } = plan([[{ subnet: '10.0.0.0/24' }]], { runtime });
  assert.deepEqual(pools.map(poolText), ['10.9.0.1-10.9.0.254', '10.0.0.1-10.0.0.254']);
});

test('the node’s ranges count only where nobody names any', () => {
  const node = sets([[{ subnet: '10.9.0.0/24' }]]);
  assert.deepEqual(plan([], { node }).pools.map(poolText), ['10.9.0.1-10.9.0.254']);
  assert.deepEqual(plan([[{ subnet: '10.0.0.0/24' }]], { node }).pools.map(poolText), ['10.0.0.1-10.0.0.254']);
});

test('a gateway is withheld from every pool, also from a sibling’s', () => {
  const { pools } = plan([
    [{ subnet: '10.0.0.0/24', rangeEnd: '10.0.0.9', gateway: '10.0.0.20' }],
    [{ subnet: '10.0.0.0/24', rangeStart: '10.0.0.10', gateway: '10.0.0.5' }],
  ]);
  assert.deepEqual(
    pools.map(pool => [...pool.withheld]),
    [[0x0a000005n], [0x0a000014n]],
  );
  assert.deepEqual(pools.map(poolSize), [8n, 244n]);
});

test('ip-cidr and our own arithmetic agree on every prefix', () => {
  const prefix = fc.oneof(
    fc.record({ family: fc.constant(4 as const), value: fc.bigInt(0n, 2n ** 32n - 1n), length: fc.nat(32) }),
    fc.record({ family: fc.constant(6 as const), value: fc.bigInt(0n, 2n ** 128n - 1n), length: fc.nat(128) }),
    // IPv4-mapped addresses, which ip-cidr reads as IPv4 when they are written with dots.
    fc.record({
      family: fc.constant(6 as const),
      value: fc.bigInt(0xffff00000000n, 0xffffffffffffn),
      length: fc.nat(128),
    }),
  );
  fc.assert(fc.property(prefix, p => assert.deepEqual(cidrRange(p), rangeOf(p))));
});

test('resolv.conf is read as host-local reads it', () => {
  const text = [
    '# a comment',
    '; another',
    '',
    'nameserver 192.0.2.1',
    '  nameserver\t2001:db8::1  ',
    'nameserver',
    'domain first.example',
    'domain example.com',
    'search a.example b.example',
    'search c.example',
    'options ndots:5 timeout:1',
    'sortlist 130.155.160.0',
  ].join('\n');
  assert.deepEqual(parseResolvConf(text), {
    nameservers: ['192.0.2.1', '2001:db8::1'],
    domain: 'example.com',
    search: ['a.example', 'b.example', 'c.example'],
    options: ['ndots:5', 'timeout:1'],
  });
});

test('a resolv.conf that says nothing gives nothing', () => {
  assert.deepEqual(parseResolvConf('# empty\n'), {});
});
