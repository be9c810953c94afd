/** Routes between nodes: the plan in tables, and what the kernel makes of it in namespaces of the test's own. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatAddress, formatPrefix, parseAddress, parsePrefix } from '../../lib/ip/address.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { inNetns } from '../../lib/kernel/netns.ts';
import type { FoundRoute, Route } from '../../lib/kernel/route.ts';
import type { KubeNode } from '../../lib/kube/object.ts';
import { judgeClaims } from '../../lib/node/pod-cidrs.ts';
import { keepRoutes, mainRoutes, planRoutes, RTPROT_TOLLGATE, routeChanges } from '../../lib/node/routes.ts';
import { Netns } from '../support/netns.ts';

const node = (name: string, addresses: string, podCidrs: string): KubeNode => ({
  name,
  labels: new Map(),
  addresses: addresses.split(' ').filter(Boolean),
  podCidrs: podCidrs
    .split(' ')
    .filter(Boolean)
    .map(text => parsePrefix(text)!),
});

const found = (destination: string, more: Partial<FoundRoute> = {}): FoundRoute => ({
  destination: parsePrefix(destination)!,
  ...{ oif: 2, gateway: undefined, source: undefined, table: 254, metric: 0, mtu: undefined, advmss: undefined },
  ...{ type: 1, scope: 253, protocol: 2, onlink: false, hops: [] },
  ...more,
});
const via = (text: string) => ({ gateway: parseAddress(text)! });
const ours = { protocol: RTPROT_TOLLGATE, metric: 1024 } as const;

const describeRoute = ({ destination, type = 'unicast', gateway, oif }: Route): string =>
  `${type === 'unicast' ? '' : `${type} `}${formatPrefix(destination)}${gateway ? ` via ${formatAddress(gateway)} dev ${oif}` : ''}`;

/** A node of two families with a link, a default gateway, and a pod. */
const table = [
  found('0.0.0.0/0', { ...via('192.0.2.254'), protocol: 3 }),
  found('192.0.2.0/24'),
  found('::/0', { ...via('fe80::1'), metric: 1024 }),
  found('2001:db8::/64', { metric: 256 }),
  found('fe80::/64', { metric: 256 }),
  found('10.244.1.7/32', { oif: 9, protocol: 4 }),
];
const own = node('a', '192.0.2.1 2001:db8::1', '10.244.1.0/24 fd44:1::/64');
const b = node('b', '192.0.2.2 2001:db8::2', '10.244.2.0/24 fd44:2::/64');
const ownRoutes = ['unreachable 10.244.1.0/24', 'unreachable fd44:1::/64'];
const toB = ['10.244.2.0/24 via 192.0.2.2 dev 2', 'fd44:2::/64 via 2001:db8::2 dev 2'];

interface Case {
  readonly name: string;
  readonly nodes: readonly KubeNode[];
  readonly found?: readonly FoundRoute[];
  readonly own?: KubeNode;
  readonly routes: readonly string[];
  readonly problems?: readonly RegExp[];
}

