/** Plans the transactions that a reconciler would send, without a word to the kernel. */
import { desiredTable, TABLE_NAME } from '../gate/desired.ts';
import { nextMarker } from '../gate/marker.ts';
import type { RulesetSource } from '../gate/node-rules.ts';
import type { NodeState } from '../gate/node-state.ts';
import { policySets, stepsBetween } from '../gate/steps.ts';
import { leavingBetween } from '../gate/transition.ts';
import { diff } from '../nft/diff.ts';
import type { Transaction } from '../nft/transaction.ts';
import type { TableConnection } from './table-connection.ts';

export interface Planned {
  readonly state: NodeState;
  /** None: what the table holds only the kernel knows. */
  readonly markers: readonly number[];
  /** They are of no use afterwards. */
  readonly rules: RulesetSource;
  readonly nft: TableConnection;
}

/** The batches that lead to this state, one after the other. */
export function planned(begin: Planned, after: NodeState): readonly Transaction[] {
  const leaving = leavingBetween(begin.state, after);
  if (leaving.length === 0) return stepsTo(begin, after).transactions;
  const first = stepsTo(begin, { ...after, leaving });
  return [...first.transactions, ...stepsTo(first.begin, after).transactions];
}

function stepsTo(begin: Planned, after: NodeState) {
  const { state: before, markers, rules, nft } = begin;
  rules.show(after);
  if (markers.length > 0) {
    const steps = stepsBetween({ before, after }, { change: rules.take(), markers, isRecorded: true });
    const transactions = steps.map(({ transaction }) => transaction);
    return { transactions, begin: { ...begin, state: after, markers: steps.at(-1)!.markers } };
  }
  const marker = nextMarker(Date.now() >>> 0);
  const want = desiredTable(after, marker, rules.whole());
  const transactions = [diff(nft.read(TABLE_NAME)?.table, want, policySets)];
  return { transactions, begin: { ...begin, state: after, markers: [marker] } };
}
