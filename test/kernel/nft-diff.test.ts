/** diff() and apply(): whatever the two tables, the transaction between them is accepted and leads there. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { NftError } from '../../lib/kernel/nft-refusal.ts';
import { keyId } from '../../lib/nft/datatype.ts';
import { diff } from '../../lib/nft/diff.ts';
import type { Base, Chain, Element, NamedSet, NftVerdict, Rule, Statement, Table } from '../../lib/nft/model.ts';
import {
  ACCEPT,
  COUNTER,
  countBy,
  DROP,
  goto,
  inSet,
  jump,
  match,
  oneOf,
  RETURN,
  rule,
  vmap,
} from '../../lib/nft/statements.ts';
import { formatTable, formatTransaction } from '../../lib/nft/text.ts';
import type { Operation, Transaction } from '../../lib/nft/transaction.ts';
import { apply, RefusedError } from '../support/applied-nft.ts';
import { nftInNetns } from '../support/nft-netns.ts';

const chainNames = ['chain-a', 'chain-b', 'chain-c', 'chain-d'];
const bases: readonly Base[] = [
  { type: 'filter', hook: 'postrouting', priority: 99, policy: 'accept' },
  { type: 'filter', hook: 'postrouting', priority: 99, policy: 'drop' },
  { type: 'filter', hook: 'prerouting', priority: -300, policy: 'accept' },
  { type: 'nat', hook: 'postrouting', priority: 100, policy: 'accept' },
];

const remark = fc.option(fc.constantFrom('one', 'two'), { nil: undefined });
const commented = <T extends object>(value: T, comment: string | undefined): T =>
  comment === undefined ? value : { ...value, comment };

/** Plain: single keys; interval: disjoint ranges in one of several partitions of the same few addresses. */
const plainSet = (name: string): fc.Arbitrary<NamedSet> =>
  fc
    .record({
      comment: remark,
      hosts: fc.uniqueArray(fc.record({ host: fc.integer({ min: 0, max: 9 }), comment: remark }), {
        selector: e => e.host,
      }),
    })
    .map(({ comment, hosts }) =>
      commented(
        {
          name,
          key: ['ipv4_addr'] as const,
          elements: hosts.map(e => commented<Element>({ key: [{ family: 4, value: BigInt(e.host) }] }, e.comment)),
        },
        comment,
      ),
    );

const intervalSet = (name: string): fc.Arbitrary<NamedSet> =>
  fc.uniqueArray(fc.integer({ min: 0, max: 40 }), { maxLength: 8 }).chain(cuts =>
    fc.array(fc.boolean(), { minLength: cuts.length, maxLength: cuts.length }).map(kept => {
      const ends = cuts.toSorted((a, b) => a - b);
      const ranges = ends.slice(1).flatMap((end, i) => {
        const first = BigInt(ends[i]!);
        return kept[i] ? [{ family: 4 as const, first, last: BigInt(end) - 1n }] : [];
      });
      return { name, key: ['ipv4_addr'] as const, interval: true, elements: ranges.map(range => ({ key: [range] })) };
    }),
  );

/** `set` is now a plain one, now one of intervals: the kernel cannot turn one into the other. */
const namedSet: fc.Arbitrary<NamedSet | undefined> = fc.oneof(
  fc.constant(undefined),
  plainSet('set'),
  intervalSet('set'),
);

