/** Set declarations and elements as attributes, with the userdata by which nft lists them well. */

import { keptComment } from './comment.ts';
import { compileVerdict } from './compile.ts';
import { boundsOf, DATATYPES, isSingle, keyLength, keyTypeId, paddedLength } from './datatype.ts';
import { writeVerdict } from './encode-expression.ts';
import { OBJECT_COUNTER } from './expression.ts';
import type { Datatype, Element, Key } from './model.ts';
import type { SetDeclaration } from './transaction.ts';
import {
  BYTEORDER,
  NFT_SET,
  NFT_SET_ELEM_INTERVAL_END,
  NFTA_LIST_ELEM,
  NFTA_SET,
  NFTA_SET_DESC,
  NFTA_SET_ELEM,
  NFTA_SET_FIELD_LEN,
  UDATA,
  VERDICT_TYPE,
} from './wire.ts';
import type { NftWriter } from './writer.ts';

export interface SetForm extends Omit<SetDeclaration, 'name'> {
  /** Part of a rule: unchangeable, and of a known size. */
  readonly anonymous?: { readonly size: number };
}

/** All of NFTA_SET_* but table and name. */
export function writeDeclaration(out: NftWriter, set: SetForm, id: number): void {
  const { key, value, interval, anonymous, comment } = set;
  const concatenated = interval && key.length > 1;
  out.be32(
    NFTA_SET.FLAGS,
    (anonymous ? NFT_SET.ANONYMOUS | NFT_SET.CONSTANT : 0) |
      (interval ? NFT_SET.INTERVAL : 0) |
      (value === 'counter' ? NFT_SET.OBJECT : value ? NFT_SET.MAP : 0) |
      (concatenated ? NFT_SET.CONCAT : 0),
  );
  out.be32(NFTA_SET.KEY_TYPE, keyTypeId(key));
  out.be32(NFTA_SET.KEY_LEN, keyLength(key));
  if (value) writeValueType(out, value);
  out.be32(NFTA_SET.ID, id);
  if (concatenated || anonymous) {
    const description = out.open(NFTA_SET.DESC);
    if (anonymous) out.be32(NFTA_SET_DESC.SIZE, anonymous.size);
    if (concatenated) writeFields(out, key);
    out.close(description);
  }
  const userdata = out.openUserdata(NFTA_SET.USERDATA);
  out.userdataNumber(UDATA.SET_KEYBYTEORDER, byteOrderOf(key));
  if (typeof value === 'object') out.userdataNumber(UDATA.SET_DATABYTEORDER, byteOrderOf(value));
  if (comment !== undefined) out.userdataText(UDATA.SET_COMMENT, keptComment(comment));
  out.closeUserdata(userdata);
}

/** To the kernel, a map of counters is no map, but a set of objects. */
function writeValueType(out: NftWriter, value: NonNullable<SetForm['value']>): void {
  if (value === 'counter') {
    out.be32(NFTA_SET.OBJ_TYPE, OBJECT_COUNTER);
    return;
  }
  out.be32(NFTA_SET.DATA_TYPE, value === 'verdict' ? VERDICT_TYPE : keyTypeId(value));
  out.be32(NFTA_SET.DATA_LEN, value === 'verdict' ? 0 : keyLength(value));
}

/** NFTA_SET_DESC_CONCAT: the padded length of each field, by which the kernel finds ranges field by field. */
function writeFields(out: NftWriter, key: readonly Datatype[]): void {
  const fields = out.open(NFTA_SET_DESC.CONCAT);
  for (const type of key) {
    const field = out.open(NFTA_LIST_ELEM);
    out.be32(NFTA_SET_FIELD_LEN, paddedLength(DATATYPES[type].length));
    out.close(field);
  }
  out.close(fields);
}

/** nft says "unknown" (0) of a concatenation. */
const byteOrderOf = (types: readonly Datatype[]): number =>
  types.length === 1 ? BYTEORDER[DATATYPES[types[0]!].order] : 0;

/**
 * Writes one element, and the end of its interval where the set keeps ends as elements of their own.
 * To delete it, the kernel needs the key only.
 */
export function writeElement(out: NftWriter, set: SetForm, element: Element, length: number, keyOnly: boolean): void {
  const { key: types, interval } = set;
  const { key } = element;
  const nest = out.open(NFTA_LIST_ELEM);
  out.key(NFTA_SET_ELEM.KEY, types, key, 'first', length);
  if (interval && types.length > 1) out.key(NFTA_SET_ELEM.KEY_END, types, key, 'last', length);
  else if (!interval && !key.every(isSingle))
    throw new RangeError('Cannot put an interval into a set without intervals');
  if (!keyOnly) writeData(out, set, element);
  if (!keyOnly && element.comment !== undefined) {
    const userdata = out.openUserdata(NFTA_SET_ELEM.USERDATA);
    out.userdataText(UDATA.SET_ELEM_COMMENT, keptComment(element.comment));
    out.closeUserdata(userdata);
  }
  out.close(nest);
  if (interval && types.length === 1) writeEnd(out, types, key, length);
}

function writeData(out: NftWriter, { value: types }: SetForm, { value }: Element): void {
  if (value === undefined) return;
  if ('kind' in value) writeVerdict(out, NFTA_SET_ELEM.DATA, compileVerdict(value));
  else if ('counter' in value) out.text(NFTA_SET_ELEM.OBJREF, value.counter);
  else if (typeof types === 'object') out.key(NFTA_SET_ELEM.DATA, types, value, 'first', keyLength(types));
  else throw new RangeError(`Cannot map to data in ${types ? `a map of ${types}s` : 'a set'}`);
}

/** The first value behind the interval, flagged; none where the interval goes up to the greatest value. */
function writeEnd(out: NftWriter, types: readonly Datatype[], key: Key, length: number): void {
  const type = types[0]!;
  if (DATATYPES[type].order === 'host')
    throw new RangeError(`Cannot keep intervals of ${type}: it is in host byte order`);
  const { last } = boundsOf(key[0]!);
  const next = nextValue(type, last);
  if (next === undefined) return;
  const nest = out.open(NFTA_LIST_ELEM);
  out.key(NFTA_SET_ELEM.KEY, types, [next], 'first', length);
  out.be32(NFTA_SET_ELEM.FLAGS, NFT_SET_ELEM_INTERVAL_END);
  out.close(nest);
}

function nextValue(type: Datatype, value: number | bigint | string): Key[0] | undefined {
  const bits = 8 * DATATYPES[type].length;
  if (typeof value === 'bigint') {
    const next = value + 1n;
    return next >> BigInt(bits) === 0n ? { family: type === 'ipv4_addr' ? 4 : 6, value: next } : undefined;
  }
  const next = Number(value) + 1;
  return next < 2 ** bits ? next : undefined;
}
