/**
 * The kernel's dump of a rule's expressions, read back into values.
 * An expression that carries anything for which our values have no field is kept as `other`, whole: nothing is overlooked.
 */

import type { AttributeNames, AttributeReader } from '../netlink/reader.ts';
import { type AnonymousSet, type Expression, hex, NAT_IMPLIED_FLAGS } from './expression.ts';
import {
  NFT_LOOKUP_F_INV,
  NFTA_BITWISE,
  NFTA_CMP,
  NFTA_COUNTER,
  NFTA_CT,
  NFTA_DATA,
  NFTA_EXPR,
  NFTA_FIB,
  NFTA_IMMEDIATE,
  NFTA_LIMIT,
  NFTA_LOG,
  NFTA_LOOKUP,
  NFTA_MASQ,
  NFTA_META,
  NFTA_NAT,
  NFTA_OBJREF,
  NFTA_PAYLOAD,
  NFTA_RANGE,
  NFTA_REJECT,
  NFTA_RULE,
  NFTA_VERDICT,
  names,
} from './wire.ts';

/** The anonymous set of that name, or undefined where the name is that of a set like any other. */
export type AnonymousSets = (name: string) => AnonymousSet | undefined;

type Read = (fields: Fields, sets: AnonymousSets) => Expression | undefined;

/** Attributes of one expression, which notes what was asked for: what is left over was not understood. */
class Fields {
  readonly #attributes: AttributeReader;
  readonly #left: Set<number>;

  constructor(attributes: AttributeReader) {
    this.#attributes = attributes;
    this.#left = new Set(attributes.types);
  }

  get complete(): boolean {
    return this.#left.size === 0;
  }

  /** 0 where there is none, which is what the kernel means by leaving it out. */
  number(type: number): number {
    return this.optional(type) ?? 0;
  }

  optional(type: number): number | undefined {
    this.#left.delete(type);
    return this.#attributes.number(type);
  }

  text(type: number): string | undefined {
    this.#left.delete(type);
    return this.#attributes.text(type);
  }

  /** NFTA_DATA_VALUE inside. */
  value(type: number): Uint8Array | undefined {
    return this.data(type).get(NFTA_DATA.VALUE);
  }

  /** NFTA_DATA_* inside. */
  data(type: number): AttributeReader {
    this.#left.delete(type);
    return this.#attributes.nested(type, names.data);
  }

  ignore(...types: readonly number[]): void {
    for (const type of types) this.#left.delete(type);
  }
}

