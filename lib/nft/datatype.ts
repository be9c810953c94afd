/**
 * Turns data into the kernel's bytes and back: nft's datatypes with their number, width and byte order.
 * Host byte order is little-endian, as on both architectures that tollgate is built for.
 */

import { formatAddress, formatPrefix, networkOf, rangeOf } from '../ip/address.ts';
import type { Datatype, Datum, Key } from './model.ts';

export interface DatumLayout {
  /** nft's own number (enum datatypes in its datatype.h); the kernel only hands it back. */
  readonly id: number;
  /** Bytes, without the padding of a concatenation. */
  readonly length: number;
  readonly order: 'host' | 'network';
  /** Words that nft uses for some values. */
  readonly words?: Readonly<Record<number, string>>;
  /** Each bit of a value is a word of its own. */
  readonly bits?: boolean;
}

export const DATATYPES: Readonly<Record<Datatype, DatumLayout>> = {
  ipv4_addr: { id: 7, length: 4, order: 'network' },
  ipv6_addr: { id: 8, length: 16, order: 'network' },
  inet_proto: {
    id: 12,
    length: 1,
    order: 'network',
    words: { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'ipv6-icmp', 132: 'sctp' },
  },
  inet_service: { id: 13, length: 2, order: 'network' },
  nf_proto: { id: 2, length: 1, order: 'host', words: { 2: 'ipv4', 10: 'ipv6' } },
  icmp_type: { id: 14, length: 1, order: 'network' },
  icmpv6_type: { id: 29, length: 1, order: 'network' },
  tcp_flag: {
    id: 15,
    length: 1,
    order: 'host',
    bits: true,
    words: { 1: 'fin', 2: 'syn', 4: 'rst', 8: 'psh', 16: 'ack', 32: 'urg', 64: 'ecn', 128: 'cwr' },
  },
  mark: { id: 19, length: 4, order: 'host' },
  devgroup: { id: 35, length: 4, order: 'host' },
  iface_index: { id: 20, length: 4, order: 'host' },
  ifname: { id: 41, length: 16, order: 'host' },
  ct_state: {
    id: 26,
    length: 4,
    order: 'host',
    bits: true,
    words: { 1: 'invalid', 2: 'established', 4: 'related', 8: 'new', 64: 'untracked' },
  },
  ct_status: {
    id: 28,
    length: 4,
    order: 'host',
    bits: true,
    words: { 1: 'expected', 2: 'seen-reply', 4: 'assured', 8: 'confirmed', 16: 'snat', 32: 'dnat', 512: 'dying' },
  },
  ct_dir: { id: 27, length: 1, order: 'host', words: { 0: 'original', 1: 'reply' } },
  fib_addrtype: {
    id: 38,
    length: 4,
    order: 'host',
    words: { 1: 'unicast', 2: 'local', 3: 'broadcast', 4: 'anycast', 5: 'multicast', 6: 'blackhole', 7: 'unreachable' },
  },
  /** One bit to nft, but fib writes a whole register. */
  boolean: { id: 39, length: 4, order: 'host', words: { 0: 'missing', 1: 'exists' } },
  integer: { id: 4, length: 1, order: 'network' },
};

const BY_ID: ReadonlyMap<number, Datatype> = new Map(
  (Object.keys(DATATYPES) as Datatype[]).map(type => [DATATYPES[type].id, type]),
);

/** Each field of a concatenation starts at a register of four bytes. */
export const paddedLength = (length: number): number => (length + 3) & ~3;

/** Bytes of a whole key: a field on its own is as long as it is, fields of a concatenation are padded. */
export const keyLength = (types: readonly Datatype[]): number =>
  types.length === 1
    ? DATATYPES[types[0]!].length
    : types.reduce((sum, type) => sum + paddedLength(DATATYPES[type].length), 0);

/** Six bits a field, the first field highest (TYPE_BITS in nft's datatype.h). */
export const keyTypeId = (types: readonly Datatype[]): number =>
  types.reduce((id, type) => (id << 6) | DATATYPES[type].id, 0);

