/** Expressions as NFTA_RULE_EXPRESSIONS; each attribute in the order in which the kernel dumps it. */

import type { AnonymousSet, Expression } from './expression.ts';
import {
  NFT_LOOKUP_F_INV,
  NFTA_BITWISE,
  NFTA_CMP,
  NFTA_CT,
  NFTA_DATA,
  NFTA_EXPR,
  NFTA_FIB,
  NFTA_IMMEDIATE,
  NFTA_LIMIT,
  NFTA_LIST_ELEM,
  NFTA_LOG,
  NFTA_LOOKUP,
  NFTA_MASQ,
  NFTA_META,
  NFTA_NAT,
  NFTA_OBJREF,
  NFTA_PAYLOAD,
  NFTA_RANGE,
  NFTA_REJECT,
  NFTA_VERDICT,
} from './wire.ts';
import type { NftWriter } from './writer.ts';

/** Ids by which rules name anonymous sets that were made earlier in the batch. */
export type SetIds = ReadonlyMap<AnonymousSet, number>;

/** The kernel puts a number in place of %d. */
export const ANONYMOUS_NAME = '__set%d';

/** Our names of two expressions are shorter than the kernel's, or split its one in two. */
const KERNEL_NAMES: Partial<Record<Expression['name'], string>> = {
  'meta-set': 'meta',
  'ct-set': 'ct',
  'objref-map': 'objref',
  verdict: 'immediate',
};

/** @throws RangeError for an expression that was read from the kernel and not understood */
export function writeExpressions(out: NftWriter, expressions: readonly Expression[], sets: SetIds): void {
  for (const expression of expressions) {
    const element = out.open(NFTA_LIST_ELEM);
    out.text(NFTA_EXPR.NAME, KERNEL_NAMES[expression.name] ?? expression.name);
    if (expression.name !== 'notrack') {
      const data = out.open(NFTA_EXPR.DATA);
      writeAttributes(out, expression, sets);
      out.close(data);
    }
    out.close(element);
  }
}

