/** The agent's frames: what goes in comes out, in pieces of any size, and garbage does not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type CallAnswer,
  type CallRequest,
  decodeAnswer,
  decodeReason,
  decodeRequest,
  encodeAnswer,
  encodeFrame,
  encodeReason,
  encodeRequest,
  type Frame,
  FrameReader,
  GREATEST_BODY,
  type Kind,
  ProtocolError,
} from '../../../lib/rpc/protocol.ts';

const text = fc.string({ unit: 'grapheme' });
const withoutNul = text.map(value => value.replaceAll('\0', ''));
const names = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,20}$/);
const number = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });

const request: fc.Arbitrary<CallRequest> = fc.record({
  role: fc.constantFrom('tollgate', 'tollgate-ipam'),
  netns: fc.record({ dev: number, ino: number }),
  env: fc.dictionary(names, withoutNul),
  stdin: text,
});

const answer: fc.Arbitrary<CallAnswer> = fc.record({
  stdout: text,
  exitCode: fc.constantFrom(0, 1),
  lines: fc.array(text.map(line => line.replaceAll('\n', ' '))),
});

const kinds: readonly Kind[] = ['request', 'ready', 'notMine', 'go', 'answer', 'queued'];
const frame: fc.Arbitrary<Frame> = fc.record({
  kind: fc.constantFrom(...kinds),
  body: fc.uint8Array({ maxLength: 200 }),
});

const plain = (env: Readonly<Record<string, string>>): [string, string][] => Object.entries(env);

test('a request comes out as it went in', () => {
  fc.assert(
    fc.property(request, given => {
      const { env, ...rest } = decodeRequest(encodeRequest(given));
      const { env: wanted, netns, role, stdin } = given;
      assert.deepEqual(rest, { netns: { ...netns }, role, stdin });
      assert.deepEqual(plain(env), plain(wanted));
    }),
  );
});

test('an answer comes out as it went in', () => {
  fc.assert(fc.property(answer, given => assert.deepEqual(decodeAnswer(encodeAnswer(given)), { ...given })));
});

test('a reason comes out as it went in', () => {
  fc.assert(fc.property(text, why => assert.equal(decodeReason(encodeReason(why)), why)));
});

test('frames are the same however the stream is cut', () => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 6 }), fc.array(fc.nat(40), { minLength: 1 }), (frames, cuts) => {
      const stream = Buffer.concat(frames.map(({ kind, body }) => encodeFrame(kind, body)));
      const reader = new FrameReader();
      const found: Frame[] = [];
      for (let at = 0, i = 0; at < stream.length; i++) {
        const end = at + Math.max(1, cuts[i % cuts.length]!);
        found.push(...reader.push(stream.subarray(at, end)));
        at = end;
      }
      assert.deepEqual(
        found.map(({ kind, body }) => ({ kind, body: [...body] })),
        frames.map(({ kind, body }) => ({ kind, body: [...body] })),
      );
    }),
  );
});

test('a frame that is cut short is no frame', () => {
  fc.assert(
    fc.property(frame, fc.nat(), ({ kind, body }, cut) => {
      const bytes = encodeFrame(kind, body);
      assert.deepEqual(new FrameReader().push(bytes.subarray(0, cut % bytes.length)), []);
    }),
  );
});

test('decoders throw nothing but ProtocolError, whatever they are given', () => {
  const quietly = (work: () => unknown): void => {
    try {
      work();
    } catch (error) {
      assert.ok(error instanceof ProtocolError, String(error));
    }
  };
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), bytes => {
      quietly(() => decodeRequest(bytes));
      quietly(() => decodeAnswer(bytes));
      quietly(() => new FrameReader().push(bytes));
    }),
    { numRuns: 1000 },
  );
});

test('eight bytes are enough to refuse another protocol, another version, an unknown frame and a body of 4 MB and one', () => {
  const good = encodeFrame('go');
  const longer = new Uint8Array(good);
  new DataView(longer.buffer).setUint32(4, GREATEST_BODY + 1);
  const wrong = [Buffer.from('GET / HT'), good.with(2, 2), good.with(3, 99), longer];
  for (const bytes of wrong) assert.throws(() => new FrameReader().push(bytes), ProtocolError);
  const longest = good.slice();
  new DataView(longest.buffer).setUint32(4, GREATEST_BODY);
  assert.deepEqual(new FrameReader().push(longest), []);
});

test('nobody sends what nobody would read', () => {
  assert.throws(() => encodeFrame('request', new Uint8Array(GREATEST_BODY + 1)), ProtocolError);
});

const bad: Readonly<Record<string, Uint8Array>> = {
  'an unknown role': Buffer.concat([Buffer.alloc(16), Buffer.from([0, 0, 0, 2]), Buffer.alloc(4)]),
  'an environment longer than the request': Buffer.concat([
    Buffer.alloc(20),
    Buffer.from([0, 0, 0, 5]),
    Buffer.from('A=b\0'),
  ]),
  'an environment without an end': Buffer.concat([Buffer.alloc(20), Buffer.from([0, 0, 0, 3]), Buffer.from('A=b')]),
  'a variable without a value': Buffer.concat([Buffer.alloc(20), Buffer.from([0, 0, 0, 2]), Buffer.from('A\0')]),
  'a variable without a name': Buffer.concat([Buffer.alloc(20), Buffer.from([0, 0, 0, 3]), Buffer.from('=b\0')]),
};
for (const [name, body] of Object.entries(bad))
  test(`a request with ${name} is refused`, () => assert.throws(() => decodeRequest(body), ProtocolError));
