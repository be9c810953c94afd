import { type Address, type Prefix, parseAddress, parsePrefix, withoutLeadingZeros } from '../ip/address.ts';
import { CniError, codes } from './error.ts';
import { parseMac, parseRequestedAddress, type RequestedAddress } from './requested-address.ts';

/**
 * JSON read as Go's decoder reads it, since runtimes depend on that: keys of structs match in any case
 * (containerd sends `HostPort`), null is absent, unknown keys are ignored.
 */

export type JsonObject = Readonly<Record<string, unknown>>;

/** Gives the value that was found at `at`, or throws CniError code 7 that names key, value and what is expected. */
export type Reader<T> = (value: unknown, at: string) => T;

/** Members of a struct-like object under their lower-case keys, nulls left out. */
export interface Fields {
  readonly at: string;
  readonly members: ReadonlyMap<string, { readonly key: string; readonly value: unknown }>;
}

/** Cuts a value for a message: a config of a megabyte must not make a message of one. */
const clip = (text: string): string => (text.length > 200 ? `${text.slice(0, 200)}…` : text);

function show(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object' && value !== null) return 'an object';
  return clip(JSON.stringify(value) ?? 'nothing');
}

export const invalid = (at: string, value: unknown, expected: string): CniError =>
  new CniError(codes.invalidConfig, `Cannot use ${show(value)} for "${clip(at)}": expected ${expected}`);

type OptionalKey<T> = { [K in keyof T]-?: object extends Pick<T, K> ? K : never }[keyof T];

/** The same object, where an optional member may be spelt out as undefined. */
type Loose<T> = Omit<T, OptionalKey<T>> & { readonly [K in OptionalKey<T>]?: T[K] | undefined };

/** The object without its undefined members, so that absent is absent. */
export const present = <T extends object>(object: Loose<T>): T =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as T;

export const object: Reader<JsonObject> = (value, at) => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(at, value, 'an object');
  return value as JsonObject;
};

/** Reads an object's members. Of two keys that differ in case only, the later one counts, as in Go. */
export const fields: Reader<Fields> = (value, at) => {
  const members = new Map<string, { key: string; value: unknown }>();
  for (const [key, member] of Object.entries(object(value, at)))
    if (member !== null) members.set(key.toLowerCase(), { key, value: member });
  return { at, members };
};

/** The member, read; undefined where it is absent or null. `key` is spelt as documented. */
export function optional<T>({ at, members }: Fields, key: string, reader: Reader<T>): T | undefined {
  const found = members.get(key.toLowerCase());
  return found && reader(found.value, at === '' ? found.key : `${at}.${found.key}`);
}

/** @throws CniError code 7 where the member is absent */
export function needed<T>(from: Fields, key: string, reader: Reader<T>): T {
  if (from.members.has(key.toLowerCase())) return optional(from, key, reader) as T;
  throw new CniError(codes.invalidConfig, `Missing key "${from.at === '' ? key : `${from.at}.${key}`}"`);
}

export const text: Reader<string> = (value, at) => {
  if (typeof value !== 'string') throw invalid(at, value, 'a string');
  return value;
};

/** An empty string counts as absent, as it does for Go's addresses and optional strings. */
export const unlessBlank =
  <T>(reader: Reader<T>): Reader<T | undefined> =>
  (value, at) =>
    value === '' ? undefined : reader(value, at);

export const flag: Reader<boolean> = (value, at) => {
  if (typeof value !== 'boolean') throw invalid(at, value, 'true or false');
  return value;
};

export const integer =
  (least: number, greatest: number): Reader<number> =>
  (value, at) => {
    if (!Number.isInteger(value) || (value as number) < least || (value as number) > greatest)
      throw invalid(at, value, `an integer from ${least} to ${greatest}`);
    return value as number;
  };

export const oneOf =
  <T extends string>(...allowed: readonly T[]): Reader<T> =>
  (value, at) => {
    const found = allowed.find(word => word === value);
    if (found === undefined) throw invalid(at, value, `one of ${allowed.map(word => `"${word}"`).join(', ')}`);
    return found;
  };

/** Nulls in the list are left out. */
export const listOf =
  <T>(reader: Reader<T>): Reader<readonly T[]> =>
  (value, at) => {
    if (!Array.isArray(value)) throw invalid(at, value, 'a list');
    return value.flatMap((item: unknown, i) => (item === null ? [] : [reader(item, `${at}[${i}]`)]));
  };

/** A free map: its keys are data, so their case is kept. A Map, since `constructor` may well be one of them. */
export const mapOf =
  <T>(reader: Reader<T>): Reader<ReadonlyMap<string, T>> =>
  (value, at) =>
    new Map(
      Object.entries(object(value, at)).flatMap(([key, member]) =>
        member === null ? [] : [[key, reader(member, `${at}.${key}`)] as const],
      ),
    );

const parsed =
  <T>(parse: (text: string) => T | undefined, expected: string): Reader<T> =>
  (value, at) => {
    const found = typeof value === 'string' ? parse(value) : undefined;
    if (found !== undefined) return found;
    const plain = typeof value === 'string' ? withoutLeadingZeros(value) : '';
    const isOctal = plain !== value && plain !== '' && parse(plain) !== undefined;
    throw invalid(at, value, isOctal ? `no leading zeros, which some take for octal: write "${plain}"` : expected);
  };

export const address: Reader<Address> = parsed(parseAddress, 'an IPv4 or IPv6 address');
export const prefix: Reader<Prefix> = parsed(parsePrefix, 'a prefix such as "10.0.0.0/24" or "fd00::/64"');
export const mac: Reader<string> = parsed(parseMac, 'a unicast hardware address such as "02:00:00:00:00:01"');
export const requestedAddress: Reader<RequestedAddress> = parsed(
  parseRequestedAddress,
  'an address, with or without a prefix length',
);
export const absolutePath: Reader<string> = parsed(
  path => (path.startsWith('/') && !path.includes('\0') ? path : undefined),
  'an absolute path',
);