/** Jumps go to later chains only, so that there are no loops; rules refer to what there is. */
const tableOf: fc.Arbitrary<Table> = fc
  .record({
    comment: remark,
    set: namedSet,
    counters: fc.subarray(['count-a', 'count-b']),
    chains: fc.subarray(chainNames),
    hasMap: fc.boolean(),
    counted: fc.option(fc.uniqueArray(fc.integer({ min: 1, max: 4 })), { nil: undefined }),
  })
  .chain(({ comment, set, counters, chains, hasMap, counted }) => {
    const sets = set ? [set] : [];
    const verdict = (from: number): fc.Arbitrary<NftVerdict> =>
      fc.constantFrom(ACCEPT, DROP, RETURN, ...chains.slice(from).flatMap(name => [jump(name), goto(name)]));
    const statements = (from: number, mayMap: boolean): fc.Arbitrary<readonly Statement[]> =>
      fc
        .tuple(
          fc.constantFrom<readonly Statement[]>(
            [COUNTER],
            [oneOf('tcp dport', [80, { first: 90, last: 99 }])],
            [match('ip saddr', '==', { family: 4, value: 1n })],
            ...sets.map(({ name }) => [inSet('ip daddr', name)]),
            ...counters.map(name => [{ kind: 'counter', name } as const]),
            ...(counted ? [[countBy('meta iifgroup', 'counts')]] : []),
          ),
          mayMap ? fc.oneof(verdict(from), fc.constant(vmap('meta iifgroup', 'map'))) : verdict(from),
        )
        .map(([first, last]) => [...first, last]);
    const rules = (from: number, mayMap: boolean): fc.Arbitrary<Rule[]> =>
      fc.array(
        fc.tuple(statements(from, mayMap), remark).map(([list, text]) => rule(list, text)),
        { maxLength: 3 },
      );
    const regular = fc.tuple(
      ...chains.map((name, i) =>
        fc.tuple(rules(i + 1, false), remark).map(([list, text]): Chain => commented({ name, rules: list }, text)),
      ),
    );
    const base = fc
      .tuple(fc.constantFrom(...bases), rules(0, hasMap))
      .map(([base, list]): Chain => ({ name: 'base', base, rules: list }));
    const elements = fc.uniqueArray(
      fc
        .tuple(fc.integer({ min: 1, max: 5 }), verdict(0), remark)
        .map(([tag, value, text]) => commented<Element>({ key: [tag], value }, text)),
      { selector: ({ key }) => key[0], maxLength: 4 },
    );
    const map = hasMap
      ? elements.map((list): NamedSet[] => [{ name: 'map', key: ['devgroup'], value: 'verdict', elements: list }])
      : fc.constant<NamedSet[]>([]);
    const counts = counted
      ? fc
          .tuple(...counted.map(tag => fc.tuple(fc.constant(tag), fc.constantFrom('', ...counters), remark)))
          .map((list): NamedSet[] => [
            {
              name: 'counts',
              key: ['devgroup'],
              value: 'counter',
              elements: list.flatMap(([tag, counter, text]) =>
                counter === '' ? [] : [commented<Element>({ key: [tag], value: { counter } }, text)],
              ),
            },
          ])
      : fc.constant<NamedSet[]>([]);
    return fc.tuple(regular, base, map, counts).map(
      ([others, first, maps, counting]): Table =>
        commented(
          {
            family: 'inet' as const,
            name: 'tollgate',
            chains: [...others, first],
            sets: [...sets, ...maps, ...counting],
            counters: counters.map(name => ({ name })),
          },
          comment,
        ),
    );
  });

/** Equal for tables that differ in the order of chains, sets and elements only. */
function canonical(table: Table | undefined): string {
  if (!table) return '';
  const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);
  return formatTable({
    ...table,
    chains: table.chains.toSorted(byName),
    counters: table.counters.toSorted(byName),
    sets: table.sets.toSorted(byName).map(set => ({
      ...set,
      elements: set.elements.toSorted((a, b) => (keyId(a.key) < keyId(b.key) ? -1 : 1)),
    })),
  });
}

const change = (...operations: Operation[]): Transaction => ({ family: 'inet', table: 'tollgate', operations });

test('apply(have, diff(have, want)) is want, and nothing is left to change', () => {
  fc.assert(
    fc.property(fc.option(tableOf, { nil: undefined }), tableOf, (have, want) => {
      const result = apply(have, diff(have, want));
      assert.equal(canonical(result), canonical(want));
      assert.deepEqual(diff(result, want).operations, []);
    }),
    { numRuns: 1000 },
  );
});

test('diff() of a table with itself is empty, also where the values are other objects', () => {
  fc.assert(
    fc.property(tableOf, table => {
      assert.deepEqual(diff(table, structuredClone(table)).operations, []);
      assert.equal(formatTransaction(diff(table, table)), '');
    }),
  );
});

const { netns, nft } = nftInNetns();

test('the kernel takes every diff between any two tables, and holds the second then', () => {
  let have: Table | undefined;
  fc.assert(
    fc.property(tableOf, want => {
      nft.commit(diff(have, want));
      have = nft.readTable('inet', 'tollgate');
      assert.deepEqual(diff(have, want).operations, []);
      assert.deepEqual(diff(want, have!).operations, []);
    }),
    { numRuns: 300 },
  );
});

