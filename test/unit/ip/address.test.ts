import assert from 'node:assert/strict';
import { isIPv4, isIPv6 } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import * as ip from '../../../lib/ip/address.ts';

const bad = [
  '',
  '1.2.3',
  '1.2.3.4.5',
  '1..2.3',
  '01.2.3.4',
  '256.1.1.1',
  ' 1.2.3.4',
  '1.2.3.4 ',
  ':',
  ':::',
  '1::2::3',
  '1:2:3:4:5:6:7',
  '1:2:3:4:5:6:7:8:9',
  '12345::',
  'fe80::1%eth0',
  '1.2.3.4::',
  '1:2:3:4:5:6:7::8:9',
];
for (const text of bad) {
  test(`${JSON.stringify(text)} is not an address`, () => assert.equal(ip.parseAddress(text), undefined));
}

const canonical: [string, string][] = [
  ['10.0.0.1', '10.0.0.1'],
  ['255.255.255.255', '255.255.255.255'],
  ['::', '::'],
  ['::1', '::1'],
  ['FE80::0:1', 'fe80::1'],
  ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
  ['1:0:2:3:4:5:6:7', '1:0:2:3:4:5:6:7'],
  ['::ffff:10.0.0.1', '::ffff:a00:1'],
];
for (const [text, want] of canonical) {
  test(`${text} reads back as ${want}`, () => assert.equal(ip.formatAddress(ip.parseAddress(text)!), want));
}

test('every address survives format and parse, bytes and back, and Node agrees that it is one', () => {
  const address = fc.oneof(
    fc.bigInt(0n, 2n ** 32n - 1n).map(value => ({ family: 4, value }) as const),
    fc.bigInt(0n, 2n ** 128n - 1n).map(value => ({ family: 6, value }) as const),
  );
  fc.assert(
    fc.property(address, a => {
      const text = ip.formatAddress(a);
      assert.ok(a.family === 4 ? isIPv4(text) : isIPv6(text), text);
      assert.deepEqual(ip.parseAddress(text), a);
      assert.deepEqual(ip.addressFromBytes(ip.addressBytes(a)), a);
    }),
  );
});

test('what is parsed as an address is one by Node too', () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[0-9a-f:.]{1,20}$/), text => {
      const parsed = ip.parseAddress(text);
      assert.equal(parsed !== undefined, parsed?.family === 4 ? isIPv4(text) : isIPv6(text) || isIPv4(text), text);
    }),
    { numRuns: 2000 },
  );
});

test('a prefix keeps its host bits, and its range does not', () => {
  const prefix = ip.parsePrefix('10.1.2.3/24')!;
  assert.equal(ip.formatPrefix(prefix), '10.1.2.3/24');
  assert.equal(ip.formatPrefix(ip.networkOf(prefix)), '10.1.2.0/24');
  const { first, last } = ip.rangeOf(prefix);
  assert.equal(last - first, 255n);
  assert.ok(ip.prefixContains(prefix, ip.parseAddress('10.1.2.255')!));
  assert.ok(!ip.prefixContains(prefix, ip.parseAddress('10.1.3.0')!));
  assert.ok(!ip.prefixContains(ip.parsePrefix('::/0')!, ip.parseAddress('10.1.3.0')!), 'families never mix');
});

for (const text of ['10.0.0.0', '10.0.0.0/33', '::/129', '10.0.0.0/-1', '10.0.0.0/01', '10.0.0.0/', '/8']) {
  test(`${text} is not a prefix`, () => assert.equal(ip.parsePrefix(text), undefined));
}

test('leading zeros of decimal numbers are taken away, and no others', () => {
  for (const [text, plain] of [
    ['010.000.0.007', '10.0.0.7'],
    ['0010.0.0.0/08', '10.0.0.0/8'],
    ['fd00:0001::/064', 'fd00:0001::/64'],
    ['::ffff:010.0.0.1', '::ffff:10.0.0.1'],
    ['10.0.0.100/10', '10.0.0.100/10'],
    ['x010.0', 'x010.0'],
  ] as const)
    assert.equal(ip.withoutLeadingZeros(text), plain);
});