/** The inverse of `keyTypeId`, or undefined where it holds a type that we do not use. */
export function keyTypesOf(id: number): readonly Datatype[] | undefined {
  const types: Datatype[] = [];
  for (let rest = id; rest !== 0; rest >>>= 6) {
    const type = BY_ID.get(rest & 63);
    if (!type) return undefined;
    types.unshift(type);
  }
  return types;
}

/** First and last value of a datum, equal where it is a single one. Text has no order: it comes back as it is. */
export interface Bounds {
  readonly first: number | bigint | string;
  readonly last: number | bigint | string;
}

export function boundsOf(datum: Datum): Bounds {
  if (typeof datum !== 'object') return { first: datum, last: datum };
  if ('length' in datum) return rangeOf(datum);
  if ('first' in datum) return datum;
  return { first: datum.value, last: datum.value };
}

export const isSingle = (datum: Datum): boolean => {
  if (typeof datum !== 'object') return true;
  if (!('length' in datum || 'first' in datum)) return true;
  const { first, last } = boundsOf(datum);
  return first === last;
};

/** Equal for data that mean the same, in whatever form: `10.0.0.0/31` and `10.0.0.0-10.0.0.1`. */
function datumId(datum: Datum): string {
  if (typeof datum === 'number') return String(datum);
  if (typeof datum === 'string') return datum;
  if (!('length' in datum || 'first' in datum)) return valueId(datum.value);
  const { first, last } = boundsOf(datum);
  return first === last ? valueId(first) : `${valueId(first)}-${valueId(last)}`;
}

const valueId = (value: number | bigint | string): string =>
  typeof value === 'bigint' ? (value <= 0xffffffffn ? String(Number(value)) : value.toString(16)) : String(value);

export function keyId(key: Key): string {
  if (key.length === 1) return datumId(key[0]!);
  let id = datumId(key[0]!);
  for (let i = 1; i < key.length; i++) id += ` ${datumId(key[i]!)}`;
  return id;
}

/** The address, where it is one, or the number behind a value that was read back from bytes. */
export function datumFromBytes(type: Datatype, bytes: Uint8Array): Datum {
  const { length, order } = DATATYPES[type];
  if (type === 'ifname') {
    const end = bytes.indexOf(0);
    return String.fromCharCode(...bytes.subarray(0, end < 0 ? bytes.length : end));
  }
  if (type === 'ipv4_addr') return { family: 4, value: BigInt(readNumber(bytes, 4, 'network')) };
  if (type === 'ipv6_addr') {
    let value = 0n;
    for (let i = 0; i < 16; i += 4) value = (value << 32n) | BigInt(readNumber(bytes.subarray(i), 4, 'network'));
    return { family: 6, value };
  }
  return readNumber(bytes, length, order);
}

function readNumber(bytes: Uint8Array, length: number, order: DatumLayout['order']): number {
  let value = 0;
  for (let i = 0; i < length; i++) value = value * 256 + bytes[order === 'host' ? length - 1 - i : i]!;
  return value;
}

/** A datum that lies between two that were read back from bytes, in its shortest form. */
export function datumBetween(first: Datum, last: Datum): Datum {
  if (typeof first === 'number' && typeof last === 'number') return first === last ? first : { first, last };
  if (typeof first !== 'object' || typeof last !== 'object' || !('value' in first && 'value' in last)) return first;
  const { family } = first;
  if (first.value === last.value) return { family, value: first.value };
  const size = last.value - first.value + 1n;
  if ((size & (size - 1n)) !== 0n || first.value % size !== 0n) return { family, first: first.value, last: last.value };
  let length = family === 4 ? 32 : 128;
  for (let rest = size; rest > 1n; rest >>= 1n) length--;
  return { family, value: first.value, length };
}

/**
 * Writes one bound of a datum at `at`.
 * @throws RangeError where it does not fit its type
 */