const cases: readonly Case[] = [
  { name: 'a node alone keeps what no pod has', nodes: [own], routes: ownRoutes },
  { name: 'a node on the link is the gateway to its pods', nodes: [own, b], routes: [...ownRoutes, ...toB] },
  { name: 'a node that has no CIDR yet is no matter', nodes: [node('c', '192.0.2.3', '')], routes: ownRoutes },
  {
    name: 'a node behind a router gets no route, and the reason is told',
    nodes: [node('c', '198.51.100.3 2001:db8:9::3', '10.244.3.0/24 fd44:3::/64')],
    routes: ownRoutes,
    problems: [
      /node c, 10\.244\.3\.0\/24: it shares no link .* 198\.51\.100\.3 through a gateway/,
      /fd44:3::\/64: it shares/,
    ],
  },
  {
    name: 'of several addresses the one on our link is taken',
    nodes: [node('c', '198.51.100.3 192.0.2.3', '10.244.3.0/24')],
    routes: [...ownRoutes, '10.244.3.0/24 via 192.0.2.3 dev 2'],
  },
  {
    name: 'a family that the other node has no address of is told',
    nodes: [node('c', '192.0.2.3', 'fd44:3::/64')],
    routes: ownRoutes,
    problems: [/fd44:3::\/64: it has no IPv6 address/],
  },
  {
    name: 'an address with a host route of its own by a gateway is not on the link, whatever the link’s network',
    nodes: [node('c', '192.0.2.3', '10.244.3.0/24')],
    found: [...table, found('192.0.2.3/32', via('192.0.2.254'))],
    routes: ownRoutes,
    problems: [/shares no link/],
  },
  {
    name: 'a link with a host route only is a link',
    nodes: [node('c', '203.0.113.3', '10.244.3.0/24')],
    found: [...table, found('203.0.113.3/32', { oif: 5 })],
    routes: [...ownRoutes, '10.244.3.0/24 via 203.0.113.3 dev 5'],
  },
  {
    name: 'somebody else’s route stays, and is told where it leads elsewhere',
    nodes: [b],
    found: [...table, found('10.244.2.0/24', { ...via('192.0.2.77'), protocol: 12 })],
    routes: [...ownRoutes, toB[1]!],
    problems: [
      /node b, 10\.244\.2\.0\/24: another program has a route there \(on link 2 via 192\.0\.2\.77 of protocol 12\)/,
    ],
  },
  {
    name: 'somebody else’s route that leads there is as good as ours',
    nodes: [b],
    found: [...table, found('10.244.2.0/24', { ...via('192.0.2.2'), protocol: 12 })],
    routes: [...ownRoutes, toB[1]!],
  },
  {
    name: 'a bridge that has our own CIDR keeps it',
    nodes: [],
    found: [...table, found('10.244.1.0/24', { oif: 7 })],
    routes: [ownRoutes[1]!],
    problems: [
      /This node's pod CIDR 10\.244\.1\.0\/24 has a route that another program made \(on link 7 of protocol 2\)/,
    ],
  },
  {
    name: 'routes of ours are no obstacle to themselves',
    nodes: [b],
    found: [
      ...table,
      found('10.244.2.0/24', { ...via('192.0.2.2'), ...ours }),
      found('10.244.1.0/24', { ...ours, type: 7 }),
    ],
    routes: [...ownRoutes, ...toB],
  },
  {
    name: 'one CIDR for two nodes goes to the first by name',
    nodes: [node('z', '192.0.2.9', '10.244.2.0/24'), b],
    routes: [...ownRoutes, ...toB],
    problems: [/node z, 10\.244\.2\.0\/24: node b has the same/],
  },
  {
    name: 'a CIDR of another that is ours, too, does not lead our pods away',
    nodes: [node('c', '192.0.2.3', '10.244.1.0/24')],
    routes: ownRoutes,
    problems: [/node c, 10\.244\.1\.0\/24: node a has the same/],
  },
  {
    name: 'a CIDR that swallows a node’s address would cut that node off',
    nodes: [node('c', '192.0.2.3', '192.0.0.0/16'), node('d', '192.0.2.4', '0.0.0.0/0')],
    routes: ownRoutes,
    problems: [/node c, 192\.0\.0\.0\/16: node [abcd] has its own address/, /node d, 0\.0\.0\.0\/0: /],
  },
];

test('a pod CIDR that swallows a node’s address is not among those in which there are only pods', () => {
  const all = [own, b, node('d', '192.0.2.4', '0.0.0.0/0')];
  const texts = judgeClaims(all).believed.map(formatPrefix);
  assert.deepEqual(texts, [...own.podCidrs, ...b.podCidrs].map(formatPrefix));
});

describe('The plan', () => {
  for (const { name, nodes, found: there = table, routes, problems = [], own: self = own } of cases)
    test(name, () => {
      const plan = planRoutes(nodes, self, there);
      assert.deepEqual(plan.wanted.map(describeRoute), routes);
      assert.equal(plan.problems.length, problems.length, plan.problems.join('\n'));
      for (const [index, pattern] of problems.entries()) assert.match(plan.problems[index]!, pattern);
    });

  test('5,000 nodes are one pass, and each gets its route', () => {
    const many = Array.from({ length: 5000 }, (_, i) =>
      node(`n${i}`, `172.16.${i >> 8}.${i & 255}`, `10.${i >> 8}.${i & 255}.0/24`),
    );
    const plan = planRoutes(many, own, [...table, found('172.16.0.0/16', { oif: 3 })]);
    assert.deepEqual(plan.problems, []);
    assert.equal(plan.wanted.length, 5000 + 2);
  });

  test('what is as wanted is not touched', () => {
    const there = [
      found('10.244.1.0/24', { ...ours, type: 7, oif: undefined }),
      found('fd44:1::/64', { ...ours, type: 7, oif: 1 }),
      found('10.244.2.0/24', { ...ours, ...via('192.0.2.2') }),
      found('fd44:2::/64', { ...ours, ...via('2001:db8::2') }),
    ];
    assert.deepEqual(routeChanges(there, planRoutes([b], own, [...table, ...there]).wanted), []);
  });
});

