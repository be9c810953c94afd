import type { Nft } from '../kernel/nft.ts';

/** What a table is read and written through: the kernel's nftables, or a fake of it. */
export type TableConnection = Pick<
  Nft,
  'commit' | 'generation' | 'lookUp' | 'probeTableFlags' | 'read' | 'readHandles' | 'readSetSizes' | 'readTable'
>;
