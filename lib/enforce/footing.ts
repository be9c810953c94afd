/** Where a change of a folder's table begins: what is in force by the node's record, and the rules that it came of. */

import { TABLE, TABLE_NAME } from '../gate/desired.ts';
import { nextMarker } from '../gate/marker.ts';
import { noRules } from '../gate/node-rules.ts';
import { emptyNode, joined, type NodeState, type Owner } from '../gate/node-state.ts';
import { type GateSettings, isJudged } from '../gate/settings.ts';
import { markerSet } from '../gate/static-sets.ts';
import type { NodeRecord, NodeStore } from '../nodestore/node-store.ts';
import type { Kept } from '../nodestore/policy-folder.ts';
import { FolderRules } from './folder-rules.ts';
import { gateDigest } from './gate-digest.ts';
import type { Knowledge } from './known-table.ts';
import { ownerIn, refuseOtherOwner } from './owner.ts';
import { Reconciler } from './reconciler.ts';
import type { Listeners, ReconcilerOptions } from './reconciling.ts';

/** One state, with the manifests that it is judged by. */
export interface Goal {
  readonly state: NodeState;
  readonly kept: Kept;
}

export interface Footing {
  readonly goal: Goal;
  readonly rules: FolderRules | undefined;
  readonly reconciler: Reconciler;
}

/** A warm process's memory of the record that it read or wrote last, so that the next change costs only what it changes. */
export class TableMemory {
  last: (Footing & Pick<NodeRecord, 'marker'>) | undefined;

  /** @see RecordKeeper.writeForOthers */
  writeForOthers(): void {
    if (!this.last) return;
    const { reconciler, rules } = this.last;
    reconciler.keeper.writeForOthers(reconciler.markers, reconciler.known.knowledge, rules ?? noRules);
  }
}

export interface FootingOptions extends Pick<ReconcilerOptions, 'nft' | 'recover' | 'isCarried' | 'retag'> {
  readonly store: NodeStore;
  readonly owner: Owner;
  readonly settings: GateSettings;
  /** Whether a link of ours has a tag, and so is open unless the table judges it. */
  readonly isAnyTagged: () => boolean;
  /** A warm process passes one memory to all its calls. */
  readonly memory?: TableMemory | undefined;
}

interface Recollection {
  /** The manifests on disk are those that the record tells of. */
  readonly isWritten: boolean;
  /** The record has all pods. */
  readonly isWhole: boolean;
  readonly known: Knowledge;
}

/** Files are told apart by their stamps, so parsed documents need no comparison. */
export const stamps = (kept: Kept): string =>
  JSON.stringify(Object.entries(kept).map(([name, { stamp }]) => [name, stamp]));

export class Footings {
  readonly #options: FootingOptions;
  readonly #listeners: Listeners;
  readonly #memory: TableMemory;

  constructor(options: FootingOptions, listeners: Listeners) {
    this.#options = options;
    this.#listeners = listeners;
    this.#memory = options.memory ?? new TableMemory();
  }

  /**
   * The footing that this process remembers for this very record; else one from the record and the files beside it.
   * @param kept the manifests of now: where those of the record say the same, these are the goal's
   * @param how `fresh`: it is not to be what this process goes on from
   */
  of(record: NodeRecord | undefined, kept: Kept, asFound: boolean, how: 'fresh' | 'known' = 'known'): Footing {
    const { store, settings } = this.#options;
    const found = store.readApplied();
    // The same object where they say the same, so that they are understood only once.
    const applied = stamps(found) === stamps(kept) ? kept : found;
    const last = how === 'known' && record ? this.#goOn(record, applied, true) : undefined;
    if (last) return last;
    const state = record?.state ?? this.start(asFound);
    // A process that died between the two files left a table that only the kernel knows.
    const isWritten = record !== undefined && record.folder === stamps(applied);
    const index = isWritten ? store.readIndex(record.index) : undefined;
    const isEverJudged = isJudged(state.settings) || isJudged(settings);
    const rules = isEverJudged ? new FolderRules({ kept: applied, state, index, isWhole: true }) : undefined;
    const reconciler = this.#open(rules, state);
    if (record) this.#recall(reconciler, record, { isWritten, isWhole: true, known: this.#written(record) });
    return { goal: { state, kept: applied }, rules, reconciler };
  }

