/**
 * The agent's table: the desired state lives in this process, whole, and each change goes to the kernel as the difference
 * that it makes. What the kernel holds is read and compared only at the start, and where the kernel says that somebody else
 * has been there.
 *
 * The node's state file is written as well: whoever must take a pod out of the table while the agent is away finds it there.
 */

import { type GateSettings, MOMENT } from '../gate/chains.ts';
import { desiredTable, TABLE, TABLE_NAME } from '../gate/desired.ts';
import { nextMarker } from '../gate/marker.ts';
import {
  emptyNode,
  type IsCarried,
  joined,
  type LocalPod,
  type NodeState,
  type Owner,
  podKey,
} from '../gate/node-state.ts';
import { emptyRuleset, identitiesOfNode, localPod } from '../gate/node-world.ts';
import { partsOf } from '../gate/parts.ts';
import { policiesRefused } from '../gate/refused.ts';
import { addressesOf, type CutScope, shrunkBetween } from '../gate/shrunk.ts';
import { isRedirected, waypoints } from '../gate/waypoints.ts';
import type { Address } from '../ip/address.ts';
import { type Nft, NftError } from '../kernel/nft.ts';
import { waitForRcuGracePeriod } from '../kernel/rcu.ts';
import { watchTable } from '../kernel/table-watch.ts';
import { type DiffOptions, diff } from '../nft/diff.ts';
import type { Table } from '../nft/model.ts';
import { ADOPT, type Operation } from '../nft/transaction.ts';
import type { NodeRecord, NodeStore } from '../nodestore/node-store.ts';
import type { LiveRules, RulesetChange } from '../policy/compile/live.ts';
import { isFull } from '../state/error.ts';
import { commitCompared } from './compared.ts';
import { KnownTable, type Next } from './known-table.ts';
import { isStale, leavingBetween, mistagged, ownerIn, policySets, refuseOtherOwner } from './table.ts';

export interface LiveTableOptions {
  readonly store: NodeStore;
  readonly owner: Owner;
  readonly settings: GateSettings;
  readonly rules: LiveRules;
  readonly nft: Nft;
  /** Whether that socket shall own the table where the kernel knows owners; then it stays open as long as the table is ours. */
  readonly own: boolean;
  readonly log: (line: string) => void;
  /** Pods that are plugged in here by their attachments' records, for when the file is gone. */
  readonly recover: (owner: Owner) => NodeState['pods'];
  readonly isCarried: IsCarried;
  /** Gives the pod's link its tag, wherever it is by now. */
  readonly retag: (pod: LocalPod) => void;
  /** Told whose connections may have been allowed before and be forbidden now, after each change that may forbid any. */
  readonly shrunk: (scope: CutScope) => void;
}

export interface LiveBringOptions {
  /** Whose policies are to be in force afterwards; where it is absent, everybody's. Those of others may have to wait. */
  readonly namespaces?: readonly string[];
  readonly signal?: AbortSignal | undefined;
  /** Key of a pod that is to be opened: when this is done, what judges it is in force. */
  readonly opening?: string;
}

interface Committed {
  readonly operations: number;
  /** What was in the kernel before was not known. */
  readonly isCompared: boolean;
}

const LOCK_DEADLINE = 60_000;

const isPolicyMap: DiffOptions = { renew: ({ name }) => name.endsWith('_by_tag') };

const shrunkBy = (change: RulesetChange | undefined, { pods }: NodeState): readonly Address[] =>
  change === undefined ? [] : shrunkBetween(change, Object.values(pods));

