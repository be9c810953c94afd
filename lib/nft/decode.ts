/**
 * The kernel's dump of a table → the same value that would have been sent to make it.
 * What changes by itself (counts) or names things in the kernel only (handles) comes beside it.
 */

import { DATATYPES, datumBetween, datumFromBytes, keyLength, keyTypesOf, paddedLength } from './datatype.ts';
import { firstCounter, readExpressions, readVerdict } from './decode-expression.ts';
import { decompile, verdictOf } from './decompile.ts';
import { type AnonymousSet, hex, OBJECT_COUNTER } from './expression.ts';
import type { BaseChain } from './foreign.ts';
import type {
  Base,
  Chain,
  ChainType,
  Counter,
  Datatype,
  Datum,
  Element,
  Hook,
  Key,
  Rule,
  Table,
  TableFamily,
} from './model.ts';
import {
  type Attributes,
  eachAttribute,
  readAttributes,
  readBigint,
  readMessage,
  readNumber,
  readSigned32,
  readText,
  readUserdata,
} from './reader.ts';
import type { SetDeclaration } from './transaction.ts';
import {
  HOOKS,
  NFT_SET,
  NFT_SET_ELEM_INTERVAL_END,
  NFT_TABLE_F,
  NFTA_CHAIN,
  NFTA_COUNTER,
  NFTA_DATA,
  NFTA_HOOK,
  NFTA_OBJ,
  NFTA_RULE,
  NFTA_SET,
  NFTA_SET_ELEM,
  NFTA_SET_ELEM_LIST,
  NFTA_TABLE,
  TABLE_FAMILIES,
  UDATA,
  VERDICT_TYPE,
} from './wire.ts';

/** Bodies of the kernel's messages, struct nfgenmsg included, all of one table. */
export interface Dump {
  readonly family: Table['family'];
  /** NFT_MSG_NEWTABLE */
  readonly table: Uint8Array;
  readonly chains: readonly Uint8Array[];
  readonly rules: readonly Uint8Array[];
  readonly sets: readonly Uint8Array[];
  /** NFT_MSG_NEWSETELEM by the name of the set. */
  readonly elements: ReadonlyMap<string, readonly Uint8Array[]>;
  readonly counters: readonly Uint8Array[];
}

export interface Counted {
  readonly packets: bigint;
  readonly bytes: bigint;
}

export interface KernelTable {
  readonly table: Table;
  readonly owner: boolean;
  readonly persist: boolean;
  /** Of each chain's rules, in their order. */
  readonly handles: ReadonlyMap<string, readonly number[]>;
  /** What the first anonymous counter of each rule has counted, by chain, in the order of its rules. */
  readonly ruleCounters: ReadonlyMap<string, readonly (Counted | undefined)[]>;
  /** What each named counter has counted. */
  readonly counters: ReadonlyMap<string, Counted>;
}

export function decodeTable(dump: Dump): KernelTable {
  const { family } = dump;
  const head = readMessage(dump.table);
  const flags = readNumber(head.get(NFTA_TABLE.FLAGS)) ?? 0;
  const sets = dump.sets.map(body => decodeSet(body, dump.elements));
  const anonymous = new Map(sets.filter(set => set.anonymous).map(set => [set.declaration.name, anonymousOf(set)]));
  const rules = decodeRules(dump, name => anonymous.get(name));
  const table: Table = {
    family,
    name: readText(head.get(NFTA_TABLE.NAME)) ?? '',
    ...commentIn(head.get(NFTA_TABLE.USERDATA), UDATA.COMMENT),
    chains: dump.chains.map(body => decodeChain(body, rules)),
    sets: sets.filter(set => !set.anonymous).map(({ declaration, elements }) => ({ ...declaration, elements })),
    counters: dump.counters.filter(isCounter).map(decodeCounter),
  };
  return {
    table,
    owner: (flags & NFT_TABLE_F.OWNER) !== 0,
    persist: (flags & NFT_TABLE_F.PERSIST) !== 0,
    handles: new Map([...rules].map(([chain, list]) => [chain, list.map(({ handle }) => handle)])),
    ruleCounters: new Map([...rules].map(([chain, list]) => [chain, list.map(({ counted }) => counted)])),
    counters: decodeCounters(dump.counters),
  };
}

