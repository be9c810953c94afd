import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Facts, foldRecord, recordLine } from '../../../lib/state/record.ts';
import { anyText } from '../../support/any-text.ts';

const rows: [sentence: string, text: string, facts: Facts][] = [
  ['nothing says nothing', '', {}],
  ['a line says what it says', '{"containerID":"a","phase":"adding"}\n', { containerID: 'a', phase: 'adding' }],
  ['a later line adds and replaces', '\n{"phase":"adding","x":1}\n\n{"phase":"ready"}\n', { phase: 'ready', x: 1 }],
  ['a torn last line counts for nothing', '\n{"containerID":"a"}\n\n{"phase":"rea', { containerID: 'a' }],
  [
    'a line after a torn one counts',
    '\n{"containerID":"a"}\n\n{"pha\n{"phase":"ready"}\n',
    { containerID: 'a', phase: 'ready' },
  ],
  ['other JSON than objects counts for nothing', '[1]\n7\n"x"\nnull\n', {}],
  ['NULs, as a disk may leave them, count for nothing', '\0\0\0\n{"containerID":"a"}', { containerID: 'a' }],
  ['an unknown phase is none', '{"phase":"dancing"}', {}],
  ['facts of the wrong kind are none', '{"containerID":7,"ifname":[],"network":{},"netns":null,"addresses":"x"}', {}],
  [
    'only addresses are addresses',
    '{"addresses":["10.0.0.1","../../etc/passwd","fd00::1",7,null]}',
    { addresses: ['10.0.0.1', 'fd00::1'] },
  ],
];
for (const [sentence, text, facts] of rows) test(sentence, () => assert.deepEqual({ ...foldRecord(text) }, facts));

test('a prototype is not a fact', () => {
  assert.equal(foldRecord('{"__proto__":{"phase":"ready"}}').phase, undefined);
});

const facts = fc.record(
  {
    containerID: fc.string(),
    netns: anyText(),
    phase: fc.constantFrom('adding', 'ready'),
    extra: fc.integer(),
  },
  { requiredKeys: [] },
) as fc.Arbitrary<Facts>;

test('lines fold into what was appended, wherever the last one is torn', () => {
  fc.assert(
    fc.property(fc.array(facts), facts, fc.nat(), (lines, last, cut) => {
      const whole = lines.map(recordLine).join('');
      const expected = Object.assign({}, ...lines) as Facts;
      assert.deepEqual({ ...foldRecord(whole) }, expected);
      const torn = recordLine(last);
      // The last byte is the newline, which a line can do without.
      const kept = torn.slice(0, cut % (torn.length - 2));
      assert.deepEqual({ ...foldRecord(whole + kept) }, expected);
      assert.deepEqual({ ...foldRecord(whole + kept + recordLine(last)) }, { ...expected, ...last });
    }),
  );
});
