/** What a rule reads of a packet, and what it does with that: loads and their uses → statements. */

import { type Prefix, rangeOf } from '../ip/address.ts';
import { DATATYPES, datumBetween, datumFromBytes } from './datatype.ts';
import { CMP, type Expression } from './expression.ts';
import type { Datum, Selector, Statement } from './model.ts';
import { CT_MARK, META, NETWORK_HEADER, NFPROTO, SELECTORS, type SelectorFacts } from './selector.ts';

type Load = Expression & { readonly name: 'meta' | 'ct' | 'payload' | 'fib' };
export const isLoad = (expression: Expression | undefined): expression is Load =>
  expression !== undefined && ['meta', 'ct', 'payload', 'fib'].includes(expression.name);

const selectors = Object.keys(SELECTORS) as Selector[];

/** A statement, and whether nft may have put it there as the condition of a later one. */
export interface Found {
  readonly statement: Statement;
  condition: 'no' | 'maybe' | 'yes';
}

export interface ExpressionReading {
  readonly expressions: readonly Expression[];
  at: number;
  readonly found: Found[];
  /** The last comparisons with a family and a transport protocol. */
  nfproto: { readonly value: number; readonly from?: Found } | undefined;
  l4proto: { readonly value: number; readonly from: Found } | undefined;
}

export function numberFrom(selector: Selector, data: Uint8Array): number {
  const datum = datumFromBytes(SELECTORS[selector].type, data);
  return typeof datum === 'number' ? datum : -1;
}

/**
 * Marks the comparisons that a selector presupposes and that stand right before it, where nft and `compile` put them by
 * themselves. A comparison that stands elsewhere was written on purpose, and stays a statement.
 */
export function rely({ found, ...reading }: ExpressionReading, needs: { nfproto?: number; l4proto?: number }): void {
  const conditions = [
    needs.nfproto === undefined ? undefined : reading.nfproto?.from,
    needs.l4proto === undefined ? undefined : reading.l4proto?.from,
  ];
  const before = found.slice(found.findLastIndex(({ condition }) => condition === 'no') + 1);
  for (const condition of conditions)
    if (condition?.condition === 'maybe') condition.condition = before.includes(condition) ? 'yes' : 'no';
}

/** One or more loads and what is done with them. */
export function readLoads(reading: ExpressionReading): Statement | undefined {
  const { expressions } = reading;
  const loads: Load[] = [];
  for (let next = expressions[reading.at]; isLoad(next); next = expressions[reading.at]) {
    loads.push(next);
    reading.at++;
  }
  const use = expressions[reading.at++];
  if (use?.name === 'lookup' || use?.name === 'objref-map') {
    const key = loads.map(load => selectorOf(reading, load));
    return key.every(selector => selector !== undefined) ? readLookup(reading, key, use) : undefined;
  }
  const [load] = loads;
  if (!load || loads.length !== 1) return undefined;
  if (use?.name === 'bitwise') return readMasked(reading, load, use);
  if (use?.name === 'range') {
    const selector = selectorOf(reading, load);
    if (!selector || use.op !== CMP.neq) return undefined;
    return { kind: 'match', selector, op: '!=', datum: between(selector, use.from, use.to) };
  }
  return use?.name === 'cmp' ? readCmp(reading, load, use) : undefined;
}

function readLookup(
  reading: ExpressionReading,
  key: readonly Selector[],
  use: Expression & { name: 'lookup' | 'objref-map' },
): Statement | undefined {
  for (const selector of key) rely(reading, SELECTORS[selector]);
  if (use.name === 'objref-map') return { kind: 'counter-map', key, map: use.set };
  const { set, dreg, invert } = use;
  if (dreg === undefined)
    return { kind: 'lookup', key, op: invert ? '!=' : '==', set: typeof set === 'string' ? set : set.elements };
  if (typeof set !== 'string') return undefined;
  if (dreg === 0) return { kind: 'vmap', key, map: set };
  const to = reading.expressions[reading.at++];
  if (to?.name === 'meta-set' && to.key === META.mark) return { kind: 'mark-map', key, map: set };
  if (to?.name !== 'nat') return undefined;
  return {
    kind: to.type === 0 ? 'snat' : 'dnat',
    family: to.family === NFPROTO.ipv4 ? 4 : 6,
    to: { key, map: set, port: to.port !== undefined },
  };
}

function readCmp(reading: ExpressionReading, load: Load, cmp: Expression & { name: 'cmp' }): Statement | undefined {
  if (cmp.op === CMP.gte) {
    const selector = selectorOf(reading, load);
    const upper = reading.expressions[reading.at++];
    if (!selector || upper?.name !== 'cmp' || upper.op !== CMP.lte) return undefined;
    return { kind: 'match', selector, op: '==', datum: between(selector, cmp.data, upper.data) };
  }
  if (cmp.op !== CMP.eq && cmp.op !== CMP.neq) return undefined;
  const op = cmp.op === CMP.eq ? '==' : '!=';
  const whole = selectorOf(reading, load);
  if (whole) return { kind: 'match', selector: whole, op, datum: single(whole, cmp.data) };
  const selector = load.name === 'payload' ? addressOf(reading, load) : undefined;
  if (!selector) return undefined;
  const bytes = new Uint8Array(DATATYPES[SELECTORS[selector].type].length);
  bytes.set(cmp.data.subarray(0, bytes.length));
  const datum = prefixFrom(selector, bytes, cmp.data.length * 8);
  return datum && { kind: 'match', selector, op, datum };
}

