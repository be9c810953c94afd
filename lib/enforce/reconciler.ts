/**
 * Brings a node's table from what it holds to what it should hold, for the agent and for inline calls, which differ in where
 * their rules come from; under the node's lock. ARCHITECTURE.md, "The reconciler", draws its states and transitions.
 */
import { desiredTable, TABLE_NAME } from '../gate/desired.ts';
import { markersOf, nextMarker } from '../gate/marker.ts';
import { joined, type LocalPod, type NodeState, podKey } from '../gate/node-state.ts';
import { policiesRefused } from '../gate/refused.ts';
import { addressesOf, type CutScope, mergedScopes, shrunkBetween } from '../gate/shrunk.ts';
import { stepsBetween, type TableStep } from '../gate/steps.ts';
import { leavingBetween, mistagged } from '../gate/transition.ts';
import { NftError } from '../kernel/nft-refusal.ts';
import { waitForRcuGracePeriod } from '../kernel/rcu.ts';
import { diff } from '../nft/diff.ts';
import type { Table } from '../nft/model.ts';
import type { Operation } from '../nft/transaction.ts';
import type { NodeRecord } from '../nodestore/node-store.ts';
import type { RulesetChange } from '../policy/compile/ruleset-change.ts';
import { commitWhole, isEmptied, isStale } from './compared.ts';
import { KnownTable, type Recalled } from './known-table.ts';
import type { FoundNodeState, Listeners, Reached, ReachOptions, ReconcilerOptions } from './reconciling.ts';
import { RecordKeeper } from './record-keeper.ts';
import { WholeNeeded } from './whole-needed.ts';

/** The table's markers, oldest first; none: what the table holds only the kernel knows. */
type Markers = readonly number[];

interface Committed extends Reached {
  readonly state: NodeState;
  readonly markers: Markers;
  readonly isCompared: boolean;
}

const shrunkBy = (change: RulesetChange | undefined, { pods }: NodeState): CutScope =>
  change === undefined ? [] : shrunkBetween(change, Object.values(pods));

const none: Reached = { operations: [], drift: 0 };
const sum = (a: Reached, b: Reached): Reached => ({
  operations: [...a.operations, ...b.operations],
  drift: a.drift + b.drift,
});