const small: Table = {
  family: 'inet',
  name: 'tollgate',
  sets: [
    { name: 'set', key: ['ipv4_addr'], elements: [{ key: [{ family: 4, value: 1n }] }] },
    { name: 'map', key: ['devgroup'], value: 'verdict', elements: [{ key: [1], value: goto('in-1') }] },
    { name: 'ranges', key: ['ipv4_addr'], interval: true, elements: [{ key: [{ family: 4, first: 5n, last: 9n }] }] },
    { name: 'counts', key: ['devgroup'], value: 'counter', elements: [{ key: [1], value: { counter: 'mapped' } }] },
  ],
  counters: [{ name: 'count' }, { name: 'mapped' }],
  chains: [
    { name: 'in-1', rules: [rule([inSet('ip saddr', 'set'), { kind: 'counter', name: 'count' }, DROP])] },
    { name: 'loop', rules: [] },
    {
      name: 'gate',
      base: { type: 'filter', hook: 'postrouting', priority: 99, policy: 'accept' },
      rules: [
        rule([countBy('meta iifgroup', 'counts')]),
        rule([vmap('meta iifgroup', 'map')]),
        rule([jump('in-1')]),
        rule([jump('loop')]),
      ],
    },
  ],
};
const set = small.sets[0]!;
const map = small.sets[1]!;
const ranges = small.sets[2]!;
const counts = small.sets[3]!;

