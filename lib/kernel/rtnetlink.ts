/**
 * What links, addresses, routes and neighbours share: message types, and attributes by the package's attribute stream.
 * Its tables of every attribute (`netlink/dist/rt`) stay out: loading them would be a sixth of an ADD, and their parsers
 * throw where an interface of the node shows an attribute otherwise than it was when they were generated.
 */

import { type Address, addressBytes, addressFromBytes, type Family } from '../ip/address.ts';
import {
  AttrStream,
  type NetlinkAttribute,
  parseAttributes,
  putString,
  putU32,
  readU32,
  type StreamData,
} from './structs.ts';

/** include/uapi/linux/rtnetlink.h */
export const RTM = {
  NEWLINK: 16,
  DELLINK: 17,
  GETLINK: 18,
  SETLINK: 19,
  NEWADDR: 20,
  DELADDR: 21,
  GETADDR: 22,
  NEWROUTE: 24,
  DELROUTE: 25,
  GETROUTE: 26,
  NEWNEIGH: 28,
  DELNEIGH: 29,
  GETNEIGH: 30,
} as const;

/** include/uapi/linux/socket.h */
const AF = { 4: 2, 6: 10 } as const;

export const afOf = (family: Family | undefined): number => (family === undefined ? 0 : AF[family]);

/** Undefined where the kernel speaks of neither IPv4 nor IPv6 (bridge, MPLS, all of them). */
export const familyOf = (af: number): Family | undefined => (af === AF[4] ? 4 : af === AF[6] ? 6 : undefined);

/** An attribute without a value is left out. */
export type Attribute = readonly [type: number, value: StreamData | undefined];

function stream(header: Uint8Array, attributes: readonly Attribute[]): Uint8Array[] {
  const out = new AttrStream();
  out.emit(header);
  for (const [type, value] of attributes) if (value) out.push(type, value);
  return out.bufs;
}

/** The body of a message: its fixed header, then its attributes. */
export const bodyOf = (header: Uint8Array, ...attributes: readonly Attribute[]): Uint8Array[] =>
  stream(header, attributes);

/** The value of an attribute that holds others, behind a header of its own where it has one. */
export const nestOf = (attributes: readonly Attribute[], header: Uint8Array = new Uint8Array(0)): Buffer =>
  Buffer.concat(stream(header, attributes));

/** Host byte order. */
export const u32 = (value: number | undefined): Buffer | undefined => (value === undefined ? undefined : putU32(value));

/** With a closing NUL. */
export const text = (value: string | undefined): Buffer | undefined =>
  value === undefined ? undefined : putString(value);

/** Attributes by type, the last of each; the flags in the type (nested, network order) are left out. */
export function attributesOf(bytes: Buffer): ReadonlyMap<number, Buffer> {
  const attributes = new Map<number, Buffer>();
  parseAttributes(bytes, ({ type, data }: NetlinkAttribute) => attributes.set(type, data));
  return attributes;
}

/** Host byte order. */
export const u32Of = (bytes: Buffer | undefined): number | undefined =>
  bytes && bytes.length >= 4 ? readU32.call(bytes, 0) : undefined;

/** Without what follows the first NUL. */
export function textOf(bytes: Buffer | undefined): string | undefined {
  if (!bytes) return undefined;
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end < 0 ? bytes.length : end);
}

export const addressBuffer = (address: Address): Buffer => Buffer.from(addressBytes(address));

export const addressAttribute = (address: Address | undefined): Buffer | undefined => address && addressBuffer(address);

export const addressOf = (bytes: Buffer | undefined): Address | undefined =>
  bytes && (bytes.length === 4 || bytes.length === 16) ? addressFromBytes(bytes) : undefined;

/** `aa:bb:cc:dd:ee:ff` as six bytes. @throws RangeError where the text is no such thing. */
export function macBuffer(mac: string): Buffer {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac)) throw new RangeError(`Cannot read ${JSON.stringify(mac)} as a MAC`);
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

export const macOf = (bytes: Buffer | undefined): string | undefined =>
  bytes && bytes.length > 0 ? bytes.toString('hex').replace(/(..)(?=.)/g, '$1:') : undefined;

export const sameAddress = (a: Address | undefined, b: Address | undefined): boolean =>
  a?.family === b?.family && a?.value === b?.value;