const commentIn = (userdata: Uint8Array | undefined, type: number): { readonly comment?: string } => {
  const comment = readText(readUserdata(userdata).get(type));
  return comment === undefined ? {} : { comment };
};

const HOOK_NAMES = new Map((Object.keys(HOOKS) as Hook[]).map(hook => [HOOKS[hook] as number, hook]));

function decodeChain(body: Uint8Array, rules: ReadonlyMap<string, readonly DecodedRule[]>): Chain {
  const attributes = readMessage(body);
  const name = readText(attributes.get(NFTA_CHAIN.NAME)) ?? '';
  const base = decodeBase(attributes);
  return {
    name,
    ...commentIn(attributes.get(NFTA_CHAIN.USERDATA), UDATA.COMMENT),
    ...(base ? { base } : {}),
    rules: (rules.get(name) ?? []).map(({ rule }) => rule),
  };
}

function decodeBase(attributes: Attributes): Base | undefined {
  const nest = attributes.get(NFTA_CHAIN.HOOK);
  if (!nest) return undefined;
  const hook = readAttributes(nest);
  return {
    type: (readText(attributes.get(NFTA_CHAIN.TYPE)) ?? 'filter') as ChainType,
    hook: HOOK_NAMES.get(readNumber(hook.get(NFTA_HOOK.HOOKNUM)) ?? -1) ?? 'ingress',
    priority: readSigned32(hook.get(NFTA_HOOK.PRIORITY)) ?? 0,
    policy: readNumber(attributes.get(NFTA_CHAIN.POLICY)) === 0 ? 'drop' : 'accept',
  };
}

const FAMILY_NAMES = new Map(
  (Object.keys(TABLE_FAMILIES) as TableFamily[]).map(name => [TABLE_FAMILIES[name] as number, name]),
);

export interface ChainName {
  readonly family: TableFamily;
  readonly table: string;
  readonly name: string;
}

const chainNameIn = (body: Uint8Array): ChainName | undefined => {
  // struct nfgenmsg begins with the family.
  const family = FAMILY_NAMES.get(body[0] ?? -1);
  const attributes = readMessage(body);
  const table = readText(attributes.get(NFTA_CHAIN.TABLE)) ?? '';
  return family && { family, table, name: readText(attributes.get(NFTA_CHAIN.NAME)) ?? '' };
};

/** Chains of inet, ip and ip6 tables, whosever they are; from NFT_MSG_NEWCHAIN. */
export const decodeChainNames = (bodies: readonly Uint8Array[]): readonly ChainName[] =>
  bodies.flatMap(body => chainNameIn(body) ?? []);

/** Base chains of inet, ip and ip6 tables, whosever they are; from NFT_MSG_NEWCHAIN. */
export const decodeBaseChains = (bodies: readonly Uint8Array[]): readonly BaseChain[] =>
  bodies.flatMap(body => {
    const name = chainNameIn(body);
    const base = decodeBase(readMessage(body));
    return name && base ? [{ ...name, base }] : [];
  });

/** One chain's rules, in their order; what is in their anonymous sets stays unknown. */
export const decodeRulesOf = (family: TableFamily, chain: string, rules: readonly Uint8Array[]): readonly Rule[] =>
  (decodeRules({ family, rules }, () => undefined).get(chain) ?? []).map(({ rule }) => rule);

interface DecodedRule {
  readonly rule: Rule;
  readonly handle: number;
  readonly counted: Counted | undefined;
}

