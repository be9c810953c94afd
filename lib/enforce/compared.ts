/** A table that is read whole and made what it should be, on condition that no other program commits in between. */

import { TABLE_NAME } from '../gate/desired.ts';
import { type Nft, NftError, nextGeneration, type ReadTable } from '../kernel/nft.ts';
import type { Transaction } from '../nft/transaction.ts';

/** A table is compared anew this often where other programs commit meanwhile. */
const COMPARISONS = 8;

const isDisturbed = (error: unknown): boolean => error instanceof NftError && error.code === 'ERESTART';

export interface Compared {
  /** What it took. */
  readonly transaction: Transaction;
  /** The one in which the table is what it should be; undefined where other programs' commits kept coming. */
  readonly generation: number | undefined;
}

/**
 * Reads the whole table and commits what `change` makes of it, on condition that no other program has committed since, as far as
 * these give it a chance.
 * @throws NftError where the kernel refuses
 */
export function commitCompared(nft: Nft, change: (have: ReadTable | undefined) => Transaction): Compared {
  for (let attempt = 1; ; attempt++) {
    const before = nft.generation();
    const have = nft.read(TABLE_NAME);
    const transaction = change(have);
    // Of a table that is not there the batch makes one, and fails where another one was quicker.
    const generation = attempt === COMPARISONS ? undefined : have ? have.generation : before;
    try {
      nft.commit(transaction, generation === undefined ? {} : { generation });
    } catch (error) {
      if (!isDisturbed(error) || attempt === COMPARISONS) throw error;
      continue;
    }
    const isSame = transaction.operations.length === 0;
    return { transaction, generation: generation === undefined || isSame ? generation : nextGeneration(generation) };
  }
}
