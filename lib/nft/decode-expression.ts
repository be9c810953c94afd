/**
 * The kernel's dump of a rule's expressions, read back into values.
 * An expression that carries anything for which our values have no field is kept as `other`, whole: nothing is overlooked.
 */

import { type AnonymousSet, type Expression, hex, NAT_IMPLIED_FLAGS } from './expression.ts';
import { type Attributes, eachAttribute, readAttributes, readNumber, readSigned32, readText } from './reader.ts';
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
  NFTA_VERDICT,
} from './wire.ts';

/** The anonymous set of that name, or undefined where the name is that of a set like any other. */
export type AnonymousSets = (name: string) => AnonymousSet | undefined;

type Read = (fields: Fields, sets: AnonymousSets) => Expression | undefined;

/** Attributes of one expression, which notes what was asked for: what is left over was not understood. */
class Fields {
  readonly #attributes: Attributes;
  readonly #left: Set<number>;

  constructor(attributes: Attributes) {
    this.#attributes = attributes;
    this.#left = new Set(attributes.keys());
  }

  get complete(): boolean {
    return this.#left.size === 0;
  }

  bytes(type: number): Uint8Array | undefined {
    this.#left.delete(type);
    return this.#attributes.get(type);
  }

  /** 0 where there is none, which is what the kernel means by leaving it out. */
  number(type: number): number {
    return readNumber(this.bytes(type)) ?? 0;
  }

  optional(type: number): number | undefined {
    return readNumber(this.bytes(type));
  }

  text(type: number): string | undefined {
    return readText(this.bytes(type));
  }

  /** NFTA_DATA_VALUE inside. */
  value(type: number): Uint8Array | undefined {
    const nest = this.bytes(type);
    return nest && readAttributes(nest).get(NFTA_DATA.VALUE);
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
    const nest = fields.bytes(NFTA_IMMEDIATE.DATA);
    if (!nest) return undefined;
    const data = readAttributes(nest);
    const value = data.get(NFTA_DATA.VALUE);
    const verdict = data.get(NFTA_DATA.VERDICT);
    if (value) return { name: 'immediate', dreg, data: value };
    return verdict && { name: 'verdict', ...readVerdict(verdict) };
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

/** NFTA_DATA_VERDICT's inside. */
export function readVerdict(bytes: Uint8Array): { readonly code: number; readonly chain?: string } {
  const attributes = readAttributes(bytes);
  const code = readSigned32(attributes.get(NFTA_VERDICT.CODE)) ?? 0;
  const chain = readText(attributes.get(NFTA_VERDICT.CHAIN));
  return chain === undefined ? { code } : { code, chain };
}

/** NFTA_RULE_EXPRESSIONS */
export function readExpressions(bytes: Uint8Array, sets: AnonymousSets): readonly Expression[] {
  const expressions: Expression[] = [];
  eachAttribute(bytes, (_, element) => {
    const { name, data } = readExpression(element);
    const fields = new Fields(readAttributes(data));
    const expression = READERS[name]?.(fields, sets);
    const whole = expression && fields.complete;
    expressions.push(whole ? expression : { name: 'other', kernel: name, attributes: hex(data) });
  });
  return expressions;
}

const NOTHING = new Uint8Array();

function readExpression(element: Uint8Array): { readonly name: string; readonly data: Uint8Array } {
  const attributes = readAttributes(element);
  return {
    name: readText(attributes.get(NFTA_EXPR.NAME)) ?? '',
    data: attributes.get(NFTA_EXPR.DATA) ?? NOTHING,
  };
}

/** NFTA_COUNTER_*, as of the first anonymous counter among NFTA_RULE_EXPRESSIONS. */
export function firstCounter(bytes: Uint8Array): Attributes | undefined {
  let found: Attributes | undefined;
  eachAttribute(bytes, (_, element) => {
    const { name, data } = readExpression(element);
    if (name === 'counter') found ??= readAttributes(data);
  });
  return found;
}
