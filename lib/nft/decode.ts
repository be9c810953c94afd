/**
 * The kernel's dump of a table → the same value that would have been sent to make it.
 * What changes by itself (counts) or names things in the kernel only (handles) comes beside it.
 */

import { AttributeReader } from '../netlink/reader.ts';
import { DATATYPES, datumBetween, datumFromBytes, keyLength, keyTypesOf, paddedLength } from './datatype.ts';
import { firstCounter, readExpressions, readVerdict } from './decode-expression.ts';
import { decompile, verdictOf } from './decompile.ts';
import { type AnonymousSet, hex, OBJECT_COUNTER } from './expression.ts';
import type { BaseChain } from './foreign.ts';
import type {
  Base,
  Chain,
  ChainType,
  CounterStatement,
  Datatype,
  Datum,
  Element,
  Key,
  NetfilterHook,
  Rule,
  Table,
  TableFamily,
} from './model.ts';
import { readMessage, userdataText } from './reader.ts';
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
  names,
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

/**
 * From NFT_MSG_NEWTABLE: by which the kernel names the table, which is another one for each table of a network namespace, ever;
 * whether packets see none of its chains; and whether a living process holds it as its owner.
 */
export const tableStateIn = (body: Uint8Array): TableState =>
  readMessage(body, names.table, table => {
    const flags = table.be32(NFTA_TABLE.FLAGS) ?? 0;
    return {
      handle: table.number(NFTA_TABLE.HANDLE) ?? 0,
      isDormant: (flags & NFT_TABLE_F.DORMANT) !== 0,
      isOwned: (flags & NFT_TABLE_F.OWNER) !== 0,
    };
  });

export interface TableState {
  readonly handle: number;
  readonly isDormant: boolean;
  readonly isOwned: boolean;
}

/** From NFT_MSG_NEWRULE. */
export const ruleHandleIn = (body: Uint8Array): number =>
  readMessage(body, names.rule, rule => rule.number(NFTA_RULE.HANDLE)) ?? 0;

/** Of rules of one table, the handles by chain, in their order; from NFT_MSG_NEWRULE. */
export function decodeRuleHandles(bodies: readonly Uint8Array[]): Map<string, number[]> {
  const chains = new Map<string, number[]>();
  for (const body of bodies) {
    const [chain, handle] = readMessage(body, names.rule, rule => [
      rule.text(NFTA_RULE.CHAIN) ?? '',
      rule.number(NFTA_RULE.HANDLE) ?? 0,
    ]) as [string, number];
    const handles = chains.get(chain);
    if (handles) handles.push(handle);
    else chains.set(chain, [handle]);
  }
  return chains;
}

