/** A kernel that knows one table, and refuses what the kernel refuses. */
import { type Nft, NftError } from '../lib/kernel/nft.ts';
import { apply, RefusedError } from '../lib/nft/apply.ts';
import type { Element, Key, NamedSet, Table } from '../lib/nft/model.ts';
import { nameOperation, type Operation, type Transaction } from '../lib/nft/transaction.ts';

export class Kernel {
  table: Table | undefined;
  reads = 0;
  readonly log: string[] = [];
  refuse: (operation: Operation) => string | undefined = () => undefined;

  commit(transaction: Transaction): void {
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
    for (const operation of transaction.operations)
      if (operation.object === 'element')
        for (const { key } of operation.elements)
          this.log.push(`${operation.verb} ${String(key[0])} ${operation.set.name}`);
  }

  readTable(): Table | undefined {
    this.reads++;
    return this.table;
  }

  read() {
    const table = this.readTable();
    return table && { table, owner: false, persist: false };
  }

  lookUp(_: unknown, { name }: NamedSet, keys: readonly Key[]): readonly (Element | undefined)[] {
    const elements = this.table?.sets.find(set => set.name === name)?.elements ?? [];
    return keys.map(key => elements.find(element => element.key.join() === key.join()));
  }

  probeTableFlags() {
    return { owner: true, persist: true };
  }

  /** As what stands for the real one. */
  get nft(): Nft {
    return this as unknown as Nft;
  }
}

const refusal = (transaction: Transaction, operation: Operation | undefined, code: string) =>
  new NftError(transaction, [
    { operation, object: operation ? nameOperation(operation) : 'the batch', errno: 1, code, kernelText: undefined },
  ]);