function decodeRules(
  { family, rules }: Pick<Dump, 'family' | 'rules'>,
  sets: (name: string) => AnonymousSet | undefined,
): ReadonlyMap<string, readonly DecodedRule[]> {
  const byChain = new Map<string, DecodedRule[]>();
  for (const body of rules) {
    const attributes = readMessage(body);
    const chain = readText(attributes.get(NFTA_RULE.CHAIN)) ?? '';
    const list = attributes.get(NFTA_RULE.EXPRESSIONS) ?? new Uint8Array();
    const counter = firstCounter(list);
    const rule: Rule = {
      statements: decompile(family, readExpressions(list, sets)),
      ...commentIn(attributes.get(NFTA_RULE.USERDATA), UDATA.COMMENT),
    };
    const handle = Number(readBigint(attributes.get(NFTA_RULE.HANDLE)));
    const decoded = { rule, handle, counted: counter && decodeCounted(counter) };
    const others = byChain.get(chain);
    if (others) others.push(decoded);
    else byChain.set(chain, [decoded]);
  }
  return byChain;
}

/** What a rule with an anonymous counter has counted. */
export interface RuleCount {
  readonly chain: string;
  /** The rule's handle: unique in its table, as long as that exists. */
  readonly rule: number;
  readonly counted: Counted;
}

/** Rules that count for themselves, from NFT_MSG_NEWRULE, or as they were when they went from NFT_MSG_DELRULE. */
export const decodeRuleCounts = (rules: readonly Uint8Array[]): readonly RuleCount[] =>
  rules.flatMap(body => {
    const attributes = readMessage(body);
    const counter = firstCounter(attributes.get(NFTA_RULE.EXPRESSIONS) ?? new Uint8Array());
    if (!counter) return [];
    const chain = readText(attributes.get(NFTA_RULE.CHAIN)) ?? '';
    const rule = Number(readBigint(attributes.get(NFTA_RULE.HANDLE)));
    return [{ chain, rule, counted: decodeCounted(counter) }];
  });

const decodeCounted = (attributes: Attributes): Counted => ({
  packets: readBigint(attributes.get(NFTA_COUNTER.PACKETS)),
  bytes: readBigint(attributes.get(NFTA_COUNTER.BYTES)),
});

const isCounter = (body: Uint8Array): boolean => readNumber(readMessage(body).get(NFTA_OBJ.TYPE)) === OBJECT_COUNTER;

function decodeCounter(body: Uint8Array): Counter {
  const attributes = readMessage(body);
  const name = readText(attributes.get(NFTA_OBJ.NAME)) ?? '';
  return { name, ...commentIn(attributes.get(NFTA_OBJ.USERDATA), UDATA.COMMENT) };
}

/** What each named counter has counted, from NFT_MSG_NEWOBJ messages. */
export function decodeCounters(bodies: readonly Uint8Array[]): ReadonlyMap<string, Counted> {
  const counters = new Map<string, Counted>();
  for (const body of bodies.filter(isCounter)) {
    const attributes = readMessage(body);
    const data = attributes.get(NFTA_OBJ.DATA);
    if (data) counters.set(readText(attributes.get(NFTA_OBJ.NAME)) ?? '', decodeCounted(readAttributes(data)));
  }
  return counters;
}

interface DecodedSet {
  readonly declaration: SetDeclaration;
  readonly anonymous: boolean;
  readonly elements: readonly Element[];
}

const KNOWN_FLAGS =
  NFT_SET.ANONYMOUS | NFT_SET.CONSTANT | NFT_SET.INTERVAL | NFT_SET.MAP | NFT_SET.OBJECT | NFT_SET.CONCAT;

