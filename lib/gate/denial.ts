/** How a chain denies: the log line that `tollgate flows` reads, and the counted drop. */

import type { Rule } from '../nft/model.ts';
import { COUNTER, DROP, rule } from '../nft/statements.ts';

/** Bursts are what a person wants to see; a flood is summed up by the counter. */
const LOG_RATE = { kind: 'limit', rate: 100, per: 'second', burst: 500 } as const;
/** Enough for the headers of IPv6 with options and of the transport. */
const LOG_SNAPLEN = 128;

/** The last two rules of a chain that denies: what is logged is limited, what is counted is not. */
export function denial(prefix: string, group: number, comment = 'nothing above allowed it'): readonly Rule[] {
  return [rule([LOG_RATE, { kind: 'log', prefix, group, snaplen: LOG_SNAPLEN }]), rule([COUNTER, DROP], comment)];
}

/** A nflog prefix that says which direction and chain denied; `flows` reads it back. */
export const denialPrefix = (chain: string): string => `tollgate ${chain}`;