const READERS: Readonly<Record<string, Read>> = {
  meta: fields => {
    const key = fields.number(NFTA_META.KEY);
    const sreg = fields.optional(NFTA_META.SREG);
    if (sreg !== undefined) return { name: 'meta-set', key, sreg };
    return { name: 'meta', key, dreg: fields.number(NFTA_META.DREG) };
  },
  ct: fields => {
    const key = fields.number(NFTA_CT.KEY);
    const sreg = fields.optional(NFTA_CT.SREG);
    if (sreg !== undefined) return { name: 'ct-set', key, sreg };
    return { name: 'ct', key, dreg: fields.number(NFTA_CT.DREG) };
  },
  payload: fields => ({
    name: 'payload',
    base: fields.number(NFTA_PAYLOAD.BASE),
    offset: fields.number(NFTA_PAYLOAD.OFFSET),
    length: fields.number(NFTA_PAYLOAD.LEN),
    dreg: fields.number(NFTA_PAYLOAD.DREG),
  }),
  fib: fields => ({
    name: 'fib',
    result: fields.number(NFTA_FIB.RESULT),
    flags: fields.number(NFTA_FIB.FLAGS),
    dreg: fields.number(NFTA_FIB.DREG),
  }),
  bitwise: fields => {
    const mask = fields.value(NFTA_BITWISE.MASK);
    const xor = fields.value(NFTA_BITWISE.XOR);
    if (!mask || !xor || fields.number(NFTA_BITWISE.OP) !== 0 || fields.number(NFTA_BITWISE.LEN) !== mask.length)
      return undefined;
    return {
      name: 'bitwise',
      sreg: fields.number(NFTA_BITWISE.SREG),
      dreg: fields.number(NFTA_BITWISE.DREG),
      mask,
      xor,
    };
  },
  cmp: fields => {
    const data = fields.value(NFTA_CMP.DATA);
    return data && { name: 'cmp', sreg: fields.number(NFTA_CMP.SREG), op: fields.number(NFTA_CMP.OP), data };
  },
  range: fields => {
    const from = fields.value(NFTA_RANGE.FROM);
    const to = fields.value(NFTA_RANGE.TO);
    if (!from || !to) return undefined;
    return { name: 'range', sreg: fields.number(NFTA_RANGE.SREG), op: fields.number(NFTA_RANGE.OP), from, to };
  },
  lookup: (fields, sets) => {
    const name = fields.text(NFTA_LOOKUP.SET);
    const dreg = fields.optional(NFTA_LOOKUP.DREG);
    const flags = fields.number(NFTA_LOOKUP.FLAGS);
    if (name === undefined || flags > NFT_LOOKUP_F_INV) return undefined;
    return {
      name: 'lookup',
      sreg: fields.number(NFTA_LOOKUP.SREG),
      set: sets(name) ?? name,
      ...(dreg === undefined ? {} : { dreg }),
      invert: flags === NFT_LOOKUP_F_INV,
    };
  },
  immediate: fields => {
    const dreg = fields.number(NFTA_IMMEDIATE.DREG);
    const data = fields.data(NFTA_IMMEDIATE.DATA);
    const value = data.get(NFTA_DATA.VALUE);
    if (value) return { name: 'immediate', dreg, data: value };
    return data.get(NFTA_DATA.VERDICT) && { name: 'verdict', ...readVerdict(data) };
  },
  counter: fields => {
    fields.ignore(NFTA_COUNTER.BYTES, NFTA_COUNTER.PACKETS);
    return { name: 'counter' };
  },
  objref: fields => {
    const set = fields.text(NFTA_OBJREF.SET_NAME);
    if (set !== undefined) return { name: 'objref-map', sreg: fields.number(NFTA_OBJREF.SET_SREG), set };
    const object = fields.text(NFTA_OBJREF.IMM_NAME);
    return object === undefined ? undefined : { name: 'objref', type: fields.number(NFTA_OBJREF.IMM_TYPE), object };
  },
  log: fields => {
    const group = fields.optional(NFTA_LOG.GROUP);
    const prefix = fields.text(NFTA_LOG.PREFIX);
    const snaplen = fields.number(NFTA_LOG.SNAPLEN);
    const queueThreshold = fields.number(NFTA_LOG.QTHRESHOLD);
    if (group === undefined) return undefined;
    return {
      name: 'log',
      group,
      ...(prefix ? { prefix } : {}),
      ...(snaplen ? { snaplen } : {}),
      ...(queueThreshold ? { queueThreshold } : {}),
    };
  },
  limit: fields => {
    if (fields.number(NFTA_LIMIT.TYPE) !== 0 || fields.number(NFTA_LIMIT.FLAGS) !== 0) return undefined;
    return {
      name: 'limit',
      rate: fields.number(NFTA_LIMIT.RATE),
      unit: fields.number(NFTA_LIMIT.UNIT),
      burst: fields.number(NFTA_LIMIT.BURST),
    };
  },
  reject: fields => ({
    name: 'reject',
    type: fields.number(NFTA_REJECT.TYPE),
    code: fields.number(NFTA_REJECT.ICMP_CODE),
  }),
  masq: fields => ({ name: 'masq', flags: fields.number(NFTA_MASQ.FLAGS) }),
  /** The kernel repeats the lower register as the upper one where there is no range. */
  nat: fields => {
    const address = fields.optional(NFTA_NAT.REG_ADDR_MIN);
    const addressMax = fields.optional(NFTA_NAT.REG_ADDR_MAX) ?? address;
    const port = fields.optional(NFTA_NAT.REG_PROTO_MIN);
    const portMax = fields.optional(NFTA_NAT.REG_PROTO_MAX) ?? port;
    if (address === undefined || addressMax !== address || portMax !== port) return undefined;
    return {
      name: 'nat',
      type: fields.number(NFTA_NAT.TYPE),
      family: fields.number(NFTA_NAT.FAMILY),
      address,
      ...(port === undefined ? {} : { port }),
      flags: fields.number(NFTA_NAT.FLAGS) & ~NAT_IMPLIED_FLAGS,
    };
  },
  notrack: () => ({ name: 'notrack' }),
};

/** From NFTA_DATA_*, where NFTA_DATA_VERDICT is among them. */
export function readVerdict(data: AttributeReader): { readonly code: number; readonly chain?: string } {
  const verdict = data.nested(NFTA_DATA.VERDICT, names.verdict);
  const code = verdict.bes32(NFTA_VERDICT.CODE) ?? 0;
  const chain = verdict.text(NFTA_VERDICT.CHAIN);
  return chain === undefined ? { code } : { code, chain };
}

/** The expressions of a rule, from NFTA_RULE_*. */
export function readExpressions(rule: AttributeReader, sets: AnonymousSets): readonly Expression[] {
  const expressions: Expression[] = [];
  rule.each(NFTA_RULE.EXPRESSIONS, names.expression, element => {
    const name = element.text(NFTA_EXPR.NAME) ?? '';
    const fields = new Fields(element.nested(NFTA_EXPR.DATA, attributesOf(name)));
    const expression = READERS[name]?.(fields, sets);
    const whole = expression && fields.complete;
    const data = element.get(NFTA_EXPR.DATA) ?? new Uint8Array();
    expressions.push(whole ? expression : { name: 'other', kernel: name, attributes: hex(data) });
  });
  return expressions;
}

/** NFTA_META and its like, whose names each reader above has. */
const attributesOf = (expression: string): AttributeNames => ({ prefix: `attribute of ${expression}`, types: {} });

/** Attributes of a rule's first anonymous counter, NFTA_COUNTER_*, and of its first log, NFTA_LOG_*. */
export function counterAndLog(rule: AttributeReader): Partial<Record<'counter' | 'log', AttributeReader>> {
  const found: Partial<Record<'counter' | 'log', AttributeReader>> = {};
  rule.each(NFTA_RULE.EXPRESSIONS, names.expression, element => {
    const name = element.text(NFTA_EXPR.NAME);
    if (name === 'counter') found.counter ??= element.nested(NFTA_EXPR.DATA, names.counter);
    if (name === 'log') found.log ??= element.nested(NFTA_EXPR.DATA, attributesOf(name));
  });
  return found;
}
