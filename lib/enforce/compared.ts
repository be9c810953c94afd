/** A table that is read whole and made what it should be, on condition that no other program commits in between. */

import { TABLE_NAME } from '../gate/desired.ts';
import { policySets } from '../gate/steps.ts';
import { nextGeneration, type ReadTable } from '../kernel/nft.ts';
import { NftError } from '../kernel/nft-refusal.ts';
import { diff } from '../nft/diff.ts';
import type { Table } from '../nft/model.ts';
import { ADOPT, type Transaction } from '../nft/transaction.ts';
import { ownerIn, refuseOtherOwner } from './owner.ts';
import type { TableConnection } from './table-connection.ts';

/** A table is compared anew this often where other programs commit meanwhile. */
const COMPARISONS = 8;

/** The kernel's word that another program has committed meanwhile. */
export const isDisturbed = (error: unknown): boolean => error instanceof NftError && error.code === 'ERESTART';

/** The kernel's word that the table is not, or may not be, the one that a batch begins from. */
export const isStale = (error: unknown): boolean =>
  error instanceof NftError && error.refusals.some(({ code }) => ['ENOENT', 'EEXIST', 'ERESTART'].includes(code));

/**
 * Whether the table holds nothing that it was given: another program deleted or flushed it, or a chain of it. Neither a release
 * that makes other chains nor a change of policies empties one.
 */
export const isEmptied = (have: Table | undefined, want: Table): boolean =>
  have === undefined ||
  want.chains.some(
    ({ name, rules }) => rules.length > 0 && have.chains.find(each => each.name === name)?.rules.length === 0,
  );

export interface Compared {
  /** The table that was read. */
  readonly have: Table | undefined;
  /** The operations that were committed. */
  readonly transaction: Transaction;
  /** The generation in which the table is as desired; undefined where other programs' commits kept coming. */
  readonly generation: number | undefined;
}

/**
 * Reads the whole table and commits what `change` makes of it, on condition that no other program has committed since, as far as
 * these give it a chance.
 * @throws NftError where the kernel refuses
 */
function commitCompared(nft: TableConnection, change: (have: ReadTable | undefined) => Transaction): Compared {
  for (let attempt = 1; ; attempt++) {
    const before = nft.generation();
    const have = nft.read(TABLE_NAME);
    const transaction = change(have);
    // Where there is no table the batch creates it, and fails where another process was quicker.
    const generation = attempt === COMPARISONS ? undefined : have ? have.generation : before;
    try {
      nft.commit(transaction, generation === undefined ? {} : { generation });
    } catch (error) {
      if (!isDisturbed(error) || attempt === COMPARISONS) throw error;
      continue;
    }
    const isSame = transaction.operations.length === 0;
    const reached = generation === undefined || isSame ? generation : nextGeneration(generation);
    return { have: have?.table, transaction, generation: reached };
  }
}

/**
 * Makes the whole table what it should be.
 * @param isOwned whether this connection is to own it
 * @throws CniError code 7 where it is another owner's, NftError where the kernel refuses
 */
export function commitWhole(nft: TableConnection, want: Table, isOwned: boolean): Compared {
  const options = { ...(isOwned ? { owner: true, persist: true } : {}), ...policySets };
  return commitCompared(nft, have => {
    const [owner, found] = [ownerIn(want), ownerIn(have?.table)];
    if (owner) refuseOtherOwner(owner, found);
    const { operations, ...table } = diff(have?.table, want, options);
    const adopts = isOwned && have?.persist === true && !have.owner;
    return { ...table, operations: adopts ? [ADOPT, ...operations] : operations };
  });
}
