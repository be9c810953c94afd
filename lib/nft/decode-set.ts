/** Sets, maps and their elements as the kernel dumps them. */
import { AttributeReader } from '../netlink/reader.ts';
import { DATATYPES, datumBetween, datumFromBytes, keyLength, keyTypesOf, paddedLength } from './datatype.ts';
import type { Dump } from './decode.ts';
import { readVerdict } from './decode-expression.ts';
import { verdictOf } from './decompile.ts';
import { type AnonymousSet, hex, OBJECT_COUNTER } from './expression.ts';
import type { Datatype, Datum, Element, Key } from './model.ts';
import { commentIn, readMessage } from './reader.ts';
import type { SetDeclaration } from './transaction.ts';
import {
  NFT_SET,
  NFT_SET_ELEM_INTERVAL_END,
  NFTA_DATA,
  NFTA_SET,
  NFTA_SET_ELEM,
  NFTA_SET_ELEM_LIST,
  names,
  UDATA,
  VERDICT_TYPE,
} from './wire.ts';

export interface DecodedSet {
  readonly declaration: SetDeclaration;
  readonly anonymous: boolean;
  readonly elements: readonly Element[];
}

const KNOWN_FLAGS =
  NFT_SET.ANONYMOUS | NFT_SET.CONSTANT | NFT_SET.INTERVAL | NFT_SET.MAP | NFT_SET.OBJECT | NFT_SET.CONCAT;

/** A set of a kind that we never make has a key of no fields and no elements: it equals none of ours. */
export const decodeSet = (body: Uint8Array, elements: Dump['elements']): DecodedSet =>
  readMessage(body, names.set, attributes => decodedSet(attributes, elements));

function decodedSet(attributes: AttributeReader, elements: Dump['elements']): DecodedSet {
  const name = attributes.text(NFTA_SET.NAME) ?? '';
  const flags = attributes.number(NFTA_SET.FLAGS) ?? 0;
  const key = keyTypesOf(attributes.number(NFTA_SET.KEY_TYPE) ?? 0);
  const isMap = (flags & (NFT_SET.MAP | NFT_SET.OBJECT)) !== 0;
  const value = isMap ? valueTypeIn(attributes) : undefined;
  const anonymous = (flags & NFT_SET.ANONYMOUS) !== 0;
  const comment = commentIn(attributes.get(NFTA_SET.USERDATA), UDATA.SET_COMMENT);
  const known = key && (flags & ~KNOWN_FLAGS) === 0 && (!isMap || value);
  if (!known) return { declaration: { name, key: [], ...comment }, anonymous, elements: [] };
  const declaration: SetDeclaration = {
    name,
    ...comment,
    key,
    ...(value ? { value } : {}),
    ...((flags & NFT_SET.INTERVAL) !== 0 ? { interval: true } : {}),
  };
  return { declaration, anonymous, elements: decodeElements(declaration, elements.get(name) ?? []) };
}

/** Undefined for a type that we do not use. */
function valueTypeIn(attributes: AttributeReader): SetDeclaration['value'] {
  const objectType = attributes.number(NFTA_SET.OBJ_TYPE);
  if (objectType !== undefined) return objectType === OBJECT_COUNTER ? 'counter' : undefined;
  const dataType = attributes.number(NFTA_SET.DATA_TYPE) ?? 0;
  return dataType === VERDICT_TYPE ? 'verdict' : keyTypesOf(dataType);
}

export const anonymousOf = ({ declaration: { key, interval }, elements }: DecodedSet): AnonymousSet => ({
  key,
  interval: interval ?? false,
  elements: elements.map(element => element.key),
});

interface RawElement {
  readonly key: Uint8Array;
  readonly keyEnd: Uint8Array | undefined;
  readonly isEnd: boolean;
  readonly attributes: AttributeReader;
}

/** The elements in NFT_MSG_NEWSETELEM messages of one set. */
export function decodeElements(set: SetDeclaration, bodies: readonly Uint8Array[]): readonly Element[] {
  const raw = bodies.flatMap(readElements);
  if (!set.interval || set.key.length > 1)
    return raw.map(element => decodeElement(set, element, readKey(set.key, element)));
  return decodeIntervals(set, raw);
}

/** From NFT_MSG_NEWSETELEM; of intervals, both ends. */
export const countElements = (body: Uint8Array): number => readElements(body).length;

