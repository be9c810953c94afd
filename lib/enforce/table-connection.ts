import type { Nft } from '../kernel/nft.ts';

/** Connection through which a table is read and written: the kernel's nftables, or a fake of it. */
export type TableConnection = Pick<
  Nft,
  | 'commit'
  | 'generation'
  | 'lookUp'
  | 'lookUpAfter'
  | 'probeTableFlags'
  | 'read'
  | 'readChecksums'
  | 'readSetSizes'
  | 'readTable'
  | 'tableState'
>;
