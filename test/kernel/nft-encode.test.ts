/** Batches byte by byte, and what the kernel's refusals are called. The nft line that means the same stands above each. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../lib/ip/address.ts';
import { NftError } from '../../lib/kernel/nft-refusal.ts';
import { diff } from '../../lib/nft/diff.ts';
import { encode } from '../../lib/nft/encode.ts';
import type { Element, NamedSet, Table } from '../../lib/nft/model.ts';
import { ACCEPT, COUNTER, countBy, DROP, goto, inSet, matchMasked, oneOf, rule } from '../../lib/nft/statements.ts';
import { formatTransaction } from '../../lib/nft/text.ts';
import { createTable, type Operation, type Transaction } from '../../lib/nft/transaction.ts';
import { nftInNetns } from '../support/nft-netns.ts';

const change = (...operations: Operation[]): Transaction => ({ family: 'inet', table: 'tg', operations });
const address = (text: string) => parseAddress(text)!;

/** Four bytes a word, as `nft --debug=all` prints; begin and end of the batch left out. */
function words(transaction: Transaction): string {
  const { bytes } = encode(transaction);
  const hex = [...bytes.subarray(20, bytes.length - 20)].map(byte => byte.toString(16).padStart(2, '0')).join('');
  return (hex.match(/.{8}/g) ?? []).join(' ');
}

const pods: NamedSet = { name: 'pods', key: ['ipv4_addr'], elements: [] };
const counts: NamedSet = { name: 'n', key: ['devgroup'], value: 'counter', elements: [] };
const tags: NamedSet = { name: 'tags', key: ['devgroup'], value: 'verdict', elements: [] };