/** The address of which a shorter load takes the first bytes. */
function addressOf(
  reading: ExpressionReading,
  { base, offset, length }: Load & { name: 'payload' },
): Selector | undefined {
  if (base !== NETWORK_HEADER) return undefined;
  const whole = reading.nfproto?.value === NFPROTO.ipv4 ? 4 : 16;
  if (length >= whole) return undefined;
  return selectorOf(reading, { name: 'payload', base, offset, length: whole, dreg: 1 });
}

function single(selector: Selector, data: Uint8Array): Datum {
  const { type } = SELECTORS[selector];
  const datum = datumFromBytes(type, data.length < DATATYPES[type].length ? padded(data, type) : data);
  return type === 'ifname' && data.length < DATATYPES.ifname.length ? `${datum}*` : datum;
}

function padded(data: Uint8Array, type: SelectorFacts['type']): Uint8Array {
  const bytes = new Uint8Array(DATATYPES[type].length);
  bytes.set(data);
  return bytes;
}

function between(selector: Selector, from: Uint8Array, to: Uint8Array): Datum {
  const { type } = SELECTORS[selector];
  return datumBetween(datumFromBytes(type, from), datumFromBytes(type, to));
}

function prefixFrom(selector: Selector, network: Uint8Array, length: number): Prefix | undefined {
  const address = datumFromBytes(SELECTORS[selector].type, network);
  if (typeof address !== 'object' || !('value' in address)) return undefined;
  const prefix: Prefix = { family: address.family, value: address.value, length };
  return rangeOf(prefix).first === address.value ? prefix : undefined;
}

function readMasked(reading: ExpressionReading, load: Load, { mask, xor }: Expression & { name: 'bitwise' }) {
  const selector = selectorOf(reading, load);
  const use = reading.expressions[reading.at++];
  if (!selector) return undefined;
  if (use?.name === 'meta-set' || use?.name === 'ct-set') return readSetMark(load, mask, xor);
  if (use?.name !== 'cmp' || (use.op !== CMP.eq && use.op !== CMP.neq)) return undefined;
  const op = use.op === CMP.eq ? ('==' as const) : ('!=' as const);
  if (SELECTORS[selector].type === 'ipv4_addr' || SELECTORS[selector].type === 'ipv6_addr') {
    const datum = prefixFrom(selector, use.data, prefixLength(mask));
    return datum && { kind: 'match' as const, selector, op, datum };
  }
  const bits = numberFrom(selector, mask);
  const value = numberFrom(selector, use.data);
  const isBits = DATATYPES[SELECTORS[selector].type].bits;
  if (isBits && op === '!=' && value === 0)
    return { kind: 'match' as const, selector, op: 'any' as const, datum: bits };
  return { kind: 'match' as const, selector, mask: bits, op, datum: value };
}

function prefixLength(mask: Uint8Array): number {
  let length = 0;
  while (length < mask.length * 8 && (mask[length >> 3]! & (0x80 >> (length & 7))) !== 0) length++;
  return length;
}

function readSetMark(load: Load, kept: Uint8Array, xor: Uint8Array): Statement | undefined {
  const of = load.name === 'meta' && load.key === META.mark ? 'meta' : undefined;
  const ofCt = load.name === 'ct' && load.key === CT_MARK ? 'ct' : undefined;
  const mark = of ?? ofCt;
  if (!mark) return undefined;
  const mask = ~numberFrom('meta mark', kept) >>> 0;
  return { kind: 'set-mark', of: mark, mark: numberFrom('meta mark', xor), mask };
}

/** The selector that loads this, given what the rule has already made sure of; it relies on that from here on. */
function selectorOf(reading: ExpressionReading, load: Load): Selector | undefined {
  const fits = selectors.filter(selector => sameLoad(SELECTORS[selector].load, load));
  const known = ({ nfproto, l4proto }: SelectorFacts) =>
    (nfproto === undefined || nfproto === reading.nfproto?.value) &&
    (l4proto === undefined || l4proto === reading.l4proto?.value);
  const needs = ({ nfproto, l4proto }: SelectorFacts) => Number(nfproto !== undefined) + Number(l4proto !== undefined);
  const [best] = fits
    .filter(selector => known(SELECTORS[selector]))
    .sort((a, b) => needs(SELECTORS[b]) - needs(SELECTORS[a]));
  if (best) rely(reading, SELECTORS[best]);
  return best;
}

function sameLoad(load: SelectorFacts['load'], other: Load): boolean {
  if (load.name === 'payload')
    return (
      other.name === 'payload' &&
      load.base === other.base &&
      load.offset === other.offset &&
      load.length === other.length
    );
  if (load.name === 'fib') return other.name === 'fib' && load.result === other.result && load.flags === other.flags;
  return load.name === other.name && load.key === other.key;
}
