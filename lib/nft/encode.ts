/** A transaction as one netlink batch: what the kernel gets in a single send, and commits or refuses as a whole. */

import { NLM_F } from '../netlink/header.ts';
import { keptComment } from './comment.ts';
import { expressionsOf } from './compile.ts';
import { keyLength } from './datatype.ts';
import { ANONYMOUS_NAME, writeExpressions } from './encode-expression.ts';
import { type SetForm, writeDeclaration, writeElement } from './encode-set.ts';
import { type AnonymousSet, type Expression, OBJECT_COUNTER } from './expression.ts';
import type { Base, Element } from './model.ts';
import type { ChainDeclaration, Operation, SetDeclaration, Transaction } from './transaction.ts';
import {
  HOOKS,
  messageType,
  NFNL_BATCH_GENID,
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFNL_SUBSYS_NFTABLES,
  NFT_MSG,
  NFT_TABLE_F,
  NFTA_CHAIN,
  NFTA_HOOK,
  NFTA_OBJ,
  NFTA_RULE,
  NFTA_SET,
  NFTA_SET_ELEM_LIST,
  NFTA_TABLE,
  TABLE_FAMILIES,
  UDATA,
} from './wire.ts';
import { NftWriter } from './writer.ts';

/** An attribute holds less than 64 KiB; a list of elements is split before that, an element being 800 bytes at most. */
const LIST_LIMIT = 64_000;

export interface EncodeOptions {
  /** The kernel refuses the batch (ERESTART) where its generation is another one by then. */
  readonly generation?: number;
  /** The kernel knows DESTROY messages (Linux 6.3). Without: a destroy is an add and a delete. */
  readonly destroy?: boolean;
}

export interface Batch {
  readonly bytes: Uint8Array;
  /** The operation that the message with this sequence number belongs to; undefined for begin and end. */
  readonly operationOf: (seq: number) => Operation | undefined;
  /** Offset in `bytes` of the message with this sequence number. */
  readonly startOf: (seq: number) => number | undefined;
}

interface State {
  readonly out: NftWriter;
  readonly family: number;
  readonly transaction: Transaction;
  /** By sequence number: which operation. */
  readonly owners: number[];
  /** By sequence number: where the message starts. */
  readonly starts: number[];
  current: number;
  setId: number;
}

/** @throws RangeError where a value does not fit its type, or a text is too long */
export function encode(transaction: Transaction, options: EncodeOptions = {}): Batch {
  const { operations } = transaction;
  const out = new NftWriter(1024 + operations.length * 128);
  const family = TABLE_FAMILIES[transaction.family];
  const state: State = { out, family, transaction, owners: [-1], starts: [0], current: -1, setId: 0 };
  const begin = out.begin(NFNL_MSG_BATCH_BEGIN, NLM_F.REQUEST, 0, 0, NFNL_SUBSYS_NFTABLES);
  if (options.generation !== undefined) out.be32(NFNL_BATCH_GENID, options.generation);
  out.endMessage(begin);
  for (let i = 0; i < operations.length; i++) {
    state.current = i;
    encodeOperation(state, operations[i]!, options.destroy ?? true);
  }
  const { owners } = state;
  out.endMessage(out.begin(NFNL_MSG_BATCH_END, NLM_F.REQUEST, owners.length, 0, NFNL_SUBSYS_NFTABLES));
  return { bytes: out.finish(), operationOf: seq => operations[owners[seq] ?? -1], startOf: seq => state.starts[seq] };
}

function encodeOperation(state: State, operation: Operation, destroy: boolean): void {
  if (operation.verb === 'destroy' && !destroy) {
    encodeOperation(state, { ...operation, verb: 'add' } as Operation, true);
    encodeOperation(state, { ...operation, verb: 'delete' } as Operation, true);
    return;
  }
  switch (operation.object) {
    case 'table':
      encodeTable(state, operation);
      return;
    case 'chain':
      encodeChain(state, operation.verb, operation.chain);
      return;
    case 'rule':
      encodeRule(state, operation);
      return;
    case 'set':
      encodeSet(state, operation.verb, operation.set);
      return;
    case 'element':
      encodeElements(state, operation);
      return;
    case 'counter':
      encodeCounter(state, operation);
      return;
  }
}

type Verb = Operation['verb'];

