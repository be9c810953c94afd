/** Reading what others have put into our table: it is seen, never mistaken for ours, and diff() takes it out again. */
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { parseAddress, parsePrefix } from '../../lib/ip/address.ts';
import { diff } from '../../lib/nft/diff.ts';
import type { NamedSet, Table } from '../../lib/nft/model.ts';
import { COUNTER, DROP, inSet, match, rule } from '../../lib/nft/statements.ts';
import { createTable } from '../../lib/nft/transaction.ts';
import { nftInNetns } from '../support/nft-netns.ts';

const address = (text: string) => parseAddress(text)!;
const prefix = (text: string) => parsePrefix(text)!;

const ranges: NamedSet = {
  name: 'ranges',
  key: ['ipv4_addr'],
  interval: true,
  elements: [
    { key: [prefix('10.0.0.0/8')], comment: 'ten' },
    { key: [{ family: 4, first: address('11.0.0.0').value, last: address('11.0.0.4').value }] },
    { key: [prefix('255.0.0.0/8')] },
  ],
};
const tuples: NamedSet = {
  name: 'tuples',
  key: ['ipv6_addr', 'inet_proto', 'inet_service'],
  interval: true,
  elements: [{ key: [prefix('fd00::/64'), 6, { first: 80, last: 90 }], comment: 'web' }],
};

const counts: NamedSet = {
  name: 'counts',
  key: ['devgroup'],
  value: 'counter',
  elements: [{ key: [1], value: { counter: 'denied' }, comment: 'demo/web' }],
};

const table: Table = {
  family: 'inet',
  name: 'tollgate',
  sets: [ranges, tuples, counts],
  counters: [{ name: 'denied' }],
  chains: [
    {
      name: 'gate',
      base: { type: 'filter', hook: 'output', priority: 0, policy: 'accept' },
      rules: [
        rule([inSet('ip saddr', 'ranges'), DROP]),
        rule([match('udp dport', '==', 9), COUNTER, { kind: 'counter', name: 'denied' }, DROP], 'demo/deny'),
      ],
    },
    { name: 'in-1', rules: [rule([COUNTER, DROP])] },
  ],
};

const { netns, nft } = nftInNetns();
beforeEach(() => {
  nft.commit({ family: 'inet', table: 'tollgate', operations: [{ verb: 'destroy', object: 'table' }] });
  nft.commit(createTable(table));
});

const meddling: readonly (readonly [sentence: string, command: string])[] = [
  ['a rule with an expression that we never use', 'add rule inet tollgate in-1 meta skuid 0 accept'],
  ['a rule with a counter expression after a quota', 'add rule inet tollgate in-1 quota 10 bytes drop'],
  [
    'a rule with an option of a statement that we do not have',
    'add rule inet tollgate in-1 log prefix "x" level debug',
  ],
  ['a rule with a limit on the other side', 'add rule inet tollgate in-1 limit rate over 1/second drop'],
  ['a rule of two payload fields in one', 'add rule inet tollgate in-1 ip saddr 1.2.3.4 ip daddr 1.2.3.5 accept'],
  ['a rule with an anonymous verdict map', 'add rule inet tollgate in-1 tcp dport vmap { 22 : accept }'],
  ['one of our own rules once more', 'add rule inet tollgate in-1 counter drop'],
  ['a rule before ours', 'insert rule inet tollgate gate accept'],
  ['a set with a timeout', 'add set inet tollgate theirs { type ipv4_addr; timeout 1h; }'],
  [
    'a set of a type that we never use',
    'add set inet tollgate theirs { type ether_addr; elements = { 02:00:00:00:00:01 } }',
  ],
  ['a map to counters', 'add map inet tollgate theirs { type ipv4_addr : counter; }'],
  ['a map to quotas', 'add map inet tollgate theirs { type ipv4_addr : quota; }'],
  ['a map to counters, of a key that we never use', 'add map inet tollgate theirs { type ether_addr : counter; }'],
  [
    'an element that leads to another counter',
    `add counter inet tollgate theirs; delete element inet tollgate counts { 1 }
     add element inet tollgate counts { 1 : "theirs" }`,
  ],
  ['a key more that counts', 'add element inet tollgate counts { 2 : "denied" }'],
  ['a key less that counts', 'delete element inet tollgate counts { 1 }'],
  ['a rule that counts by a map', 'add rule inet tollgate in-1 counter name meta iifgroup map @counts'],
  [
    'a rule that does something else by a map',
    'add map inet tollgate limits { type mark : quota; }; add rule inet tollgate in-1 quota name meta mark map @limits',
  ],
  ['a chain', 'add chain inet tollgate theirs { type filter hook input priority 5; policy drop; }'],
  ['a chain on a device', 'add chain inet tollgate theirs { type filter hook ingress device lo priority 5; }'],
  ['a counter', 'add counter inet tollgate theirs'],
  ['an element', 'add element inet tollgate ranges { 12.0.0.1 }'],
  ['an element less', 'delete element inet tollgate ranges { 11.0.0.0-11.0.0.4 }'],
  ['another policy', 'chain inet tollgate gate { policy drop; }'],
];

