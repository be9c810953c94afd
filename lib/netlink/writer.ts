/**
 * Netlink messages into one growing buffer. A length is reserved, and patched once the body stands behind it. Headers are in
 * host byte order, which is little-endian; for attributes the method's name tells: `be32` is big-endian, `u32` is not.
 */
import { align, HEADER_LENGTH } from './header.ts';

/** NLA_F_NESTED: the attribute holds attributes. */
const NESTED = 0x8000;

const encoder = new TextEncoder();

export class MessageWriter {
  #bytes: Uint8Array;
  #length = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** The bytes written, without a copy: the writer must not be used any more. */
  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** The buffer for direct writes at an offset that `reserve` or `attribute` gave; the next reservation may replace it. */
  protected get buffer(): Uint8Array {
    return this.#bytes;
  }

  /** Makes room for `count` zero bytes. @returns the offset of the first */
  protected reserve(count: number): number {
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

  protected putU16(at: number, value: number): void {
    this.#bytes[at] = value;
    this.#bytes[at + 1] = value >>> 8;
  }

  protected putU32(at: number, value: number): void {
    const bytes = this.#bytes;
    bytes[at] = value;
    bytes[at + 1] = value >>> 8;
    bytes[at + 2] = value >>> 16;
    bytes[at + 3] = value >>> 24;
  }

  protected putBe32(at: number, value: number): void {
    const bytes = this.#bytes;
    bytes[at] = value >>> 24;
    bytes[at + 1] = value >>> 16;
    bytes[at + 2] = value >>> 8;
    bytes[at + 3] = value;
  }

  /** Begins a message with struct nlmsghdr. @returns what `endMessage` takes */
  beginMessage(type: number, flags: number, seq: number): number {
    const at = this.reserve(HEADER_LENGTH);
    this.putU16(at + 4, type);
    this.putU16(at + 6, flags);
    this.putU32(at + 8, seq);
    return at;
  }

  endMessage(at: number): void {
    this.putU32(at, this.#length - at);
  }

  /** A message's own struct, which stands before its attributes; padded to a multiple of four bytes. */
  struct(bytes: Uint8Array): void {
    const at = this.reserve(align(bytes.length));
    this.#bytes.set(bytes, at);
  }

  /** struct nfgenmsg of netfilter's subsystems: family, version, resource ID (big-endian). */
  nfgenmsg(family: number, resource = 0, version = 0): void {
    this.struct(Uint8Array.of(family, version, resource >>> 8, resource));
  }

  /** Reserves an attribute with a value of `length` bytes. @returns the offset of the value */
  protected attribute(type: number, length: number): number {
    const at = this.reserve(4 + align(length));
    this.putU16(at, 4 + length);
    this.putU16(at + 2, type);
    return at + 4;
  }

  /** Begins an attribute that holds attributes: all that is written until `close`. @returns what `close` takes */
  open(type: number): number {
    const at = this.reserve(4);
    this.putU16(at + 2, type | NESTED);
    return at;
  }

  /** @throws RangeError a nest longer than an attribute can be (64 KiB) */
  close(at: number): void {
    const length = this.#length - at;
    if (length > 0xffff) throw new RangeError(`Cannot write a netlink attribute of ${length} bytes`);
    this.putU16(at, length);
  }

  u8(type: number, value: number): void {
    const at = this.attribute(type, 1);
    this.#bytes[at] = value;
  }

  u32(type: number, value: number): void {
    this.putU32(this.attribute(type, 4), value);
  }

  be16(type: number, value: number): void {
    const at = this.attribute(type, 2);
    this.#bytes[at] = value >>> 8;
    this.#bytes[at + 1] = value;
  }

  be32(type: number, value: number): void {
    this.putBe32(this.attribute(type, 4), value);
  }

  /** A non-negative integer below 2^53. */
  be64(type: number, value: number): void {
    const at = this.attribute(type, 8);
    this.putBe32(at, Math.floor(value / 2 ** 32));
    this.putBe32(at + 4, value >>> 0);
  }

  bytes(type: number, value: Uint8Array): void {
    const at = this.attribute(type, value.length);
    this.#bytes.set(value, at);
  }

  /** In UTF-8 with a closing NUL. */
  text(type: number, value: string): void {
    const bytes = encoder.encode(value);
    const at = this.attribute(type, bytes.length + 1);
    this.#bytes.set(bytes, at);
  }
}