export class LiveTable {
  readonly #options: LiveTableOptions;
  readonly #store: NodeStore;
  /** Pods of a state that was found again whose links carry another tag than theirs, until the table knows theirs. */
  #mistagged: LocalPod[] = [];
  #state: NodeState;
  /** Of the table as it was last written; undefined where the kernel has to be looked at first. */
  #marker: number | undefined;
  #stamp = '';
  /** Pods that the rules know of, by `podKey`. */
  readonly #shown = new Map<string, LocalPod>();
  /** Whose pods' identities the rules know. */
  #identified: NodeState | undefined;
  /** Policies that the kernel refused. */
  readonly #refused = new Set<string>();
  #turn: Promise<unknown> = Promise.resolve();
  /** Where other programs can change the table. */
  readonly #known: KnownTable;
  #flags: { readonly owner: boolean; readonly persist: boolean } | undefined;
  /** Operations by which tables were put right that another program had changed. */
  mended = 0;

  /** @throws CniError code 7 where this network namespace is another owner's */
  constructor(options: LiveTableOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#known = new KnownTable(options.nft);
    this.#state = this.#found();
    this.#stamp = this.#store.stamp();
  }

  get state(): NodeState {
    return this.#state;
  }

  /** By the file, else by records and links. */
  #found(): NodeState {
    const { owner, settings, recover, isCarried, nft } = this.#options;
    const file = this.#store.read();
    refuseOtherOwner(owner, file?.state.owner ?? ownerIn(nft.readTable('inet', TABLE)));
    if (!file) {
      const open = recover(owner);
      const state = joined(emptyNode(owner, settings), open, isCarried);
      this.#mistagged = mistagged(open, state);
      return state;
    }
    const { refused: _, ...state } = file.state;
    return { ...state, settings };
  }

  /** One change after the other; calls of this process never wait for the lock's polling. */
  #exclusively<T>(work: () => T, signal?: AbortSignal): Promise<T> {
    const turn = this.#turn.then(async () => {
      signal?.throwIfAborted();
      using _ = await this.#store.lock(LOCK_DEADLINE, signal);
      return work();
    });
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  /**
   * Brings table and file to what `change` makes of the state and to what the rules have become meanwhile.
   * @returns the operations that it took; 0 where nothing was to be done
   * @throws NftError where the kernel refuses, CniError code 7 for another owner
   */
  bring(
    change: (state: NodeState) => NodeState,
    { namespaces, signal, opening }: LiveBringOptions = {},
  ): Promise<number> {
    return this.#exclusively(() => {
      const operations = this.#bring(change, namespaces);
      const pod = opening === undefined ? undefined : this.#state.pods[opening];
      if (pod) this.#assure([pod]);
      return operations;
    }, signal);
  }

  #bring(change: (state: NodeState) => NodeState, namespaces: LiveBringOptions['namespaces']): number {
    this.#catchUp();
    const after = change(this.#arrived());
    const leaving = leavingBetween(this.#state, after);
    if (leaving.length === 0) return this.#reach(after, namespaces);
    // Both entries are there while links have either tag: the one of before, or already that of now.
    const first = this.#reach({ ...after, leaving }, namespaces);
    const arriving = leaving.map(pod => after.pods[podKey(pod)]!);
    this.#assure(arriving);
    for (const pod of arriving) this.#options.retag(pod);
    waitForRcuGracePeriod();
    const second = this.#reach(after, namespaces);
    this.#tellShrunk(addressesOf(leaving));
    return first + second;
  }

  #tellShrunk(scope: CutScope): void {
    if (scope.length > 0) this.#options.shrunk(scope);
  }

  /** Who died between the two steps of a change of identities left both entries in the table, and links with either tag. */
  #arrived(): NodeState {
    const { leaving, ...state } = this.#state;
    if (!leaving) return this.#state;
    for (const pod of leaving.flatMap(each => state.pods[podKey(each)] ?? [])) this.#options.retag(pod);
    return state;
  }

  /** Somebody took pods out of the table while we could not be reached. */
  #catchUp(): void {
    if (this.#store.stamp() === this.#stamp) return;
    this.#state = this.#found();
    this.#marker = undefined;
  }

  #reach(state: NodeState, namespaces?: LiveBringOptions['namespaces']): number {
    const { rules } = this.#options;
    const before = this.#state;
    this.#show(state);
    if (state !== this.#identified) rules.setIdentities(identitiesOfNode(state));
    this.#identified = state;
    const change = rules.take(namespaces);
    if (!change && state === before && this.#marker !== undefined) return 0;
    const earlier = this.#marker;
    const { operations, isCompared } = this.#commit(before, state, change);
    this.#state = state;
    // Elements of sets come and go without it: the file tells of this node's pods alone.
    if (this.#marker !== earlier) this.#keep({ marker: this.#marker!, folder: '', state });
    this.#stamp = this.#store.stamp();
    this.#tellShrunk(isCompared ? 'everywhere' : shrunkBy(change, state));
    return operations;
  }

  /** Where there is no room the files go: what they say no longer holds, and another process finds the node by its records. */
  #keep(file: NodeRecord): void {
    try {
      this.#store.write(file);
    } catch (error) {
      if (!isFull(error)) throw error;
      this.#store.forget();
      this.#options.log(`The node's state is not on disk until there is room: ${(error as Error).message}`);
    }
  }

  /** What policy sees of the pods here is what is plugged in, whatever the API says of their addresses. */
  #show({ pods }: NodeState): void {
    const { rules } = this.#options;
    for (const [key, pod] of this.#shown)
      if (!pods[key]) {
        rules.deletePod(localPod(pod));
        this.#shown.delete(key);
      }
    for (const [key, pod] of Object.entries(pods))
      if (this.#shown.get(key) !== pod) {
        rules.setPod(localPod(pod));
        this.#shown.set(key, pod);
      }
  }

  #commit(before: NodeState, after: NodeState, change: RulesetChange | undefined): Committed {
    const known = this.#marker;
    // Whatever goes wrong from here on, what the table holds is not known.
    this.#marker = undefined;
    try {
      const steps = known === undefined ? [] : this.#steps(before, after, change, known);
      const planned = steps.reduce((sum, { transaction }) => sum + transaction.operations.length, 0);
      if (known !== undefined && this.#commitIfKnown(steps)) {
        this.#marker = steps.at(-1)?.marker ?? known;
        return { operations: planned, isCompared: false };
      }
      const marker = nextMarker(known ?? this.#store.read()?.marker ?? Date.now() >>> 0, 8);
      const operations = this.#compareAndCommit(after, marker);
      this.#marker = marker;
      // What goes beyond the plan puts right what another program did to a table that we knew.
      if (known !== undefined) this.#tellMended(Math.max(1, operations - planned));
      return { operations, isCompared: true };
    } catch (error) {
      if (!this.#refuse(error)) throw error;
      return this.#commit(before, after, undefined);
    }
  }

  /** A policy that the kernel refuses closes the pods that it selects, and no others. @returns whether that is news */
  #refuse(error: unknown): boolean {
    if (!(error instanceof NftError)) return false;
    const { rules, log } = this.#options;
    const more = policiesRefused(error, rules.ruleset()).filter(policy => !this.#refused.has(policy));
    if (more.length === 0) return false;
    for (const policy of more) this.#refused.add(policy);
    rules.setRefused(new Set(this.#refused));
    log(`The kernel refused ${more.join(', ')}, so the pods that it selects stay closed: ${error.message}`);
    rules.take();
    return true;
  }

  /** `Kind/namespace/name` of policies that the kernel refused. */
  get refused(): readonly string[] {
    return [...this.#refused];
  }

  /** Policies are others by now: the kernel may take them. */
  retryRefused(): void {
    if (this.#refused.size === 0) return;
    this.#refused.clear();
    this.#options.rules.setRefused(new Set());
  }

  #steps(before: NodeState, after: NodeState, change: RulesetChange | undefined, marker: number): readonly Next[] {
    const part = partsOf({ before, after });
    const way = change ? waypoints(change) : [emptyRuleset, emptyRuleset];
    const options = change ? { ...(isRedirected(change) ? isPolicyMap : {}), witness: MOMENT } : {};
    const markers = way.map((_, i) => (before === after ? marker : nextMarker(marker, i)));
    const tables = way.map((ruleset, i) => {
      return desiredTable(i === 0 ? part.before : part.after, markers[i]!, ruleset);
    });
    return tables.slice(1).map((table, i) => ({
      transaction: diff(tables[i], table, options),
      marker: markers[i + 1]!,
      ruleset: change?.isStructural && i + 2 === tables.length ? change.after : undefined,
    }));
  }

  /** False where the table is not what we left. */
  #commitIfKnown(steps: readonly Next[]): boolean {
    for (const [i, step] of steps.entries()) {
      if (i > 0) waitForRcuGracePeriod();
      try {
        if (this.isOwned) this.#options.nft.commit(step.transaction);
        else this.#known.commit(step);
      } catch (error) {
        if (isStale(error)) return false;
        throw error;
      }
    }
    return true;
  }

  /** The whole table as it should be; policies that wait to be brought into force are not in it. */
  desired(): Table {
    return desiredTable(this.#state, this.#marker ?? 0, this.#options.rules.taken());
  }

  #compareAndCommit(state: NodeState, marker: number): number {
    const { nft, rules } = this.#options;
    // What is written is the whole, and so is what the next change is told from.
    rules.take();
    const ruleset = rules.ruleset();
    const want = desiredTable(state, marker, ruleset);
    const { isOwned } = this;
    const options = { ...(isOwned ? { owner: true, persist: true } : {}), ...policySets };
    const { transaction, generation } = commitCompared(nft, have => {
      refuseOtherOwner(state.owner, ownerIn(have?.table));
      const { operations, ...table } = diff(have?.table, want, options);
      const adopts = isOwned && have?.persist === true && !have.owner;
      return { ...table, operations: adopts ? [ADOPT, ...operations] : operations };
    });
    if (!isOwned) this.#known.learn(generation, marker, ruleset);
    for (const pod of this.#mistagged.splice(0)) this.#options.retag(pod);
    return transaction.operations.length;
  }

  /** Before pods are opened: what judges them is in force, whatever another program has done to the table. */
  #assure(pods: readonly LocalPod[]): void {
    if (!this.isOwned && !this.#known.isInForce(this.#state.settings, pods)) this.#mend();
  }

  /** Where the kernel knows it (6.9), nobody else's `flush ruleset` opens the gates while we live. */
  get isOwned(): boolean {
    if (!this.#options.own) return false;
    this.#flags ??= this.#options.nft.probeTableFlags();
    return this.#flags.owner && this.#flags.persist;
  }

  /** Calls when somebody else has changed the table; nobody can where it is owned. */
  watch(changed: () => void): Disposable {
    return this.isOwned
      ? { [Symbol.dispose]() {} }
      : watchTable(this.#options.nft, { family: 'inet', name: TABLE }, changed);
  }

  /** What would have to change in the kernel for it to be what it should be. */
  drift(): Promise<readonly Operation[]> {
    return this.#exclusively(() => {
      this.#catchUp();
      return diff(this.#options.nft.readTable('inet', TABLE), this.desired()).operations;
    });
  }

  /** Puts right what another program changed. @returns the operations that it took */
  mend(): Promise<readonly Operation[]> {
    return this.#exclusively(() => {
      this.#catchUp();
      return this.#mend();
    });
  }

  #tellMended(operations: number): void {
    this.mended += operations;
    this.#options.log(`Another program changed our table: mended by ${operations} operations`);
  }

  #mend(): readonly Operation[] {
    // What has been heard and is not in force yet is nobody's change.
    this.#reach(this.#state);
    const have = this.#options.nft.read(TABLE_NAME);
    const { operations } = diff(have?.table, this.desired());
    if (operations.length > 0) {
      this.#marker = undefined;
      this.#reach(this.#state);
      this.#tellMended(operations.length);
    } else if (!this.isOwned && !this.#known.isUntouched)
      this.#known.learn(have?.generation, this.#marker!, this.#options.rules.ruleset());
    return operations;
  }
}