export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly known: KnownTable;
  readonly keeper: RecordKeeper;
  /** A process that goes on with a reconciler of an earlier call puts that of now in its place. */
  listeners: Listeners;
  #state: NodeState;
  #markers: Markers = [];
  /** Markers count on from here. */
  #last = Date.now() >>> 0;
  /** It was to be another table, so what a comparison takes beyond the change is told as drift. */
  #isAwry = false;
  /** The state is that of a record, whose table is yet to be read. */
  #isFound = false;
  #isWhole = true;
  /** Pods whose links carry another tag than theirs, until the table knows theirs. */
  #mistagged: readonly LocalPod[] = [];

  constructor(options: ReconcilerOptions, state: NodeState, listeners: Listeners) {
    this.#options = options;
    this.listeners = listeners;
    this.#state = state;
    this.known = new KnownTable(options.nft);
    this.keeper = new RecordKeeper(options);
  }

  get state(): NodeState {
    return this.#state;
  }

  get markers(): Markers {
    return this.#markers;
  }

  /** The table is the one of this record, whose state is whole or not. */
  recall(record: NodeRecord, known: Recalled, isWhole: boolean): void {
    this.#isWhole = isWhole;
    this.#state = record.state;
    this.#markers = markersOf(record);
    this.#last = record.marker;
    this.keeper.recall(record);
    this.known.recall(known);
  }

  /** The state is this one by now, and what the table holds only the kernel knows. */
  adopt({ state, awry, marker }: FoundNodeState): void {
    this.#state = state;
    this.#mistagged = awry;
    this.#isFound = marker !== undefined;
    this.doubt(marker);
  }

  /**
   * Forgets what the table holds, so that the next change reads it from the kernel.
   * @param last the last marker that it may have had
   * @param isAwry it should have had that
   */
  doubt(last?: number, isAwry = false): void {
    this.#markers = [];
    this.#last = last ?? this.#last;
    this.#isAwry = isAwry;
  }

  /** A process that died halfway left both entries of a pod in the table, and its link with either tag. */
  arrive(changed: NodeState = this.#state): NodeState {
    for (const pod of (this.#state.leaving ?? []).flatMap(each => changed.pods[podKey(each)] ?? []))
      this.#options.retag(pod);
    const { leaving: _, ...state } = changed;
    return changed.leaving ? state : changed;
  }

  /** Writes down what is in force. */
  keep(folder: string, isStructural = false): void {
    const { rules } = this.#options;
    const [state, markers] = [this.#state, this.#markers];
    const unkept = this.keeper.write({ state, markers, folder, isStructural }, this.known.knowledge, rules);
    if (unkept) this.listeners.unkept(unkept);
  }

  /**
   * Brings the table to this state and to what the rules are by now.
   * @throws NftError where the kernel refuses, CniError code 7 for another owner
   */
  reach(after: NodeState, { opening = [], closing = [], ...options }: ReachOptions = {}): Reached {
    const seen = this.#markers.length > 0 ? this.#assure(closing, options.folder, true) : none;
    const leaving = leavingBetween(this.#state, after);
    const halfway = leaving.length === 0 ? none : this.#enter(after, leaving, options);
    const { leaving: _, ...arrived } = this.#state;
    const reached = sum(sum(seen, halfway), this.#reach(leaving.length === 0 ? after : arrived, options));
    if (leaving.length > 0) this.#tellShrunk(addressesOf(leaving));
    return sum(reached, this.#assure(opening, options.folder));
  }

  /** Both entries are there while links have either tag: the one of before, or already that of now. */
  #enter(after: NodeState, leaving: readonly LocalPod[], options: ReachOptions): Reached {
    const reached = this.#reach({ ...after, leaving }, options);
    const arriving = leaving.map(pod => this.#state.pods[podKey(pod)]!);
    const assured = this.#assure(leaving.map(podKey), options.folder);
    for (const pod of arriving) this.#options.retag(pod);
    // A packet that entered before the first batch must not meet the second: the kernel keeps rules of two generations only.
    waitForRcuGracePeriod();
    return sum(reached, assured);
  }

  #tellShrunk(scope: CutScope): void {
    if (scope.length > 0) this.listeners.shrunk(scope);
  }

  #reach(wanted: NodeState, { namespaces, folder = '', isNews = false }: ReachOptions): Reached {
    const { rules, isShared } = this.#options;
    const before = this.#state;
    rules.show(wanted);
    const change = rules.take(namespaces);
    if (!change && wanted === before && !isNews && this.#markers.length > 0) return none;
    // Pods that only come and go are no news for other processes: DEL deletes the connections of a pod that goes.
    const mayShrink = !isShared || isNews || before.leaving || wanted.leaving;
    const scope = mayShrink ? mergedScopes(shrunkBy(change, wanted), addressesOf(wanted.leaving ?? [])) : [];
    const after: NodeState = isShared && scope.length > 0 ? { ...wanted, uncut: wanted.uncut ?? true } : wanted;
    const earlier = this.#markers;
    const isRecorded = wanted !== before || isNews;
    const { state, markers, isCompared, operations, drift } = this.#commit(before, after, change, isRecorded);
    this.#state = state;
    this.#markers = markers;
    this.#last = markers.at(-1)!;
    // Elements of sets come and go without the record, which tells of this node's pods alone.
    if (markers !== earlier) this.keep(folder, isCompared || change?.isStructural === true);
    this.#tellShrunk(isCompared ? 'everywhere' : scope);
    return { operations, drift };
  }

  #commit(before: NodeState, after: NodeState, change: RulesetChange | undefined, isRecorded: boolean): Committed {
    const markers = this.#markers;
    const isExpected = markers.length > 0 || this.#isAwry;
    const from = markers.length > 0 ? markers : [this.#last];
    // Whatever goes wrong from here on, what the table holds is not known.
    this.doubt();
    try {
      const steps = isExpected ? stepsBetween({ before, after }, { change, markers: from, isRecorded }) : [];
      const planned = steps.flatMap(({ transaction }) => transaction.operations);
      if (markers.length > 0 && this.#commitIfKnown(steps))
        return { state: after, markers: steps.at(-1)!.markers, isCompared: false, operations: planned, drift: 0 };
      const compared = this.#compare(after);
      // Operations beyond the plan undo what another program did to a table that was known.
      return isExpected ? { ...compared, drift: Math.max(1, compared.operations.length - planned.length) } : compared;
    } catch (error) {
      const refused = this.#refusedBy(error, after);
      if (refused.length === 0) throw error;
      const without = { ...after, refused: [...(after.refused ?? []), ...refused] };
      this.#options.rules.show(without);
      return this.#commit(before, without, undefined, true);
    }
  }

  /** A policy that the kernel refuses closes the pods that it selects, and no others. @returns those that are news */
  #refusedBy(error: unknown, { refused = [] }: NodeState): readonly string[] {
    if (!(error instanceof NftError)) return [];
    const more = policiesRefused(error, this.#options.rules.whole()).filter(policy => !refused.includes(policy));
    if (more.length > 0)
      this.listeners.log(
        `The kernel refused ${more.join(', ')}, so the pods that it selects stay closed: ${error.message}`,
      );
    return more;
  }

  /** False where the table is not what we left. */
  #commitIfKnown(steps: readonly TableStep[]): boolean {
    for (const [i, step] of steps.entries()) {
      if (i > 0) waitForRcuGracePeriod();
      try {
        if (this.#options.isOwned()) this.#options.nft().commit(step.transaction);
        else this.known.commit(step);
      } catch (error) {
        if (isStale(error)) return false;
        throw error;
      }
    }
    return true;
  }

  /**
   * Pods that another writer plugged in meanwhile are found by their records, and stay in the table. What open pods could do
   * then, only the kernel's connections tell. A link whose tag is not its pod's gets it once the table knows it.
   */
  #compare(wanted: NodeState): Committed {
    const { nft, rules, recover, isCarried, isOwned, isShared, retag } = this.#options;
    this.#needWhole();
    const open = recover(wanted.owner);
    const found = joined(wanted, open, isCarried);
    const hasOpen = Object.keys(open).length > 0;
    const state = isShared && hasOpen ? { ...found, uncut: 'everywhere' as const } : found;
    rules.show(state);
    const ruleset = rules.whole();
    // Beyond those of a change that came halfway.
    const marker = nextMarker(this.#last, 8);
    const want = desiredTable(state, marker, ruleset);
    const { have, transaction, generation } = commitWhole(nft(), want, isOwned());
    if (!isOwned()) this.known.learn(generation, marker, ruleset);
    for (const pod of [...this.#mistagged, ...mistagged(open, state)]) retag(pod);
    this.#mistagged = [];
    const { operations } = transaction;
    // What else differs may be what was heard since the record was written, or another release's way to say it.
    const drift = this.#isFound && Object.keys(state.pods).length > 0 && isEmptied(have, want) ? operations.length : 0;
    this.#isFound = false;
    return { state, markers: [marker], isCompared: true, operations, drift };
  }

  /** The whole table as it should be; policies that wait to be brought into force are not in it. */
  desired(markers = this.#markers): Table {
    this.#needWhole();
    return desiredTable(this.#state, markers, this.#options.rules.taken());
  }

  #needWhole(): void {
    if (!this.#isWhole) throw new WholeNeeded();
  }

  /** What judges these pods is in force, whatever another program has done to the table. @param isSeen  as `recall` was told */
  #assure(keys: readonly string[], folder: string | undefined, isSeen = false): Reached {
    const pods = keys.flatMap(key => this.#state.pods[key] ?? []);
    const isCertain = pods.length === 0 || this.#options.isOwned();
    if (isCertain || this.known.isInForce(this.#state.settings, pods, isSeen)) return none;
    const operations = this.mend(folder);
    return { operations, drift: operations.length };
  }

  /**
   * Looks at the whole table, where another program may have changed it since.
   * @returns by how many operations it is not what it should be; what it holds is not known then
   */
  look(): number {
    const isCertain = this.#options.isOwned() || this.known.look();
    return this.#markers.length === 0 || isCertain ? 0 : this.#inspect().length;
  }

  #inspect(): readonly Operation[] {
    const have = this.#options.nft().read(TABLE_NAME);
    const { operations } = diff(have?.table, this.desired());
    if (operations.length > 0) this.#markers = [];
    else if (!this.#options.isOwned() && !this.known.look())
      this.known.learn(have?.generation, this.#markers.at(-1)!, this.#options.rules.taken());
    return operations;
  }

  /** Operations that would bring the kernel's table to the desired one, with these markers. */
  drift(markers?: Markers): readonly Operation[] {
    return diff(this.#options.nft().read(TABLE_NAME)?.table, this.desired(markers)).operations;
  }

  /** Puts right what another program changed. @returns the operations that it took */
  mend(folder = ''): readonly Operation[] {
    // Changes that were heard and are not in force yet must not count as another program's.
    this.#reach(this.#state, { folder });
    const operations = this.#inspect();
    if (operations.length > 0) this.#reach(this.#state, { folder });
    else if (this.#options.isShared) this.keep(folder);
    return operations;
  }
}