/** Two nodes on one wire, and a socket in the first. */
class Wire implements Disposable {
  readonly a = new Netns();
  readonly b = new Netns();
  readonly socket: NetlinkSocket;

  constructor() {
    const { a, b } = this;
    for (const [ns, n] of [
      [a, 1],
      [b, 2],
    ] as const) {
      ns.exec('sh', [
        '-c',
        'echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad; echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding',
      ]);
      if (n === 1) ns.exec('ip', ['link', 'add', 'wire', 'type', 'veth', 'peer', 'name', 'wire', 'netns', b.name]);
      ns.exec('ip', ['addr', 'add', `192.0.2.${n}/24`, 'dev', 'wire']);
      ns.exec('ip', ['addr', 'add', `2001:db8::${n}/64`, 'dev', 'wire', 'nodad']);
      ns.exec('ip', ['link', 'set', 'wire', 'up']);
    }
    this.socket = inNetns(a, () => NetlinkSocket.open('route'));
  }

  keep(nodes: readonly KubeNode[], self: KubeNode = own) {
    return keepRoutes(nodes, self, this.socket.exchange);
  }

  /** Of both families, as iproute2 has them. */
  routes(filter = `proto ${RTPROT_TOLLGATE}`): string[] {
    const families = filter.startsWith('10.') ? ['-4'] : ['-4', '-6'];
    const lines = families.flatMap(family =>
      this.a.exec('ip', [family, 'route', 'show', ...filter.split(' ')]).stdout.split('\n'),
    );
    return lines
      .map(line =>
        line
          .trim()
          .replaceAll(/ +/g, ' ')
          .replace(/ pref medium$/, ''),
      )
      .filter(Boolean);
  }

  [Symbol.dispose](): void {
    this.socket[Symbol.dispose]();
    this.b[Symbol.dispose]();
    this.a[Symbol.dispose]();
  }
}

const standing = [
  'unreachable 10.244.1.0/24 metric 1024',
  '10.244.2.0/24 via 192.0.2.2 dev wire metric 1024',
  'unreachable fd44:1::/64 dev lo metric 1024',
  'fd44:2::/64 via 2001:db8::2 dev wire metric 1024',
];

/** As the kernel's tools write it, in whichever version: without the protocol, which was asked for. */
const asStanding = (lines: readonly string[]): string[] =>
  lines.map(line => line.replace(/ (proto|error|linkdown) ?\S*/g, '')).sort();

