/** A kernel that knows one table, and refuses what the kernel refuses. */

import { type Nft, nextGeneration, type TableChecksums } from '../../lib/kernel/nft.ts';
import { NftError } from '../../lib/kernel/nft-refusal.ts';
import type { EncodeOptions } from '../../lib/nft/encode.ts';
import type { Element, Key, NamedSet, Rule, Table } from '../../lib/nft/model.ts';
import { nameOperation, type Operation, type Transaction } from '../../lib/nft/transaction.ts';
import { apply, RefusedError } from './applied-nft.ts';

export class Kernel {
  table: Table | undefined;
  reads = 0;
  readonly log: string[] = [];
  refuse: (operation: Operation) => string | undefined = () => undefined;

  #generation = 1;
  #handles = 0;
  /** By rule and chain. A rule that is the same value is the same rule until it is added again. */
  readonly #handleOf = new WeakMap<Rule, Map<string, number>>();

  commit(transaction: Transaction, { generation }: EncodeOptions = {}): void {
    if (transaction.operations.length === 0) return;
    if (generation !== undefined && generation !== this.#generation) throw refusal(transaction, undefined, 'ERESTART');
    for (const operation of transaction.operations) {
      const code = this.refuse(operation);
      if (code) throw refusal(transaction, operation, code);
    }
    try {
      this.table = apply(this.table, transaction);
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      throw refusal(transaction, undefined, error.code);
    }
    this.#generation = nextGeneration(this.#generation);
    for (const operation of transaction.operations)
      if (operation.object === 'element')
        for (const { key } of operation.elements)
          this.log.push(`${operation.verb} ${String(key[0])} ${operation.set.name}`);
      else if (operation.object === 'rule' && operation.verb === 'add')
        this.#handleOf.get(operation.rule)?.delete(operation.chain);
  }

  readTable(): Table | undefined {
    this.reads++;
    return this.table;
  }

  read() {
    const table = this.readTable();
    return table && { table, owner: false, persist: false, generation: this.#generation };
  }

  lookUp(_: unknown, { name }: NamedSet, keys: readonly Key[]): readonly (Element | undefined)[] {
    const elements = this.table?.sets.find(set => set.name === name)?.elements ?? [];
    return keys.map(key => elements.find(element => element.key.join() === key.join()));
  }

  lookUpAfter(table: unknown, set: NamedSet, keys: readonly Key[]) {
    return { generation: this.#generation, elements: this.lookUp(table, set, keys) };
  }

  generation(): number {
    return this.#generation;
  }

  /** Another program's commit, in a table of its own or in ours. */
  meddle(change: (table: Table) => Table = table => table): void {
    this.table &&= change(this.table);
    this.#generation = nextGeneration(this.#generation);
  }

  readChecksums(_: unknown, chains?: readonly string[]): TableChecksums | undefined {
    const { table } = this;
    if (!table) return undefined;
    const rulesOf = (name: string): readonly Rule[] => table.chains.find(chain => chain.name === name)?.rules ?? [];
    const names = chains ?? table.chains.map(({ name }) => name);
    return {
      table: 1,
      isDormant: table.dormant ?? false,
      chains: new Map(names.map(name => [name, rulesOf(name).map(rule => this.#handle(name, rule))])),
    };
  }

  readSetSizes(_: unknown, names?: readonly string[]): ReadonlyMap<string, number> {
    const sets = (this.table?.sets ?? []).filter(({ name }) => names?.includes(name) ?? true);
    return new Map(sets.map(({ name, elements }) => [name, elements.length]));
  }

  #handle(chain: string, rule: Rule): number {
    const known = this.#handleOf.get(rule) ?? new Map<string, number>();
    this.#handleOf.set(rule, known);
    const handle = known.get(chain) ?? ++this.#handles;
    known.set(chain, handle);
    return handle;
  }

  /** As of a table that this connection made, or may adopt. */
  tableState() {
    return this.table && { handle: 1, isDormant: false, isOwned: false, isPersistent: true };
  }

  probeTableFlags() {
    return { owner: true, persist: true };
  }

  /** This fake, typed as the connection that it replaces. */
  get nft(): Nft {
    return this as unknown as Nft;
  }
}

const refusal = (transaction: Transaction, operation: Operation | undefined, code: string) =>
  new NftError(transaction, [
    { operation, object: operation ? nameOperation(operation) : 'the batch', errno: 1, code, kernelText: undefined },
  ]);
