const encoder = new TextEncoder();

/**
 * FNV-1a over the text's UTF-8 bytes, as 16 hex digits: short stable names, no protection against a deliberate clash.
 * Kept in two 32-bit halves, since the prime is 2^40 + 0x1b3 and every product then fits a double exactly.
 * @see http://www.isthe.com/chongo/tech/comp/fnv/
 */
export function fnv1a64(text: string): string {
  let high = 0xcbf29ce4;
  let low = 0x84222325;
  for (const byte of encoder.encode(text)) {
    const mixed = (low ^ byte) >>> 0;
    const product = mixed * 0x1b3;
    high = (high * 0x1b3 + mixed * 0x100 + Math.floor(product / 0x100000000)) >>> 0;
    low = product >>> 0;
  }
  return high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0');
}
