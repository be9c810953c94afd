/** Statements → the kernel's expressions, register by register as nft 1.0.6 does it, so that it lists them well. */

import type { Prefix } from '../ip/address.ts';
import { keptComment } from './comment.ts';
import { DATATYPES, datumBytes, isSingle, paddedLength } from './datatype.ts';
import {
  type AnonymousSet,
  CMP,
  type Expression,
  expressionsId,
  NAT_RANDOM_FULLY,
  OBJECT_COUNTER,
  registerOf,
  VERDICT,
} from './expression.ts';
import type {
  Datum,
  Limit,
  Lookup,
  Match,
  Nat,
  NftVerdict,
  Reject,
  Rule,
  Selector,
  SetMark,
  Statement,
  TableFamily,
} from './model.ts';
import { CT_MARK, META, NFPROTO, SELECTORS, typesOf } from './selector.ts';

/** Facts that earlier statements of the rule have checked, so that the rule need not check them again. */
interface Known {
  nfproto: number | undefined;
  l4proto: number | undefined;
}

const TABLE_NFPROTO: Readonly<Record<TableFamily, number | undefined>> = {
  inet: undefined,
  ip: NFPROTO.ipv4,
  ip6: NFPROTO.ipv6,
};

/** struct nft_limit: seconds in a unit */
export const LIMIT_UNITS: Readonly<Record<Limit['per'], number>> = { second: 1, minute: 60, hour: 3600 };

/** enum nft_reject_types and nft_reject_inet_code: ICMPX_UNREACH 2, TCP_RST 1 */
export const REJECTS: Readonly<Record<Reject['with'], { readonly type: number; readonly code: number }>> = {
  'no-route': { type: 2, code: 0 },
  'port-unreachable': { type: 2, code: 1 },
  'host-unreachable': { type: 2, code: 2 },
  'admin-prohibited': { type: 2, code: 3 },
  'tcp reset': { type: 1, code: 0 },
};

/** @throws RangeError where a datum does not fit what it is compared with */
export function compile(family: TableFamily, statements: readonly Statement[]): readonly Expression[] {
  const out: Expression[] = [];
  const known: Known = { nfproto: TABLE_NFPROTO[family], l4proto: undefined };
  for (const statement of statements) compileStatement(statement, known, out);
  return out;
}

interface Compiled {
  readonly family: TableFamily;
  readonly expressions: readonly Expression[];
  id?: string;
}

const compiled = new WeakMap<Rule, Compiled>();

/** Once for each rule value: tables share rules from one version to the next. */
function compiledOf(family: TableFamily, rule: Rule): Compiled {
  const known = compiled.get(rule);
  if (known?.family === family) return known;
  const made: Compiled = { family, expressions: compile(family, rule.statements) };
  compiled.set(rule, made);
  return made;
}

export const expressionsOf = (family: TableFamily, rule: Rule): readonly Expression[] =>
  compiledOf(family, rule).expressions;

/** Equal for rules that are one and the same to the kernel, comment included. */
export function ruleId(family: TableFamily, rule: Rule): string {
  const made = compiledOf(family, rule);
  made.id ??= expressionsId(made.expressions);
  return rule.comment === undefined ? made.id : `${made.id}# ${keptComment(rule.comment)}`;
}

