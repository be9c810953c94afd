/**
 * Applies a transaction to a table value, or tells why the kernel would refuse it: a stand-in for nf_tables that rejects
 * what it rejects (jumps to missing chains, lookups in missing sets, deletion of what is in use, loops, overlaps).
 */

import { boundsOf, isSingle, keyId, keyLength } from '../../lib/nft/datatype.ts';
import type {
  Chain,
  CounterStatement,
  Datum,
  Element,
  Key,
  NamedSet,
  Rule,
  Selector,
  Statement,
  Table,
} from '../../lib/nft/model.ts';
import { chainOf, counterOf, referencesOf } from '../../lib/nft/reference.ts';
import { typesOf } from '../../lib/nft/selector.ts';
import { nameOperation, type Operation, type SetDeclaration, type Transaction } from '../../lib/nft/transaction.ts';

/** A refusal, with the errno that the kernel gives. Nothing of the transaction took effect. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  readonly code: string;

  constructor(operation: string, code: string, reason: string) {
    super(`Cannot ${operation}: ${code} (${reason})`);
    this.code = code;
  }
}

interface Draft {
  comment: string | undefined;
  readonly chains: Map<string, Chain & { rules: Rule[] }>;
  readonly sets: Map<string, { readonly set: SetDeclaration; readonly elements: Map<string, Element> }>;
  readonly counters: Map<string, CounterStatement>;
}

type Refuse = (code: string, reason: string) => never;

/** @throws RefusedError */
export function apply(have: Table | undefined, transaction: Transaction): Table | undefined {
  let draft = have && draftOf(have);
  for (const operation of transaction.operations) {
    const name = `${operation.verb} ${nameOperation(operation)}`;
    const refuse: Refuse = (code, reason) => {
      throw new RefusedError(name, code, reason);
    };
    if (operation.object === 'table') draft = applyToTable(draft, operation, refuse);
    else applyOperation(draft ?? refuse('ENOENT', 'no such table'), operation, refuse);
  }
  if (!draft) return undefined;
  refuseLoops(draft);
  return tableOf(transaction, draft);
}

function draftOf({ comment, chains, sets, counters }: Table): Draft {
  return {
    comment,
    chains: new Map(chains.map(chain => [chain.name, { ...chain, rules: [...chain.rules] }])),
    sets: new Map(
      sets.map(set => [
        set.name,
        { set, elements: new Map(set.elements.map(element => [keyId(element.key), element])) },
      ]),
    ),
    counters: new Map(counters.map(counter => [counter.name, counter])),
  };
}

const tableOf = ({ family, table }: Transaction, { comment, chains, sets, counters }: Draft): Table => ({
  family,
  name: table,
  ...(comment === undefined ? {} : { comment }),
  chains: [...chains.values()],
  sets: [...sets.values()].map(({ set, elements }) => ({ ...set, elements: [...elements.values()] })),
  counters: [...counters.values()],
});

function applyToTable(
  draft: Draft | undefined,
  operation: Operation & { object: 'table' },
  refuse: Refuse,
): Draft | undefined {
  if (operation.verb !== 'add' && operation.verb !== 'create')
    return draft || operation.verb === 'destroy' ? undefined : refuse('ENOENT', 'no such table');
  if (draft) return operation.verb === 'add' ? draft : refuse('EEXIST', 'the table exists');
  return { comment: operation.comment, chains: new Map(), sets: new Map(), counters: new Map() };
}

function applyOperation(draft: Draft, operation: Exclude<Operation, { object: 'table' }>, refuse: Refuse): void {
  switch (operation.object) {
    case 'chain':
      applyToChain(draft, operation, refuse);
      return;
    case 'rule':
      addRule(draft, operation, refuse);
      return;
    case 'set':
      applyToSet(draft, operation, refuse);
      return;
    case 'element':
      applyToElements(draft, operation, refuse);
      return;
    case 'counter':
      applyToCounter(draft, operation, refuse);
      return;
  }
}