  /** Goes on from where this process left the table: each marker belongs to one state. */
  #goOn(record: NodeRecord, kept: Kept, isWhole: boolean): Footing | undefined {
    const { last } = this.#memory;
    if (last?.marker !== record.marker || stamps(last.goal.kept) !== stamps(kept)) return undefined;
    const { rules, reconciler } = last;
    reconciler.listeners = this.#listeners;
    rules?.resume(record.state, isWhole);
    this.#recall(reconciler, record, { isWritten: true, isWhole, known: reconciler.known.knowledge });
    return { goal: { state: record.state, kept }, rules, reconciler };
  }

  /** A footing from a record without all pods; undefined where the files beside it do not suffice without the other pods. */
  inPart(record: NodeRecord, kept: Kept): Footing | undefined {
    if (this.#options.memory) return this.#goOn(record, kept, false);
    const { state } = record;
    const index = this.#options.store.readIndex(record.index);
    if (isJudged(state.settings) && !index) return undefined;
    const rules = index ? new FolderRules({ kept, state, index, isWhole: false }) : undefined;
    const reconciler = this.#open(rules, state);
    this.#recall(reconciler, record, { isWritten: true, isWhole: false, known: this.#written(record) });
    return { goal: { state, kept }, rules, reconciler };
  }

  /** Remembers what is in force now: the next change begins there. */
  remember({ goal, rules, reconciler }: Footing): void {
    const marker = reconciler.markers.at(-1);
    if (this.#options.memory && marker !== undefined) this.#memory.last = { marker, goal, rules, reconciler };
  }

  forget(): void {
    this.#memory.last = undefined;
  }

  /** Without its record, the node is found again from the attachments' records and the links. */
  start(asFound: boolean): NodeState {
    const { settings, recover, isCarried, nft } = this.#options;
    const found = ownerIn(nft().readTable('inet', TABLE));
    const owner = asFound && found ? found : this.#options.owner;
    refuseOtherOwner(owner, found);
    return joined(emptyNode(owner, settings), recover(owner), isCarried);
  }

  #open(rules: FolderRules | undefined, state: NodeState): Reconciler {
    const { store, nft, recover, isCarried, retag, memory } = this.#options;
    const options = { store, nft, recover, isCarried, retag, rules: rules ?? noRules, isShared: true };
    const isWarm = memory !== undefined;
    return new Reconciler({ ...options, isWarm, isOwned: () => false }, state, this.#listeners);
  }

  /** What the process that wrote the record knew of the table. */
  #written({ judging, resized, moment, generation }: NodeRecord): Knowledge {
    const { store } = this.#options;
    return { under: judging, judging: () => store.findJudging(judging), resized, moment, generation };
  }

  #recall(reconciler: Reconciler, record: NodeRecord, { isWritten, isWhole, known }: Recollection): void {
    const { isStanding, seen } = this.look(record);
    reconciler.recall(record, { ...known, seen }, isWhole);
    if (!isWritten || !isStanding) reconciler.doubt(record.marker, isWritten);
  }

  /**
   * Whether the record's marker is in the table, and none after it, which a process would have left that died
   * between its batch and its record; and whether this release of ours would make the same static chains. And
   * the kernel's generation, where it was asked.
   */
  look({ marker, gate, state }: NodeRecord): { readonly isStanding: boolean; readonly seen: number | undefined } {
    if (gate !== gateDigest(state.settings)) return { isStanding: false, seen: undefined };
    const keys = [[marker], [nextMarker(marker)]];
    const { generation, elements } = this.#options.nft().lookUpAfter(TABLE_NAME, markerSet, keys);
    const [own, next] = elements;
    return { isStanding: own !== undefined && next === undefined, seen: generation };
  }
}