for (const [sentence, command] of meddling) {
  test(`drift is seen and mended: ${sentence}`, () => {
    netns.exec('nft', ['-f', '-'], { input: command });
    const read = nft.readTable('inet', 'tollgate');
    const transaction = diff(read, table);
    assert.notDeepEqual(transaction.operations, []);
    nft.commit(transaction);
    assert.deepEqual(diff(nft.readTable('inet', 'tollgate'), table).operations, []);
  });
}

test('there is no table until somebody makes it, and other tables are not ours', () => {
  nft.commit({ family: 'inet', table: 'tollgate', operations: [{ verb: 'destroy', object: 'table' }] });
  netns.exec('nft', ['-f', '-'], {
    input: `table ip tollgate { chain gate { type filter hook input priority 0; counter accept; }; }
      table inet other { set ranges { type ipv4_addr; elements = { 1.2.3.4 } }; counter denied { }; chain in-1 { drop; }; }`,
  });
  assert.equal(nft.readTable('inet', 'tollgate'), undefined);
  nft.commit(createTable(table));
  assert.deepEqual(diff(nft.readTable('inet', 'tollgate'), table).operations, []);
  assert.equal(nft.readTable('ip', 'tollgate')?.chains.length, 1);
});

test('counts and handles are read beside the table', () => {
  const before = nft.read({ family: 'inet', name: 'tollgate' })!;
  netns.try('bash', ['--norc', '-c', 'for i in 1 2 3; do echo > /dev/udp/127.0.0.1/9; done']);
  const read = nft.read({ family: 'inet', name: 'tollgate' })!;
  assert.deepEqual(read.table, before.table);
  assert.equal(read.counters.get('denied')?.packets, 3n);
  assert.deepEqual(
    read.ruleCounters.get('gate')?.map(counted => counted?.packets),
    [undefined, 3n],
  );
  assert.ok(read.ruleCounters.get('gate')?.[1]?.bytes === 3n * 29n);
  const [first, second] = read.handles.get('gate')!;
  assert.ok(first! > 0 && second! > first!);
  nft.commit({
    family: 'inet',
    table: 'tollgate',
    operations: [{ verb: 'delete', object: 'rule', chain: 'gate', handle: first! }],
  });
  assert.deepEqual(nft.read({ family: 'inet', name: 'tollgate' })?.handles.get('gate'), [second]);
});

const lookups: readonly (readonly [set: NamedSet, key: NamedSet['elements'][0]['key'], found: string | undefined])[] = [
  [ranges, [address('10.200.0.1')], 'ten'],
  [ranges, [prefix('10.0.0.0/8')], 'ten'],
  [ranges, [address('9.255.255.255')], undefined],
  [ranges, [address('12.0.0.0')], undefined],
  [tuples, [address('fd00::7'), 6, 85], 'web'],
  [tuples, [address('fd00::7'), 17, 85], undefined],
  [counts, [1], 'demo/web'],
  [counts, [2], undefined],
];

test('elements are found by their keys, or by what their intervals hold, without reading the set', () => {
  const place = { family: 'inet', name: 'tollgate' } as const;
  for (const set of [ranges, tuples, counts]) {
    const ours = lookups.filter(([of]) => of === set);
    const keys = ours.map(([, key]) => key);
    assert.deepEqual(
      nft.lookUp(place, set, keys).map(element => element?.comment),
      ours.map(([, , found]) => found),
    );
  }
  assert.deepEqual(nft.lookUp(place, ranges, [[address('11.0.0.2')]])[0]?.key, ranges.elements[1]!.key);
  assert.deepEqual(nft.lookUp(place, { ...ranges, name: 'none' }, [[address('10.0.0.1')]]), [undefined]);
  assert.deepEqual(nft.readElements(place, tuples), tuples.elements);
  assert.deepEqual(nft.lookUp(place, counts, [[1]]), [counts.elements[0]]);
});

test('a table is read whole while somebody else commits all the time', async () => {
  const other = netns.exec.bind(netns);
  const others = Array.from({ length: 40 }, (_, i) => `add table ip other${i}\nadd chain ip other${i} c\n`).join('');
  other('nft', ['-f', '-'], { input: others });
  for (let i = 0; i < 20; i++) assert.deepEqual(diff(nft.readTable('inet', 'tollgate'), table).operations, []);
});
