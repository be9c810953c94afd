/** Messages of nf_tables: what they hold besides plain attributes. All numbers in them are big-endian. */
import { MessageWriter } from '../netlink/writer.ts';
import { paddedLength, writeKey } from './datatype.ts';
import type { Datatype, Key } from './model.ts';
import { NFTA_DATA } from './wire.ts';

/** NFT_USERDATA_MAXLEN: two bytes, a comment and its zero byte, and in a set's six or twelve bytes more. */
const USERDATA_LIMIT = 256;

const encoder = new TextEncoder();

export class NftWriter extends MessageWriter {
  /** Begins a message with struct nlmsghdr and struct nfgenmsg. @returns what `endMessage` takes */
  begin(type: number, flags: number, seq: number, family: number, resource = 0): number {
    const at = this.beginMessage(type, flags, seq);
    this.nfgenmsg(family, resource);
    return at;
  }

  /** NFTA_DATA_VALUE in an attribute of that type: one bound of a key, `length` bytes as `keyLength` tells. */
  key(type: number, types: readonly Datatype[], key: Key, bound: 'first' | 'last', length: number): void {
    const nest = this.open(type);
    const at = this.attribute(NFTA_DATA.VALUE, length);
    writeKey(this.buffer, at, types, key, bound);
    this.close(nest);
  }

  /** Type, length and value in nft's userdata form, where type and length are one byte each; open an attribute first. */
  openUserdata(type: number): number {
    const at = this.reserve(4);
    this.putU16(at + 2, type);
    return at;
  }

  closeUserdata(at: number): void {
    const length = this.length - at;
    if (length - 4 > USERDATA_LIMIT)
      throw new RangeError(
        `Cannot keep a comment that long: it needs ${length - 4} bytes, the kernel takes ${USERDATA_LIMIT}`,
      );
    this.putU16(at, length);
    this.reserve(paddedLength(this.length) - this.length);
  }

  userdataText(type: number, value: string): void {
    const bytes = encoder.encode(`${value}\0`);
    const at = this.reserve(2 + bytes.length);
    this.buffer[at] = type;
    this.buffer[at + 1] = bytes.length;
    this.buffer.set(bytes, at + 2);
  }

  /** A number in host byte order. */
  userdataNumber(type: number, value: number): void {
    const at = this.reserve(6);
    this.buffer[at] = type;
    this.buffer[at + 1] = 4;
    this.putU32(at + 2, value);
  }
}
