/** A network namespace with a socket to its nf_tables, for all tests of a file. */
import { after } from 'node:test';
import { inNetns } from '../../lib/kernel/netns.ts';
import { Nft } from '../../lib/kernel/nft.ts';
import { makeNetns, type Netns } from './netns.ts';

/** Made at once, and gone after the file's last test. */
export function nftInNetns(): { readonly netns: Netns; readonly nft: Nft } {
  const netns = makeNetns();
  const nft = inNetns(netns, () => Nft.open());
  after(() => {
    nft[Symbol.dispose]();
    netns[Symbol.dispose]();
  });
  return { netns, nft };
}
