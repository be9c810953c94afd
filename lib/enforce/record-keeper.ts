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
}

type Beside = Pick<NodeRecord, 'index' | 'judging'>;

export class RecordKeeper {
  readonly #options: RecordKeeperOptions;
  /** Files that are written beside the record, and still hold. */
  #beside: Beside = {};

  constructor(options: RecordKeeperOptions) {
    this.#options = options;
  }

  /** This record is in force. */
  recall({ index, judging }: Beside): void {
    this.#beside = { ...(index === undefined ? {} : { index }), ...(judging === undefined ? {} : { judging }) };
  }

  /**
   * To release what a pod holds takes no room.
   * @returns why there was no room, and so there is no record
   * @throws StateError where it cannot be written for another reason than want of room
   */
  write(inForce: InForce, known: Knowledge, rules: RulesetSource): Error | undefined {
    const { state, markers, folder } = inForce;
    const { store, isShared } = this.#options;
    const marker = markers.at(-1)!;
    const since = markers.length > 1 ? { since: markers[0]! } : {};
    const error = writeOrForget(store, {
      ...{ marker, ...since, folder, state },
      ...(isShared ? this.#writeBeside(inForce, known, rules) : {}),
    });
    if (error) this.#beside = {};
    return error;
  }

  #writeBeside({ state, markers, isStructural }: InForce, known: Knowledge, rules: RulesetSource): Partial<NodeRecord> {
    const { store } = this.#options;
    const { under, resized, moment, generation } = known;
    const marker = markers.at(-1)!;
    const { index: kept, judging: written } = this.#beside;
    const index = kept !== undefined && !isStructural ? undefined : rules.index?.();
    const indexed = index ? this.#ifRoom(() => store.writeIndex(marker, index), marker) : kept;
    const judging = under === undefined || under === written ? undefined : known.judging();
    const judged = judging ? this.#ifRoom(() => store.writeJudging(judging), judging.marker) : under;
    this.recall({ index: isStructural && !index ? undefined : indexed, judging: judged } as Beside);
    return {
      ...this.#beside,
      gate: gateDigest(state.settings),
      ...(resized ? { resized } : {}),
      ...(moment ? { moment } : {}),
      ...(generation === undefined ? {} : { generation }),
    };
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
