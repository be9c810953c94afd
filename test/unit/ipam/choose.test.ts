import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Address, formatAddress, parseAddress, parsePrefix } from '../../../lib/ip/address.ts';
import { allot, assignRequested, inOrder, inTurn } from '../../../lib/ipam/choose.ts';
import { planPools } from '../../../lib/ipam/config.ts';
import { AddressRefused } from '../../../lib/ipam/error.ts';
import { type Pool, poolSize, rangeHolding } from '../../../lib/ipam/pool.ts';

type Written = [subnet: string, rangeStart?: string, rangeEnd?: string, gateway?: string];

const at = (text: string): Address => parseAddress(text)!;

function pools(...sets: Written[][]): readonly Pool[] {
  const config = sets.map(set =>
    set.map(([subnet, rangeStart, rangeEnd, gateway]) => ({
      subnet: parsePrefix(subnet)!,
      ...(rangeStart && { rangeStart: at(rangeStart) }),
      ...(rangeEnd && { rangeEnd: at(rangeEnd) }),
      ...(gateway && { gateway: at(gateway) }),
    })),
  );
  return planPools({ config, cniVersion: '1.1.0' }).pools;
}

const pool = (...set: Written[]): Pool => pools(set)[0]!;

const nothing = { rested: new Map<bigint, number>(), minimumRest: 60_000 };

const first = (of: Pool, last: string | undefined, taken: string[] = []): string | undefined => {
  const occupancy = { ...nothing, taken: new Set(taken.map(text => at(text).value)) };
  for (const value of inOrder(of, last === undefined ? undefined : at(last), occupancy))
    return formatAddress({ family: of.family, value });
  return undefined;
};

// The rows of host-local's allocator_test.go.
const rows: [sentence: string, of: Pool, taken: string[], last: string | undefined, expected: string | undefined][] = [
  ['the first address after the gateway begins', pool(['10.0.0.0/29']), [], undefined, '10.0.0.2'],
  ['likewise in IPv6', pool(['2001:db8:1::/64']), [], undefined, '2001:db8:1::2'],
  ['a taken one is passed over', pool(['10.0.0.0/29']), ['10.0.0.2'], undefined, '10.0.0.3'],
  ['the turn goes on after the last one', pool(['10.0.0.0/29']), ['10.0.0.2'], '10.0.0.3', '10.0.0.4'],
  ['at the end it begins again', pool(['10.0.0.0/29']), [], '10.0.0.6', '10.0.0.2'],
  ['at the end it begins again behind what is taken', pool(['10.0.0.0/29']), ['10.0.0.2'], '10.0.0.6', '10.0.0.3'],
  [
    'an only free one in the middle is found',
    pool(['10.0.0.0/29']),
    ['10.0.0.2', '10.0.0.3', '10.0.0.5', '10.0.0.6'],
    '10.0.0.5',
    '10.0.0.4',
  ],
  [
    'the last one itself is the last resort',
    pool(['10.0.0.0/29']),
    ['10.0.0.2', '10.0.0.3', '10.0.0.5', '10.0.0.6'],
    '10.0.0.4',
    '10.0.0.4',
  ],
  [
    'the broadcast address is never given',
    pool(['192.168.1.0/29']),
    ['192.168.1.2', '192.168.1.3', '192.168.1.4', '192.168.1.5'],
    undefined,
    '192.168.1.6',
  ],
  [
    'nothing is left after that',
    pool(['192.168.1.0/29']),
    ['192.168.1.2', '192.168.1.3', '192.168.1.4', '192.168.1.5', '192.168.1.6'],
    undefined,
    undefined,
  ],
  ['a /30 has one address beside its gateway', pool(['10.0.0.0/30']), ['10.0.0.2'], undefined, undefined],
  [
    'start and end bound the turn',
    pool(['192.168.1.0/24', '192.168.1.40', '192.168.1.41']),
    ['192.168.1.40'],
    undefined,
    '192.168.1.41',
  ],
  [
    'a start at the gateway skips it',
    pool(['192.168.1.0/24', '192.168.1.1', '192.168.1.3']),
    [],
    undefined,
    '192.168.1.2',
  ],
  ['a full range leads to the next', pool(['10.0.0.0/30'], ['10.1.0.0/30']), ['10.0.0.2'], undefined, '10.1.0.2'],
  ['the end of a range leads to the next', pool(['10.0.0.0/29'], ['10.1.0.0/29']), [], '10.0.0.6', '10.1.0.2'],
  ['the end of the last range leads to the first', pool(['10.0.0.0/29'], ['10.1.0.0/29']), [], '10.1.0.6', '10.0.0.2'],
  ['a last one that is in no range counts for nothing', pool(['10.0.0.0/29']), [], '172.16.0.1', '10.0.0.2'],
  ['a last one of the other family, too', pool(['10.0.0.0/29']), [], 'fd00::1', '10.0.0.2'],
  ['a gateway in the middle is skipped', pool(['10.0.0.0/29', '', '', '10.0.0.4']), [], '10.0.0.3', '10.0.0.5'],
];
for (const [sentence, of, taken, last, expected] of rows)
  test(sentence, () => assert.equal(first(of, last, taken), expected));

