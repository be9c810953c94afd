/** Why the kernel refused a transaction of nf_tables, in words. */

import { formatKey } from '../nft/datatype.ts';
import { keyIn } from '../nft/decode-set.ts';
import type { Batch } from '../nft/encode.ts';
import { nameOperation, type Operation, type Transaction } from '../nft/transaction.ts';
import { describeErrno, errnoName } from './ffi.ts';
import type { BatchError } from './netlink.ts';

export interface Refusal {
  /** The operation that the kernel refused; undefined where it refused the batch as a whole. */
  readonly operation: Operation | undefined;
  /** The object in words: `add element 10.0.0.7 of set peers-1`. */
  readonly object: string;
  readonly errno: number;
  readonly code: string;
  readonly kernelText: string | undefined;
}

/** The kernel refused the transaction: nothing of it is in force. */
export class NftError extends Error {
  override readonly name = 'NftError';
  readonly refusals: readonly Refusal[];
  /** Code of the first refusal: `ENOENT`, `EEXIST`, `EBUSY`, `EPERM`, or `ERESTART` for another generation. */
  readonly code: string;

  constructor({ family, table }: Transaction, refusals: readonly Refusal[]) {
    const shown = refusals.slice(0, 3).map(({ object, errno, kernelText }) => {
      return `${object}: ${describeErrno(errno)}${kernelText ? `: ${kernelText}` : ''}`;
    });
    const more = refusals.length > shown.length ? `; and ${refusals.length - shown.length} more` : '';
    super(`Cannot change table ${family} ${table}: ${shown.join('; ')}${more}`);
    this.refusals = refusals;
    this.code = refusals[0]?.code ?? 'EIO';
  }
}

export function refusalOf(batch: Batch, { seq, errno, kernelText, offset }: BatchError): Refusal {
  const operation = batch.operationOf(seq);
  const object = operation ? `${operation.verb} ${nameRefused(batch, seq, operation, offset)}` : 'the batch';
  return { operation, object, errno, code: errnoName(errno), kernelText };
}

/** The kernel points at the attribute that it did not like; in a list of elements that is the element. */
function nameRefused(batch: Batch, seq: number, operation: Operation, offset: number | undefined): string {
  const name = nameOperation(operation);
  const start = batch.startOf(seq);
  if (operation.object !== 'element' || offset === undefined || start === undefined) return name;
  const at = start + offset;
  const length = (batch.bytes[at] ?? 0) | ((batch.bytes[at + 1] ?? 0) << 8);
  const key = keyIn(operation.set, batch.bytes.subarray(at + 4, at + length));
  return key ? `${formatKey(operation.set.key, key)} of ${name}` : name;
}
