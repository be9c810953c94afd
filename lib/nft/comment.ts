/**
 * Cuts comments: by one rule for all that has one, but for the table, whose own comment is kept whole, up to 253
 * bytes. 128 bytes is what nft takes too. The kernel would take 256 bytes of userdata, but an element counts its length,
 * with those of key and value, in one byte: on 6.18 a longer comment is refused (EINVAL), and from 253 bytes on it is
 * lost without a word.
 */

const COMMENT_BYTES = 128;
/** NF_LOG_PREFIXLEN without the zero at its end. */
const PREFIX_BYTES = 127;

/** Ends a comment that goes on. */
const CUT = '~';

/**
 * nft's strings know no escape, a zero byte would end the text, and half a surrogate pair is no character (a whole one is
 * looked at as well). Not by an expression: to make one of Unicode's classes takes longer than all the comments of a call.
 */
function mayBeUnfit(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit === 0x22 || unit < 0x20 || (unit >= 0x7f && unit <= 0x9f) || (unit >= 0xd800 && unit <= 0xdfff))
      return true;
  }
  return false;
}

const encoder = new TextEncoder();

/** How many bytes the text takes in UTF-8. */
const utf8Length = (text: string): number => encoder.encode(text).length;

const fit = (text: string): string =>
  mayBeUnfit(text)
    ? text
        .toWellFormed()
        .replaceAll('"', "'")
        .replaceAll(/\p{Cc}/gu, ' ')
    : text;

/**
 * The comment as it is written and read back: a double quote as a single one, a control character as a space, and where it
 * is too long, cut between two characters, with a tilde at its end. Idempotent.
 */
export const keptComment = (comment: string): string => kept(comment, COMMENT_BYTES);

/** The same of a log's prefix, of which the kernel takes 127 bytes; `nft -f` would read a dollar sign as a variable's. */
export const keptPrefix = (prefix: string): string => kept(prefix.replaceAll('$', '_'), PREFIX_BYTES);

function kept(whole: string, most: number): string {
  const text = fit(whole);
  // No UTF-16 unit takes more than three bytes.
  if (text.length * 3 <= most || utf8Length(text) <= most) return text;
  let start = '';
  let length = CUT.length;
  for (const character of text) {
    length += utf8Length(character);
    if (length > most) break;
    start += character;
  }
  return `${start}${CUT}`;
}

/** True where the kernel could not tell the two apart. */
export const sameComment = (a: string | undefined, b: string | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && keptComment(a) === keptComment(b));
