/** Tells rules apart by one number each, that of handle and content together. */
import { ruleContentIn } from '../nft/rule-content.ts';

/** From NFT_MSG_NEWRULE. The module is there in calls that have read a file of ours. */
function checksumOf(body: Uint8Array): { readonly chain: string; readonly checksum: number } {
  const { crc32 } = process.getBuiltinModule('node:zlib');
  const { chain, handle, parts } = ruleContentIn(body);
  return { chain, checksum: parts.reduce((sum, part) => crc32(part, sum), handle >>> 0) };
}

/** Of the rules of one chain, or of a table chain by chain, in their order. */
export function ruleChecksums(bodies: readonly Uint8Array[]): Map<string, number[]> {
  const chains = new Map<string, number[]>();
  for (const body of bodies) {
    const { chain, checksum } = checksumOf(body);
    const known = chains.get(chain);
    if (known) known.push(checksum);
    else chains.set(chain, [checksum]);
  }
  return chains;
}