const goldens: readonly (readonly [text: string, operation: Operation, bytes: string])[] = [
  [
    'delete chain inet tg out-1',
    { verb: 'delete', object: 'chain', chain: { name: 'out-1' } },
    // length 40, NFT_MSG_DELCHAIN, REQUEST, seq 1, port 0; inet; NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME
    '28000000 050a0100 01000000 00000000 01000000 07000100 74670000 0a000300 6f75742d 31000000',
  ],
  [
    'create chain inet tg raw { type filter hook prerouting priority -300; policy accept; }',
    {
      verb: 'create',
      object: 'chain',
      chain: { name: 'raw', base: { type: 'filter', hook: 'prerouting', priority: -300, policy: 'accept' } },
    },
    // NEWCHAIN, REQUEST | CREATE | EXCL; NFTA_CHAIN_HOOK { HOOKNUM 0, PRIORITY -300 }, POLICY 1, TYPE
    '4c000000 030a0106 01000000 00000000 01000000 07000100 74670000 08000300 72617700 ' +
      '14000480 08000100 00000000 08000200 fffffed4 08000500 00000001 0b000700 66696c74 65720000',
  ],
  [
    'add element inet tg pods { 10.0.0.7 comment "a" }',
    { verb: 'add', object: 'element', set: pods, elements: [{ key: [address('10.0.0.7')], comment: 'a' }] },
    // NEWSETELEM; ELEMENTS { LIST_ELEM { KEY { VALUE 10.0.0.7 }, USERDATA { comment, 2 bytes, "a" } } }
    '44000000 0c0a0104 01000000 00000000 01000000 07000100 74670000 09000200 706f6473 00000000 ' +
      '1c000380 18000180 0c000180 08000100 0a000007 08000600 00026100',
  ],
  [
    'add element inet tg tags { 0x74670001 : goto o }',
    { verb: 'add', object: 'element', set: tags, elements: [{ key: [0x74670001], value: goto('o') }] },
    // The group in host byte order; DATA { VERDICT { CODE -4, CHAIN } }
    '54000000 0c0a0104 01000000 00000000 01000000 07000100 74670000 09000200 74616773 00000000 ' +
      '2c000380 28000180 0c000180 08000100 01006774 18000280 14000280 08000100 fffffffc 06000200 6f000000',
  ],
  [
    'add map inet tg n { type devgroup : counter; }',
    { verb: 'add', object: 'set', set: counts },
    // NEWSET; FLAGS NFT_SET_OBJECT, KEY_TYPE 35, KEY_LEN 4, OBJ_TYPE NFT_OBJECT_COUNTER, ID 1, USERDATA { key: host order }
    '58000000 090a0104 01000000 00000000 01000000 07000100 74670000 06000200 6e000000 08000300 00000040 ' +
      '08000400 00000023 08000500 00000004 08000f00 00000001 08000a00 00000001 0a000d00 00040100 00000000',
  ],
  [
    'add element inet tg n { 0x74670001 : "o/1" }',
    { verb: 'add', object: 'element', set: counts, elements: [{ key: [0x74670001], value: { counter: 'o/1' } }] },
    // ELEMENTS { LIST_ELEM { KEY { VALUE }, OBJREF } }
    '40000000 0c0a0104 01000000 00000000 01000000 07000100 74670000 06000200 6e000000 ' +
      '1c000380 18000180 0c000180 08000100 01006774 08000900 6f2f3100',
  ],
  [
    'add rule inet tg o counter name meta iifgroup map @n',
    { verb: 'add', object: 'rule', chain: 'o', rule: rule([countBy('meta iifgroup', 'n')]) },
    // [ meta load iifgroup => reg 1 ] [ objref sreg 1 set n ]
    '70000000 060a010c 01000000 00000000 01000000 07000100 74670000 06000200 6f000000 4c000480 ' +
      '24000180 09000100 6d657461 00000000 14000280 08000200 00000015 08000100 00000001 ' +
      '24000180 0b000100 6f626a72 65660000 14000280 08000300 00000001 06000400 6e000000',
  ],
  [
    'add rule inet tg o meta iifgroup & 0xffff0000 == 0x74670000 accept',
    {
      verb: 'add',
      object: 'rule',
      chain: 'o',
      rule: rule([matchMasked('meta iifgroup', 0xffff0000, '==', 0x74670000), ACCEPT]),
    },
    // [ meta load iifgroup => reg 1 ] [ bitwise reg 1 = ( reg 1 & 0xffff0000 ) ^ 0 ] [ cmp eq reg 1 0x74670000 ] [ accept ]
    'ec000000 060a010c 01000000 00000000 01000000 07000100 74670000 06000200 6f000000 c8000480 ' +
      '24000180 09000100 6d657461 00000000 14000280 08000200 00000015 08000100 00000001 ' +
      '44000180 0c000100 62697477 69736500 34000280 08000100 00000001 08000200 00000001 08000300 00000004 ' +
      '0c000480 08000100 0000ffff 0c000580 08000100 00000000 ' +
      '2c000180 08000100 636d7000 20000280 08000100 00000001 08000200 00000000 0c000380 08000100 00006774 ' +
      '30000180 0e000100 696d6d65 64696174 65000000 1c000280 08000100 00000000 10000280 0c000280 08000100 00000001',
  ],
];

for (const [text, operation, bytes] of goldens) {
  test(`bytes of: ${text}`, () => {
    assert.equal(formatTransaction(change(operation)), `${text}\n`);
    assert.equal(words(change(operation)), bytes);
  });
}

test('a batch begins and ends for nf_tables, with the generation that it rests on', () => {
  const { bytes } = encode(change(), { generation: 7 });
  const hex = [...bytes].map(byte => byte.toString(16).padStart(2, '0')).join('');
  // NFNL_MSG_BATCH_BEGIN (16), res_id 10, NFNL_BATCH_GENID 7; NFNL_MSG_BATCH_END (17), seq 1
  assert.equal(
    hex,
    `1c000000${'10000100'}00000000000000000000000a${'0800010000000007'}14000000${'11000100'}01000000000000000000000a`,
  );
});

const { netns, nft } = nftInNetns();

const destroy = () => nft.commit(change({ verb: 'destroy', object: 'table' }));

const many = (count: number): readonly Element[] =>
  Array.from({ length: count }, (_, i) => ({
    key: [{ family: 4, value: 0x0a000000n + BigInt(i) }],
    comment: `pod ${i}`,
  }));

