/**
 * The numbers by which a table and the file that goes with it know each other, as operations that the kernel refuses, with
 * all of their batch, where somebody else went on meanwhile.
 */
import type { Operation, Transaction } from '../nft/transaction.ts';
import { markerSet } from './chains.ts';

export const LAST_MARKER = 0xffffffff;

export const nextMarker = (marker: number, by = 1): number => ((marker + by - 1) % LAST_MARKER) + 1;

/** How often `nextMarker` leads from the one to the other. */
export const markersBetween = (since: number, marker: number): number => (marker - since + LAST_MARKER) % LAST_MARKER;

/** All that are in the table, oldest first: from `since`, where it is not the only one, to `marker`. */
export const markersOf = ({ marker, since = marker }: { readonly marker: number; readonly since?: number }): number[] =>
  Array.from({ length: markersBetween(since, marker) + 1 }, (_, i) => nextMarker(since, i));

/** So many markers may gather in the table before one call takes them all out. */
export const MARKERS = 256;

/** Refused where it is there already: where somebody went on from the same state. */
export const createMarker = (marker: number): Operation => ({
  verb: 'create',
  object: 'element',
  set: markerSet,
  elements: [{ key: [marker] }],
});

/** Refused where one of the old ones is not there. */
export const replaceMarkers = (markers: readonly number[], by: number): readonly Operation[] => [
  { verb: 'delete', object: 'element', set: markerSet, elements: markers.map(marker => ({ key: [marker] })) },
  createMarker(by),
];

/** Refused where somebody went on from the same state, and died before he wrote it down: his marker is there already. */
export const fromHere = (transaction: Transaction): Transaction => ({
  ...transaction,
  operations: transaction.operations.map(operation =>
    operation.object === 'element' && operation.verb === 'add' && operation.set.name === markerSet.name
      ? { ...operation, verb: 'create' }
      : operation,
  ),
});
