/** Tells rules apart by one number each, that of handle and content together. */
import { ruleContentIn } from '../nft/rule-content.ts';

/**
 * Of rules chain by chain, in their order.
 * @param bodies of NFT_MSG_NEWRULE
 */
export function ruleChecksums(bodies: readonly Uint8Array[]): Map<string, number[]> {
  // Calls that have read a file of ours have loaded it.
  const { crc32 } = process.getBuiltinModule('node:zlib');
  const chains = new Map<string, number[]>();
  for (const body of bodies) {
    const { chain, handle, expressions } = ruleContentIn(body);
    let checksum = handle >>> 0;
    for (const expression of expressions) checksum = crc32(expression, checksum);
    const known = chains.get(chain);
    if (known) known.push(checksum);
    else chains.set(chain, [checksum]);
  }
  return chains;
}
