/** Texts of any characters, for random tests. */
import fc from 'fast-check';

/** Half of a character of UTF-16: no characters. */
const SURROGATES = { first: 0xd800, count: 0x800 };
const CHARACTERS = 0x110000 - SURROGATES.count;

function numberOf(text: unknown): number {
  const code = typeof text === 'string' && [...text].length === 1 && text.isWellFormed() ? text.codePointAt(0)! : -1;
  if (code < 0) throw new TypeError(`Cannot number ${JSON.stringify(text)}: it is not one character`);
  return code < SURROGATES.first ? code : code - SURROGATES.count;
}

const character = fc
  .nat(CHARACTERS - 1)
  .map(number => String.fromCodePoint(number < SURROGATES.first ? number : number + SURROGATES.count), numberOf);

/** As fast-check's `unit: 'binary'`, which takes each process more than a second to make a map of all characters. */
export const anyText = (constraints: fc.StringSharedConstraints = {}): fc.Arbitrary<string> =>
  fc.string({ ...constraints, unit: character });