test('elements beyond what one attribute holds go in several messages, and all arrive', () => {
  destroy();
  const intervals: NamedSet = {
    name: 'ranges',
    key: ['ipv6_addr'],
    interval: true,
    elements: Array.from({ length: 3000 }, (_, i) => {
      const first = (0xfd00n << 112n) + BigInt(i * 16);
      return { key: [{ family: 6, first, last: first + BigInt(i % 15) }], comment: 'x'.repeat(253) };
    }),
  };
  const table: Table = {
    family: 'inet',
    name: 'tg',
    chains: [],
    counters: [],
    sets: [{ ...pods, elements: many(10_000) }, intervals],
  };
  nft.commit(createTable(table));
  const read = nft.readTable('inet', 'tg');
  assert.equal(read?.sets[0]?.elements.length, 10_000);
  assert.equal(diff(read, table).operations.length, 0);
  const emptied = { ...table, sets: table.sets.map(set => ({ ...set, elements: set.elements.slice(0, 1) })) };
  nft.commit(diff(read, emptied));
  assert.equal(diff(nft.readTable('inet', 'tg'), emptied).operations.length, 0);
});

test('a batch of megabytes is committed', () => {
  destroy();
  const chains = Array.from({ length: 3000 }, (_, i) => ({
    name: `out-${i}`,
    rules: [
      rule([matchMasked('meta mark', 0xff, '==', i % 256), COUNTER, ACCEPT]),
      rule([COUNTER, DROP], 'nothing above allowed it'),
    ],
  }));
  const table: Table = { family: 'inet', name: 'tg', chains, sets: [], counters: [] };
  assert.ok(encode(createTable(table)).bytes.length > 1_000_000);
  nft.commit(createTable(table));
  assert.equal(diff(nft.readTable('inet', 'tg'), table).operations.length, 0);
});

test('a comment is kept up to 128 bytes, cut between characters with a tilde, and is no reason to change anything again', () => {
  destroy();
  const long = 'é'.repeat(200);
  const table: Table = {
    family: 'inet',
    name: 'tg',
    comment: 'x'.repeat(253),
    chains: [{ name: 'c', comment: long, rules: [rule([DROP], `a${long}`)] }],
    counters: [{ name: 'n', comment: long }],
    sets: [{ ...pods, comment: long, elements: [{ key: [address('10.0.0.7')], comment: long }] }],
  };
  nft.commit(createTable(table));
  const read = nft.readTable('inet', 'tg')!;
  assert.equal(read.comment, table.comment);
  const kept = `${'é'.repeat(63)}~`;
  const [chain, set] = [read.chains[0]!, read.sets[0]!];
  const found = [chain.comment, read.counters[0]!.comment, set.comment, set.elements[0]!.comment];
  assert.deepEqual(found, [kept, kept, kept, kept]);
  assert.equal(chain.rules[0]!.comment, `a${kept}`);
  assert.deepEqual(diff(read, table).operations, []);
  assert.equal(netns.exec('nft', ['list', 'table', 'inet', 'tg']).stdout.split(kept).length - 1, 5);
});

const unfit: readonly (readonly [sentence: string, comment: string, kept: string])[] = [
  ['a double quote', 'say "hello"', "say 'hello'"],
  ['a line break and an escape', 'one\ntwo\u001b[31m', 'one two [31m'],
  ['a zero byte', 'one\0two', 'one two'],
  ['half a surrogate pair', 'one\ud83dtwo', 'one\ufffdtwo'],
  ['whole ones, up to the last byte', '🦊'.repeat(32), '🦊'.repeat(32)],
  ['whole ones, and one byte more', `${'🦊'.repeat(32)}x`, `${'🦊'.repeat(31)}~`],
];

for (const [sentence, comment, kept] of unfit) {
  test(`a comment that nft could not read back is kept so that it can: ${sentence}`, () => {
    destroy();
    const table: Table = {
      family: 'inet',
      name: 'tg',
      chains: [{ name: 'c', comment, rules: [rule([DROP], comment)] }],
      counters: [{ name: 'n', comment }],
      sets: [{ ...pods, comment, elements: [{ key: [address('10.0.0.7')], comment }] }],
    };
    nft.commit(createTable(table));
    const read = nft.readTable('inet', 'tg')!;
    const [chain, set] = [read.chains[0]!, read.sets[0]!];
    const found = [chain, chain.rules[0]!, read.counters[0]!, set, set.elements[0]!].map(item => item.comment);
    assert.deepEqual(found, [kept, kept, kept, kept, kept]);
    assert.deepEqual(diff(read, table).operations, []);
    const listed = netns.exec('nft', ['list', 'table', 'inet', 'tg']).stdout;
    destroy();
    netns.exec('nft', ['-f', '-'], { input: listed });
    assert.deepEqual(nft.readTable('inet', 'tg'), read);
    destroy();
    netns.exec('nft', ['-f', '-'], { input: formatTransaction(createTable(table)) });
    assert.deepEqual(nft.readTable('inet', 'tg'), read);
  });
}

