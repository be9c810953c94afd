/**
 * Netlink messages into one growing buffer. Lengths are reserved, and patched once the body stands behind them.
 * Netlink headers are in host byte order (little-endian here), what nf_tables puts into attributes is big-endian.
 */

import { utf8Length } from './comment.ts';
import { paddedLength, writeKey } from './datatype.ts';
import type { Datatype, Key } from './model.ts';
import { NFTA_DATA } from './wire.ts';

/** NLA_F_NESTED */
const NESTED = 0x8000;
const HEADER_LENGTH = 16;
/** NFT_USERDATA_MAXLEN: two bytes, a comment and its zero byte, and in a set's six or twelve bytes more. */
const USERDATA_LIMIT = 256;

export class MessageWriter {
  #bytes: Uint8Array;
  #length = 0;

  constructor(capacity = 4096) {
    this.#bytes = new Uint8Array(capacity);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** What was written, without a copy: the writer is not to be used any more. */
  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Room for `count` zero bytes; gives where they start. */
  #reserve(count: number): number {
    const at = this.#length;
    const length = at + count;
    if (length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(length, this.#bytes.length * 2));
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#length = length;
    return at;
  }

  #u16(at: number, value: number): void {
    this.#bytes[at] = value;
    this.#bytes[at + 1] = value >>> 8;
  }

  #u32(at: number, value: number): void {
    const bytes = this.#bytes;
    bytes[at] = value;
    bytes[at + 1] = value >>> 8;
    bytes[at + 2] = value >>> 16;
    bytes[at + 3] = value >>> 24;
  }

  #be32(at: number, value: number): void {
    const bytes = this.#bytes;
    bytes[at] = value >>> 24;
    bytes[at + 1] = value >>> 16;
    bytes[at + 2] = value >>> 8;
    bytes[at + 3] = value;
  }

  /** struct nlmsghdr, then struct nfgenmsg {family, version 0, res_id (big-endian)}; gives what `endMessage` wants. */
  beginMessage(type: number, flags: number, seq: number, family: number, resource = 0): number {
    const at = this.#reserve(HEADER_LENGTH + 4);
    this.#u16(at + 4, type);
    this.#u16(at + 6, flags);
    this.#u32(at + 8, seq);
    this.#bytes[at + 16] = family;
    this.#bytes[at + 18] = resource >>> 8;
    this.#bytes[at + 19] = resource;
    return at;
  }

  /** A struct nfgenmsg without a netlink header, for whoever puts that in front himself. */
  beginBody(family: number): void {
    this.#bytes[this.#reserve(4)] = family;
  }

  endMessage(at: number): void {
    this.#u32(at, this.#length - at);
  }

  /** Reserves an attribute of `length` bytes and gives where its body starts. */
  #attribute(type: number, length: number): number {
    const at = this.#reserve(4 + paddedLength(length));
    this.#u16(at, 4 + length);
    this.#u16(at + 2, type);
    return at + 4;
  }

  /** A nested attribute: what is written up to `close` lies in it. */
  open(type: number): number {
    const at = this.#reserve(4);
    this.#u16(at + 2, type | NESTED);
    return at;
  }

  /** @throws RangeError where the body is longer than an attribute can be (64 KiB) */
  close(at: number): void {
    const length = this.#length - at;
    if (length > 0xffff) throw new RangeError(`Cannot write a netlink attribute of ${length} bytes`);
    this.#u16(at, length);
  }

  u8(type: number, value: number): void {
    const at = this.#attribute(type, 1);
    this.#bytes[at] = value;
  }

  be16(type: number, value: number): void {
    const at = this.#attribute(type, 2);
    this.#bytes[at] = value >>> 8;
    this.#bytes[at + 1] = value;
  }

  be32(type: number, value: number): void {
    const at = this.#attribute(type, 4);
    this.#be32(at, value);
  }

  /** A non-negative integer below 2^53. */
  be64(type: number, value: number): void {
    const at = this.#attribute(type, 8);
    this.#be32(at, Math.floor(value / 2 ** 32));
    this.#be32(at + 4, value >>> 0);
  }

  bytes(type: number, value: Uint8Array): void {
    const at = this.#attribute(type, value.length);
    this.#bytes.set(value, at);
  }

  /** The kernel wants a zero byte behind it. */
  text(type: number, value: string): void {
    const length = utf8Length(value);
    this.#utf8(this.#attribute(type, length + 1), value);
  }

  /** NFTA_DATA_VALUE in an attribute of that type: one bound of a key, `length` bytes as `keyLength` tells. */
  key(type: number, types: readonly Datatype[], key: Key, bound: 'first' | 'last', length: number): void {
    const nest = this.open(type);
    const at = this.#attribute(NFTA_DATA.VALUE, length);
    writeKey(this.#bytes, at, types, key, bound);
    this.close(nest);
  }

  /** Type, length and value in nft's userdata form, where type and length are one byte each; open an attribute first. */
  openUserdata(type: number): number {
    const at = this.#reserve(4);
    this.#u16(at + 2, type);
    return at;
  }

  closeUserdata(at: number): void {
    const length = this.#length - at;
    if (length - 4 > USERDATA_LIMIT)
      throw new RangeError(
        `Cannot keep a comment that long: it needs ${length - 4} bytes, the kernel takes ${USERDATA_LIMIT}`,
      );
    this.#u16(at, length);
    this.#reserve(paddedLength(this.#length) - this.#length);
  }

  userdataText(type: number, value: string): void {
    const length = utf8Length(value) + 1;
    const at = this.#reserve(2 + length);
    this.#bytes[at] = type;
    this.#bytes[at + 1] = length;
    this.#utf8(at + 2, value);
  }

  /** A number in host byte order. */
  userdataNumber(type: number, value: number): void {
    const at = this.#reserve(6);
    this.#bytes[at] = type;
    this.#bytes[at + 1] = 4;
    this.#u32(at + 2, value);
  }

  #utf8(start: number, text: string): void {
    const bytes = this.#bytes;
    let at = start;
    for (let i = 0; i < text.length; i++) {
      const point = text.codePointAt(i)!;
      if (point < 0x80) {
        bytes[at++] = point;
      } else if (point < 0x800) {
        bytes[at++] = 0xc0 | (point >> 6);
        bytes[at++] = 0x80 | (point & 63);
      } else if (point < 0x10000) {
        bytes[at++] = 0xe0 | (point >> 12);
        bytes[at++] = 0x80 | ((point >> 6) & 63);
        bytes[at++] = 0x80 | (point & 63);
      } else {
        bytes[at++] = 0xf0 | (point >> 18);
        bytes[at++] = 0x80 | ((point >> 12) & 63);
        bytes[at++] = 0x80 | ((point >> 6) & 63);
        bytes[at++] = 0x80 | (point & 63);
        i++;
      }
    }
  }
}