const refusals: readonly (readonly [sentence: string, code: string, operations: readonly Operation[]])[] = [
  ['a jump to a missing chain', 'ENOENT', [{ verb: 'add', object: 'rule', chain: 'loop', rule: rule([jump('none')]) }]],
  ['a jump to a base chain', 'ENOTSUP', [{ verb: 'add', object: 'rule', chain: 'loop', rule: rule([jump('gate')]) }]],
  ['a rule in a missing chain', 'ENOENT', [{ verb: 'add', object: 'rule', chain: 'none', rule: rule([DROP]) }]],
  [
    'a lookup in a missing set',
    'ENOENT',
    [{ verb: 'add', object: 'rule', chain: 'loop', rule: rule([inSet('ip saddr', 'none')]) }],
  ],
  [
    'a verdict from a set',
    'EINVAL',
    [{ verb: 'add', object: 'rule', chain: 'loop', rule: rule([vmap('meta iifgroup', 'set')]) }],
  ],
  [
    'a missing counter',
    'ENOENT',
    [{ verb: 'add', object: 'rule', chain: 'loop', rule: rule([{ kind: 'counter', name: 'none' }]) }],
  ],
  ['deleting a chain that a rule jumps to', 'EBUSY', [{ verb: 'delete', object: 'chain', chain: { name: 'loop' } }]],
  [
    'deleting a chain that a map leads to',
    'EBUSY',
    [
      { verb: 'flush', object: 'chain', chain: { name: 'gate' } },
      { verb: 'delete', object: 'chain', chain: { name: 'in-1' } },
    ],
  ],
  ['deleting a set that a rule looks up', 'EBUSY', [{ verb: 'delete', object: 'set', set }]],
  [
    'deleting a counter that a rule counts with',
    'EBUSY',
    [{ verb: 'delete', object: 'counter', counter: { name: 'count' } }],
  ],
  [
    'deleting a counter that an element leads to',
    'EBUSY',
    [{ verb: 'delete', object: 'counter', counter: { name: 'mapped' } }],
  ],
  [
    'deleting a counter that an element leads to before the element',
    'EBUSY',
    [
      { verb: 'delete', object: 'counter', counter: { name: 'mapped' } },
      { verb: 'delete', object: 'element', set: counts, elements: counts.elements },
    ],
  ],
  ['deleting a map that a rule counts by', 'EBUSY', [{ verb: 'delete', object: 'set', set: counts }]],
  [
    'counting by a missing map',
    'ENOENT',
    [{ verb: 'add', object: 'rule', chain: 'loop', rule: rule([countBy('meta iifgroup', 'none')]) }],
  ],
  [
    'counting by a map of verdicts',
    'EINVAL',
    [{ verb: 'add', object: 'rule', chain: 'loop', rule: rule([countBy('meta iifgroup', 'map')]) }],
  ],
  [
    'counting by a set',
    'EINVAL',
    [{ verb: 'add', object: 'rule', chain: 'loop', rule: rule([countBy('ip saddr', 'set')]) }],
  ],
  [
    'a verdict from a map of counters',
    'EINVAL',
    [{ verb: 'add', object: 'rule', chain: 'loop', rule: rule([vmap('meta iifgroup', 'counts')]) }],
  ],
  [
    'an element that leads to a missing counter',
    'ENOENT',
    [{ verb: 'add', object: 'element', set: counts, elements: [{ key: [2], value: { counter: 'none' } }] }],
  ],
  [
    'an element that leads to a counter before the counter',
    'ENOENT',
    [
      { verb: 'add', object: 'element', set: counts, elements: [{ key: [2], value: { counter: 'late' } }] },
      { verb: 'add', object: 'counter', counter: { name: 'late' } },
    ],
  ],
  [
    'an element of a map of counters that leads to none',
    'EINVAL',
    [{ verb: 'add', object: 'element', set: counts, elements: [{ key: [2] }] }],
  ],
  [
    'an element of a set that leads to a counter',
    'EINVAL',
    [
      {
        verb: 'add',
        object: 'element',
        set,
        elements: [{ key: [{ family: 4, value: 2n }], value: { counter: 'count' } }],
      },
    ],
  ],
  [
    'an element that is there with another counter',
    'EEXIST',
    [{ verb: 'add', object: 'element', set: counts, elements: [{ key: [1], value: { counter: 'count' } }] }],
  ],
  ['deleting a missing chain', 'ENOENT', [{ verb: 'delete', object: 'chain', chain: { name: 'none' } }]],
  ['deleting a missing set', 'ENOENT', [{ verb: 'delete', object: 'set', set: { ...set, name: 'none' } }]],
  ['deleting a missing counter', 'ENOENT', [{ verb: 'delete', object: 'counter', counter: { name: 'none' } }]],
  [
    'deleting a missing element',
    'ENOENT',
    [{ verb: 'delete', object: 'element', set, elements: [{ key: [{ family: 4, value: 2n }] }] }],
  ],
  ['creating a chain that is there', 'EEXIST', [{ verb: 'create', object: 'chain', chain: { name: 'loop' } }]],
  ['creating a set that is there', 'EEXIST', [{ verb: 'create', object: 'set', set }]],
  ['creating the table that is there', 'EEXIST', [{ verb: 'create', object: 'table' }]],
  ['creating an element that is there', 'EEXIST', [{ verb: 'create', object: 'element', set, elements: set.elements }]],
  [
    'an element that is there with another value',
    'EEXIST',
    [{ verb: 'add', object: 'element', set: map, elements: [{ key: [1], value: goto('loop') }] }],
  ],
  [
    'an element that leads to a missing chain',
    'ENOENT',
    [{ verb: 'add', object: 'element', set: map, elements: [{ key: [2], value: goto('none') }] }],
  ],
  [
    'an element of a missing set',
    'ENOENT',
    [{ verb: 'add', object: 'element', set: { ...set, name: 'none' }, elements: set.elements }],
  ],
  [
    'an interval that overlaps one that is there',
    'EEXIST',
    [{ verb: 'add', object: 'element', set: ranges, elements: [{ key: [{ family: 4, first: 8n, last: 12n }] }] }],
  ],
  ['jumps in a circle', 'EMLINK', [{ verb: 'add', object: 'rule', chain: 'loop', rule: rule([jump('loop')]) }]],
];

/** EOPNOTSUPP and ENOTSUP are one number. */
const alike = (code: string): string => (code === 'EOPNOTSUPP' ? 'ENOTSUP' : code);

for (const [sentence, code, operations] of refusals) {
  test(`apply() refuses ${sentence} as the kernel does: ${code}`, () => {
    const isRefusal = (error: unknown) => error instanceof RefusedError && alike(error.code) === code;
    assert.throws(() => apply(small, change(...operations)), isRefusal);
    nft.commit(change({ verb: 'destroy', object: 'table' }));
    nft.commit(diff(undefined, small));
    const refused = (error: unknown) => error instanceof NftError && error.code === code;
    assert.throws(() => nft.commit(change(...operations)), refused);
    assert.deepEqual(diff(nft.readTable('inet', 'tollgate'), small).operations, []);
  });
}