test('one after the other, all are given, once', () => {
  const of = pool(['10.0.0.0/29'], ['10.1.0.0/29']);
  const given: string[] = [];
  for (let last: string | undefined; ; given.push(last)) {
    last = first(of, last, given);
    if (last === undefined) break;
  }
  const tail = [2, 3, 4, 5, 6];
  assert.deepEqual(given, [...tail.map(n => `10.0.0.${n}`), ...tail.map(n => `10.1.0.${n}`)]);
});

test('of a /64 only as much is looked at as is needed', () => {
  const of = pool(['fd00::/64']);
  assert.equal(first(of, 'fd00::ffff:ffff:ffff:fffe'), 'fd00::ffff:ffff:ffff:ffff');
  assert.equal(first(of, 'fd00::ffff:ffff:ffff:ffff'), 'fd00::2');
});

/** Small pools of any shape, and what is known of their addresses. */
const anyPool = fc
  .record({
    spans: fc.array(fc.tuple(fc.integer({ min: 0, max: 7 }), fc.integer({ min: 0, max: 7 })), {
      minLength: 1,
      maxLength: 3,
    }),
    gateway: fc.integer({ min: 0, max: 15 }),
    family: fc.constantFrom(4 as const, 6 as const),
  })
  .map(({ spans, gateway, family }) => {
    const prefix = (i: number) => (family === 4 ? `10.0.${i}.` : `fd00:0:0:${i}::`);
    const text = (i: number, n: number) => `${prefix(i)}${n.toString(family === 4 ? 10 : 16)}`;
    return pool(
      ...spans.map(([a, b], i): Written => {
        const [from, to] = [Math.min(a, b) + 1, Math.max(a, b) + 1];
        return [`${text(i, 0)}/${family === 4 ? 28 : 124}`, text(i, from), text(i, to), text(0, gateway)];
      }),
    );
  });

const allOf = (of: Pool): bigint[] =>
  of.ranges.flatMap(({ first, last }) => {
    const values: bigint[] = [];
    for (let value = first; value <= last; value++) values.push(value);
    return values;
  });

const situation = anyPool.chain(of => {
  const values = allOf(of);
  const some = fc.subarray(values);
  return fc.record({
    of: fc.constant(of),
    last: fc.option(fc.constantFrom(...values), { nil: undefined }),
    taken: some.map(list => new Set(list)),
    rested: some.chain(list =>
      fc
        .tuple(...list.map(value => fc.tuple(fc.constant(value), fc.integer({ min: -200, max: 200 }))))
        .map(entries => new Map<bigint, number>(entries)),
    ),
    minimumRest: fc.integer({ min: 0, max: 150 }),
  });
});

test('inTurn() gives each address but the gateways once, those after the last one first', () => {
  fc.assert(
    fc.property(situation, ({ of, last }) => {
      const given = [...inTurn(of, last === undefined ? undefined : { family: of.family, value: last })];
      const expected = allOf(of);
      const pivot = last === undefined ? -1 : expected.indexOf(last);
      const turned = [...expected.slice(pivot + 1), ...expected.slice(0, pivot + 1)];
      assert.deepEqual(
        given,
        turned.filter(value => !of.withheld.has(value)),
      );
      assert.equal(BigInt(given.length), poolSize(of));
    }),
  );
});

test('inOrder() gives the free ones once, rested before tired, those in turn, these oldest first', () => {
  fc.assert(
    fc.property(situation, ({ of, last, taken, rested, minimumRest }) => {
      const start = last === undefined ? undefined : { family: of.family, value: last };
      const given = [...inOrder(of, start, { taken, rested, minimumRest })];
      const free = [...inTurn(of, start)].filter(value => !taken.has(value));
      assert.deepEqual(new Set(given), new Set(free));
      assert.equal(given.length, free.length);
      const isTired = (value: bigint) => rested.has(value) && Math.abs(rested.get(value)!) < minimumRest;
      const border = given.findIndex(isTired);
      const [fit, tired] = border < 0 ? [given, []] : [given.slice(0, border), given.slice(border)];
      assert.ok(tired.every(isTired), 'none that is rested comes after one that is not');
      assert.deepEqual(
        fit,
        free.filter(value => !isTired(value)),
      );
      const rests = tired.map(value => rested.get(value)!);
      assert.deepEqual(
        rests,
        [...rests].sort((a, b) => b - a),
      );
    }),
  );
});

