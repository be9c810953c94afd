import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { type Family, type Prefix, prefixContains, type Range, rangeContains } from '../../../lib/ip/address.ts';
import { rangesOfBlocks, unionOfSpans } from '../../../lib/policy/compile/ranges.ts';

/** Prefixes of the last eight bits below `base`, so that every address can be asked. */
const prefix = (family: Family, base: bigint): fc.Arbitrary<Prefix> =>
  fc.record({
    family: fc.constant(family),
    value: fc.nat(255).map(low => base + BigInt(low)),
    length: fc.integer({ min: (family === 4 ? 32 : 128) - 8, max: family === 4 ? 32 : 128 }),
  });

const block = (family: Family, base: bigint) =>
  fc.record({
    kind: fc.constant('block' as const),
    cidr: prefix(family, base),
    except: fc.array(prefix(family, base), { maxLength: 4 }),
  });

const isTidy = (ranges: readonly Range[]): boolean =>
  ranges.every(({ first, last }, i) => first <= last && (i === 0 || ranges[i - 1]!.last + 1n < first));

for (const [family, base] of [
  [4, 0x0a000000n],
  [4, 0n],
  [4, 0xffffff00n],
  [6, 0xfd00n << 112n],
  [6, (1n << 128n) - 256n],
] as const)
  test(`rangesOfBlocks() holds just what some block holds outside its own holes, from ${base.toString(16)} on`, () => {
    fc.assert(
      fc.property(fc.array(block(family, base), { maxLength: 4 }), blocks => {
        const ranges = rangesOfBlocks(blocks, family);
        assert.ok(isTidy(ranges), 'disjoint, not touching, ascending');
        for (let low = 0n; low < 256n; low++) {
          const address = { family, value: base + low };
          const wanted = blocks.some(
            ({ cidr, except }) => prefixContains(cidr, address) && !except.some(hole => prefixContains(hole, address)),
          );
          assert.equal(
            ranges.some(range => rangeContains(range, address)),
            wanted,
            `address ${low}`,
          );
        }
      }),
      { numRuns: 200 },
    );
  });

test('rangesOfBlocks() leaves out the other family', () => {
  const cidr = { family: 6, value: 0n, length: 0 } as const;
  assert.deepEqual(rangesOfBlocks([{ kind: 'block', cidr, except: [] }], 4), []);
  assert.deepEqual(rangesOfBlocks([{ kind: 'block', cidr, except: [] }], 6), [
    { family: 6, first: 0n, last: (1n << 128n) - 1n },
  ]);
});

test('unionOfSpans() joins what overlaps or touches', () => {
  const spans = [
    [90, 95],
    [80, 80],
    [81, 85],
    [1, 1],
    [84, 91],
    [3, 3],
  ].map(([first, last]) => ({ first: first!, last: last! }));
  assert.deepEqual(unionOfSpans(spans), [
    { first: 1, last: 1 },
    { first: 3, last: 3 },
    { first: 80, last: 95 },
  ]);
});
