/** The byte streams of lists and watches, cut wherever a network may cut them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { itemSplitter, lineSplitter, SplitError, type Splitter } from '../../../lib/kube/split.ts';

/** The bytes in chunks of these sizes, over and over. */
function* cut(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  for (let start = 0, i = 0; start < bytes.length; i++) {
    const size = sizes[i % sizes.length]!;
    yield bytes.subarray(start, start + size);
    start += size;
  }
}

const textsOf = (splitter: Splitter, text: string, sizes: readonly number[]): readonly string[] =>
  [...cut(Buffer.from(text), sizes)].flatMap(chunk => [...splitter.push(chunk)]);

const value = fc.jsonValue({ maxDepth: 4 });
const tricky = fc.constantFrom('}', '{', '[', ']', '"', '\\', '\\"', ',', 'é', '𝄞', '\n', 'items');
const texts = fc.array(fc.oneof(tricky, fc.string())).map(parts => parts.join(''));
const object = fc.record({ name: texts, value, [']}"']: fc.array(texts) });
const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 });
const indents = fc.constantFrom(0, 1, 2, '\t');

test('a list gives its items and the rest of itself, wherever it is cut and however it is laid out', () => {
  fc.assert(
    fc.property(fc.array(object), object, sizes, indents, fc.boolean(), (items, metadata, cuts, indent, last) => {
      const list = last ? { kind: 'L', metadata, items } : { items, metadata };
      const splitter = itemSplitter();
      const found = textsOf(splitter, `${JSON.stringify(list, null, indent)}\n`, cuts).map(text => JSON.parse(text));
      assert.deepEqual(found, JSON.parse(JSON.stringify(items)));
      assert.deepEqual(JSON.parse(splitter.end()), JSON.parse(JSON.stringify({ ...list, items: [] })));
    }),
  );
});

test('a list that has not ended is none, wherever it breaks off', () => {
  const list = Buffer.from('{"metadata":{"resourceVersion":"7"},"items":[{"a":"}"},{"b":[]}]}');
  for (let length = 0; length < list.length; length++) {
    const splitter = itemSplitter();
    for (const _ of splitter.push(list.subarray(0, length)));
    assert.throws(() => splitter.end(), SplitError, `broken off after ${list.subarray(0, length)}`);
  }
});

test('an empty list is null in Go', () => {
  const splitter = itemSplitter();
  assert.deepEqual(textsOf(splitter, '{"metadata":{"resourceVersion":"7"},"items":null}', [9]), []);
  assert.deepEqual(JSON.parse(splitter.end()), { metadata: { resourceVersion: '7' }, items: null });
});

test('what is no object is no item', () => {
  for (const text of ['{"items":[1]}', '{"items":[{},null]}', '{"items":["a"]}'])
    assert.throws(() => textsOf(itemSplitter(), text, [1]), SplitError, text);
});

test('lines come whole, wherever they are cut', () => {
  fc.assert(
    fc.property(fc.array(object), sizes, (objects, cuts) => {
      const lines = objects.map(one => JSON.stringify(one));
      const splitter = lineSplitter();
      assert.deepEqual(textsOf(splitter, lines.map(line => `${line}\n`).join(''), cuts), lines);
      assert.equal(splitter.left, 0);
    }),
  );
});

test('a line without an end is left over, and an empty one is none', () => {
  const splitter = lineSplitter();
  assert.deepEqual(textsOf(splitter, '\n{}\r\n \nabc', [2]), ['{}\r']);
  assert.equal(splitter.left, 3);
});

test('what never ends is not kept for ever', () => {
  assert.throws(() => textsOf(lineSplitter(100), 'x'.repeat(101), [10]), /more than 100 bytes/);
  assert.throws(() => textsOf(itemSplitter(100), `{"items":[{"a":"${'x'.repeat(101)}`, [10]), /more than 100 bytes/);
  assert.throws(() => textsOf(itemSplitter(100), '}'.repeat(101), [10]), /more than 100 bytes/);
});
