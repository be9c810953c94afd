/** Which policies a refusal of the kernel is about: those whose chains or sets it names. */
import type { Operation } from '../nft/transaction.ts';
import { isByNumber, type Ruleset } from '../policy/compile/ruleset.ts';

/** Operations of a transaction that the kernel refused; undefined where it names none. */
interface Refused {
  readonly refusals: readonly { readonly operation?: Operation | undefined }[];
}

/** @returns `Kind/namespace/name` of each, in order */
export function policiesRefused({ refusals }: Refused, { chains }: Ruleset): string[] {
  const names = new Set<string>();
  for (const { operation } of refusals) {
    if (operation?.object === 'chain') names.add(operation.chain.name);
    else if (operation?.object === 'rule') names.add(operation.chain);
    else if (operation?.object === 'set' || operation?.object === 'element') names.add(operation.set.name);
  }
  const policies = [...chains.values()].flatMap(chain => {
    if (isByNumber(chain)) return names.has(chain.name) ? chain.policies : [];
    return chain.rules
      .filter(({ peers }) => names.has(chain.name) || (peers !== 'any' && names.has(peers.name)))
      .flatMap(({ origins }) => origins.map(({ policy }) => policy));
  });
  return [...new Set(policies)].sort();
}
