/**
 * Asks the kernel, before a pod is opened, whether the rules that judge it are in force, at a cost that does not grow with the
 * number of pods. A marker in the table says which file it goes with, and nothing of rules that another program took away.
 *
 * Where the kernel's generation is the one that our last commit made, no program has committed anything since. Other programs
 * commit all the time in tables of their own; then the rules of the chains that the pod's packets pass are looked at by their
 * checksums, its tag in the maps that lead to its own chains, and the sets that these look into by their number of elements.
 */

import { TABLE_NAME } from '../gate/desired.ts';
import {
  chainsBehind,
  changedBy,
  gatesOfEntry,
  type Judged,
  type Judging,
  judgedAfter,
  judgedBy,
  type Sizes,
  sharedChains,
  turned,
} from '../gate/judging.ts';
import { type GateSettings, isJudged } from '../gate/settings.ts';
import { gateSets, ONE_MOMENT } from '../gate/static-sets.ts';
import type { Element } from '../nft/model.ts';
import type { Operation } from '../nft/transaction.ts';
import type { Gate, Ruleset } from '../policy/compile/ruleset.ts';
import type { RulesetChange } from '../policy/compile/ruleset-change.ts';
import type { TableConnection } from './table-connection.ts';

/** As `TagGates` has them: the last two are there where rules are ordered. */
const maps = ['egress_by_tag', 'ingress_by_tag', 'egress_tiers_by_tag', 'ingress_tiers_by_tag'] as const;

const isSame = (a: readonly number[] | undefined, b: readonly number[] | undefined): boolean =>
  a !== undefined && a.length === b?.length && a.every((checksum, i) => checksum === b[i]);

function leadsTo(element: Element | undefined, gate: Gate): boolean {
  const value = element?.value;
  if (value === undefined || !('kind' in value)) return false;
  return gate === 'open' ? value.kind === 'return' : value.kind === 'goto' && value.chain === gate;
}

/** Knowledge of the table by which `isInForce` compares. */
export interface Expected {
  readonly known: Judging;
  readonly settings: GateSettings;
  readonly pods: readonly Judged[];
  /** Tags whose entries are yet to be made: of the chains that they lead to, those count that are there already. */
  readonly coming: Ruleset['tags'];
  /** By how much sets have grown since `known` was written. */
  readonly resized: Sizes;
}

/** Whether what judges these pods is what it was when `known` was written, but for what our own commits did. */
export function isInForce(nft: TableConnection, { known, settings, pods, coming, resized }: Expected): boolean {
  const tags = isJudged(settings) ? [...new Set(pods.map(({ tag }) => tag))] : [];
  const entered = tags.filter(tag => known.tags.has(tag));
  const own = tags.flatMap(tag => {
    const entry = coming.get(tag);
    return known.tags.get(tag) ?? (entry ? gatesOfEntry(entry, true) : []);
  });
  const isOrdered = known.isOrdered === true;
  const there = chainsBehind(known, own).filter(chain => known.chains.has(chain));
  const chains = [...new Set([...sharedChains(settings, pods, isOrdered), ...there])];
  const found = nft.readChecksums(TABLE_NAME, chains);
  if (!found || found.table !== known.table || found.isDormant) return false;
  if (!chains.every(chain => isSame(known.chains.get(chain), found.chains.get(chain)))) return false;
  if (!areFull(nft, known, there, resized)) return false;
  const present = maps.slice(0, isOrdered ? maps.length : 2);
  return present.every((name, i) => entered.length === 0 || areEntered(nft, name, entered, known, i));
}

/** Whether the sets that these chains look into have as many elements as they should. */
function areFull(
  nft: TableConnection,
  { looksInto, sizes }: Judging,
  chains: readonly string[],
  resized: Sizes,
): boolean {
  const sets = [...new Set(chains.flatMap(chain => looksInto.get(chain) ?? []))];
  if (sets.length === 0) return true;
  const found = nft.readSetSizes(TABLE_NAME, sets);
  return sets.every(set => sizes.has(set) && found.get(set) === sizes.get(set)! + (resized[set] ?? 0));
}

function areEntered(
  nft: TableConnection,
  name: string,
  tags: readonly number[],
  known: Judging,
  place: number,
): boolean {
  const map = gateSets('inline', true).find(set => set.name === name)!;
  const found = nft.lookUp(
    TABLE_NAME,
    map,
    tags.map(tag => [tag]),
  );
  return tags.every((tag, i) => leadsTo(found[i], known.tags.get(tag)![place]!));
}

/** Undefined where another program committed during `read`: the answer may mix the tables of two generations. */
function ifUndisturbed<T>(nft: TableConnection, generation: number, read: () => T): T | undefined {
  const found = read();
  return nft.generation() === generation ? found : undefined;
}

/** Reads the knowledge of a table that is as desired at this generation; undefined where a commit came meanwhile. */
export const readJudging = (
  nft: TableConnection,
  generation: number,
  marker: number,
  ruleset: Ruleset,
): Judging | undefined =>
  ifUndisturbed(nft, generation, () => {
    const found = nft.readChecksums(TABLE_NAME);
    if (!found) return undefined;
    const sizes = nft.readSetSizes(TABLE_NAME, [...ruleset.sets.keys()]);
    return { marker, table: found.table, chains: found.chains, sizes, ...judgedBy(ruleset) };
  });

/** Checksums of the rules of `one-moment` after a commit of ours, which made this generation. */
export const momentAfter = (
  nft: TableConnection,
  generation: number,
  { table }: Judging,
): readonly number[] | undefined =>
  ifUndisturbed(nft, generation, () => {
    const found = nft.readChecksums(TABLE_NAME, [ONE_MOMENT]);
    return found?.table === table ? found.chains.get(ONE_MOMENT) : undefined;
  });

/** A commit of ours, and the knowledge of the table before it. */
export interface Step {
  readonly operations: readonly Operation[];
  /** The change of chains and tags; undefined where these are those of before. */
  readonly change: RulesetChange | undefined;
  readonly known: Judging;
  /** By how much sets have grown since `known` was written, that commit included. */
  readonly resized: Sizes;
}

/** Whether those of these chains that are known have the rules that they are known to have. */
export function areChainsKnown(nft: TableConnection, { table, chains }: Judging, names: Iterable<string>): boolean {
  const known = [...names].filter(name => chains.has(name));
  if (known.length === 0) return true;
  const found = nft.readChecksums(TABLE_NAME, known);
  return found?.table === table && known.every(name => isSame(chains.get(name), found.chains.get(name)));
}

/**
 * The same after one more commit of ours, which made this generation. Only what it made or changed is read: of all else the table
 * may differ from what is known by now.
 */
export function judgingAfter(
  nft: TableConnection,
  generation: number,
  marker: number,
  { operations, change, known, resized }: Step,
): Judging | undefined {
  const changed = changedBy(operations);
  return ifUndisturbed(nft, generation, () => {
    const found = nft.readChecksums(TABLE_NAME, [...changed.chains]);
    if (found?.table !== known.table) return undefined;
    const chains = turned(known.chains, changed.goneChains, found.chains);
    const made = changed.sets.size === 0 ? [] : nft.readSetSizes(TABLE_NAME, [...changed.sets]);
    const grown = Object.entries(resized).flatMap(([set, by]) => {
      const size = known.sizes.get(set);
      return size === undefined || changed.goneSets.has(set) ? [] : [[set, size + by] as const];
    });
    const sizes = turned(known.sizes, changed.goneSets, [...grown, ...made]);
    return { ...known, marker, chains, sizes, ...(change ? judgedAfter(known, change) : {}) };
  });
}
