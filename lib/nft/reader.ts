/** Netlink attributes out of bytes. What nf_tables puts into them is big-endian. */

/** NLA_TYPE_MASK: without the flags "nested" and "network byte order". */
const TYPE_MASK = 0x3fff;

export type Attributes = ReadonlyMap<number, Uint8Array>;

/** Calls back for each attribute in turn. @throws RangeError where a length is impossible */
export function eachAttribute(bytes: Uint8Array, each: (type: number, body: Uint8Array) => void): void {
  let at = 0;
  while (at + 4 <= bytes.length) {
    const length = bytes[at]! | (bytes[at + 1]! << 8);
    if (length < 4 || at + length > bytes.length)
      throw new RangeError(`Cannot read a netlink attribute of ${length} bytes at ${at} of ${bytes.length}`);
    each((bytes[at + 2]! | (bytes[at + 3]! << 8)) & TYPE_MASK, bytes.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
}

/** By type; of several with one type, the last. */
export function readAttributes(bytes: Uint8Array): Attributes {
  const attributes = new Map<number, Uint8Array>();
  eachAttribute(bytes, (type, body) => attributes.set(type, body));
  return attributes;
}

/** The attributes of a message of ours, behind its struct nfgenmsg (4 bytes). */
export const readMessage = (body: Uint8Array): Attributes => readAttributes(body.subarray(4));

/** Big-endian, of whatever width up to 4 bytes; undefined for no attribute. */
export function readNumber(bytes: Uint8Array | undefined): number | undefined {
  if (!bytes) return undefined;
  let value = 0;
  for (const byte of bytes) value = value * 256 + byte;
  return value;
}

export const readSigned32 = (bytes: Uint8Array | undefined): number | undefined => {
  const value = readNumber(bytes);
  return value === undefined ? undefined : value | 0;
};

export function readBigint(bytes: Uint8Array | undefined): bigint {
  let value = 0n;
  if (bytes) for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value;
}

/** UTF-8 up to the zero byte; undefined for no attribute. A broken sequence reads as U+FFFD. */
export function readText(bytes: Uint8Array | undefined): string | undefined {
  if (!bytes) return undefined;
  let text = '';
  for (let at = 0; at < bytes.length && bytes[at] !== 0; ) {
    const lead = bytes[at]!;
    const size = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 0;
    let point = size < 2 ? lead : lead & (0x7f >> size);
    for (let i = 1; i < size; i++) point = (point << 6) | ((bytes[at + i] ?? 0) & 0x3f);
    const valid = size > 0 && at + size <= bytes.length && point <= 0x10ffff;
    text += valid ? String.fromCodePoint(point) : '\ufffd';
    at += valid ? size : 1;
  }
  return text;
}

/** nft's userdata: type, length, value, one byte each for the first two. What does not fit is left out. */
export function readUserdata(bytes: Uint8Array | undefined): Attributes {
  const attributes = new Map<number, Uint8Array>();
  if (!bytes) return attributes;
  for (let at = 0; at + 2 <= bytes.length; at += 2 + bytes[at + 1]!)
    attributes.set(bytes[at]!, bytes.subarray(at + 2, at + 2 + bytes[at + 1]!));
  return attributes;
}