function writeAttributes(out: NftWriter, expression: Expression, sets: SetIds): void {
  switch (expression.name) {
    case 'meta':
      out.be32(NFTA_META.KEY, expression.key);
      out.be32(NFTA_META.DREG, expression.dreg);
      return;
    case 'meta-set':
      out.be32(NFTA_META.KEY, expression.key);
      out.be32(NFTA_META.SREG, expression.sreg);
      return;
    case 'ct':
      out.be32(NFTA_CT.DREG, expression.dreg);
      out.be32(NFTA_CT.KEY, expression.key);
      return;
    case 'ct-set':
      out.be32(NFTA_CT.KEY, expression.key);
      out.be32(NFTA_CT.SREG, expression.sreg);
      return;
    case 'payload':
      out.be32(NFTA_PAYLOAD.DREG, expression.dreg);
      out.be32(NFTA_PAYLOAD.BASE, expression.base);
      out.be32(NFTA_PAYLOAD.OFFSET, expression.offset);
      out.be32(NFTA_PAYLOAD.LEN, expression.length);
      return;
    case 'fib':
      out.be32(NFTA_FIB.DREG, expression.dreg);
      out.be32(NFTA_FIB.RESULT, expression.result);
      out.be32(NFTA_FIB.FLAGS, expression.flags);
      return;
    case 'bitwise':
      out.be32(NFTA_BITWISE.SREG, expression.sreg);
      out.be32(NFTA_BITWISE.DREG, expression.dreg);
      out.be32(NFTA_BITWISE.LEN, expression.mask.length);
      writeValue(out, NFTA_BITWISE.MASK, expression.mask);
      writeValue(out, NFTA_BITWISE.XOR, expression.xor);
      return;
    case 'cmp':
      out.be32(NFTA_CMP.SREG, expression.sreg);
      out.be32(NFTA_CMP.OP, expression.op);
      writeValue(out, NFTA_CMP.DATA, expression.data);
      return;
    case 'range':
      out.be32(NFTA_RANGE.SREG, expression.sreg);
      out.be32(NFTA_RANGE.OP, expression.op);
      writeValue(out, NFTA_RANGE.FROM, expression.from);
      writeValue(out, NFTA_RANGE.TO, expression.to);
      return;
    case 'lookup':
      writeLookup(out, expression, sets);
      return;
    case 'immediate':
      out.be32(NFTA_IMMEDIATE.DREG, expression.dreg);
      writeValue(out, NFTA_IMMEDIATE.DATA, expression.data);
      return;
    case 'verdict':
      out.be32(NFTA_IMMEDIATE.DREG, 0);
      writeVerdict(out, NFTA_IMMEDIATE.DATA, expression);
      return;
    case 'counter':
    case 'notrack':
      return;
    case 'objref':
      out.be32(NFTA_OBJREF.IMM_TYPE, expression.type);
      out.text(NFTA_OBJREF.IMM_NAME, expression.object);
      return;
    case 'objref-map':
      out.be32(NFTA_OBJREF.SET_SREG, expression.sreg);
      out.text(NFTA_OBJREF.SET_NAME, expression.set);
      return;
    case 'log':
      writeLog(out, expression);
      return;
    case 'limit':
      out.be64(NFTA_LIMIT.RATE, expression.rate);
      out.be64(NFTA_LIMIT.UNIT, expression.unit);
      out.be32(NFTA_LIMIT.BURST, expression.burst);
      out.be32(NFTA_LIMIT.TYPE, 0);
      out.be32(NFTA_LIMIT.FLAGS, 0);
      return;
    case 'reject':
      out.be32(NFTA_REJECT.TYPE, expression.type);
      out.u8(NFTA_REJECT.ICMP_CODE, expression.code);
      return;
    case 'masq':
      if (expression.flags !== 0) out.be32(NFTA_MASQ.FLAGS, expression.flags);
      return;
    case 'nat':
      out.be32(NFTA_NAT.TYPE, expression.type);
      out.be32(NFTA_NAT.FAMILY, expression.family);
      out.be32(NFTA_NAT.REG_ADDR_MIN, expression.address);
      if (expression.port !== undefined) out.be32(NFTA_NAT.REG_PROTO_MIN, expression.port);
      if (expression.flags !== 0) out.be32(NFTA_NAT.FLAGS, expression.flags);
      return;
    case 'other':
      throw new RangeError(`Cannot write the expression ${expression.kernel}: tollgate did not make it`);
  }
}

function writeValue(out: NftWriter, type: number, value: Uint8Array): void {
  const data = out.open(type);
  out.bytes(NFTA_DATA.VALUE, value);
  out.close(data);
}

export function writeVerdict(out: NftWriter, type: number, verdict: { code: number; chain?: string }): void {
  const data = out.open(type);
  const nest = out.open(NFTA_DATA.VERDICT);
  out.be32(NFTA_VERDICT.CODE, verdict.code);
  if (verdict.chain !== undefined) out.text(NFTA_VERDICT.CHAIN, verdict.chain);
  out.close(nest);
  out.close(data);
}

function writeLookup(out: NftWriter, lookup: Expression & { name: 'lookup' }, sets: SetIds): void {
  const { set, sreg, dreg, invert } = lookup;
  out.text(NFTA_LOOKUP.SET, typeof set === 'string' ? set : ANONYMOUS_NAME);
  out.be32(NFTA_LOOKUP.SREG, sreg);
  if (dreg !== undefined) out.be32(NFTA_LOOKUP.DREG, dreg);
  if (typeof set !== 'string') out.be32(NFTA_LOOKUP.SET_ID, sets.get(set) ?? 0);
  if (invert) out.be32(NFTA_LOOKUP.FLAGS, NFT_LOOKUP_F_INV);
}

function writeLog(out: NftWriter, log: Expression & { name: 'log' }): void {
  if (log.prefix !== undefined) out.text(NFTA_LOG.PREFIX, log.prefix);
  out.be16(NFTA_LOG.GROUP, log.group);
  if (log.snaplen !== undefined) out.be32(NFTA_LOG.SNAPLEN, log.snaplen);
  if (log.queueThreshold !== undefined) out.be16(NFTA_LOG.QTHRESHOLD, log.queueThreshold);
}
