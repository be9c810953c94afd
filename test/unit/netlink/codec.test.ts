/** The one codec of netlink messages: what is written is read back, and what is malformed is named. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Address, parseAddress } from '../../../lib/ip/address.ts';
import { type Attribute, address, be16, be32, bodyOf, mac, text, u8, u32 } from '../../../lib/netlink/attribute.ts';
import { countMessages, formatHeader, HEADER_LENGTH, parseMessages } from '../../../lib/netlink/header.ts';
import { AttributeError, AttributeReader } from '../../../lib/netlink/reader.ts';
import { MessageWriter } from '../../../lib/netlink/writer.ts';
import { anyText } from '../../support/any-text.ts';

const IFLA = { IFNAME: 3, MTU: 4, LINKINFO: 18, GROUP: 27 } as const;
const IFLA_INFO = { KIND: 1, DATA: 2 } as const;
const names = { prefix: 'IFLA', types: IFLA };
const infoNames = { prefix: 'IFLA_INFO', types: IFLA_INFO };

const read = (...attributes: readonly Attribute[]): AttributeReader =>
  new AttributeReader(bodyOf(new Uint8Array(0), ...attributes), names);

test('values of every kind are read as they were written, whatever stands before and behind them', () => {
  const kinds = fc.record({
    u8: fc.integer({ min: 0, max: 0xff }),
    be16: fc.integer({ min: 0, max: 0xffff }),
    u32: fc.integer({ min: 0, max: 0xffffffff }),
    be32: fc.integer({ min: 0, max: 0xffffffff }),
    text: anyText().filter(value => !value.includes('\0')),
    mac: fc
      .uint8Array({ minLength: 6, maxLength: 6 })
      .map(bytes => [...bytes].map(byte => byte.toString(16).padStart(2, '0')).join(':')),
    address: fc.constantFrom('10.0.0.7', 'fd00::7', '0.0.0.0', '::').map(each => parseAddress(each) as Address),
    bytes: fc.uint8Array({ maxLength: 40 }),
  });
  fc.assert(
    fc.property(kinds, given => {
      const reader = read(
        [1, u8(given.u8)],
        [2, be16(given.be16)],
        [3, text(given.text)],
        [4, u32(given.u32)],
        [5, be32(given.be32)],
        [6, mac(given.mac)],
        [7, address(given.address)],
        [8, given.bytes],
        [9, [[4, u32(given.u32)]]],
        [10, undefined],
      );
      const found = {
        u8: reader.u8(1),
        be16: reader.be16(2),
        text: reader.text(3),
        u32: reader.u32(4),
        be32: reader.be32(5),
        mac: reader.mac(6),
        address: reader.address(7),
        bytes: reader.get(8),
      };
      assert.deepEqual(found, { ...given, text: given.text.toWellFormed() });
      assert.equal(reader.nested(9, names).u32(4), given.u32);
      assert.equal(reader.get(10), undefined);
      reader.check();
    }),
  );
});

test('a list is read element by element', () => {
  const reader = read([
    IFLA.LINKINFO,
    [
      [1, [[IFLA_INFO.KIND, text('veth')]]],
      [1, [[IFLA_INFO.KIND, text('bridge')]]],
    ],
  ]);
  const kinds: (string | undefined)[] = [];
  reader.each(IFLA.LINKINFO, infoNames, element => kinds.push(element.text(IFLA_INFO.KIND)));
  assert.deepEqual(kinds, ['veth', 'bridge']);
  reader.check();
});

const malformed: readonly (readonly [what: string, bytes: Uint8Array, message: string])[] = [
  ['a number that is too short', bodyOf(new Uint8Array(0), [IFLA.MTU, u8(1)]), 'Cannot read IFLA_MTU: 1 bytes, not 4'],
  [
    'a number that is too long',
    bodyOf(new Uint8Array(0), [IFLA.MTU, new Uint8Array(8)]),
    'Cannot read IFLA_MTU: 8 bytes, not 4',
  ],
  [
    'an attribute shorter than its header',
    Uint8Array.of(3, 0, 4, 0),
    'Cannot read IFLA: an attribute of 3 bytes at 0 of 4',
  ],
  [
    'an attribute longer than the message',
    Uint8Array.of(9, 0, 4, 0, 1, 2, 3, 4),
    'Cannot read IFLA: an attribute of 9 bytes at 0 of 8',
  ],
  [
    'a nest with a broken attribute',
    bodyOf(new Uint8Array(0), [IFLA.LINKINFO, Uint8Array.of(1, 0, 1, 0)]),
    'Cannot read IFLA_INFO: an attribute of 1 bytes at 0 of 4',
  ],
  [
    'the first of several',
    bodyOf(new Uint8Array(0), [IFLA.GROUP, u8(1)], [IFLA.MTU, u8(1)]),
    'Cannot read IFLA_MTU: 1 bytes, not 4',
  ],
];

for (const [what, bytes, message] of malformed)
  test(`${what} reads as absent, and check() names it`, () => {
    const reader = new AttributeReader(bytes, names);
    assert.equal(reader.u32(IFLA.MTU), undefined);
    assert.equal(reader.u32(IFLA.GROUP), undefined);
    assert.equal(reader.nested(IFLA.LINKINFO, infoNames).text(IFLA_INFO.KIND), undefined);
    assert.throws(() => reader.check(), new AttributeError(message));
  });

test('messages of a datagram are counted and taken apart; an impossible length is refused', () => {
  const body = bodyOf(new Uint8Array(4), [IFLA.IFNAME, text('eth0')]);
  const datagram = Uint8Array.of(...formatHeader(16, 5, 7, body.length), ...body, ...formatHeader(3, 2, 8, 0));
  assert.equal(countMessages(datagram), 2);
  assert.deepEqual(parseMessages(datagram), [
    { type: 16, flags: 5, seq: 7, port: 0, body },
    { type: 3, flags: 2, seq: 8, port: 0, body: new Uint8Array(0) },
  ]);
  for (const length of [HEADER_LENGTH - 1, datagram.length + 1]) {
    const broken = Uint8Array.from(datagram);
    broken[0] = length;
    assert.throws(() => parseMessages(broken), RangeError);
    assert.throws(() => countMessages(broken), RangeError);
  }
});

test('a message grows beyond its first buffer, and a nest of 64 KiB is refused', () => {
  const out = new MessageWriter(16);
  const message = out.beginMessage(16, 1, 3);
  out.bytes(IFLA.IFNAME, new Uint8Array(1000).fill(7));
  out.endMessage(message);
  const [found] = parseMessages(out.finish());
  assert.deepEqual(new AttributeReader(found!.body, names).get(IFLA.IFNAME), new Uint8Array(1000).fill(7));
  const nest = out.open(IFLA.LINKINFO);
  for (let i = 0; i < 2; i++) out.bytes(1, new Uint8Array(40_000));
  assert.throws(() => out.close(nest), RangeError);
});
