/** Writes down what is in force: the node's record, and what another process needs to go on from there. */
import type { RulesetSource } from '../gate/node-rules.ts';
import type { NodeState } from '../gate/node-state.ts';
import type { NodeRecord, NodeStore } from '../nodestore/node-store.ts';
import { isFull } from '../state/error.ts';
import { gateDigest } from './gate-digest.ts';
import type { Knowledge } from './known-table.ts';

/** The state that is in force, with the table's markers. */
export interface InForce {
  readonly state: NodeState;
  /** Markers in the table, oldest first. */
  readonly markers: readonly number[];
  /** Stamps of the manifests; empty where the rules come from elsewhere. */
  readonly folder: string;
  /** Chains or identities are others than when it was last written. */
  readonly isStructural: boolean;
}

export interface RecordKeeperOptions {
  readonly store: NodeStore;
  /** Whether other processes bring the table from here to its next state. Else they only take pods out of it. */
  readonly isShared: boolean;
  /** This process goes on from what it remembers, and writes what other processes need only by `writeForOthers`. */
  readonly isWarm?: boolean | undefined;
}

type Beside = Pick<NodeRecord, 'index' | 'judging'>;
type MaybeBeside = { readonly [Kind in keyof Beside]: Beside[Kind] | undefined };

export class RecordKeeper {
  readonly #options: RecordKeeperOptions;
  /** Files that are written beside the record, and still hold. */
  #beside: Beside = {};

  constructor(options: RecordKeeperOptions) {
    this.#options = options;
  }

  /** This record is in force. */
  recall({ index, judging }: MaybeBeside): void {
    this.#beside = { ...(index === undefined ? {} : { index }), ...(judging === undefined ? {} : { judging }) };
  }

  /**
   * To release what a pod holds takes no room.
   * @returns why there was no room, and so there is no record
   * @throws StateError where it cannot be written for another reason than want of room
   */
  write(inForce: InForce, known: Knowledge, rules: RulesetSource): Error | undefined {
    const { store, isShared, isWarm = false } = this.#options;
    if (isShared) this.recall(isWarm ? this.#standing(inForce, known) : this.#renewed(inForce, known, rules));
    const error = writeOrForget(store, this.#recordOf(inForce, known));
    if (error) this.#beside = {};
    return error;
  }

  /**
   * Writes what a warm process leaves out, so that another one goes on at the cost of its own change; the caller holds the lock.
   * Does nothing where the record is no longer the one with these markers, and where there is no room.
   * @throws StateError where it cannot be written for another reason; the record is as it was
   */
  writeForOthers(markers: InForce['markers'], known: Knowledge, rules: RulesetSource): void {
    const { store } = this.#options;
    const record = store.read();
    if (!record || record.marker !== markers.at(-1)) return;
    const { state, folder } = record;
    const inForce = { state, markers, folder, isStructural: false };
    const before = this.#beside;
    this.recall(this.#renewed(inForce, known, rules));
    const { index, judging } = this.#beside;
    if (index === before.index && judging === before.judging) return;
    try {
      store.write(this.#recordOf(inForce, known));
    } catch (error) {
      this.#beside = before;
      if (!isFull(error)) throw error;
    }
  }

  #recordOf({ state, markers, folder }: InForce, known: Knowledge): NodeRecord {
    const { generation } = known;
    const since = markers.length > 1 ? { since: markers[0]! } : {};
    const record = { marker: markers.at(-1)!, ...since, folder, state };
    if (!this.#options.isShared) return record;
    return {
      ...{ ...record, ...this.#beside, gate: gateDigest(state.settings) },
      ...(this.#beside.judging === undefined ? {} : sinceThen(known)),
      ...(generation === undefined ? {} : { generation }),
    };
  }

  /** What an earlier process wrote, and still holds. */
  #standing({ isStructural }: InForce, { under }: Knowledge): MaybeBeside {
    const { index, judging } = this.#beside;
    return { index: isStructural ? undefined : index, judging: under === judging ? judging : undefined };
  }

  #renewed({ markers, isStructural }: InForce, known: Knowledge, rules: RulesetSource): MaybeBeside {
    const { store } = this.#options;
    const { under } = known;
    const marker = markers.at(-1)!;
    const { index: kept, judging: written } = this.#beside;
    const index = kept !== undefined && !isStructural ? undefined : rules.index?.();
    const indexed = index ? this.#ifRoom(() => store.writeIndex(marker, index), marker) : kept;
    const judging = under === undefined || under === written ? undefined : known.judging();
    const judged = judging ? this.#ifRoom(() => store.writeJudging(judging), judging.marker) : under;
    return { index: isStructural && !index ? undefined : indexed, judging: judged };
  }

  /** @returns the marker that it is kept under; undefined where there is no room */
  #ifRoom(write: () => void, marker: number): number | undefined {
    try {
      write();
      return marker;
    } catch (error) {
      if (!isFull(error)) throw error;
      return undefined;
    }
  }
}

/** What has changed since `Judging` was written. */
const sinceThen = ({ resized, moment }: Knowledge): Pick<NodeRecord, 'resized' | 'moment'> => ({
  ...(resized ? { resized } : {}),
  ...(moment ? { moment } : {}),
});

/**
 * Writes the record, or deletes it where the disk is full, since an old record must not stay: the node's state is then found
 * from the kernel and the attachments' records.
 * @returns why there was no room
 * @throws StateError where it cannot be written for another reason
 */
export function writeOrForget(store: NodeStore, record: NodeRecord): Error | undefined {
  try {
    store.write(record);
    return undefined;
  } catch (error) {
    if (!isFull(error)) throw error;
    store.forget();
    return error as Error;
  }
}