export function decodeTable(dump: Dump): KernelTable {
  const { family } = dump;
  const head = readMessage(dump.table, names.table, table => ({
    name: table.text(NFTA_TABLE.NAME) ?? '',
    flags: table.be32(NFTA_TABLE.FLAGS) ?? 0,
    ...commentIn(table.get(NFTA_TABLE.USERDATA), UDATA.COMMENT),
  }));
  const { flags, ...named } = head;
  const sets = dump.sets.map(body => decodeSet(body, dump.elements));
  const anonymous = new Map(sets.filter(set => set.anonymous).map(set => [set.declaration.name, anonymousOf(set)]));
  const rules = decodeRules(dump, name => anonymous.get(name));
  const table: Table = {
    family,
    ...named,
    ...((flags & NFT_TABLE_F.DORMANT) !== 0 ? { dormant: true } : {}),
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
  const comment = userdataText(userdata, type);
  return comment === undefined ? {} : { comment };
};

const HOOK_NAMES = new Map((Object.keys(HOOKS) as NetfilterHook[]).map(hook => [HOOKS[hook] as number, hook]));

const decodeChain = (body: Uint8Array, rules: ReadonlyMap<string, readonly DecodedRule[]>): Chain =>
  readMessage(body, names.chain, attributes => {
    const name = attributes.text(NFTA_CHAIN.NAME) ?? '';
    const base = decodeBase(attributes);
    return {
      name,
      ...commentIn(attributes.get(NFTA_CHAIN.USERDATA), UDATA.COMMENT),
      ...(base ? { base } : {}),
      rules: (rules.get(name) ?? []).map(({ rule }) => rule),
    };
  });

function decodeBase(attributes: AttributeReader): Base | undefined {
  if (!attributes.get(NFTA_CHAIN.HOOK)) return undefined;
  const hook = attributes.nested(NFTA_CHAIN.HOOK, names.hook);
  return {
    type: (attributes.text(NFTA_CHAIN.TYPE) ?? 'filter') as ChainType,
    hook: HOOK_NAMES.get(hook.number(NFTA_HOOK.HOOKNUM) ?? -1) ?? 'ingress',
    priority: hook.bes32(NFTA_HOOK.PRIORITY) ?? 0,
    policy: attributes.number(NFTA_CHAIN.POLICY) === 0 ? 'drop' : 'accept',
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
  if (!family) return undefined;
  return readMessage(body, names.chain, chain => ({
    family,
    table: chain.text(NFTA_CHAIN.TABLE) ?? '',
    name: chain.text(NFTA_CHAIN.NAME) ?? '',
  }));
};

/** Chains of inet, ip and ip6 tables, whosever they are; from NFT_MSG_NEWCHAIN. */
export const decodeChainNames = (bodies: readonly Uint8Array[]): readonly ChainName[] =>
  bodies.flatMap(body => chainNameIn(body) ?? []);

/** Base chains of inet, ip and ip6 tables, whosever they are; from NFT_MSG_NEWCHAIN. */
export const decodeBaseChains = (bodies: readonly Uint8Array[]): readonly BaseChain[] =>
  bodies.flatMap(body => {
    const name = chainNameIn(body);
    const base = readMessage(body, names.chain, decodeBase);
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
    const { chain, ...decoded } = readMessage(body, names.rule, attributes => ({
      ...decodeRuleCount(attributes),
      rule: {
        statements: decompile(family, readExpressions(attributes, sets)),
        ...commentIn(attributes.get(NFTA_RULE.USERDATA), UDATA.COMMENT),
      },
    }));
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
    const { chain, handle, counted } = readMessage(body, names.rule, decodeRuleCount);
    return counted ? [{ chain, rule: handle, counted }] : [];
  });

function decodeRuleCount(rule: AttributeReader): Omit<DecodedRule, 'rule'> & { readonly chain: string } {
  const counter = firstCounter(rule);
  return {
    chain: rule.text(NFTA_RULE.CHAIN) ?? '',
    handle: Number(rule.be64(NFTA_RULE.HANDLE) ?? 0n),
    counted: counter && decodeCounted(counter),
  };
}

const decodeCounted = (attributes: AttributeReader): Counted => ({
  packets: attributes.be64(NFTA_COUNTER.PACKETS) ?? 0n,
  bytes: attributes.be64(NFTA_COUNTER.BYTES) ?? 0n,
});

const isCounter = (body: Uint8Array): boolean =>
  readMessage(body, names.object, object => object.be32(NFTA_OBJ.TYPE)) === OBJECT_COUNTER;

const decodeCounter = (body: Uint8Array): CounterStatement =>
  readMessage(body, names.object, object => ({
    name: object.text(NFTA_OBJ.NAME) ?? '',
    ...commentIn(object.get(NFTA_OBJ.USERDATA), UDATA.COMMENT),
  }));

/** What each named counter has counted, from NFT_MSG_NEWOBJ messages. */
export function decodeCounters(bodies: readonly Uint8Array[]): ReadonlyMap<string, Counted> {
  const counters = new Map<string, Counted>();
  for (const body of bodies.filter(isCounter))
    readMessage(body, names.object, object => {
      if (object.get(NFTA_OBJ.DATA))
        counters.set(object.text(NFTA_OBJ.NAME) ?? '', decodeCounted(object.nested(NFTA_OBJ.DATA, names.counter)));
    });
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
const decodeSet = (body: Uint8Array, elements: Dump['elements']): DecodedSet =>
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

const anonymousOf = ({ declaration: { key, interval }, elements }: DecodedSet): AnonymousSet => ({
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