/** Time passes, pods come and go; the model remembers everything, the allocator what a folder would tell it. */
test('whatever comes and goes: never a gateway, never twice, never early while another is rested', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('take' as const) }),
    fc.record({ kind: fc.constant('release' as const), which: fc.nat(30) }),
    fc.record({ kind: fc.constant('wait' as const), time: fc.integer({ min: 1, max: 80 }) }),
  );
  fc.assert(
    fc.property(anyPool, fc.array(step, { maxLength: 60 }), (of, steps) => {
      const minimumRest = 50;
      const taken = new Set<bigint>();
      const releasedAt = new Map<bigint, number>();
      let last: Address | undefined;
      let now = 0;
      for (const step of steps) {
        if (step.kind === 'wait') now += step.time;
        else if (step.kind === 'release') {
          const value = [...taken][step.which % Math.max(1, taken.size)];
          if (value === undefined) continue;
          taken.delete(value);
          releasedAt.set(value, now);
        } else {
          const rested = new Map([...releasedAt].map(([value, then]) => [value, now - then]));
          const [value] = inOrder(of, last, { taken, rested, minimumRest });
          const free = allOf(of).filter(v => !taken.has(v) && !of.withheld.has(v));
          if (value === undefined) {
            assert.equal(free.length, 0);
            continue;
          }
          assert.ok(!taken.has(value));
          assert.ok(!of.withheld.has(value));
          assert.ok(rangeHolding(of, { family: of.family, value }));
          const early = (v: bigint) => now - (releasedAt.get(v) ?? Number.NEGATIVE_INFINITY) < minimumRest;
          if (early(value)) {
            assert.ok(free.every(early));
            assert.equal(releasedAt.get(value), Math.min(...free.map(v => releasedAt.get(v)!)));
          }
          taken.add(value);
          last = { family: of.family, value };
        }
      }
    }),
  );
});

const two = pools([['10.0.0.0/24']], [['fd00::/64']]);
const texts = (found: readonly (Address | undefined)[]) => found.map(wish => wish && formatAddress(wish));

test('wishes go to the pools that hold them', () => {
  assert.deepEqual(texts(assignRequested(two, [at('fd00::9')])), [undefined, 'fd00::9']);
  assert.deepEqual(texts(assignRequested(two, [at('fd00::9'), at('10.0.0.9')])), ['10.0.0.9', 'fd00::9']);
  assert.deepEqual(texts(assignRequested(two, [{ ...at('10.0.0.9'), length: 24 }])), ['10.0.0.9', undefined]);
  assert.deepEqual(texts(assignRequested(two, [])), [undefined, undefined]);
  assert.deepEqual(texts(assignRequested(two, [at('10.0.0.9'), at('10.0.0.9')])), ['10.0.0.9', undefined]);
});

const badWishes: [sentence: string, wishes: (Address & { length?: number })[], says: RegExp][] = [
  ['one in no pool', [at('10.0.1.9')], /Cannot reserve 10\.0\.1\.9: not in 10\.0\.0\.1-10\.0\.0\.254 or fd00::1-/],
  ['the gateway', [at('10.0.0.1')], /it is a gateway/],
  ['the broadcast address', [at('10.0.0.255')], /not in/],
  ['two of one pool', [at('10.0.0.9'), at('10.0.0.10')], /10\.0\.0\.9 was asked for/],
  ['another length than the subnet’s', [{ ...at('10.0.0.9'), length: 16 }], /its subnet is \/24/],
  ['a good one and a bad one', [at('10.0.0.9'), at('10.9.0.9')], /10\.9\.0\.9/],
];
for (const [sentence, wishes, says] of badWishes)
  test(`refused wish: ${sentence}`, () =>
    assert.throws(
      () => assignRequested(two, wishes),
      error => error instanceof AddressRefused && says.test(error.message),
    ));

test('an allotment says subnet and gateway of its range', () => {
  const allotted = allot(pool(['10.0.0.0/29'], ['10.1.0.0/24', '', '', '10.1.0.9']), at('10.1.0.7').value);
  assert.deepEqual(allotted, { address: at('10.1.0.7'), subnet: parsePrefix('10.1.0.0/24'), gateway: at('10.1.0.9') });
});
