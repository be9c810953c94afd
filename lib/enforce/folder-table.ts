/**
 * The table of a node whose policies stand in a folder: any process may bring it from state to state, under the node's lock. What
 * the table holds is told by the node's record; a process that stays remembers moreover what it made of the record.
 */

import { desiredTable, TABLE } from '../gate/desired.ts';
import { markersOf } from '../gate/marker.ts';
import { noRules } from '../gate/node-rules.ts';
import { type NodeState, type Owner, relabelled, withoutPod } from '../gate/node-state.ts';
import { type GateSettings, settingsChanges } from '../gate/settings.ts';
import { type CutScope, mergedScopes } from '../gate/shrunk.ts';
import { diff } from '../nft/diff.ts';
import type { Table } from '../nft/model.ts';
import type { Operation, Transaction } from '../nft/transaction.ts';
import type { Concern, NodeStore } from '../nodestore/node-store.ts';
import { type Kept, podManifestsOf } from '../nodestore/policy-folder.ts';
import { closePod, removeAll } from './closed-pod.ts';
import { planned } from './dry-run.ts';
import { rulesetOfFolder } from './folder-rules.ts';
import { type Footing, type FootingOptions, Footings, type Goal, stamps } from './footing.ts';
import { isSameOwner, ownerIn, refuseOtherOwner } from './owner.ts';
import type { StateChange } from './pod-change.ts';
import { writeOrForget } from './record-keeper.ts';
import { WholeNeeded } from './whole-needed.ts';

export interface FolderTableOptions extends FootingOptions {
  readonly log: (line: string) => void;
}

export interface Brought {
  readonly before: Goal;
  readonly after: Goal;
  /** False where nothing had to change. */
  readonly isChanged: boolean;
  /** The manifests are others than before. */
  readonly isNews: boolean;
  /** By so many operations another program had made the table differ from what it should have been; it is put right. */
  readonly drift: number;
  /** Addresses whose connections may have been allowed before, and be forbidden now. */
  readonly shrunk: CutScope;
}

export interface BringOptions {
  readonly kept: Kept;
  /** A pod that goes is let go whatever the configuration says by now: the table's own owner and settings stay. */
  readonly asFound?: boolean;
  /** The change is to these pods and to no others. */
  readonly only?: readonly Concern[];
}

const isSame = (a: GateSettings, b: GateSettings): boolean => JSON.stringify(a) === JSON.stringify(b);

const unchanged = (goal: Goal, isNews: boolean, drift: number): Brought => ({
  ...{ before: goal, after: goal, isChanged: false, isNews, drift, shrunk: [] },
});

const withoutPods = (state: NodeState, isGone: (key: string) => boolean): NodeState =>
  Object.keys(state.pods).filter(isGone).reduce(withoutPod, state);

export class FolderTable {
  readonly #options: FolderTableOptions;
  /** What a caller without the lock reads is a moment's view. */
  readonly store: NodeStore;
  readonly #footings: Footings;
  /** Why the state that is in force could not be written down. */
  #unkept: Error | undefined;
  #shrunk: CutScope = [];

