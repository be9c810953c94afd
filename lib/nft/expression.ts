/**
 * The kernel's own form of a rule: a list of expressions that load into registers and judge them.
 * Numbers are those of linux/netfilter/nf_tables.h. What differs between two dumps of an unchanged rule (handles, what a
 * counter has counted, the number in an anonymous set's name) has no place here, so that equal rules are equal values.
 */

import { keyId } from './datatype.ts';
import type { Datatype, Key } from './model.ts';

export interface AnonymousSet {
  readonly key: readonly Datatype[];
  readonly interval: boolean;
  readonly elements: readonly Key[];
}

export type Expression =
  | { readonly name: 'meta'; readonly key: number; readonly dreg: number }
  | { readonly name: 'meta-set'; readonly key: number; readonly sreg: number }
  | { readonly name: 'ct'; readonly key: number; readonly dreg: number }
  | { readonly name: 'ct-set'; readonly key: number; readonly sreg: number }
  | {
      readonly name: 'payload';
      readonly base: number;
      readonly offset: number;
      readonly length: number;
      readonly dreg: number;
    }
  | { readonly name: 'fib'; readonly result: number; readonly flags: number; readonly dreg: number }
  | {
      readonly name: 'bitwise';
      readonly sreg: number;
      readonly dreg: number;
      readonly mask: Uint8Array;
      readonly xor: Uint8Array;
    }
  | { readonly name: 'cmp'; readonly sreg: number; readonly op: number; readonly data: Uint8Array }
  | {
      readonly name: 'range';
      readonly sreg: number;
      readonly op: number;
      readonly from: Uint8Array;
      readonly to: Uint8Array;
    }
  | {
      readonly name: 'lookup';
      readonly sreg: number;
      readonly set: string | AnonymousSet;
      /** Register that takes a map's value; 0 is the verdict. */
      readonly dreg?: number;
      readonly invert: boolean;
    }
  | { readonly name: 'immediate'; readonly dreg: number; readonly data: Uint8Array }
  | { readonly name: 'verdict'; readonly code: number; readonly chain?: string }
  | { readonly name: 'counter' }
  | { readonly name: 'objref'; readonly type: number; readonly object: string }
  /** The object that a set has for what is in the register. */
  | { readonly name: 'objref-map'; readonly sreg: number; readonly set: string }
  | {
      readonly name: 'log';
      readonly group: number;
      readonly prefix?: string;
      readonly snaplen?: number;
      readonly queueThreshold?: number;
    }
  | { readonly name: 'limit'; readonly rate: number; readonly unit: number; readonly burst: number }
  | { readonly name: 'reject'; readonly type: number; readonly code: number }
  | { readonly name: 'masq'; readonly flags: number }
  | {
      readonly name: 'nat';
      readonly type: number;
      readonly family: number;
      readonly address: number;
      readonly port?: number;
      readonly flags: number;
    }
  | { readonly name: 'notrack' }
  /** One that we have no form for, as the kernel's attributes in hexadecimal. */
  | { readonly name: 'other'; readonly kernel: string; readonly attributes: string };

/** enum nft_cmp_ops */
export const CMP = { eq: 0, neq: 1, lte: 3, gte: 5 } as const;
/** enum nft_verdicts and NF_DROP, NF_ACCEPT */
export const VERDICT = { drop: 0, accept: 1, jump: -3, goto: -4, return: -5 } as const;
/** NFT_OBJECT_COUNTER */
export const OBJECT_COUNTER = 1;
/** NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED: the kernel sets them by itself from the registers that are given. */
export const NAT_IMPLIED_FLAGS = 1 | 2;
export const NAT_RANDOM_FULLY = 16;

/** The register that starts at this four-byte word: as the kernel numbers it when it dumps. */
export const registerOf = (word: number): number => (word % 4 === 0 ? 1 + word / 4 : 8 + word);

/** Equal for lists that do the same in the same order, different otherwise. */
export function expressionsId(expressions: readonly Expression[]): string {
  let id = '';
  for (const expression of expressions) {
    const fields = expression as Readonly<Record<string, unknown>>;
    for (const field of Object.keys(fields).sort()) id += `${field}=${fieldId(fields[field])} `;
    id += '\n';
  }
  return id;
}

function fieldId(value: unknown): string {
  if (value instanceof Uint8Array) return hex(value);
  if (typeof value !== 'object') return typeof value === 'string' ? JSON.stringify(value) : String(value);
  const { key, interval, elements } = value as AnonymousSet;
  return `{${key.join('.')} ${interval} ${elements.map(keyId).sort().join(',')}}`;
}

export function hex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}
