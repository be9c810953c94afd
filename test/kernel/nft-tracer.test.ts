/** The tracer tells what the kernel does: random tables, real packets, and named counters along every path. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Base, Chain, NamedSet, NftVerdict, Rule, Statement, Table } from '../../lib/nft/model.ts';
import {
  ACCEPT,
  CT_STATE,
  countBy,
  DROP,
  goto,
  inSet,
  jump,
  markBy,
  match,
  matchMasked,
  oneOf,
  PROTOCOL,
  RETURN,
  rule,
  vmap,
} from '../../lib/nft/statements.ts';
import { createTable } from '../../lib/nft/transaction.ts';
import { nftInNetns } from '../support/nft-netns.ts';
import { type Packet, tracerOf } from '../support/nft-tracer.ts';

const LOOPBACK = 0x7f000001n;
const ports = [1001, 1002, 1003, 1004, 1005, 1006];

/** A datagram of the node to itself, as the output hook sees it. */
const packetTo = (dport: number): Packet => ({
  family: 4,
  saddr: LOOPBACK,
  daddr: LOOPBACK,
  l4proto: PROTOCOL.udp,
  sport: 40_000,
  dport,
  hoplimit: 64,
  oif: 1,
  oifname: 'lo',
  oifgroup: 0,
  ctState: CT_STATE.new,
  ctDirection: 0,
});

const sets: readonly NamedSet[] = [
  { name: 'ports', key: ['inet_service'], elements: [{ key: [1001] }, { key: [1004] }] },
  {
    name: 'ranges',
    key: ['inet_service'],
    interval: true,
    elements: [{ key: [{ first: 1000, last: 1002 }] }, { key: [{ first: 1003, last: 1003 }] }, { key: [1006] }],
  },
  {
    name: 'tuples',
    key: ['ipv4_addr', 'inet_proto', 'inet_service'],
    interval: true,
    elements: [
      { key: [{ family: 4, value: 0x7f000000n, length: 8 }, PROTOCOL.udp, { first: 1002, last: 1004 }] },
      { key: [{ family: 4, value: LOOPBACK }, PROTOCOL.udp, 1006] },
      { key: [{ family: 4, value: LOOPBACK }, PROTOCOL.tcp, 1001] },
    ],
  },
];

const matches: readonly (readonly Statement[])[] = [
  [],
  [match('udp dport', '==', 1001)],
  [match('udp dport', '!=', { first: 1002, last: 1004 })],
  [match('th dport', '==', { first: 1004, last: 1005 })],
  [match('tcp dport', '!=', 1001)],
  [match('ip6 hoplimit', '!=', 1)],
  [match('ip ttl', '==', 64), match('ip daddr', '==', { family: 4, value: 0x7f000000n, length: 8 })],
  [match('ip saddr', '!=', { family: 4, value: 0x7f000000n, length: 9 })],
  [match('ip daddr', '!=', { family: 4, first: LOOPBACK, last: LOOPBACK + 1n })],
  [match('meta iif', '==', 0)],
  [match('meta oifname', '==', 'l*')],
  [match('meta iifname', '!=', 'lo')],
  [match('meta iifgroup', '!=', 5)],
  [match('meta oifgroup', '==', 0)],
  [match('ct state', 'any', CT_STATE.new | CT_STATE.established), match('ct direction', '==', 0)],
  [match('ct state', 'any', CT_STATE.established)],
  [matchMasked('meta mark', 0x30, '==', 0x20)],
  [matchMasked('meta mark', 0x30, '!=', 0x20)],
  [oneOf('udp dport', [1001, { first: 1003, last: 1004 }])],
  [oneOf('udp dport', [1001, 1006], '!=')],
  [inSet('udp dport', 'ports')],
  [inSet('udp dport', 'ranges', '!=')],
  [inSet(['ip daddr', 'meta l4proto', 'th dport'], 'tuples')],
  [inSet(['ip daddr', 'meta l4proto', 'th dport'], 'tuples', '!=')],
];

/** Where a key is in none of them, the rule breaks off: what stands behind does not happen. */
const counting: readonly NamedSet[] = [
  {
    name: 'counts',
    key: ['inet_service'],
    value: 'counter',
    elements: [
      { key: [1001], value: { counter: 'by-port-a' } },
      { key: [1002], value: { counter: 'by-port-b' } },
      { key: [1005], value: { counter: 'by-port-a' } },
    ],
  },
  {
    name: 'pair_counts',
    key: ['ipv4_addr', 'inet_service'],
    value: 'counter',
    elements: [{ key: [{ family: 4, value: LOOPBACK }, 1003], value: { counter: 'by-pair' } }],
  },
];

/** Two of these are what rules ask for by their mask. */
const marks: NamedSet = {
  name: 'marks',
  key: ['ipv4_addr', 'inet_service'],
  value: ['mark'],
  elements: [0x20, 0x10, 0x2f].map((mark, i) => ({ key: [{ family: 4, value: LOOPBACK }, 1001 + i], value: [mark] })),
};

