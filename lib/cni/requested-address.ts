import { type Address, parseAddress, parsePrefix } from '../ip/address.ts';

/** An address that a runtime asks for; the length, where given, must be that of the range it is taken from. */
export interface RequestedAddress extends Address {
  readonly length?: number;
}

/** `a` or `a/len`, either family; undefined where it is neither. */
export const parseRequestedAddress = (text: string): RequestedAddress | undefined =>
  text.includes('/') ? parsePrefix(text) : parseAddress(text);

/** Six bytes, colons or dashes, as lower case with colons; undefined where it is none, all zero, or a group address. */
export function parseMac(text: string): string | undefined {
  if (!/^[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}$/i.test(text)) return undefined;
  const mac = text.toLowerCase().replaceAll('-', ':');
  const isGroup = (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1;
  return isGroup || mac === '00:00:00:00:00:00' ? undefined : mac;
}
