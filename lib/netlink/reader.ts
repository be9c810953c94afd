/** Netlink attributes out of bytes: one reader for rtnetlink, conntrack, nflog and nf_tables. */
import { type Address, addressFromBytes } from '../ip/address.ts';

/** NLA_TYPE_MASK: an attribute's type without its flags "nested" and "network byte order". */
const TYPE_MASK = 0x3fff;

/** An enum of attribute types as the kernel's header has it: its prefix, and each name without that. */
export interface AttributeNames {
  readonly prefix: string;
  readonly types: Readonly<Record<string, number | Readonly<Record<string, number>>>>;
}

const decoder = new TextDecoder();

/** UTF-8 up to the first NUL; a broken sequence reads as U+FFFD. */
export function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** Big-endian, of any width up to 6 bytes. */
function numberOf(bytes: Uint8Array): number {
  let value = 0;
  for (const byte of bytes) value = value * 256 + byte;
  return value;
}

/** An attribute that does not have the form that its type has; the first one of a message. */
export class AttributeError extends RangeError {
  override readonly name = 'AttributeError';
}

/** The first error of a message, in whichever of its nested attributes. */
interface FirstError {
  text: string | undefined;
}

/** Calls back for each attribute in turn. @returns why it stopped before the end: a length that is impossible */
function eachAttribute(bytes: Uint8Array, each: (type: number, value: Uint8Array) => void): string | undefined {
  for (let at = 0; at + 4 <= bytes.length; ) {
    const length = bytes[at]! | (bytes[at + 1]! << 8);
    if (length < 4 || at + length > bytes.length) return `an attribute of ${length} bytes at ${at} of ${bytes.length}`;
    each((bytes[at + 2]! | (bytes[at + 3]! << 8)) & TYPE_MASK, bytes.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return undefined;
}

/**
 * The attributes of a message, or those nested in one, by type; of several with one type, the last. Each read gives undefined
 * for an attribute that is absent or malformed; `check`, called once after all reads, throws for the first malformed one.
 */
export class AttributeReader {
  readonly #values = new Map<number, Uint8Array>();
  readonly #names: AttributeNames;
  readonly #error: FirstError;

  /** @param bytes the attributes alone, behind the message's own struct */
  constructor(bytes: Uint8Array, names: AttributeNames, error: FirstError = { text: undefined }) {
    this.#names = names;
    this.#error = error;
    const broken = eachAttribute(bytes, (type, value) => this.#values.set(type, value));
    if (broken) this.#error.text ??= `${names.prefix}: ${broken}`;
  }

  /** @throws AttributeError the first malformed attribute, by its name in the kernel's header */
  check(): void {
    const { text } = this.#error;
    if (text !== undefined) throw new AttributeError(`Cannot read ${text}`);
  }

  #nameOf(type: number): string {
    const { prefix, types } = this.#names;
    const name = Object.keys(types).find(key => types[key] === type);
    return name === undefined ? `${prefix} ${type}` : `${prefix}_${name}`;
  }

  #sized(type: number, ...lengths: readonly number[]): Uint8Array | undefined {
    const value = this.#values.get(type);
    if (!value || lengths.includes(value.length)) return value;
    this.#error.text ??= `${this.#nameOf(type)}: ${value.length} bytes, not ${lengths.join(' or ')}`;
    return undefined;
  }

  get types(): Iterable<number> {
    return this.#values.keys();
  }

  get(type: number): Uint8Array | undefined {
    return this.#values.get(type);
  }

  u8(type: number): number | undefined {
    return this.#sized(type, 1)?.[0];
  }

  /** In host byte order. */
  u32(type: number): number | undefined {
    const value = this.#sized(type, 4);
    return value && (value[0]! | (value[1]! << 8) | (value[2]! << 16) | (value[3]! << 24)) >>> 0;
  }

  be16(type: number): number | undefined {
    const value = this.#sized(type, 2);
    return value && numberOf(value);
  }

  be32(type: number): number | undefined {
    const value = this.#sized(type, 4);
    return value && numberOf(value);
  }

  /** Big-endian, signed. */
  bes32(type: number): number | undefined {
    const value = this.be32(type);
    return value === undefined ? undefined : value | 0;
  }

  be64(type: number): bigint | undefined {
    const value = this.#sized(type, 8);
    return value && (BigInt(numberOf(value.subarray(0, 4))) << 32n) | BigInt(numberOf(value.subarray(4)));
  }

  /** Big-endian, of whichever width the kernel gives it: 1, 2, 4 or 8 bytes, below 2^53. */
  number(type: number): number | undefined {
    const value = this.#sized(type, 1, 2, 4, 8);
    return value && numberOf(value);
  }

  /** Up to its closing NUL. */
  text(type: number): string | undefined {
    const value = this.#values.get(type);
    return value && textOf(value);
  }

  address(type: number): Address | undefined {
    const value = this.#sized(type, 4, 16);
    return value && addressFromBytes(value);
  }

  /** `aa:bb:cc:dd:ee:ff`, as many bytes as the link's kind has; undefined for none. */
  mac(type: number): string | undefined {
    const value = this.#values.get(type);
    if (!value?.length) return undefined;
    return Array.from(value, byte => byte.toString(16).padStart(2, '0')).join(':');
  }

  /** Calls back for each attribute that a list attribute holds, with what is nested in that one. */
  each(type: number, names: AttributeNames, visit: (element: AttributeReader) => void): void {
    const list = this.#values.get(type);
    if (!list) return;
    const broken = eachAttribute(list, (_, value) => visit(new AttributeReader(value, names, this.#error)));
    if (broken) this.#error.text ??= `${this.#nameOf(type)}: ${broken}`;
  }

  /** The attributes that a list attribute holds, as they are. */
  list(type: number): readonly Uint8Array[] {
    const found: Uint8Array[] = [];
    const broken = eachAttribute(this.#values.get(type) ?? new Uint8Array(0), (_, value) => found.push(value));
    if (broken) this.#error.text ??= `${this.#nameOf(type)}: ${broken}`;
    return found;
  }

  /** The attributes inside of one; none where it is absent. */
  nested(type: number, names: AttributeNames): AttributeReader {
    return this.within(this.#values.get(type) ?? new Uint8Array(0), names);
  }

  /** Attributes that stand somewhere inside of this message, behind a struct of their own. */
  within(bytes: Uint8Array, names: AttributeNames): AttributeReader {
    return new AttributeReader(bytes, names, this.#error);
  }
}

/** Where the value of an attribute lies within the bytes of a message. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/**
 * The first attribute of a type among those in `place`, without a look at the others' values: for dumps of hundreds of
 * thousands of messages. Undefined where it is absent, or behind a length that is impossible.
 */
export function findAttribute(bytes: Uint8Array, type: number, { start, end }: ByteRange): ByteRange | undefined {
  for (let at = start; at + 4 <= end; ) {
    const length = bytes[at]! | (bytes[at + 1]! << 8);
    if (length < 4 || at + length > end) return undefined;
    if (((bytes[at + 2]! | (bytes[at + 3]! << 8)) & TYPE_MASK) === type) return { start: at + 4, end: at + length };
    at += (length + 3) & ~3;
  }
  return undefined;
}