const readElements = (body: Uint8Array): readonly RawElement[] =>
  readMessage(body, names.elementList, list => {
    const elements: RawElement[] = [];
    list.each(NFTA_SET_ELEM_LIST.ELEMENTS, names.element, attributes => {
      const key = valueIn(attributes, NFTA_SET_ELEM.KEY);
      const flags = attributes.be32(NFTA_SET_ELEM.FLAGS) ?? 0;
      const isEnd = (flags & NFT_SET_ELEM_INTERVAL_END) !== 0;
      if (key) elements.push({ key, keyEnd: valueIn(attributes, NFTA_SET_ELEM.KEY_END), isEnd, attributes });
    });
    return elements;
  });

const valueIn = (attributes: AttributeReader, type: number): Uint8Array | undefined =>
  attributes.nested(type, names.data).get(NFTA_DATA.VALUE);

/** The key of the element whose NFTA_LIST_ELEM has this body, for messages about it; undefined where it is none. */
export function keyIn(set: SetDeclaration, element: Uint8Array): Key | undefined {
  const key = valueIn(new AttributeReader(element, names.element), NFTA_SET_ELEM.KEY);
  return key?.length === keyLength(set.key) ? splitKey(set.key, key) : undefined;
}

/** The fields of a key, or of a mapped value. */
function splitKey(types: readonly Datatype[], bytes: Uint8Array): Datum[] {
  let at = 0;
  return types.map(type => {
    const { length } = DATATYPES[type];
    const field = bytes.subarray(at, at + length);
    at += paddedLength(length);
    return datumFromBytes(type, field);
  });
}

function readKey(types: readonly Datatype[], { key, keyEnd }: RawElement): Key {
  const first = splitKey(types, key);
  if (!keyEnd) return first;
  const last = splitKey(types, keyEnd);
  return first.map((datum, i) => datumBetween(datum, last[i]!));
}

function decodeElement(set: SetDeclaration, { attributes }: RawElement, key: Key): Element {
  const value = decodeValue(set, attributes);
  return {
    key,
    ...(value ? { value } : {}),
    ...commentIn(attributes.get(NFTA_SET_ELEM.USERDATA), UDATA.SET_ELEM_COMMENT),
  };
}

function decodeValue({ value }: SetDeclaration, attributes: AttributeReader): Element['value'] {
  if (value === 'counter') {
    const counter = attributes.text(NFTA_SET_ELEM.OBJREF);
    return counter === undefined ? undefined : { counter };
  }
  if (!value) return undefined;
  const data = attributes.nested(NFTA_SET_ELEM.DATA, names.data);
  const bytes = data.get(NFTA_DATA.VALUE);
  if (value !== 'verdict') return bytes && splitKey(value, bytes);
  return data.get(NFTA_DATA.VERDICT) && verdictOf(readVerdict(data));
}

/** Pairs each start with the next end; what has none goes up to the greatest value. */
function decodeIntervals(set: SetDeclaration, raw: readonly RawElement[]): Element[] {
  const type = set.key[0]!;
  const bits = 8 * DATATYPES[type].length;
  const order = (element: RawElement) => `${hex(element.key)}${element.isEnd ? 0 : 1}`;
  const ordered = raw.map(element => ({ element, order: order(element) })).sort((a, b) => (a.order < b.order ? -1 : 1));
  const elements: Element[] = [];
  for (const [i, { element }] of ordered.entries()) {
    if (element.isEnd) continue;
    const next = ordered[i + 1]?.element;
    const end = next?.isEnd ? numberOf(next.key) - 1n : (1n << BigInt(bits)) - 1n;
    const key = intervalDatum(type, numberOf(element.key), end);
    elements.push(decodeElement(set, element, [key]));
  }
  return elements;
}

function numberOf(key: Uint8Array): bigint {
  let value = 0n;
  for (const byte of key) value = (value << 8n) | BigInt(byte);
  return value;
}

function intervalDatum(type: Datatype, first: bigint, last: bigint): Datum {
  if (type !== 'ipv4_addr' && type !== 'ipv6_addr') return datumBetween(Number(first), Number(last));
  const family = type === 'ipv4_addr' ? 4 : 6;
  return datumBetween({ family, value: first }, { family, value: last });
}