function begin(state: State, verb: Verb, [add, del, destroy]: readonly [number, number, number]): number {
  if (verb === 'add') return beginAs(state, add, NLM_F.CREATE);
  if (verb === 'create') return beginAs(state, add, NLM_F.CREATE | NLM_F.EXCL);
  return beginAs(state, verb === 'destroy' ? destroy : del, 0);
}

function beginAs({ out, family, owners, starts, current }: State, message: number, flags: number): number {
  starts.push(out.length);
  const seq = owners.push(current) - 1;
  return out.begin(messageType(message), NLM_F.REQUEST | flags, seq, family);
}

const TABLE = [NFT_MSG.NEWTABLE, NFT_MSG.DELTABLE, NFT_MSG.DESTROYTABLE] as const;
const CHAIN = [NFT_MSG.NEWCHAIN, NFT_MSG.DELCHAIN, NFT_MSG.DESTROYCHAIN] as const;
const RULE = [NFT_MSG.NEWRULE, NFT_MSG.DELRULE, NFT_MSG.DESTROYRULE] as const;
const SET = [NFT_MSG.NEWSET, NFT_MSG.DELSET, NFT_MSG.DESTROYSET] as const;
const ELEMENT = [NFT_MSG.NEWSETELEM, NFT_MSG.DELSETELEM, NFT_MSG.DESTROYSETELEM] as const;
const COUNTER = [NFT_MSG.NEWOBJ, NFT_MSG.DELOBJ, NFT_MSG.DESTROYOBJ] as const;

function writeComment(out: NftWriter, attribute: number, comment: string | undefined): void {
  if (comment === undefined) return;
  const userdata = out.openUserdata(attribute);
  out.userdataText(UDATA.COMMENT, comment);
  out.closeUserdata(userdata);
}

function encodeTable(state: State, operation: Operation & { object: 'table' }): void {
  const { out, transaction } = state;
  const message = begin(state, operation.verb, TABLE);
  out.text(NFTA_TABLE.NAME, transaction.table);
  if (operation.verb === 'add' || operation.verb === 'create') {
    const { owner, persist } = operation;
    out.be32(NFTA_TABLE.FLAGS, (owner ? NFT_TABLE_F.OWNER : 0) | (persist ? NFT_TABLE_F.PERSIST : 0));
    writeComment(out, NFTA_TABLE.USERDATA, operation.comment);
  }
  out.endMessage(message);
}

/** A chain is flushed by deleting its rules without naming one. */
function encodeChain(state: State, verb: Verb, chain: ChainDeclaration): void {
  const { out, transaction } = state;
  if (verb === 'flush') {
    const message = begin(state, 'delete', RULE);
    out.text(NFTA_RULE.TABLE, transaction.table);
    out.text(NFTA_RULE.CHAIN, chain.name);
    out.endMessage(message);
    return;
  }
  const message = begin(state, verb, CHAIN);
  out.text(NFTA_CHAIN.TABLE, transaction.table);
  out.text(NFTA_CHAIN.NAME, chain.name);
  if (verb === 'add' || verb === 'create') {
    if (chain.base) writeBase(out, chain.base);
    writeComment(out, NFTA_CHAIN.USERDATA, chain.comment && keptComment(chain.comment));
  }
  out.endMessage(message);
}

function writeBase(out: NftWriter, { type, hook, priority, policy }: Base): void {
  const nest = out.open(NFTA_CHAIN.HOOK);
  out.be32(NFTA_HOOK.HOOKNUM, HOOKS[hook]);
  out.be32(NFTA_HOOK.PRIORITY, priority);
  out.close(nest);
  out.be32(NFTA_CHAIN.POLICY, policy === 'accept' ? 1 : 0);
  out.text(NFTA_CHAIN.TYPE, type);
}

