/** Matches by which the static chains tell whose packet it is, and whether that pod is closed. */
import type { Prefix } from '../ip/address.ts';
import type { Rule, Statement } from '../nft/model.ts';
import { COUNTER, DROP, match, matchMasked, rule } from '../nft/statements.ts';
import { deleting, leavingMask, quarantine, tagBase, tagMask } from '../tag/tag.ts';

export const fromPod = matchMasked('meta iifgroup', tagMask, '==', tagBase);
export const toPod = matchMasked('meta oifgroup', tagMask, '==', tagBase);
export const notFromPod = matchMasked('meta iifgroup', tagMask, '!=', tagBase);
export const notToPod = matchMasked('meta oifgroup', tagMask, '!=', tagBase);
export const fromNode = match('meta iif', '==', 0);
export const drop = (...matches: Statement[]): readonly Statement[] => [...matches, COUNTER, DROP];

export const loopback: Prefix = { family: 4, value: 0x7f000000n, length: 8 };
export const linkLocal: Prefix = { family: 6, value: 0xfe80n << 112n, length: 10 };

/** What a pod's packet to its own address is called, which only NAT leads out of the pod. */
export const itself = 'a pod to itself, through a service';

/** Two comparisons cost each packet half of what a look-up in a set of the three groups does (`npm run bench -- gate`). */
export const closed = (group: 'meta iifgroup' | 'meta oifgroup'): readonly Rule[] => [
  rule(drop(match(group, '==', quarantine)), 'quarantined'),
  rule(drop(matchMasked(group, leavingMask, '==', deleting)), 'condemned or deleting'),
];
