/**
 * A change to one table as a value: operations in the order in which the kernel takes them, all or nothing.
 * It prints as nft text (`text.ts`) and is sent as one netlink batch (`encode.ts`).
 */

import type { Chain, CounterStatement, Element, NamedSet, Rule, Table, TableFamily } from './model.ts';

/** A set without what is in it. */
export type SetDeclaration = Omit<NamedSet, 'elements'>;
/** A chain without its rules. */
export type ChainDeclaration = Omit<Chain, 'rules'>;

/**
 * nft's verbs. `add` leaves alone what is there already, `create` refuses then; `delete` refuses where there is nothing,
 * `destroy` does not; `flush` empties.
 */
export type Operation =
  | {
      readonly verb: 'add' | 'create';
      readonly object: 'table';
      readonly comment?: string;
      /** NFT_TABLE_F_OWNER: only the socket that sends this may change the table, for as long as it is open. */
      readonly owner?: boolean;
      /** NFT_TABLE_F_PERSIST: the table outlives its owner. */
      readonly persist?: boolean;
    }
  | { readonly verb: 'delete' | 'destroy'; readonly object: 'table' }
  | {
      readonly verb: 'add' | 'create' | 'delete' | 'destroy';
      readonly object: 'chain';
      readonly chain: ChainDeclaration;
    }
  | { readonly verb: 'flush'; readonly object: 'chain'; readonly chain: { readonly name: string } }
  /** Appended. */
  | { readonly verb: 'add'; readonly object: 'rule'; readonly chain: string; readonly rule: Rule }
  | { readonly verb: 'delete'; readonly object: 'rule'; readonly chain: string; readonly handle: number }
  | { readonly verb: 'add' | 'create' | 'delete' | 'destroy'; readonly object: 'set'; readonly set: SetDeclaration }
  | { readonly verb: 'flush'; readonly object: 'set'; readonly set: SetDeclaration }
  | {
      readonly verb: 'add' | 'create' | 'delete' | 'destroy';
      readonly object: 'element';
      readonly set: SetDeclaration;
      readonly elements: readonly Element[];
    }
  | { readonly verb: 'add' | 'delete' | 'destroy'; readonly object: 'counter'; readonly counter: CounterStatement };

export interface Transaction {
  readonly family: TableFamily;
  readonly table: string;
  readonly operations: readonly Operation[];
}

export interface Ownership {
  readonly owner?: boolean;
  readonly persist?: boolean;
}

/** Makes the whole table where there is none; the kernel refuses where the table exists. */
export function createTable(table: Table, ownership: Ownership = {}): Transaction {
  const { family, name, comment } = table;
  const head: Operation = {
    verb: 'create',
    object: 'table',
    ...(comment === undefined ? {} : { comment }),
    ...ownership,
  };
  return { family, table: name, operations: [head, ...contentOf(table)] };
}

/** Makes the sender the owner of a persistent table whose owner has gone: the first operation of its first change. */
export const ADOPT: Operation = { verb: 'add', object: 'table', owner: true, persist: true };

/** Everything in the table, in an order in which each thing comes after what it refers to. */
export function contentOf({ chains, sets, counters }: Omit<Table, 'family' | 'name'>): Operation[] {
  const operations: Operation[] = [];
  for (const chain of chains) operations.push({ verb: 'create', object: 'chain', chain });
  for (const counter of counters) operations.push({ verb: 'add', object: 'counter', counter });
  for (const set of sets) operations.push({ verb: 'create', object: 'set', set });
  for (const set of sets)
    if (set.elements.length > 0) operations.push({ verb: 'add', object: 'element', set, elements: set.elements });
  for (const { name, rules } of chains)
    for (const rule of rules) operations.push({ verb: 'add', object: 'rule', chain: name, rule });
  return operations;
}

/** "chain in-3fa2", "element 10.0.0.7 of set peers-1": what an error message calls the operation's object. */
export function nameOperation(operation: Operation): string {
  switch (operation.object) {
    case 'table':
      return 'table';
    case 'chain':
      return `chain ${operation.chain.name}`;
    case 'rule':
      return operation.verb === 'delete'
        ? `rule ${operation.handle} of chain ${operation.chain}`
        : `rule of chain ${operation.chain}${operation.rule.comment ? ` (${operation.rule.comment})` : ''}`;
    case 'set':
      return `${operation.set.value ? 'map' : 'set'} ${operation.set.name}`;
    case 'element':
      return `elements of ${operation.set.value ? 'map' : 'set'} ${operation.set.name}`;
    case 'counter':
      return `counter ${operation.counter.name}`;
  }
}