function compileStatement(statement: Statement, known: Known, out: Expression[]): void {
  switch (statement.kind) {
    case 'match':
      compileMatch(statement, known, out);
      return;
    case 'lookup':
      loadKey(statement.key, known, out);
      out.push({ name: 'lookup', sreg: 1, set: setOf(statement), invert: statement.op === '!=' });
      return;
    case 'vmap':
      loadKey(statement.key, known, out);
      out.push({ name: 'lookup', sreg: 1, set: statement.map, dreg: 0, invert: false });
      return;
    case 'counter':
      if (statement.name === undefined) out.push({ name: 'counter' });
      else out.push({ name: 'objref', type: OBJECT_COUNTER, object: statement.name });
      return;
    case 'counter-map':
      loadKey(statement.key, known, out);
      out.push({ name: 'objref-map', sreg: 1, set: statement.map });
      return;
    case 'mark-map':
      loadKey(statement.key, known, out);
      out.push({ name: 'lookup', sreg: 1, set: statement.map, dreg: 1, invert: false });
      out.push({ name: 'meta-set', key: META.mark, sreg: 1 });
      return;
    case 'log': {
      const { group, prefix, snaplen, queueThreshold } = statement;
      out.push({
        name: 'log',
        group,
        ...(prefix ? { prefix } : {}),
        ...(snaplen ? { snaplen } : {}),
        ...(queueThreshold ? { queueThreshold } : {}),
      });
      return;
    }
    case 'limit':
      out.push({ name: 'limit', rate: statement.rate, unit: LIMIT_UNITS[statement.per], burst: statement.burst });
      return;
    case 'set-mark':
      compileSetMark(statement, out);
      return;
    case 'reject':
      if (statement.with === 'tcp reset') ensure({ l4proto: 6 }, known, out);
      out.push({ name: 'reject', ...REJECTS[statement.with] });
      return;
    case 'masquerade':
      out.push({ name: 'masq', flags: statement.fullyRandom ? NAT_RANDOM_FULLY : 0 });
      return;
    case 'dnat':
    case 'snat':
      compileNat(statement, known, out);
      return;
    case 'notrack':
      out.push({ name: 'notrack' });
      return;
    case 'foreign':
      out.push({ name: 'other', kernel: 'foreign', attributes: statement.expressions });
      return;
    default:
      out.push(compileVerdict(statement));
  }
}

export const compileVerdict = (verdict: NftVerdict): Expression & { readonly name: 'verdict' } => ({
  name: 'verdict',
  code: VERDICT[verdict.kind],
  ...('chain' in verdict ? { chain: verdict.chain } : {}),
});

/** The anonymous set's datatypes are those of the selectors; it is an interval set where one key needs that. */
function setOf({ key, set }: Lookup): string | AnonymousSet {
  if (typeof set === 'string') return set;
  return { key: typesOf(key), interval: set.some(element => !element.every(isSingle)), elements: set };
}

interface Needs {
  readonly nfproto?: number;
  readonly l4proto?: number;
}

/** Puts the conditions before a load that is meaningless without them. */
function ensure(needs: Needs, known: Known, out: Expression[]): void {
  if (needs.nfproto !== undefined && known.nfproto !== needs.nfproto) {
    out.push({ name: 'meta', key: META.nfproto, dreg: 1 });
    out.push({ name: 'cmp', sreg: 1, op: CMP.eq, data: Uint8Array.of(needs.nfproto) });
    known.nfproto = needs.nfproto;
  }
  if (needs.l4proto !== undefined && known.l4proto !== needs.l4proto) {
    out.push({ name: 'meta', key: META.l4proto, dreg: 1 });
    out.push({ name: 'cmp', sreg: 1, op: CMP.eq, data: Uint8Array.of(needs.l4proto) });
    known.l4proto = needs.l4proto;
  }
}

function loadKey(key: readonly Selector[], known: Known, out: Expression[]): void {
  for (const selector of key) ensure(SELECTORS[selector], known, out);
  let word = 0;
  for (const selector of key) {
    const { load, type } = SELECTORS[selector];
    out.push({ ...load, dreg: registerOf(word) });
    word += paddedLength(DATATYPES[type].length) / 4;
  }
}

function compileMatch(match: Match, known: Known, out: Expression[]): void {
  const { selector, mask, op, datum } = match;
  const { load } = SELECTORS[selector];
  ensure(SELECTORS[selector], known, out);
  const cmp = op === '==' ? CMP.eq : CMP.neq;
  if (mask !== undefined || op === 'any') {
    const bits = numberBytes(match, mask ?? datum);
    const zero = new Uint8Array(bits.length);
    out.push({ ...load, dreg: 1 }, { name: 'bitwise', sreg: 1, dreg: 1, mask: bits, xor: zero });
    out.push({ name: 'cmp', sreg: 1, op: cmp, data: op === 'any' ? zero : numberBytes(match, datum) });
  } else if (typeof datum === 'object' && 'length' in datum && !isSingle(datum)) {
    comparePrefix(match, datum, cmp, out);
  } else if (!isSingle(datum)) {
    compareRange(match, out);
  } else {
    out.push({ ...load, dreg: 1 }, { name: 'cmp', sreg: 1, op: cmp, data: singleBytes(match) });
  }
  if (op === '==' && mask === undefined && typeof datum === 'number') {
    if (selector === 'meta nfproto') known.nfproto = datum;
    if (selector === 'meta l4proto') known.l4proto = datum;
  }
}