test('a refusal names what was refused: the element by its key, the chain, the rule by its comment', () => {
  destroy();
  const base: Table = { family: 'inet', name: 'tg', chains: [], counters: [], sets: [{ ...pods, elements: many(3) }] };
  nft.commit(createTable(base));
  const wrong = change(
    { verb: 'create', object: 'element', set: pods, elements: [{ key: [address('10.0.0.9')] }, ...many(2)] },
    { verb: 'delete', object: 'chain', chain: { name: 'none' } },
    { verb: 'add', object: 'chain', chain: { name: 'fine' } },
    { verb: 'add', object: 'rule', chain: 'fine', rule: rule([inSet('ip saddr', 'none'), DROP], 'demo/allow-web') },
    { verb: 'add', object: 'element', set: tags, elements: [{ key: [1], value: DROP }] },
  );
  assert.throws(
    () => nft.commit(wrong),
    (error: unknown) => {
      assert.ok(error instanceof NftError);
      assert.deepEqual(
        error.refusals.map(({ object, code }) => `${object}: ${code}`),
        [
          'create 10.0.0.0 of elements of set pods: EEXIST',
          'delete chain none: ENOENT',
          'add rule of chain fine (demo/allow-web): ENOENT',
          'add elements of map tags: ENOENT',
        ],
      );
      assert.deepEqual(
        error.refusals.map(({ operation }) => operation),
        [wrong.operations[0], wrong.operations[1], wrong.operations[3], wrong.operations[4]],
      );
      assert.match(error.message, /^Cannot change table inet tg: create 10\.0\.0\.0 of .*; and 1 more$/);
      return true;
    },
  );
  assert.deepEqual(diff(nft.readTable('inet', 'tg'), base).operations, []);
});

test('a batch that rests on another generation is refused as a whole', () => {
  destroy();
  const generation = nft.generation();
  nft.commit(change({ verb: 'add', object: 'table' }), { generation });
  const again = change({ verb: 'add', object: 'chain', chain: { name: 'late' } });
  assert.throws(
    () => nft.commit(again, { generation }),
    (error: unknown) => error instanceof NftError && error.code === 'ERESTART' && /the batch/.test(error.message),
  );
  nft.commit(again, { generation: nft.read({ family: 'inet', name: 'tg' })!.generation! });
});

test('a value that does not fit its type is an error that says so, before anything is sent', () => {
  const cases: readonly (readonly [RegExp, Operation])[] = [
    [
      /"10.0.0.7" as ipv4_addr|10\.0\.0\.7/,
      { verb: 'add', object: 'element', set: pods, elements: [{ key: ['10.0.0.7'] }] },
    ],
    [/fd00::1 as ipv4_addr/, { verb: 'add', object: 'element', set: pods, elements: [{ key: [address('fd00::1')] }] }],
    [
      /key of 2 fields as ipv4_addr/,
      { verb: 'add', object: 'element', set: pods, elements: [{ key: [address('10.0.0.1'), 6] }] },
    ],
    [/70000 as inet_service/, { verb: 'add', object: 'rule', chain: 'o', rule: rule([oneOf('tcp dport', [70_000])]) }],
    [
      /interval into a set without/,
      { verb: 'add', object: 'element', set: pods, elements: [{ key: [{ family: 4, value: 0n, length: 8 }] }] },
    ],
    [
      /comment that long: it needs 303 bytes, the kernel takes 256/,
      { verb: 'create', object: 'table', comment: 'x'.repeat(300) },
    ],
  ];
  for (const [message, operation] of cases)
    assert.throws(() => encode(change(operation)), { name: 'RangeError', message });
});
