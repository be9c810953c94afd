/**
 * Switches on conntrack's counts for each connection: packets and bytes, and when it began and ended. Both cost a little for
 * every packet of the node, so they are on only where the agent's settings ask for them.
 */

import { messageOf } from '../cni/error.ts';
import { findSysctl, type SysctlKey, writeSysctl } from '../kernel/sysctl.ts';
import type { Log } from '../rpc/log.ts';

const accounting: readonly SysctlKey[] = ['netfilter/nf_conntrack_acct', 'netfilter/nf_conntrack_timestamp'];
const EVENTS: SysctlKey = 'netfilter/nf_conntrack_events';

/** Switches the counts on until the result is disposed of; connections that are tracked already go on without them. */
export function useAccounting(log: Log): Disposable {
  const undo = new DisposableStack();
  const set = (key: SysctlKey, value: 0 | 1): boolean => {
    try {
      return writeSysctl(key, value);
    } catch (error) {
      log('warn', `Cannot switch conntrack's accounting: ${messageOf(error)}`);
      return false;
    }
  };
  for (const key of accounting) if (findSysctl(key) === '0' && set(key, 1)) undo.defer(() => void set(key, 0));
  return undo;
}

/** The parts of conntrack's accounting that are on: a node that records flows lacks the others. */
export interface AccountingState {
  /** Bytes and packets are counted. */
  readonly counts: boolean;
  /** Beginning and end are kept to the nanosecond. */
  readonly times: boolean;
  /** The kernel tells of connections at all. */
  readonly events: boolean;
}

export const accountingState = (): AccountingState => {
  const [counts, times] = accounting.map(key => findSysctl(key) === '1') as [boolean, boolean];
  return { counts, times, events: findSysctl(EVENTS) !== '0' };
};
