import { TABLE } from '../gate/desired.ts';
import type { Operation } from '../nft/transaction.ts';

/** Operations on our table as lines that `nft -f` would take. */
export async function nftLines(operations: readonly Operation[]): Promise<readonly string[]> {
  const { formatTransaction } = await import('../nft/text.ts');
  return formatTransaction({ family: 'inet', table: TABLE, operations })
    .split('\n')
    .filter(line => line !== '');
}
