import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatPrefix, type Prefix, parsePrefix, prefixContains } from '../../../lib/ip/address.ts';
import { unionOfPrefixes } from '../../../lib/ip/union.ts';

const cases: readonly (readonly [what: string, prefixes: string, union: string])[] = [
  ['none', '', ''],
  ['one, with host bits', '10.0.0.7/24', '10.0.0.0/24'],
  ['the same twice', '10.0.0.0/24 10.0.0.0/24', '10.0.0.0/24'],
  ['two halves', '10.0.1.0/24 10.0.0.0/24', '10.0.0.0/23'],
  ['two neighbours that are no halves', '10.0.1.0/24 10.0.2.0/24', '10.0.1.0/24 10.0.2.0/24'],
  ['four quarters, and what is within', '10.0.3.0/24 10.0.1.0/24 10.0.0.0/24 10.0.2.0/24 10.0.2.128/25', '10.0.0.0/22'],
  ['one that has all others', '10.0.0.0/24 10.9.0.0/16 10.0.0.0/8', '10.0.0.0/8'],
  ['everything', '128.0.0.0/1 0.0.0.0/1 ::/1 8000::/1', '0.0.0.0/0 ::/0'],
  ['both families', 'fd00:1::/64 10.0.0.0/24 fd00:1:0:1::/64', '10.0.0.0/24 fd00:1::/63'],
];
const parse = (text: string): Prefix[] =>
  text
    .split(' ')
    .filter(Boolean)
    .map(each => parsePrefix(each)!);

for (const [what, prefixes, union] of cases)
  test(`the union of ${what}`, () => assert.equal(unionOfPrefixes(parse(prefixes)).map(formatPrefix).join(' '), union));

test('of 5,000 nodes with neighbouring ranges a handful are left', () => {
  const nodes = Array.from({ length: 5000 }, (_, i) => `10.${128 + (i >> 8)}.${i & 255}.0/24`);
  assert.equal(unionOfPrefixes(parse(nodes.reverse().join(' '))).length, 5);
});

test('an address is in the union just where it is in one of the prefixes, and none could be left out', () => {
  // Six bits are enough to try all addresses.
  const prefix = fc.tuple(fc.integer({ min: 0, max: 63 }), fc.integer({ min: 26, max: 32 }));
  const arbitrary = fc.array(prefix.map(([value, length]): Prefix => ({ family: 4, value: BigInt(value), length })));
  fc.assert(
    fc.property(arbitrary, prefixes => {
      const union = unionOfPrefixes(prefixes);
      for (let value = 0n; value < 64n; value++) {
        const count = union.filter(each => prefixContains(each, { family: 4, value })).length;
        assert.equal(count, prefixes.some(each => prefixContains(each, { family: 4, value })) ? 1 : 0);
      }
    }),
  );
});
