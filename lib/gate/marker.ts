/**
 * Markers: numbers that stand in the table and in the node's record, by which a call tells that the two belong together. The
 * kernel refuses these operations, with all of their batch, where another process has committed meanwhile.
 */
import type { Operation, Transaction } from '../nft/transaction.ts';
import { markerSet } from './static-sets.ts';

export const LAST_MARKER = 0xffffffff;

export const nextMarker = (marker: number, by = 1): number => ((marker + by - 1) % LAST_MARKER) + 1;

/** How often `nextMarker` leads from the one to the other. */
export const markersBetween = (since: number, marker: number): number => (marker - since + LAST_MARKER) % LAST_MARKER;

/** All that are in the table, oldest first: from `since`, where it is not the only one, to `marker`. */
export const markersOf = ({ marker, since = marker }: { readonly marker: number; readonly since?: number }): number[] =>
  Array.from({ length: markersBetween(since, marker) + 1 }, (_, i) => nextMarker(since, i));

/** So many markers may gather in the table before one call takes them all out. */
export const MARKERS = 256;

/** The kernel refuses it (EEXIST) where the marker is there already: another process committed from the same state. */
const createMarker = (marker: number): Operation => ({
  verb: 'create',
  object: 'element',
  set: markerSet,
  elements: [{ key: [marker] }],
});

/** Refused where one of the old ones is not there. */
const replaceMarkers = (markers: readonly number[], by: number): readonly Operation[] => [
  { verb: 'delete', object: 'element', set: markerSet, elements: markers.map(marker => ({ key: [marker] })) },
  createMarker(by),
];

const isAddition = ({ verb }: Operation): boolean => verb === 'add' || verb === 'create';

export interface Marked {
  readonly transaction: Transaction;
  /** Those that are in the table afterwards, oldest first. */
  readonly markers: readonly number[];
}

/**
 * The transaction with a marker of its own, refused where the table is not the one with these. A process that takes anything out
 * of a table waits for the kernel to let go of it, some ten milliseconds, when it closes its socket; so a transaction that only
 * adds leaves the markers of before for one that has to wait anyway.
 */
export function markedBy(transaction: Transaction, markers: readonly number[]): Marked {
  const to = nextMarker(markers.at(-1)!);
  const isQuick = transaction.operations.every(isAddition) && markers.length < MARKERS;
  const marking = isQuick ? [createMarker(to)] : replaceMarkers(markers, to);
  const operations = [...marking, ...transaction.operations];
  return { transaction: { ...transaction, operations }, markers: isQuick ? [...markers, to] : [to] };
}
