/** Which pod CIDRs of node objects are believed: what one mistake, or one node in wrong hands, can take from others. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatPrefix, parseAddress, parsePrefix } from '../../../lib/ip/address.ts';
import type { FoundRoute } from '../../../lib/kernel/route.ts';
import type { KubeNode } from '../../../lib/kube/object.ts';
import { judgeClaims, unfit } from '../../../lib/node/pod-cidrs.ts';
import { planRoutes } from '../../../lib/node/routes.ts';

const prefix = (text: string) => parsePrefix(text) ?? assert.fail(text);
const prefixes = (text: string) => text.split(' ').filter(Boolean).map(prefix);

/** Nodes are as old as the day says; without one their age is not known. */
const node = (name: string, podCidrs: string, day?: number, addresses = `192.0.2.${name.charCodeAt(0)}`): KubeNode => ({
  ...{ name, labels: new Map(), addresses: addresses.split(' ').filter(Boolean), podCidrs: prefixes(podCidrs) },
  ...(day === undefined ? {} : { created: `2026-01-${String(day).padStart(2, '0')}T00:00:00Z` }),
});

describe('No node has pods in', () => {
  for (const text of [
    ...[
      '0.0.0.0/0',
      '0.0.0.0/1',
      '128.0.0.0/1',
      '32.0.0.0/3',
      '8.0.0.0/7',
      '::/0',
      '::/1',
      '8000::/1',
      '2000::/3',
      'fd00::/8',
    ],
    ...[
      '127.0.0.0/8',
      '127.0.0.0/24',
      '169.254.169.254/32',
      '169.254.0.0/16',
      '224.0.0.0/4',
      '239.1.0.0/16',
      '0.1.0.0/16',
    ],
    ...['255.255.255.255/32', '::1/128', 'fe80::/64', 'fe80::/32', 'ff02::/64', '::ffff:10.0.0.0/104'],
  ])
    test(text, () => {
      assert.equal(typeof unfit(prefix(text)), 'string');
      const claims = judgeClaims([node('a', '10.244.1.0/24'), node('b', text)]);
      assert.deepEqual(claims.believed.map(formatPrefix), ['10.244.1.0/24']);
    });
});

test('what private networks, documentation and global addresses are split into can be a node’s', () => {
  for (const text of [
    '10.0.0.0/8',
    '10.244.1.0/24',
    '100.64.0.0/24',
    '203.0.113.0/24',
    '240.0.0.0/24',
    'fd44:1::/64',
    '2001:db8::/64',
  ])
    assert.equal(unfit(prefix(text)), undefined, text);
});

interface Contest {
  readonly name: string;
  readonly nodes: readonly KubeNode[];
  readonly cluster?: string;
  readonly believed: string;
  /** `node cidr: why`, those that are refused. */
  readonly refused: Readonly<Record<string, RegExp>>;
}

const contests: readonly Contest[] = [
  {
    name: 'of two where one contains the other the older node’s stands, whichever is wider',
    nodes: [node('b', '10.244.2.0/24', 1), node('c', '10.244.0.0/16', 2), node('d', '10.244.2.128/25', 3)],
    believed: '10.244.2.0/24',
    refused: {
      'c 10.244.0.0/16': /contains 10\.244\.2\.0\/24 of node b/,
      'd 10.244.2.128/25': /is within 10\.244\.2\.0\/24 of node b/,
    },
  },
  {
    name: 'where ages do not tell neither stands, and each names the other',
    nodes: [node('b', '10.244.2.0/24'), node('c', '10.244.2.128/25')],
    believed: '',
    refused: {
      'b 10.244.2.0/24': /contains 10\.244\.2\.128\/25 of node c/,
      'c 10.244.2.128/25': /is within 10\.244\.2\.0\/24 of node b/,
    },
  },
  {
    name: 'the same for two is the older one’s, whatever the names',
    nodes: [node('b', '10.244.2.0/24', 9), node('z', '10.244.2.0/24', 1)],
    believed: '10.244.2.0/24',
    refused: { 'b 10.244.2.0/24': /node z has the same, and is the older one/ },
  },
  {
    name: 'a claim that does not stand takes nobody’s away',
    nodes: [node('a', '10.0.0.0/9', 1), node('b', '10.0.0.0/8', 2), node('c', '10.200.0.0/16', 3)],
    believed: '10.0.0.0/9 10.200.0.0/16',
    refused: { 'b 10.0.0.0/8': /contains 10\.0\.0\.0\/9 of node a/ },
  },
  {
    name: 'one of IPv6 beside one of IPv4 is judged by itself',
    nodes: [node('b', '10.244.2.0/24 fd44:2::/64', 1), node('c', '10.244.3.0/24 fd44:2::/32', 2)],
    believed: '10.244.2.0/24 fd44:2::/64 10.244.3.0/24',
    refused: { 'c fd44:2::/32': /contains fd44:2::\/64 of node b/ },
  },
  {
    name: 'a younger node’s address within a range does not take it away; an older one’s does',
    nodes: [
      node('b', '10.244.2.0/24', 2),
      node('c', '10.244.3.0/24', 3, '10.244.2.9'),
      node('d', '198.51.100.0/24', 4),
      node('e', '', 1, '198.51.100.7'),
    ],
    believed: '10.244.2.0/24 10.244.3.0/24',
    refused: { 'd 198.51.100.0/24': /node e has its own address 198\.51\.100\.7 in it/ },
  },
  {
    name: '--cluster-cidr: what is outside of it is refused, in the families that it has',
    nodes: [node('b', '10.244.2.0/24 fd44:2::/64', 1), node('c', '203.0.113.0/24', 2), node('d', '10.0.0.0/8', 3)],
    cluster: '10.244.0.0/16',
    believed: '10.244.2.0/24 fd44:2::/64',
    refused: {
      'c 203.0.113.0/24': /outside of --cluster-cidr 10\.244\.0\.0\/16/,
      'd 10.0.0.0/8': /outside of --cluster-cidr/,
    },
  },
];

