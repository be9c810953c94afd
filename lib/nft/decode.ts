/**
 * The kernel's dump of a table → the same value that would have been sent to make it.
 * What changes by itself (counts) or names things in the kernel only (handles) comes beside it.
 */

import type { AttributeReader } from '../netlink/reader.ts';
import { counterAndLog, readExpressions } from './decode-expression.ts';
import { anonymousOf, decodeSet } from './decode-set.ts';
import { decompile } from './decompile.ts';
import { type AnonymousSet, OBJECT_COUNTER } from './expression.ts';
import type { BaseChain } from './foreign.ts';
import type { Base, Chain, ChainType, CounterStatement, NetfilterHook, Rule, Table, TableFamily } from './model.ts';
import { commentIn, readMessage } from './reader.ts';
import {
  HOOKS,
  NFT_TABLE_F,
  NFTA_CHAIN,
  NFTA_COUNTER,
  NFTA_HOOK,
  NFTA_LOG,
  NFTA_OBJ,
  NFTA_RULE,
  NFTA_TABLE,
  names,
  TABLE_FAMILIES,
  UDATA,
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
  /** Handles of each chain's rules, in their order. */
  readonly handles: ReadonlyMap<string, readonly number[]>;
  /** Counts of the first anonymous counter of each rule, by chain, in the order of its rules. */
  readonly ruleCounters: ReadonlyMap<string, readonly (Counted | undefined)[]>;
  /** Counts of each named counter. */
  readonly counters: ReadonlyMap<string, Counted>;
}

/**
 * From NFT_MSG_NEWTABLE: by which the kernel names the table, which is another one for each table of a network namespace, ever;
 * whether packets see none of its chains; whether a living process holds it as its owner; and whether it stays when that ends.
 */
export const tableStateIn = (body: Uint8Array): TableState =>
  readMessage(body, names.table, table => {
    const flags = table.be32(NFTA_TABLE.FLAGS) ?? 0;
    return {
      handle: table.number(NFTA_TABLE.HANDLE) ?? 0,
      isDormant: (flags & NFT_TABLE_F.DORMANT) !== 0,
      isOwned: (flags & NFT_TABLE_F.OWNER) !== 0,
      isPersistent: (flags & NFT_TABLE_F.PERSIST) !== 0,
    };
  });

export interface TableState {
  readonly handle: number;
  readonly isDormant: boolean;
  readonly isOwned: boolean;
  readonly isPersistent: boolean;
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

/** Counts of a rule with an anonymous counter. */
export interface RuleCount {
  readonly chain: string;
  /** The rule's handle: unique in its table, as long as that exists. */
  readonly rule: number;
  readonly counted: Counted;
  /** Of its log, where it logs as well. */
  readonly prefix?: string;
}

/** Rules that count for themselves, from NFT_MSG_NEWRULE, or as they were when they went from NFT_MSG_DELRULE. */
export const decodeRuleCounts = (rules: readonly Uint8Array[]): readonly RuleCount[] =>
  rules.flatMap(body => {
    const { chain, handle, counted, prefix } = readMessage(body, names.rule, decodeRuleCount);
    return counted ? [{ chain, rule: handle, counted, ...(prefix === undefined ? {} : { prefix }) }] : [];
  });

function decodeRuleCount(
  rule: AttributeReader,
): Omit<DecodedRule, 'rule'> & { readonly chain: string; readonly prefix: string | undefined } {
  const { counter, log } = counterAndLog(rule);
  return {
    chain: rule.text(NFTA_RULE.CHAIN) ?? '',
    handle: Number(rule.be64(NFTA_RULE.HANDLE) ?? 0n),
    counted: counter && decodeCounted(counter),
    prefix: log?.text(NFTA_LOG.PREFIX),
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

/** Counts of each named counter, from NFT_MSG_NEWOBJ messages. */
export function decodeCounters(bodies: readonly Uint8Array[]): ReadonlyMap<string, Counted> {
  const counters = new Map<string, Counted>();
  for (const body of bodies.filter(isCounter))
    readMessage(body, names.object, object => {
      if (object.get(NFTA_OBJ.DATA))
        counters.set(object.text(NFTA_OBJ.NAME) ?? '', decodeCounted(object.nested(NFTA_OBJ.DATA, names.counter)));
    });
  return counters;
}
