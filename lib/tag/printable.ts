/**
 * The one door for text that others wrote: names, paths, values of manifests, messages of other programs. What comes out is
 * one line, whatever a terminal, a log or a page makes of control characters.
 */

/**
 * Control characters (a terminal obeys them), separators of lines, characters that turn the direction of writing or that are
 * invisible, and halves of surrogate pairs.
 */
const unprintable = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** Printable ASCII, as nearly all text is: to test it takes a fraction of the time of the replacement. */
const isPlain = (text: string): boolean => /^[ -~]*$/.test(text);

const escaped = (character: string): string => {
  const units = Array.from({ length: character.length }, (_, i) => character.charCodeAt(i));
  return units.map(unit => `\\u${unit.toString(16).padStart(4, '0')}`).join('');
};

/** The text with `\u001b` for each character that would not be seen as itself: as in JSON, so that JSON stays what it was. */
export const printable = (text: string): string => (isPlain(text) ? text : text.replaceAll(unprintable, escaped));

/** As `printable`, for a text that we have laid out in lines and columns. */
export const printableLines = (text: string): string =>
  text.replaceAll(unprintable, character =>
    character === '\n' || character === '\t' ? character : escaped(character),
  );