function encodeRule(state: State, operation: Operation & { object: 'rule' }): void {
  const { out, transaction } = state;
  if (operation.verb === 'delete') {
    const message = begin(state, 'delete', RULE);
    out.text(NFTA_RULE.TABLE, transaction.table);
    out.text(NFTA_RULE.CHAIN, operation.chain);
    out.be64(NFTA_RULE.HANDLE, operation.handle);
    out.endMessage(message);
    return;
  }
  const { chain, rule } = operation;
  const expressions = expressionsOf(transaction.family, rule);
  const sets = encodeAnonymousSets(state, expressions);
  const message = beginAs(state, NFT_MSG.NEWRULE, NLM_F.CREATE | NLM_F.APPEND);
  out.text(NFTA_RULE.TABLE, transaction.table);
  out.text(NFTA_RULE.CHAIN, chain);
  const list = out.open(NFTA_RULE.EXPRESSIONS);
  writeExpressions(out, expressions, sets);
  out.close(list);
  writeComment(out, NFTA_RULE.USERDATA, rule.comment && keptComment(rule.comment));
  out.endMessage(message);
}

const NO_SETS: ReadonlyMap<AnonymousSet, number> = new Map();

/** They come before the rule that they are part of, which refers to them by number. */
function encodeAnonymousSets(state: State, expressions: readonly Expression[]): ReadonlyMap<AnonymousSet, number> {
  let ids: Map<AnonymousSet, number> | undefined;
  for (const expression of expressions) {
    if (expression.name !== 'lookup' || typeof expression.set === 'string') continue;
    const { set } = expression;
    ids ??= new Map();
    const elements = set.elements.map(key => ({ key }));
    const form = { key: set.key, interval: set.interval, anonymous: { size: anonymousSize(set) } };
    ids.set(set, writeSet(state, 'add', ANONYMOUS_NAME, form));
    writeElements(state, 'add', ANONYMOUS_NAME, form, elements, state.setId);
  }
  return ids ?? NO_SETS;
}

/** An interval takes two elements of the kernel's. */
const anonymousSize = ({ key, interval, elements }: AnonymousSet): number =>
  interval && key.length === 1 ? 2 * elements.length : elements.length;

function encodeSet(state: State, verb: Verb, set: SetDeclaration): void {
  if (verb === 'flush') writeElements(state, 'delete', set.name, set, undefined);
  else writeSet(state, verb, set.name, set);
}

/** Gives the number by which the batch can refer to the set. */
function writeSet(state: State, verb: Verb, name: string, set: SetForm): number {
  const { out, transaction } = state;
  const message = begin(state, verb, SET);
  out.text(NFTA_SET.TABLE, transaction.table);
  out.text(NFTA_SET.NAME, name);
  if (verb === 'add' || verb === 'create') writeDeclaration(out, set, ++state.setId);
  out.endMessage(message);
  return state.setId;
}

function encodeElements(state: State, operation: Operation & { object: 'element' }): void {
  const { set, elements, verb } = operation;
  if (elements.length > 0) writeElements(state, verb, set.name, set, elements);
}

/** As many messages as the elements need; without elements, one that stands for all that are there. */
function writeElements(
  state: State,
  verb: Verb,
  name: string,
  set: SetForm,
  elements: readonly Element[] | undefined,
  setId?: number,
): void {
  const { out, transaction } = state;
  const length = keyLength(set.key);
  const keyOnly = verb === 'delete' || verb === 'destroy';
  let next = 0;
  do {
    const message = begin(state, verb, ELEMENT);
    out.text(NFTA_SET_ELEM_LIST.TABLE, transaction.table);
    out.text(NFTA_SET_ELEM_LIST.SET, name);
    if (setId !== undefined) out.be32(NFTA_SET_ELEM_LIST.SET_ID, setId);
    if (elements) {
      const list = out.open(NFTA_SET_ELEM_LIST.ELEMENTS);
      while (next < elements.length && out.length - list < LIST_LIMIT)
        writeElement(out, set, elements[next++]!, length, keyOnly);
      out.close(list);
    }
    out.endMessage(message);
  } while (elements && next < elements.length);
}

function encodeCounter(state: State, { verb, counter }: Operation & { object: 'counter' }): void {
  const { out, transaction } = state;
  const message = begin(state, verb, COUNTER);
  out.text(NFTA_OBJ.TABLE, transaction.table);
  out.text(NFTA_OBJ.NAME, counter.name);
  out.be32(NFTA_OBJ.TYPE, OBJECT_COUNTER);
  if (verb === 'add') {
    out.close(out.open(NFTA_OBJ.DATA));
    writeComment(out, NFTA_OBJ.USERDATA, counter.comment && keptComment(counter.comment));
  }
  out.endMessage(message);
}