const chainNames = ['one', 'two', 'three', 'four'];

/** Every rule counts with a counter of its own, once what it looks at matches; calls go to later chains only. */
function tables(): fc.Arbitrary<Table> {
  const verdict = (from: number): fc.Arbitrary<NftVerdict> =>
    fc.oneof(
      { weight: 2, arbitrary: fc.constantFrom(ACCEPT, DROP, RETURN) },
      {
        weight: 3,
        arbitrary: fc.constantFrom(RETURN, ...chainNames.slice(from).flatMap(name => [jump(name), goto(name)])),
      },
    );
  const end = (from: number): fc.Arbitrary<readonly Statement[]> =>
    fc.oneof(
      verdict(from).map(v => [v]),
      fc.constantFrom<readonly Statement[]>(
        [],
        [{ kind: 'set-mark', of: 'meta', mark: 0x20 }],
        [{ kind: 'set-mark', of: 'meta', mark: 0x10, mask: 0x30 }],
        from === 0 ? [vmap('udp dport', 'map')] : [],
        [countBy('udp dport', 'counts'), DROP],
        [countBy(['ip daddr', 'udp dport'], 'pair_counts'), { kind: 'set-mark', of: 'meta', mark: 0x20 }],
        [markBy(['ip daddr', 'udp dport'], 'marks')],
        [markBy(['ip daddr', 'udp dport'], 'marks'), DROP],
      ),
    );
  const rules = (chain: string, from: number): fc.Arbitrary<Rule[]> =>
    fc
      .array(fc.tuple(fc.constantFrom(...matches), end(from)), { minLength: 1, maxLength: 4 })
      .map(list =>
        list.map(([looks, does], i) => rule([...looks, { kind: 'counter', name: `${chain}-${i}` }, ...does])),
      );
  const base = (name: string, priority: number): fc.Arbitrary<Chain> =>
    fc.tuple(rules(name, 0), fc.constantFrom<Base['policy']>('accept', 'drop')).map(([list, policy]) => ({
      name,
      base: { type: 'filter', hook: 'output', priority, policy },
      rules: [rule([match('meta l4proto', '!=', PROTOCOL.udp), ACCEPT]), ...list],
    }));
  const regular = chainNames.map((name, i) => rules(name, i + 1).map((list): Chain => ({ name, rules: list })));
  const map = fc.uniqueArray(fc.tuple(fc.constantFrom(...ports), verdict(0)), { selector: ([port]) => port }).map(
    (entries): NamedSet => ({
      name: 'map',
      key: ['inet_service'],
      value: 'verdict',
      elements: entries.map(([port, value]) => ({ key: [port], value })),
    }),
  );
  return fc
    .tuple(base('early', -10), base('late', 10), map, ...regular)
    .map(([early, late, entries, ...others]): Table => {
      // In the value the later chain stands first: priority must decide, not order.
      const chains = [...others, late, early];
      const own = chains.flatMap(({ name, rules }) => rules.map((_, i) => ({ name: `${name}-${i}` })));
      const counters = [...own, ...['by-port-a', 'by-port-b', 'by-pair'].map(name => ({ name }))];
      return { family: 'inet', name: 'tollgate', sets: [...sets, ...counting, marks, entries], counters, chains };
    });
}

const { netns, nft } = nftInNetns();

test('packets count in the kernel exactly where the tracer leads them', () => {
  const send = ports.map(port => `echo > /dev/udp/127.0.0.1/${port};`).join(' ');
  let packets = 0n;
  fc.assert(
    fc.property(tables(), table => {
      nft.commit({ family: 'inet', table: 'tollgate', operations: [{ verb: 'destroy', object: 'table' }] });
      nft.commit(createTable(table));
      netns.try('bash', ['--norc', '-c', send]);
      const seen = [...nft.readCounters({ family: 'inet', name: 'tollgate' })].filter(
        ([, { packets }]) => packets > 0n,
      );
      for (const [, counter] of seen) packets += counter.packets;
      const trace = tracerOf(table);
      const told = new Map<string, bigint>();
      for (const port of ports)
        for (const name of trace('output', packetTo(port)).counted) told.set(name, (told.get(name) ?? 0n) + 1n);
      const inOrder = (entries: Iterable<readonly [string, bigint]>) =>
        [...entries].toSorted(([a], [b]) => (a < b ? -1 : 1));
      assert.deepEqual(inOrder(told), inOrder(seen.map(([name, { packets }]) => [name, packets] as const)));
    }),
    { numRuns: 60 },
  );
  assert.ok(packets > 200n, `only ${packets} were counted`);
});

const one = (statements: readonly Statement[]): Table => ({
  family: 'inet',
  name: 'tollgate',
  sets,
  counters: [],
  chains: [
    {
      name: 'base',
      base: { type: 'filter', hook: 'output', priority: 0, policy: 'accept' },
      rules: [rule(statements, 'the rule')],
    },
  ],
});

