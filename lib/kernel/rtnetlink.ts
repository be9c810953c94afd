/**
 * What links, addresses, routes and neighbours share. Messages are written by the package `netlink`; they are read
 * here attribute by attribute, and only those that are wanted: the package's parsers want every attribute of every
 * interface of the node to be as it was when they were generated, and throw otherwise.
 */

import { AttrStream, type NetlinkAttribute, parseAttributes, readU32, type StreamData } from 'netlink/dist/structs.js';
import { type Address, addressBytes, addressFromBytes, type Family, formatAddress } from '../ip/address.ts';

/** include/uapi/linux/socket.h */
const AF = { 4: 2, 6: 10 } as const;

export const afOf = (family: Family | undefined): number => (family === undefined ? 0 : AF[family]);

/** Undefined where the kernel speaks of neither IPv4 nor IPv6 (bridge, MPLS, all of them). */
export const familyOf = (af: number): Family | undefined => (af === AF[4] ? 4 : af === AF[6] ? 6 : undefined);

/** The object without the keys that hold undefined. */
export function present<T extends object>(object: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

/** What the package's formatters stream, as the parts of a message. */
export function bodyOf(...parts: readonly StreamData[]): Uint8Array[] {
  const out = new AttrStream();
  for (const part of parts) out.emit(part);
  return out.bufs;
}

export const bytesOf = (...parts: readonly StreamData[]): Buffer => Buffer.concat(bodyOf(...parts));

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

/** For messages: `10.0.0.1`, or what stands there for no address. */
export const nameOf = (address: Address | undefined, none: string): string => (address ? formatAddress(address) : none);