describe('Of claims that contradict each other', () => {
  for (const { name, nodes, cluster = '', believed, refused } of contests)
    test(name, () => {
      for (const order of [nodes, nodes.toReversed()]) {
        const claims = judgeClaims(order, prefixes(cluster));
        assert.deepEqual(claims.believed.map(formatPrefix).sort(), believed.split(' ').filter(Boolean).sort());
        const found = order.flatMap(each =>
          each.podCidrs.flatMap(cidr => {
            const why = claims.refusal(each, cidr);
            return why === undefined ? [] : [[`${each.name} ${formatPrefix(cidr)}`, why] as const];
          }),
        );
        assert.deepEqual(found.map(([claim]) => claim).sort(), Object.keys(refused).sort());
        for (const [claim, why] of found) assert.match(why, refused[claim]!);
      }
    });

  test('5,000 neighbours and one that contains them all are one pass', () => {
    const many = Array.from({ length: 5000 }, (_, i) =>
      node(`n${i}`, `10.${i >> 8}.${i & 255}.0/24`, 1, `172.16.${i >> 8}.${i & 255}`),
    );
    const claims = judgeClaims([...many, node('late', '10.0.0.0/8', 2)]);
    assert.equal(claims.believed.length, 5000);
  });
});

const link: FoundRoute = {
  destination: prefix('192.0.2.0/24'),
  ...{ oif: 2, gateway: undefined, source: undefined, table: 254, metric: 0, mtu: undefined, advmss: undefined },
  ...{ type: 1, scope: 253, protocol: 2, onlink: false, hops: [] },
};
const routes = (...texts: string[]): FoundRoute[] => texts.map(text => ({ ...link, destination: prefix(text) }));

describe('No packet to another node’s pods is sent by way of', () => {
  const own = node('a', '10.244.1.0/24', 1, '192.0.2.1');
  const b = node('b', '10.244.2.0/24', 2, '192.0.2.2');
  for (const [what, addresses, why] of [
    ['this node itself', '192.0.2.1', /its address 192\.0\.2\.1 is this node's own/],
    ['an older node’s address', '192.0.2.2', /its address 192\.0\.2\.2 is that of node b/],
    ['a pod’s address', '10.244.2.9', /its address 10\.244\.2\.9 is within 10\.244\.2\.0\/24 of node b/],
    ['an address of every link', '169.254.1.1', /is none that another node can reach it by/],
  ] as const)
    test(what, () => {
      const c = node('c', '10.244.3.0/24', 3, addresses);
      const found = routes('192.0.2.0/24', '10.244.2.0/24', '169.254.0.0/16');
      const { wanted, problems } = planRoutes([own, b, c], own, found);
      const destinations = wanted.map(({ destination }) => formatPrefix(destination));
      assert.ok(!destinations.includes('10.244.3.0/24'), destinations.join());
      assert.match(problems.join('\n'), why);
    });

  test('one that has another address beside it is reached by that', () => {
    const c = node('c', '10.244.3.0/24', 3, '192.0.2.2 192.0.2.3');
    const { wanted, problems } = planRoutes([own, b, c], own, routes('192.0.2.0/24'));
    const way = wanted.find(({ destination }) => formatPrefix(destination) === '10.244.3.0/24');
    assert.deepEqual([way?.gateway, problems], [parseAddress('192.0.2.3'), []]);
  });
});
