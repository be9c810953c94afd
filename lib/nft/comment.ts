/**
 * How much of a comment is kept: 128 bytes, which is what nft takes too. The kernel would take 256 bytes of userdata,
 * but an element counts its length, with those of key and value, in one byte: on 6.18 a longer comment is refused
 * (EINVAL), and from 253 bytes on it is lost without a word. The table's own comment is kept whole, up to 253 bytes.
 */

const COMMENT_BYTES = 128;

/** How many bytes the text takes in UTF-8. */
export function utf8Length(text: string): number {
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    const point = text.codePointAt(i)!;
    length += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    if (point >= 0x10000) i++;
  }
  return length;
}

/** The comment, cut between two characters where it is too long. */
export function keptComment(comment: string): string {
  // No UTF-16 unit takes more than three bytes.
  if (comment.length * 3 <= COMMENT_BYTES || utf8Length(comment) <= COMMENT_BYTES) return comment;
  let kept = '';
  let length = 0;
  for (const character of comment) {
    length += utf8Length(character);
    if (length > COMMENT_BYTES) break;
    kept += character;
  }
  return kept;
}

/** True where the kernel could not tell the two apart. */
export const sameComment = (a: string | undefined, b: string | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && keptComment(a) === keptComment(b));