test('apply() refuses a lookup with a key of another length, where the kernel would compare whatever it finds', () => {
  const wrong = change({ verb: 'add', object: 'rule', chain: 'loop', rule: rule([inSet('ip6 saddr', 'set')]) });
  assert.throws(() => apply(small, wrong), { name: 'RefusedError', code: 'EINVAL' });
});

test('both take what is there already, and destroying what is not', () => {
  const operations: readonly Operation[] = [
    { verb: 'add', object: 'table' },
    { verb: 'add', object: 'chain', chain: { name: 'loop' } },
    { verb: 'add', object: 'set', set },
    { verb: 'add', object: 'element', set, elements: set.elements },
    { verb: 'add', object: 'element', set: map, elements: map.elements },
    { verb: 'add', object: 'element', set: counts, elements: counts.elements },
    { verb: 'add', object: 'rule', chain: 'loop', rule: rule([inSet('meta iifgroup', 'counts')]) },
    { verb: 'flush', object: 'chain', chain: { name: 'loop' } },
    { verb: 'add', object: 'counter', counter: { name: 'count' } },
    { verb: 'destroy', object: 'chain', chain: { name: 'none' } },
    { verb: 'destroy', object: 'set', set: { ...set, name: 'none' } },
    { verb: 'destroy', object: 'element', set, elements: [{ key: [{ family: 4, value: 2n }] }] },
    { verb: 'destroy', object: 'counter', counter: { name: 'none' } },
  ];
  for (const destroy of [true, false]) {
    nft.commit(change({ verb: 'destroy', object: 'table' }), { destroy });
    nft.commit(diff(undefined, small));
    nft.commit(change(...operations), { destroy });
    assert.deepEqual(diff(nft.readTable('inet', 'tollgate'), small).operations, []);
  }
  assert.deepEqual(diff(apply(small, change(...operations)), small).operations, []);
});

test('a change of one pod is a transaction of one pod', () => {
  const want: Table = {
    ...small,
    sets: [
      { ...set, elements: [...set.elements, { key: [{ family: 4, value: 2n }], comment: 'demo/web' }] },
      { ...map, elements: [{ key: [1], value: goto('in-2') }] },
      ranges,
      { ...counts, elements: [{ key: [2], value: { counter: 'later' } }] },
    ],
    counters: [{ name: 'count' }, { name: 'later' }],
    chains: [{ name: 'in-2', rules: [rule([COUNTER, DROP])] }, ...small.chains.slice(1).map(withoutJump)],
  };
  assert.equal(
    formatTransaction(diff(small, want)),
    `flush chain inet tollgate in-1
flush chain inet tollgate gate
delete element inet tollgate map { 0x1 }
delete element inet tollgate counts { 0x1 }
delete chain inet tollgate in-1
delete counter inet tollgate mapped
create chain inet tollgate in-2
add counter inet tollgate later
add element inet tollgate set { 0.0.0.2 comment "demo/web" }
add element inet tollgate map { 0x1 : goto in-2 }
add element inet tollgate counts { 0x2 : "later" }
add rule inet tollgate in-2 counter drop
add rule inet tollgate gate counter name meta iifgroup map @counts
add rule inet tollgate gate meta iifgroup vmap @map
add rule inet tollgate gate jump loop
`,
  );
});

const withoutJump = (chain: Chain): Chain => ({
  ...chain,
  rules: chain.rules.filter(({ statements }) => !statements.some(s => s.kind === 'jump' && s.chain === 'in-1')),
});

test('a named counter goes on counting through every replacement but that of the table', () => {
  nft.commit(change({ verb: 'destroy', object: 'table' }));
  const counting = (policy: Base['policy'], text: string): Table => ({
    ...small,
    chains: [
      {
        name: 'out',
        base: { type: 'filter', hook: 'output', priority: 0, policy },
        rules: [rule([{ kind: 'counter', name: 'count' }, ACCEPT], text)],
      },
    ],
    sets: [],
  });
  nft.commit(diff(undefined, counting('accept', 'before')));
  netns.try('ping', ['-c', '1', '-W', '1', '127.0.0.1']);
  const counted = () => nft.readCounters({ family: 'inet', name: 'tollgate' }).get('count')!.packets;
  const before = counted();
  assert.ok(before > 0n);
  nft.commit(diff(nft.readTable('inet', 'tollgate'), counting('drop', 'after')));
  assert.equal(counted(), before);
});