test('the path names each rule that took effect, by chain, index and comment', () => {
  const chains: readonly Chain[] = [
    { name: 'inner', rules: [rule([match('udp dport', '==', 1)]), rule([RETURN], 'enough')] },
    {
      name: 'base',
      base: { type: 'filter', hook: 'output', priority: 0, policy: 'drop' },
      rules: [rule([jump('inner')], 'look inside')],
    },
  ];
  const { verdict, path } = tracerOf({ ...one([]), chains })('output', packetTo(1001));
  assert.equal(verdict, 'drop');
  assert.deepEqual(path, [
    { chain: 'base', rule: 0, comment: 'look inside' },
    { chain: 'inner', rule: 1, comment: 'enough' },
    { chain: 'base', rule: 1 },
  ]);
});

test('what the kernel cannot know of a packet matches nothing, not even by !=', () => {
  const { ctStatus: _, ...packet } = packetTo(1001);
  for (const statement of [
    match('meta iifgroup', '!=', 5),
    match('tcp dport', '!=', 5),
    match('icmp type', '!=', 5),
    match('fib daddr type', '!=', 5),
    match('ct mark', '!=', 5),
  ])
    assert.equal(
      tracerOf(one([statement, DROP]))('output', { ...packet, ctState: CT_STATE.untracked }).verdict,
      'accept',
    );
});

test('where a map of counters has no such key, the rule does nothing more, and the next one has its say', () => {
  const table: Table = {
    ...one([]),
    sets: counting.slice(0, 1),
    counters: [{ name: 'by-port-a' }, { name: 'by-port-b' }, { name: 'next' }],
    chains: [
      {
        name: 'base',
        base: { type: 'filter', hook: 'output', priority: 0, policy: 'accept' },
        rules: [
          rule([countBy('udp dport', 'counts'), ACCEPT]),
          rule([match('meta l4proto', '==', PROTOCOL.udp), { kind: 'counter', name: 'next' }, ACCEPT]),
        ],
      },
    ],
  };
  const trace = tracerOf(table);
  assert.deepEqual(trace('output', packetTo(1001)).counted, ['by-port-a']);
  assert.deepEqual(trace('output', packetTo(1004)).counted, ['next']);
  nft.commit({ family: 'inet', table: 'tollgate', operations: [{ verb: 'destroy', object: 'table' }] });
  nft.commit(createTable(table));
  netns.try('bash', [
    '--norc',
    '-c',
    [1001, 1002, 1004, 1005].map(port => `echo > /dev/udp/127.0.0.1/${port};`).join(' '),
  ]);
  const counted = nft.readCounters({ family: 'inet', name: 'tollgate' });
  assert.deepEqual(
    ['by-port-a', 'by-port-b', 'next'].map(name => counted.get(name)?.packets),
    [2n, 1n, 1n],
  );
});

test('a limit holds back what is over its rate, on demand', () => {
  const limited = one([
    { kind: 'limit', rate: 1, per: 'second', burst: 1 },
    { kind: 'log', group: 1, prefix: 'seen' },
    DROP,
  ]);
  const within = tracerOf(limited)('output', packetTo(1001));
  assert.deepEqual([within.verdict, within.logged], ['drop', ['seen']]);
  const over = tracerOf(limited, { withinLimit: false })('output', packetTo(1001));
  assert.deepEqual([over.verdict, over.logged], ['accept', []]);
});

test('DNAT by a map changes the packet for later chains, and only of a new connection', () => {
  const target = { family: 4, value: 0x0a000007n } as const;
  const table: Table = {
    ...one([]),
    sets: [
      {
        name: 'ports',
        key: ['inet_proto', 'inet_service'],
        value: ['ipv4_addr', 'inet_service'],
        elements: [{ key: [PROTOCOL.udp, 1001], value: [target, 53] }],
      },
    ],
    chains: [
      {
        name: 'nat',
        base: { type: 'nat', hook: 'output', priority: -100, policy: 'accept' },
        rules: [
          rule([{ kind: 'dnat', family: 4, to: { key: ['meta l4proto', 'th dport'], map: 'ports', port: true } }]),
          rule([DROP]),
        ],
      },
      {
        name: 'filter',
        base: { type: 'filter', hook: 'output', priority: 0, policy: 'accept' },
        rules: [rule([match('ip daddr', '==', target), match('udp dport', '==', 53), DROP])],
      },
    ],
  };
  const trace = tracerOf(table);
  const translated = trace('output', packetTo(1001));
  assert.deepEqual(translated.translations, [{ kind: 'dnat', address: target.value, port: 53 }]);
  assert.deepEqual([translated.verdict, translated.path.at(-1)?.chain], ['drop', 'filter']);
  assert.equal(trace('output', packetTo(1002)).path.at(-1)?.chain, 'nat');
  assert.equal(trace('output', { ...packetTo(1002), ctState: CT_STATE.established }).verdict, 'accept');
});