function applyToChain(draft: Draft, operation: Operation & { object: 'chain' }, refuse: Refuse): void {
  const { verb, chain } = operation;
  const present = draft.chains.get(chain.name);
  if (verb === 'add' || verb === 'create') {
    if (present && verb === 'create') refuse('EEXIST', 'the chain exists');
    const { comment, base } = operation.chain;
    const declaration = { name: chain.name, ...(comment === undefined ? {} : { comment }), ...(base ? { base } : {}) };
    draft.chains.set(chain.name, present ? { ...present, ...(base ? { base } : {}) } : { ...declaration, rules: [] });
    return;
  }
  if (!present) {
    if (verb !== 'destroy') refuse('ENOENT', 'no such chain');
    return;
  }
  if (verb === 'flush') {
    present.rules.length = 0;
    return;
  }
  const user = [...draft.chains.values()].find(
    ({ name, rules }) => name !== chain.name && rules.some(rule => referencesOf(rule).chains.includes(chain.name)),
  );
  if (user) refuse('EBUSY', `chain ${user.name} jumps to it`);
  for (const { set, elements } of draft.sets.values())
    for (const element of elements.values())
      if (chainOf(element) === chain.name) refuse('EBUSY', `map ${set.name} leads to it`);
  draft.chains.delete(chain.name);
}

function addRule(draft: Draft, operation: Operation & { object: 'rule' }, refuse: Refuse): void {
  if (operation.verb === 'delete') refuse('EOPNOTSUPP', 'a table value has no rule handles');
  const chain = draft.chains.get(operation.chain) ?? refuse('ENOENT', 'no such chain');
  const { chains, counters } = referencesOf(operation.rule);
  for (const name of chains) refuseTarget(draft, name, refuse);
  for (const name of counters) if (!draft.counters.has(name)) refuse('ENOENT', `no counter ${name}`);
  for (const statement of operation.rule.statements) checkSet(draft, statement, refuse);
  chain.rules.push(operation.rule);
}

function refuseTarget({ chains }: Draft, name: string, refuse: Refuse): void {
  const target = chains.get(name) ?? refuse('ENOENT', `no chain ${name}`);
  if (target.base) refuse('EOPNOTSUPP', `${name} is a base chain`);
}

type Use = readonly [key: readonly Selector[], set: string, fits: (value: SetDeclaration['value']) => boolean];

/** The named set that a statement looks into, and the types that the set may map to. */
function useOf(statement: Statement): Use | undefined {
  switch (statement.kind) {
    case 'lookup':
      return typeof statement.set === 'string' ? [statement.key, statement.set, () => true] : undefined;
    case 'vmap':
      return [statement.key, statement.map, value => value === 'verdict'];
    case 'counter-map':
      return [statement.key, statement.map, value => value === 'counter'];
    case 'mark-map':
      return [statement.key, statement.map, value => String(value) === 'mark'];
    case 'dnat':
    case 'snat':
      return 'map' in statement.to
        ? [statement.to.key, statement.to.map, value => typeof value === 'object']
        : undefined;
    default:
      return undefined;
  }
}

/** The set must be there, and its key as long as what is looked up, which the kernel does not check. */
function checkSet(draft: Draft, statement: Statement, refuse: Refuse): void {
  const use = useOf(statement);
  if (!use) return;
  const [key, name, fits] = use;
  const { set } = draft.sets.get(name) ?? refuse('ENOENT', `no set ${name}`);
  if (keyLength(set.key) !== keyLength(typesOf(key))) refuse('EINVAL', `${name} has keys of another length`);
  if (!fits(set.value)) refuse('EINVAL', `${name} maps to something else`);
}

function applyToSet(draft: Draft, { verb, set }: Operation & { object: 'set' }, refuse: Refuse): void {
  const present = draft.sets.get(set.name);
  if (verb === 'add' || verb === 'create') {
    if (present && verb === 'create') refuse('EEXIST', 'the set exists');
    const { elements: _, ...declaration } = set as NamedSet;
    if (!present) draft.sets.set(set.name, { set: declaration, elements: new Map() });
    return;
  }
  if (!present) {
    if (verb !== 'destroy') refuse('ENOENT', 'no such set');
    return;
  }
  if (verb === 'flush') {
    present.elements.clear();
    return;
  }
  for (const { name, rules } of draft.chains.values())
    if (rules.some(rule => referencesOf(rule).sets.includes(set.name))) refuse('EBUSY', `chain ${name} looks it up`);
  draft.sets.delete(set.name);
}

