/** Widths of text by what stands in for the package string-width in the executable. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import whole from 'string-width';
import standIn from '../../../lib/cli/string-width.cjs';

const texts: Readonly<Record<string, string>> = {
  'plain text': 'Take away what dead pods left behind',
  nothing: '',
  'a line with its end': 'an epilog\n',
  'quotes, dashes and an ellipsis of print': 'the node’s “state” – or — not …',
  'letters with marks': 'Größe, naïve',
  'wide letters': '東京',
  emoji: 'a 👩‍👩‍👧 of three',
  'a keycap': '1⃣',
  colours: '\u001b[31mred\u001b[39m',
  'what is not seen': 'a\u00adb\u200bc\td',
};

for (const [what, text] of Object.entries(texts))
  test(`${what}: as wide as the package says`, () => assert.equal(standIn(text), whole(text)));

test('random text of such characters is as wide as the package says', () => {
  const character = fc.constantFrom(...Object.values(texts).flatMap(text => [...text]), '\r', '\n');
  fc.assert(
    fc.property(fc.string({ unit: fc.oneof(character, fc.string({ unit: 'binary', maxLength: 2 })) }), text =>
      assert.equal(standIn(text), whole(text)),
    ),
    { numRuns: 2_000 },
  );
});