function numberBytes({ selector }: Match, value: Datum): Uint8Array {
  if (typeof value !== 'number') throw new RangeError(`Cannot mask ${selector} with anything but a number`);
  return datumBytes(SELECTORS[selector].type, value);
}

/** A name that ends in `*` is compared as far as it goes. */
function singleBytes({ selector, datum }: Match): Uint8Array {
  const { type } = SELECTORS[selector];
  if (typeof datum !== 'string' || !datum.endsWith('*')) return datumBytes(type, datum);
  const bytes = new Uint8Array(datum.length - 1);
  for (let i = 0; i < bytes.length; i++) bytes[i] = datum.charCodeAt(i);
  return bytes;
}

/** A prefix of whole bytes loads only those, as nft does; any other is masked. */
function comparePrefix({ selector }: Match, prefix: Prefix, op: number, out: Expression[]): void {
  const { type, load } = SELECTORS[selector];
  const network = datumBytes(type, prefix, 'first');
  if (load.name === 'payload' && prefix.length > 0 && prefix.length % 8 === 0) {
    const length = prefix.length / 8;
    out.push({ ...load, length, dreg: 1 }, { name: 'cmp', sreg: 1, op, data: network.subarray(0, length) });
    return;
  }
  const mask = new Uint8Array(network.length);
  for (let bit = 0; bit < prefix.length; bit++) mask[bit >> 3]! |= 0x80 >> (bit & 7);
  out.push({ ...load, dreg: 1 });
  out.push({ name: 'bitwise', sreg: 1, dreg: 1, mask, xor: new Uint8Array(mask.length) });
  out.push({ name: 'cmp', sreg: 1, op, data: network });
}

/** The kernel compares byte by byte, from the left. */
function compareRange(match: Match, out: Expression[]): void {
  const { selector, op, datum } = match;
  const { type, load } = SELECTORS[selector];
  if (DATATYPES[type].order === 'host')
    throw new RangeError(`Cannot match ${selector} with a range: it is in host byte order`);
  const from = datumBytes(type, datum, 'first');
  const to = datumBytes(type, datum, 'last');
  out.push({ ...load, dreg: 1 });
  if (op === '!=') out.push({ name: 'range', sreg: 1, op: CMP.neq, from, to });
  else out.push({ name: 'cmp', sreg: 1, op: CMP.gte, data: from }, { name: 'cmp', sreg: 1, op: CMP.lte, data: to });
}

/** Bits outside the mask are kept: mark = (mark & ~mask) ^ bits. */
function compileSetMark({ of, mark, mask }: SetMark, out: Expression[]): void {
  const key = of === 'meta' ? META.mark : CT_MARK;
  if (mask === undefined) {
    out.push({ name: 'immediate', dreg: 1, data: datumBytes('mark', mark) });
  } else {
    out.push({ name: of, key, dreg: 1 });
    const kept = datumBytes('mark', ~mask >>> 0);
    out.push({ name: 'bitwise', sreg: 1, dreg: 1, mask: kept, xor: datumBytes('mark', (mark & mask) >>> 0) });
  }
  out.push({ name: `${of}-set`, key, sreg: 1 });
}

function compileNat({ kind, family, to }: Nat, known: Known, out: Expression[]): void {
  const nat = {
    name: 'nat',
    type: kind === 'snat' ? 0 : 1,
    family: family === 4 ? NFPROTO.ipv4 : NFPROTO.ipv6,
    address: 1,
    flags: 0,
  } as const;
  if ('map' in to) {
    loadKey(to.key, known, out);
    out.push({ name: 'lookup', sreg: 1, set: to.map, dreg: 1, invert: false });
    out.push(to.port ? { ...nat, port: registerOf(family === 4 ? 1 : 4) } : nat);
    return;
  }
  out.push({ name: 'immediate', dreg: 1, data: datumBytes(family === 4 ? 'ipv4_addr' : 'ipv6_addr', to.address) });
  if (to.port === undefined) {
    out.push(nat);
    return;
  }
  out.push({ name: 'immediate', dreg: 2, data: datumBytes('inet_service', to.port) }, { ...nat, port: 2 });
}