describe('In the kernel', () => {
  test('routes stand after one look, and a second one finds nothing to do', () => {
    using wire = new Wire();
    const whole = {
      ...{ problems: [], lost: [], isOwnDone: true },
      standing: new Set(['10.244.1.0/24', '10.244.2.0/24', 'fd44:1::/64', 'fd44:2::/64']),
    };
    assert.deepEqual(wire.keep([own, b]), { ...whole, changed: 4 });
    assert.deepEqual(asStanding(wire.routes()), [...standing].sort());
    assert.deepEqual(wire.keep([b]), { ...whole, changed: 0 });
  });

  test('a node that moves, goes or changes its CIDR takes its routes with it', () => {
    using wire = new Wire();
    wire.keep([own, b]);
    assert.equal(wire.keep([node('b', '192.0.2.3 2001:db8::3', '10.244.2.0/24 fd44:2::/64')]).changed, 2);
    assert.match(wire.routes().join('\n'), /10\.244\.2\.0\/24 via 192\.0\.2\.3 [\s\S]*fd44:2::\/64 via 2001:db8::3 /);
    assert.equal(wire.keep([node('b', '192.0.2.3', '10.244.9.0/24')]).changed, 3);
    assert.match(wire.routes().join('\n'), /10\.244\.9\.0\/24 via 192\.0\.2\.3 /);
    assert.equal(wire.keep([]).changed, 1);
    assert.equal(wire.routes().length, 2);
  });

  test('our own CIDR changes under a pod that holds an address of the old one: its route is not touched', () => {
    using wire = new Wire();
    wire.a.exec('ip', ['link', 'add', 'pod', 'type', 'veth', 'peer', 'name', 'podend']);
    for (const end of ['pod', 'podend']) wire.a.exec('ip', ['link', 'set', end, 'up']);
    wire.a.exec('ip', ['route', 'add', '10.244.1.7/32', 'dev', 'pod']);
    wire.keep([]);
    wire.keep([], node('a', '192.0.2.1', '10.244.50.0/24'));
    assert.deepEqual(asStanding(wire.routes()), ['unreachable 10.244.50.0/24 metric 1024']);
    assert.match(wire.routes('10.244.1.7').join(), /10\.244\.1\.7 dev pod/);
  });

  test('what an unused address of ours gets is an error at once, and a pod’s own route wins', () => {
    using wire = new Wire();
    wire.a.exec('ip', ['route', 'add', 'default', 'via', '192.0.2.2']);
    wire.keep([]);
    assert.notEqual(wire.a.try('ip', ['route', 'get', '10.244.1.9']).status, 0);
    wire.a.exec('ip', ['link', 'add', 'pod', 'type', 'veth', 'peer', 'name', 'podend']);
    for (const end of ['pod', 'podend']) wire.a.exec('ip', ['link', 'set', end, 'up']);
    wire.a.exec('ip', ['route', 'add', '10.244.1.9/32', 'dev', 'pod']);
    assert.match(wire.a.exec('ip', ['route', 'get', '10.244.1.9']).stdout, /dev pod/);
  });

  test('nobody else’s routes are touched, and a later one of somebody else’s makes ours give way', () => {
    using wire = new Wire();
    const mine = ['ip', ['route', 'add', '10.99.0.0/24', 'via', '192.0.2.9', 'proto', 'bird']] as const;
    wire.a.exec(...mine);
    wire.keep([b]);
    wire.a.exec('ip', ['route', 'add', '10.244.2.0/24', 'via', '192.0.2.8', 'proto', 'static']);
    const { problems } = wire.keep([b]);
    assert.match(problems.join(), /another program has a route there/);
    assert.deepEqual(asStanding(wire.routes('10.244.2.0/24')), ['10.244.2.0/24 via 192.0.2.8 dev wire']);
    wire.a.exec('ip', ['route', 'del', '10.244.2.0/24']);
    wire.keep([b]);
    assert.deepEqual(asStanding(wire.routes()), [...standing].sort());
    wire.keep([]);
    assert.match(wire.routes('10.99.0.0/24').join(), /via 192\.0\.2\.9/);
  });

  test('a route that somebody deletes is there again after the next look', () => {
    using wire = new Wire();
    wire.keep([b]);
    wire.a.exec('ip', ['route', 'flush', 'proto', String(RTPROT_TOLLGATE)]);
    assert.equal(wire.keep([b]).changed, 2);
    assert.deepEqual(asStanding(wire.routes()), [...standing].sort());
  });

  test('a route that the kernel refuses is told, and keeps no other back', () => {
    using wire = new Wire();
    // The link's broadcast address is no gateway.
    const { problems, isOwnDone } = wire.keep([b, node('c', '192.0.2.255', '10.244.3.0/24')]);
    assert.equal(isOwnDone, true);
    assert.match(problems.join(), /^Cannot add route 10\.244\.3\.0\/24 via 192\.0\.2\.255/);
    assert.deepEqual(asStanding(wire.routes()), [...standing].sort());
  });

  test('a route of IPv4 through a gateway of IPv6 has a gateway', () => {
    using wire = new Wire();
    wire.a.exec('ip', ['route', 'add', '198.51.100.0/24', 'via', 'inet6', '2001:db8::2', 'dev', 'wire']);
    const route = mainRoutes(wire.socket.exchange).find(
      ({ destination }) => formatPrefix(destination) === '198.51.100.0/24',
    );
    assert.equal(route?.gateway && formatAddress(route.gateway), '2001:db8::2');
    assert.match(wire.keep([node('c', '198.51.100.3', '10.244.3.0/24')]).problems.join(), /shares no link/);
  });
});
