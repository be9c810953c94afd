/**
 * Who owns a table (NFT_TABLE_F_OWNER, Linux 5.12; NFT_TABLE_F_PERSIST, 6.9), as found on 6.18; test/kernel/nft-owner.test.ts
 * holds each line:
 * - The owner is the socket that makes (or adopts) the table with the flag OWNER. While it is open, any other socket gets
 *   EPERM for whatever it would change in the table, and `nft flush ruleset` of another process passes it over.
 *   Any other socket may read it: nft 1.0.6 lists it.
 * - When that socket closes, a table without PERSIST goes. With PERSIST it stays without an owner: any process may change
 *   it without adopting it, and `nft flush ruleset` deletes it.
 * - A socket adopts an orphan by `add table` with the flags OWNER and PERSIST (in the batch with which it changes it, say).
 *   `add table` with flags that are not the table's is EOPNOTSUPP otherwise: no flags on a persistent table, OWNER on a
 *   table that was made without PERSIST.
 */

import type { Nft } from './nft.ts';

export interface TableFlags {
  readonly owner: boolean;
  readonly persist: boolean;
}

/**
 * Which table flags the kernel knows. It is asked to make a table in a batch that fails for another reason, so that nothing is
 * ever committed: what matters is whether it refuses the table as well.
 */
export function probeTableFlags(nft: Pick<Nft, 'wouldRefuse'>): TableFlags {
  const knows = (flags: TableFlags): boolean =>
    nft.wouldRefuse({
      family: 'inet',
      table: 'tollgate-probe',
      operations: [{ verb: 'create', object: 'table', ...flags }],
    }).length === 0;
  const persist = knows({ owner: true, persist: true });
  return { owner: persist || knows({ owner: true, persist: false }), persist };
}