export function writeValue(bytes: Uint8Array, at: number, type: Datatype, value: number | bigint | string): void {
  const { length, order } = DATATYPES[type];
  if (typeof value === 'string') {
    if (type !== 'ifname') throw unfit(type, value);
    writeName(bytes, at, value);
  } else if (length === 16) {
    if (typeof value !== 'bigint') throw unfit(type, value);
    let rest = value;
    for (let word = at + 12; word >= at; word -= 4, rest >>= 32n)
      writeNetwork(bytes, word, 4, Number(rest & 0xffffffffn));
  } else {
    const number = Number(value);
    if (!(number >= 0 && number < 2 ** (8 * length)) || type === 'ifname') throw unfit(type, value);
    if (order === 'network') writeNetwork(bytes, at, length, number);
    else for (let i = 0, rest = number; i < length; i++, rest >>>= 8) bytes[at + i] = rest & 255;
  }
}

function writeNetwork(bytes: Uint8Array, at: number, length: number, value: number): void {
  for (let i = at + length - 1, rest = value; i >= at; i--, rest >>>= 8) bytes[i] = rest & 255;
}

function writeName(bytes: Uint8Array, at: number, name: string): void {
  if (name.length === 0 || name.length > 15) throw unfit('ifname', name);
  for (let i = 0; i < name.length; i++) bytes[at + i] = name.charCodeAt(i);
}

const unfit = (type: Datatype, value: number | bigint | string): RangeError =>
  new RangeError(`Cannot use ${typeof value === 'string' ? `"${value}"` : value} as ${type}`);

/**
 * Writes one bound of a whole key at `at`, which must be zeroed up to `keyLength`.
 * @throws RangeError where the key does not fit its types
 */
export function writeKey(
  bytes: Uint8Array,
  at: number,
  types: readonly Datatype[],
  key: Key,
  bound: 'first' | 'last',
): void {
  if (key.length !== types.length)
    throw new RangeError(`Cannot use a key of ${key.length} fields as ${types.join(' . ')}`);
  let offset = at;
  for (let i = 0; i < types.length; i++) {
    const datum = key[i]!;
    const type = types[i]!;
    checkFamily(type, datum);
    writeValue(bytes, offset, type, typeof datum === 'object' ? boundsOf(datum)[bound] : datum);
    offset += paddedLength(DATATYPES[type].length);
  }
}

function checkFamily(type: Datatype, datum: Datum): void {
  const family = typeof datum === 'object' && 'family' in datum ? datum.family : undefined;
  const expected = type === 'ipv4_addr' ? 4 : type === 'ipv6_addr' ? 6 : undefined;
  if (family !== expected) throw new RangeError(`Cannot use ${formatDatum(type, datum)} as ${type}`);
}

/** One datum as bytes, without padding. */
export function datumBytes(type: Datatype, datum: Datum, bound: 'first' | 'last' = 'first'): Uint8Array {
  const bytes = new Uint8Array(DATATYPES[type].length);
  writeKey(bytes, 0, [type], [datum], bound);
  return bytes;
}

/** As nft reads it. */
export function formatDatum(type: Datatype, datum: Datum): string {
  if (typeof datum === 'string') return `"${datum}"`;
  if (typeof datum === 'number') return formatNumber(type, datum);
  if ('length' in datum) return formatPrefix(networkOf(datum));
  if (!('first' in datum)) return formatAddress(datum);
  if (!('family' in datum)) {
    const { first, last } = datum;
    return first === last ? formatNumber(type, first) : `${formatNumber(type, first)}-${formatNumber(type, last)}`;
  }
  const { family, first, last } = datum;
  const ends = first === last ? [first] : [first, last];
  return ends.map(value => formatAddress({ family, value })).join('-');
}

function formatNumber(type: Datatype, value: number): string {
  const { words, bits } = DATATYPES[type];
  const word = words?.[value];
  if (word) return word;
  if (bits && words) {
    const names = Object.entries(words).filter(([bit]) => (value & Number(bit)) !== 0);
    const known = names.reduce((sum, [bit]) => sum | Number(bit), 0);
    if (value !== 0 && known === value) return names.map(([, name]) => name).join(',');
  }
  return type === 'mark' || type === 'devgroup' || bits ? `0x${value.toString(16)}` : String(value);
}

export const formatKey = (types: readonly Datatype[], key: Key): string =>
  key.map((datum, i) => formatDatum(types[i]!, datum)).join(' . ');