function applyToElements(draft: Draft, operation: Operation & { object: 'element' }, refuse: Refuse): void {
  const { verb, elements } = operation;
  const present = draft.sets.get(operation.set.name) ?? refuse('ENOENT', 'no such set');
  for (const element of elements) {
    const id = keyId(element.key);
    const old = present.elements.get(id);
    if (verb === 'delete' || verb === 'destroy') {
      if (!old && verb === 'delete') refuse('ENOENT', `no element ${id}`);
      present.elements.delete(id);
      continue;
    }
    const target = chainOf(element);
    if (target !== undefined) refuseTarget(draft, target, refuse);
    const counter = counterOf(element);
    if ((counter !== undefined) !== (present.set.value === 'counter')) refuse('EINVAL', `${id} maps to something else`);
    if (counter !== undefined && !draft.counters.has(counter)) refuse('ENOENT', `no counter ${counter}`);
    if (old && (verb === 'create' || JSON.stringify(old.value, text) !== JSON.stringify(element.value, text)))
      refuse('EEXIST', `element ${id} exists`);
    if (!old) {
      if (present.set.interval) refuseOverlap(present.elements, element.key, refuse);
      else if (!element.key.every(isSingle)) refuse('EINVAL', 'no interval set');
      present.elements.set(id, element);
    }
  }
}

const text = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);

function refuseOverlap(elements: ReadonlyMap<string, Element>, key: Key, refuse: Refuse): void {
  for (const other of elements.values())
    if (other.key.every((datum, i) => overlaps(datum, key[i]!))) refuse('EEXIST', `overlaps ${keyId(other.key)}`);
}

function overlaps(a: Datum, b: Datum): boolean {
  const one = boundsOf(a);
  const other = boundsOf(b);
  return one.first <= other.last && other.first <= one.last;
}

function applyToCounter(draft: Draft, { verb, counter }: Operation & { object: 'counter' }, refuse: Refuse): void {
  const present = draft.counters.get(counter.name);
  if (verb === 'add') {
    if (!present) draft.counters.set(counter.name, counter);
    return;
  }
  if (!present && verb === 'delete') refuse('ENOENT', 'no such counter');
  for (const { name, rules } of draft.chains.values())
    if (rules.some(rule => referencesOf(rule).counters.includes(counter.name)))
      refuse('EBUSY', `chain ${name} counts with it`);
  for (const { set, elements } of draft.sets.values())
    for (const element of elements.values())
      if (counterOf(element) === counter.name) refuse('EBUSY', `map ${set.name} leads to it`);
  draft.counters.delete(counter.name);
}

/** Jumps must end: the kernel walks them from each base chain before it commits. */
function refuseLoops(draft: Draft): void {
  const finished = new Set<string>();
  const open = new Set<string>();
  const visit = (name: string): void => {
    if (finished.has(name)) return;
    if (open.has(name)) throw new RefusedError(`commit chain ${name}`, 'EMLINK', 'it leads to itself');
    open.add(name);
    for (const target of targetsOf(draft, name)) visit(target);
    open.delete(name);
    finished.add(name);
  };
  for (const { name, base } of draft.chains.values()) if (base) visit(name);
}

function* targetsOf({ chains, sets }: Draft, name: string): Iterable<string> {
  for (const rule of chains.get(name)?.rules ?? []) {
    yield* referencesOf(rule).chains;
    for (const statement of rule.statements) {
      if (statement.kind !== 'vmap') continue;
      for (const element of sets.get(statement.map)?.elements.values() ?? []) {
        const target = chainOf(element);
        if (target !== undefined) yield target;
      }
    }
  }
}