  constructor(options: FolderTableOptions) {
    this.#options = options;
    this.store = options.store;
    this.#footings = new Footings(options, {
      log: options.log,
      unkept: error => {
        this.#unkept = error;
      },
      shrunk: scope => {
        this.#shrunk = mergedScopes(this.#shrunk, scope);
      },
    });
  }

  /** Whether the table was last made from these manifests. */
  isApplied(kept: Kept): boolean {
    const applied = this.store.readApplied();
    return applied === kept || stamps(applied) === stamps(kept);
  }

  /** Whether the manifests that the table was made from are known; else only the kernel has what came of them. */
  isKnown(): boolean {
    return this.store.folder() === stamps(this.store.readApplied());
  }

  /** The table as the kernel has it. */
  read(): Table | undefined {
    return this.#options.nft().readTable('inet', TABLE);
  }

  /** The owner of this network namespace; undefined where there is no table of ours. */
  owner(): Owner | undefined {
    return this.store.owner() ?? ownerIn(this.read());
  }

  /**
   * Brings table and record to what `change` makes of the state; to be called under the lock.
   * @throws CniError code 7 for another owner, NftError where the kernel refuses, StateError where a pod comes and there is
   * no room to write it down
   */
  bring(change: StateChange, options: BringOptions): Brought {
    this.#unkept = undefined;
    if (options.asFound && !this.isKnown()) return this.#bringBlind(change, options.kept);
    const brought = this.#bringPart(change, options) ?? this.#bringWhole(change, options);
    if (this.#unkept && options.only?.some(({ coming }) => coming)) throw this.#unkept;
    return brought;
  }

  /** Pods that go leave the table, and nothing else of it is touched. */
  #bringBlind(change: StateChange, kept: Kept): Brought {
    const before = this.store.read()?.state ?? this.#footings.start(true);
    const { uncut: _, ...state } = change(before);
    this.#footings.forget();
    for (const key of Object.keys(before.pods)) if (!state.pods[key]) this.close(key);
    if (this.#isNeedless(state)) removeAll(this.store, this.#options.nft);
    return unchanged({ state, kept }, false, 0);
  }

  /**
   * `bring` for a few pods: at a cost that does not grow with the number of pods.
   * @returns undefined where only the whole state will do; it is as if nothing had been done then
   */
  #bringPart(change: StateChange, { kept, asFound = false, only }: BringOptions): Brought | undefined {
    if (!only) return undefined;
    const record = this.store.readConcerned(only);
    if (record?.folder !== stamps(kept)) return undefined;
    const before = { state: record.state, kept };
    const { owner, settings } = this.#options;
    const isFor = isSameOwner(before.state.owner, owner) && isSame(before.state.settings, settings);
    if (!asFound && !isFor) return undefined;
    const state = change(before.state);
    if (state.counts.pods === 0) return undefined;
    if (state === before.state) return this.#footings.look(record).isStanding ? unchanged(before, false, 0) : undefined;
    const footing = this.#footings.inPart(record, kept);
    try {
      const brought = footing && this.#reach(footing, { state, kept }, { only });
      if (brought) this.#footings.remember({ ...footing!, goal: brought.after });
      return brought;
    } catch (error) {
      if (error instanceof WholeNeeded) return undefined;
      throw error;
    }
  }

  #bringWhole(change: StateChange, { kept, asFound = false, only }: BringOptions): Brought {
    const record = this.store.read();
    if (!asFound) refuseOtherOwner(this.#options.owner, record?.state.owner);
    const footing = this.#footings.of(record, kept, asFound);
    const { goal: before, reconciler, rules } = footing;
    const isNews = before.kept !== kept;
    const found = only ? 0 : reconciler.look();
    const changed = change(before.state);
    const settings = asFound && record ? record.state.settings : this.#options.settings;
    if (record) for (const line of settingsChanges(before.state.settings, settings)) this.#options.log(line);
    const isUnchanged = changed === before.state && isSame(settings, before.state.settings) && !isNews;
    const isDone = !before.state.leaving && !before.state.uncut && reconciler.markers.length > 0;
    if (record && isUnchanged && isDone && !this.#isNeedless(changed)) {
      if (reconciler.known.knowledge.generation !== record.generation) reconciler.keep(stamps(kept));
      this.#footings.remember(footing);
      return unchanged(before, isNews, found);
    }
    const state = { ...reconciler.arrive(changed), settings, ...(isNews ? { refused: [] } : {}) };
    const after = { state: isNews || !record ? this.#relabel(state, kept) : state, kept };
    if (this.#isNeedless(after.state)) {
      this.#footings.forget();
      removeAll(this.store, this.#options.nft);
      return { before, after, isChanged: true, isNews, drift: found, shrunk: [] };
    }
    if (isNews) rules?.turnTo(kept);
    const brought = this.#reach(footing, after, { only, isNews, found });
    if (isNews) this.store.writeApplied(kept);
    this.#footings.remember({ ...footing, goal: brought.after });
    return brought;
  }

  /** Whether the table may go. Without it each link that has a tag is open, be it of a pod that the record knows or not. */
  #isNeedless({ counts, settings }: NodeState): boolean {
    return counts.pods === 0 && (settings.judge === 'none' || !this.#options.isAnyTagged());
  }

  #reach(
    { goal: before, reconciler }: Footing,
    after: Goal,
    {
      only = [],
      isNews = false,
      found = 0,
    }: { only?: readonly Concern[] | undefined; isNews?: boolean; found?: number },
  ): Brought {
    this.#shrunk = before.state.uncut ? 'everywhere' : [];
    this.#footings.forget();
    const opening = only.flatMap(({ key, coming }) => (coming ? [key] : []));
    const closing = only.flatMap(({ key, coming }) => (coming ? [] : [key]));
    const { drift } = reconciler.reach(after.state, { opening, closing, folder: stamps(after.kept), isNews });
    const goal = { ...after, state: reconciler.state };
    return { before, after: goal, isChanged: true, isNews, drift: found + drift, shrunk: this.#shrunk };
  }

  #relabel(state: NodeState, kept: Kept): NodeState {
    return relabelled(state, podManifestsOf(kept), this.#options.isCarried);
  }

  /** The batches that `bring` would send for these manifests, one after the other. Nothing is changed, no file either. */
  plan(kept: Kept): readonly Transaction[] {
    const record = this.store.read();
    const { owner, settings } = this.#options;
    refuseOtherOwner(owner, record?.state.owner);
    const { goal: before, reconciler, rules } = this.#footings.of(record, kept, false, 'fresh');
    reconciler.look();
    const { leaving, ...state } = before.state;
    const isNews = before.kept !== kept;
    if (reconciler.markers.length > 0 && !isNews && !leaving && isSame(settings, state.settings)) return [];
    if (isNews) rules?.turnTo(kept);
    const begin = {
      state: before.state,
      markers: reconciler.markers,
      rules: rules ?? noRules,
      nft: this.#options.nft(),
    };
    return planned(begin, this.#relabel({ ...state, settings, refused: [] }, kept));
  }

  /** Takes the pod out of the table, as `closePod`. */
  close(key: string): void {
    const { store, nft, isAnyTagged } = this.#options;
    closePod(key, { store, nft, isAnyTagged, start: () => this.#footings.start(true) });
  }

  /** The operations that `mend` would take. */
  toMend(isGone: (key: string) => boolean): readonly Operation[] {
    const record = this.store.read();
    if (!record || record.state.settings.judge === 'agent') return [];
    const state = withoutPods(record.state, isGone);
    if (state === record.state) return this.drift();
    if (this.#isNeedless(state)) return [];
    const want = desiredTable(state, markersOf(record), rulesetOfFolder(this.store.readApplied(), state));
    return diff(this.read(), want).operations;
  }

  /** Operations that would bring the table to what the record says. */
  drift(): readonly Operation[] {
    const record = this.store.read();
    // Only the agent knows what its table should hold.
    if (!record || record.state.settings.judge === 'agent') return [];
    const { reconciler } = this.#footings.of(record, this.store.readApplied(), true);
    return reconciler.drift(markersOf(record));
  }

  /**
   * Puts back what another program changed, and forgets pods that `isGone` says are no more.
   * @returns the operations that it took
   */
  mend(isGone: (key: string) => boolean): readonly Operation[] {
    const record = this.store.read();
    if (!record) return [];
    const state = withoutPods(record.state, isGone);
    if (this.#isNeedless(state)) {
      this.#footings.forget();
      removeAll(this.store, this.#options.nft);
      return [];
    }
    const kept = this.store.readApplied();
    if (!this.isKnown()) {
      this.#bringBlind(() => state, kept);
      return [];
    }
    const footing = this.#footings.of(record, kept, true);
    this.#footings.forget();
    const folder = stamps(kept);
    const { operations } = footing.reconciler.reach(state, { folder });
    const mended = footing.reconciler.mend(folder);
    this.#footings.remember({ ...footing, goal: { state: footing.reconciler.state, kept } });
    return [...operations, ...mended];
  }

  /** The state in force, where its connections are yet to be looked at. */
  uncut(): Goal | undefined {
    const record = this.store.read();
    return record?.state.uncut && this.isKnown() ? { state: record.state, kept: this.store.readApplied() } : undefined;
  }

  /** To be called when they have been, under the same lock. */
  isCut(): void {
    const record = this.store.read();
    if (!record?.state.uncut) return;
    const { uncut: _, ...state } = record.state;
    writeOrForget(this.store, { ...record, state });
  }
}
