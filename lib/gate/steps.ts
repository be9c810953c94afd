/** The batches that lead from one table of a node to the next. */
import { type DiffOptions, diff } from '../nft/diff.ts';
import type { NamedSet } from '../nft/model.ts';
import type { Transaction } from '../nft/transaction.ts';
import type { RulesetChange } from '../policy/compile/ruleset-change.ts';
import { desiredTable } from './desired.ts';
import { markedBy } from './marker.ts';
import { emptyRuleset } from './node-world.ts';
import { partsOf, type StatePair } from './parts.ts';
import { MOMENT } from './static-sets.ts';
import { isRedirected, waypoints } from './waypoints.ts';

/** True for maps to gates and for sets of peers, whose names end in a hash. */
const isPolicys = ({ name }: NamedSet): boolean => name.endsWith('_by_tag') || name.includes('-');
/** For a table that is compared whole: one deny may take the place of another, so no packet may see half of each. */
export const policySets: DiffOptions = { renew: isPolicys };
const policyMaps: DiffOptions = { renew: ({ name }) => name.endsWith('_by_tag') };

export interface TableStep {
  readonly transaction: Transaction;
  /** Those in the table afterwards, oldest first. */
  readonly markers: readonly number[];
  /** The change of chains and tags that this step completes. */
  readonly change: RulesetChange | undefined;
}

export interface StepOptions {
  /** That of the rules; undefined: they stay. */
  readonly change: RulesetChange | undefined;
  /** Those in the table, oldest first. */
  readonly markers: readonly number[];
  /** Whether each step gets a marker of its own. */
  readonly isRecorded: boolean;
}

/** The kernel walks through all rules with each commit that makes one, as one that looks into this map anew. */
const witness = ({ isOneWay }: RulesetChange): DiffOptions => (isOneWay ? {} : { witness: MOMENT });

/** One to three: a packet may meet a set of one step and a map of the one before. Only what differs is looked at. */
export function stepsBetween(
  pair: StatePair,
  { change, markers: from, isRecorded }: StepOptions,
): readonly TableStep[] {
  const part = partsOf(pair);
  const way = change ? waypoints(change) : [emptyRuleset, emptyRuleset];
  const options = change ? { ...(isRedirected(change) ? policyMaps : {}), ...witness(change) } : {};
  const tables = way.map((ruleset, i) => desiredTable(i === 0 ? part.before : part.after, [], ruleset));
  let markers = from;
  return tables.slice(1).map((table, i): TableStep => {
    const bare = diff(tables[i], table, options);
    const marked = isRecorded ? markedBy(bare, markers) : { transaction: bare, markers };
    markers = marked.markers;
    return { ...marked, change: change?.isStructural && i + 2 === tables.length ? change : undefined };
  });
}