/** A set of a kind that we never make has a key of no fields and no elements: it equals none of ours. */
function decodeSet(body: Uint8Array, elements: Dump['elements']): DecodedSet {
  const attributes = readMessage(body);
  const name = readText(attributes.get(NFTA_SET.NAME)) ?? '';
  const flags = readNumber(attributes.get(NFTA_SET.FLAGS)) ?? 0;
  const key = keyTypesOf(readNumber(attributes.get(NFTA_SET.KEY_TYPE)) ?? 0);
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
function valueTypeIn(attributes: Attributes): SetDeclaration['value'] {
  const objectType = readNumber(attributes.get(NFTA_SET.OBJ_TYPE));
  if (objectType !== undefined) return objectType === OBJECT_COUNTER ? 'counter' : undefined;
  const dataType = readNumber(attributes.get(NFTA_SET.DATA_TYPE)) ?? 0;
  return dataType === VERDICT_TYPE ? 'verdict' : keyTypesOf(dataType);
}

const anonymousOf = ({ declaration: { key, interval }, elements }: DecodedSet): AnonymousSet => ({
  key,
  interval: interval ?? false,
  elements: elements.map(element => element.key),
});

interface RawElement {
  readonly key: Uint8Array;
  readonly keyEnd: Uint8Array | undefined;
  readonly isEnd: boolean;
  readonly attributes: Attributes;
}

/** The elements in NFT_MSG_NEWSETELEM messages of one set. */
export function decodeElements(set: SetDeclaration, bodies: readonly Uint8Array[]): readonly Element[] {
  const raw = bodies.flatMap(readElements);
  if (!set.interval || set.key.length > 1)
    return raw.map(element => decodeElement(set, element, readKey(set.key, element)));
  return decodeIntervals(set, raw);
}

function readElements(body: Uint8Array): RawElement[] {
  const elements: RawElement[] = [];
  const list = readMessage(body).get(NFTA_SET_ELEM_LIST.ELEMENTS);
  if (!list) return elements;
  eachAttribute(list, (_, element) => {
    const attributes = readAttributes(element);
    const key = valueIn(attributes.get(NFTA_SET_ELEM.KEY));
    const flags = readNumber(attributes.get(NFTA_SET_ELEM.FLAGS)) ?? 0;
    const isEnd = (flags & NFT_SET_ELEM_INTERVAL_END) !== 0;
    if (key) elements.push({ key, keyEnd: valueIn(attributes.get(NFTA_SET_ELEM.KEY_END)), isEnd, attributes });
  });
  return elements;
}

const valueIn = (nest: Uint8Array | undefined): Uint8Array | undefined =>
  nest && readAttributes(nest).get(NFTA_DATA.VALUE);

/** The key of the element whose NFTA_LIST_ELEM has this body, for messages about it; undefined where it is none. */
export function keyIn(set: SetDeclaration, element: Uint8Array): Key | undefined {
  try {
    const key = valueIn(readAttributes(element).get(NFTA_SET_ELEM.KEY));
    return key?.length === keyLength(set.key) ? splitKey(set.key, key) : undefined;
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
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

function decodeValue({ value }: SetDeclaration, attributes: Attributes): Element['value'] {
  if (value === 'counter') {
    const counter = readText(attributes.get(NFTA_SET_ELEM.OBJREF));
    return counter === undefined ? undefined : { counter };
  }
  const data = attributes.get(NFTA_SET_ELEM.DATA);
  if (!value || !data) return undefined;
  const nest = readAttributes(data);
  const bytes = nest.get(NFTA_DATA.VALUE);
  const verdict = nest.get(NFTA_DATA.VERDICT);
  if (value !== 'verdict') return bytes && splitKey(value, bytes);
  return verdict && verdictOf(readVerdict(verdict));
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

const numberOf = (key: Uint8Array): bigint => readBigint(key);

function intervalDatum(type: Datatype, first: bigint, last: bigint): Datum {
  if (type !== 'ipv4_addr' && type !== 'ipv6_addr') return datumBetween(Number(first), Number(last));
  const family = type === 'ipv4_addr' ? 4 : 6;
  return datumBetween({ family, value: first }, { family, value: last });
}
