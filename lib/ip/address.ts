/**
 * Addresses, prefixes and ranges as values. A number is the address itself, most significant byte first.
 * Text is parsed once, at the edge, into these; inside, nothing is checked again.
 */

export type Family = 4 | 6;

export interface Address {
  readonly family: Family;
  readonly value: bigint;
}

export interface Prefix {
  readonly family: Family;
  /** As written: host bits are kept, so that `10.0.0.7/24` can be told from `10.0.0.0/24`. */
  readonly value: bigint;
  readonly length: number;
}

/** Inclusive at both ends. */
export interface Range {
  readonly family: Family;
  readonly first: bigint;
  readonly last: bigint;
}

export const bitsOf = (family: Family): 32 | 128 => (family === 4 ? 32 : 128);

function parse4(text: string): bigint | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let value = 0;
  for (const part of parts) {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part)) return undefined;
    const octet = Number(part);
    if (octet > 255) return undefined;
    value = value * 256 + octet;
  }
  return BigInt(value);
}

/** Four hex digits for each sixteen-bit group on one side of `::`; a dotted quad may stand for the last two (RFC 4291, 2.2). */
function groups6(text: string, quadAllowed: boolean): string[] | undefined {
  if (text === '') return [];
  const parts = text.split(':');
  const groups: string[] = [];
  for (const [i, part] of parts.entries()) {
    if (quadAllowed && i === parts.length - 1 && part.includes('.')) {
      const quad = parse4(part);
      if (quad === undefined) return undefined;
      const digits = quad.toString(16).padStart(8, '0');
      groups.push(digits.slice(0, 4), digits.slice(4));
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return undefined;
      groups.push(part.padStart(4, '0'));
    }
  }
  return groups;
}

function parse6(text: string): bigint | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = groups6(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? groups6(halves[1]!, true) : [];
  if (!head || !tail) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  return BigInt(`0x${head.join('')}${'0000'.repeat(missing)}${tail.join('')}`);
}

/** The address that the text names, or undefined. No zone, no octal, no surrounding space; `::ffff:a.b.c.d` stays IPv6. */
export function parseAddress(text: string): Address | undefined {
  const family: Family = text.includes(':') ? 6 : 4;
  const value = family === 6 ? parse6(text) : parse4(text);
  return value === undefined ? undefined : { family, value };
}

/** `a.b.c.d/n` or `x::y/n` as written, host bits kept; undefined where the text is no prefix. */
export function parsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf('/');
  if (slash < 0) return undefined;
  const address = parseAddress(text.slice(0, slash));
  const digits = text.slice(slash + 1);
  if (!address || !/^(0|[1-9][0-9]{0,2})$/.test(digits)) return undefined;
  const length = Number(digits);
  return length > bitsOf(address.family) ? undefined : { ...address, length };
}

/**
 * The text with the leading zeros of its decimal numbers taken away: `010.0.0.0/08` means 10.0.0.0/8 to API servers, which took
 * such text until Go 1.17 refused it, and take it still in objects that they have.
 * @see https://pkg.go.dev/k8s.io/utils/net#ParseCIDRSloppy
 */
export const withoutLeadingZeros = (text: string): string =>
  text.replaceAll(/\d+(?:\.\d+){3}|\/\d+$/g, part =>
    part.replaceAll(/\d+/g, digits => digits.replace(/^0+(?=\d)/, '')),
  );

function format6(value: bigint): string {
  const groups: number[] = [];
  for (let shift = 112n; shift >= 0n; shift -= 16n) groups.push(Number((value >> shift) & 0xffffn));
  let best = { start: 0, length: 0 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  const hex = (part: readonly number[]) => part.map(g => g.toString(16)).join(':');
  if (best.length < 2) return hex(groups);
  return `${hex(groups.slice(0, best.start))}::${hex(groups.slice(best.start + best.length))}`;
}

/** Canonical text (RFC 5952 for IPv6), so that equal addresses have equal text. */
export function formatAddress({ family, value }: Address): string {
  if (family === 6) return format6(value);
  const n = Number(value);
  return `${n >>> 24}.${(n >>> 16) & 255}.${(n >>> 8) & 255}.${n & 255}`;
}

export const formatPrefix = (prefix: Prefix): string => `${formatAddress(prefix)}/${prefix.length}`;

/** 4 or 16 bytes in network order. */
export function addressBytes({ family, value }: Address): Uint8Array {
  const bytes = new Uint8Array(bitsOf(family) / 8);
  let rest = value;
  for (let i = bytes.length - 1; i >= 0; i--, rest >>= 8n) bytes[i] = Number(rest & 255n);
  return bytes;
}

/** @throws RangeError where the length is neither 4 nor 16. */
export function addressFromBytes(bytes: Uint8Array): Address {
  if (bytes.length !== 4 && bytes.length !== 16)
    throw new RangeError(`Cannot read an address of ${bytes.length} bytes`);
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return { family: bytes.length === 4 ? 4 : 6, value };
}

export const sameAddress = (a: Address | undefined, b: Address | undefined): boolean =>
  a?.family === b?.family && a?.value === b?.value;

/** First and last address that the prefix covers, network and broadcast address included. */
export function rangeOf(prefix: Prefix): Range {
  const hostMask = (1n << BigInt(bitsOf(prefix.family) - prefix.length)) - 1n;
  return { family: prefix.family, first: prefix.value & ~hostMask, last: prefix.value | hostMask };
}

/** The prefix with its host bits cleared. */
export const networkOf = (prefix: Prefix): Prefix => ({ ...prefix, value: rangeOf(prefix).first });

export const rangeContains = (range: Range, address: Address): boolean =>
  range.family === address.family && range.first <= address.value && address.value <= range.last;

export const prefixContains = (prefix: Prefix, address: Address): boolean => rangeContains(rangeOf(prefix), address);
