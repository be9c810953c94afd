/** How a chain denies: the log line that `tollgate flows` reads, and the counted drop. */

import type { RuleCount } from '../nft/decode.ts';
import type { LogStatement, Rule } from '../nft/model.ts';
import { COUNTER, DROP, match, rule } from '../nft/statements.ts';
import type { DenyingRule } from '../policy/compile/ruleset.ts';

/** Bursts are what a person wants to see; a flood is summed up by the counter. */
const LOG_RATE = { kind: 'limit', rate: 100, per: 'second', burst: 500 } as const;
/** Enough for the headers of IPv6 with options and of the transport. */
const LOG_SNAPLEN = 128;

const log = (prefix: string, group: number): LogStatement => ({ kind: 'log', prefix, group, snaplen: LOG_SNAPLEN });

/** The last two rules of a chain that denies: what is logged is limited, what is counted is not. */
export function denial(prefix: string, group: number, comment = 'nothing above allowed it'): readonly Rule[] {
  return [rule([LOG_RATE, log(prefix, group)]), rule([COUNTER, DROP], comment)];
}

/** Counts and logs what has the number; the chain's end drops it. */
export const denialByNumber = (number: number, prefix: string, group: number, comment: string): Rule =>
  rule([match('meta mark', '==', number), COUNTER, LOG_RATE, log(prefix, group)], comment);

/** `in-1a2b`, or `in-1a2b/9a3f21c4`: one text for each. */
export const denialName = ({ chain, number }: DenyingRule): string =>
  number === undefined ? chain : `${chain}/${number.toString(16)}`;

export function parseDenial(name: string): DenyingRule {
  const [chain = '', number] = name.split('/');
  return number === undefined ? { chain } : { chain, number: Number.parseInt(number, 16) };
}

const WHOSE = 'tollgate';

/** A nflog prefix that says what denied; `saidByPrefix` reads it back. */
export const denialPrefix = (denial: DenyingRule): string => `${WHOSE} ${denialName(denial)}`;

export interface LoggedDenial {
  /** @see denialName */
  readonly denial: string;
  /** Tier, policy and rule, as far as a prefix reaches; for people. */
  readonly rule?: string;
}

/** Undefined for a prefix that is not ours. */
export function saidByPrefix(prefix: string): LoggedDenial | undefined {
  const [whose, denial = '', ...words] = prefix.trim().split(' ');
  if (whose !== WHOSE) return undefined;
  return words.length === 0 ? { denial } : { denial, rule: words.join(' ') };
}

/** What a rule that counts has denied: it says so itself where it logs, too, else it is the end of its chain. */
export const countedDenial = ({ chain, prefix }: Pick<RuleCount, 'chain' | 'prefix'>): string =>
  (prefix === undefined ? undefined : saidByPrefix(prefix)?.denial) ?? chain;
