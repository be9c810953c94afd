/**
 * The agent's table: rules come from what the API says, and no other process brings the table anywhere while the agent lives. The
 * node's record is written as well: a process that must take a pod out of the table while the agent is away finds it there.
 */

import { TABLE, TABLE_NAME } from '../gate/desired.ts';
import { NodeRules } from '../gate/node-rules.ts';
import { emptyNode, joined, type NodeState, type Owner } from '../gate/node-state.ts';
import type { GateSettings } from '../gate/settings.ts';
import { mistagged } from '../gate/transition.ts';
import type { Nft } from '../kernel/nft.ts';
import { watchTable } from '../kernel/table-watch.ts';
import type { Table } from '../nft/model.ts';
import type { Operation } from '../nft/transaction.ts';
import type { NodeStore } from '../nodestore/node-store.ts';
import type { LiveRules } from '../policy/compile/live.ts';
import { ownerIn, refuseOtherOwner } from './owner.ts';
import { Reconciler } from './reconciler.ts';
import type { FoundNodeState, Listeners, ReachOptions, ReconcilerOptions } from './reconciling.ts';
import type { TableConnection } from './table-connection.ts';

export interface LiveTableOptions
  extends Pick<ReconcilerOptions, 'recover' | 'isCarried' | 'retag'>,
    Pick<Listeners, 'log' | 'shrunk'> {
  readonly store: NodeStore;
  readonly owner: Owner;
  readonly settings: GateSettings;
  readonly rules: LiveRules;
  readonly nft: TableConnection & Pick<Nft, 'port'>;
  /** Whether that socket shall own the table where the kernel knows owners; then it stays open as long as the table is ours. */
  readonly own: boolean;
}

export interface LiveBringOptions extends Pick<ReachOptions, 'namespaces' | 'opening'> {
  readonly signal?: AbortSignal | undefined;
}

const LOCK_TIMEOUT_MS = 60_000;

export class LiveTable {
  readonly #options: LiveTableOptions;
  readonly #store: NodeStore;
  readonly #reconciler: Reconciler;
  #stamp: string;
  /** Policies are others by now: the kernel may take those that it refused. */
  #isRetrying = false;
  #turn: Promise<unknown> = Promise.resolve();
  /** Whether the table can be ours alone; worked out when it is asked for. */
  #isOwnable: boolean | undefined;
  /** Operations by which tables were put right that another program had changed. */
  mended = 0;

  /** @throws CniError code 7 where this network namespace is another owner's */
  constructor(options: LiveTableOptions) {
    this.#options = options;
    this.#store = options.store;
    const { store, rules, nft, log, isCarried, retag, shrunk } = options;
    // Before the record is read: no lock is held, and what another process writes after that is caught up with.
    this.#stamp = store.stamp();
    const found = this.#found();
    this.#reconciler = new Reconciler(
      {
        ...{ store, recover: () => ({}), isCarried, retag, isShared: false },
        nft: () => nft,
        rules: new NodeRules(rules),
        isOwned: () => this.isOwned,
      },
      found.state,
      {
        ...{ log, shrunk },
        unkept: error => log(`The node's state is not on disk until there is room: ${error.message}`),
      },
    );
    this.#reconciler.adopt(found);
  }

  get state(): NodeState {
    return this.#reconciler.state;
  }

  /** By the record, else by attachments' records and links. */
  #found(): FoundNodeState {
    const { owner, settings, recover, isCarried, nft } = this.#options;
    const record = this.#store.read();
    refuseOtherOwner(owner, record?.state.owner ?? ownerIn(nft.readTable('inet', TABLE)));
    if (record) {
      const { refused: _, ...state } = record.state;
      return { state: { ...state, settings }, awry: [], marker: record.marker };
    }
    const open = recover(owner);
    const state = joined(emptyNode(owner, settings), open, isCarried);
    return { state, awry: mistagged(open, state), marker: undefined };
  }

  /** One change after the other; calls of this process never wait for the lock's polling. */
  #exclusively<T>(work: () => T, signal?: AbortSignal): Promise<T> {
    const turn = this.#turn.then(async () => {
      signal?.throwIfAborted();
      using _ = await this.#store.lock(LOCK_TIMEOUT_MS, signal);
      this.#catchUp();
      const result = work();
      this.#stamp = this.#store.stamp();
      return result;
    });
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  /** Another process took pods out of the table while this one could not be reached. */
  #catchUp(): void {
    if (this.#store.stamp() === this.#stamp) return;
    this.#reconciler.adopt(this.#found());
  }

  /**
   * Brings table and record to what `change` makes of the state and to what the rules have become meanwhile.
   * @returns the operations that it took; 0 where nothing was to be done
   * @throws NftError where the kernel refuses, CniError code 7 for another owner
   */
  bring(change: (state: NodeState) => NodeState, { signal, ...options }: LiveBringOptions = {}): Promise<number> {
    return this.#exclusively(() => {
      const arrived = change(this.#reconciler.arrive());
      const state = this.#isRetrying && arrived.refused ? { ...arrived, refused: [] } : arrived;
      this.#isRetrying = false;
      const { operations, drift } = this.#reconciler.reach(state, options);
      this.#tellMended(drift);
      return operations.length;
    }, signal);
  }

  /** `Kind/namespace/name` of policies that the kernel refused. */
  get refused(): readonly string[] {
    return this.state.refused ?? [];
  }

  /** Policies are others by now: the kernel may take them. */
  retryRefused(): void {
    this.#isRetrying = true;
  }

  /** The whole table as it should be; policies that wait to be brought into force are not in it. */
  desired(): Table {
    return this.#reconciler.desired();
  }

  /**
   * True where no other process's `flush ruleset` opens the gates while this one lives: the kernel knows the flags (6.9), and the
   * table is not one that was made without them (by an agent with --no-own-table), to which none can be added.
   */
  get isOwned(): boolean {
    if (!this.#options.own) return false;
    this.#isOwnable ??= this.#askOwnable();
    return this.#isOwnable;
  }

  #askOwnable(): boolean {
    const { nft, log } = this.#options;
    const { owner, persist } = nft.probeTableFlags();
    if (!owner || !persist) return false;
    if (nft.tableState(TABLE_NAME)?.isPersistent ?? true) return true;
    log(
      'The table was made without an owner, and cannot get one: what other programs change in it is mended, not prevented',
    );
    return false;
  }

  /** Calls when another program has changed the table; none can where it is owned. */
  watch(changed: () => void): Disposable {
    return this.isOwned
      ? { [Symbol.dispose]() {} }
      : watchTable(this.#options.nft, { family: 'inet', name: TABLE }, changed);
  }

  /** Operations that would bring the kernel's table to the desired one. */
  drift(): Promise<readonly Operation[]> {
    return this.#exclusively(() => this.#reconciler.drift());
  }

  /** Puts right what another program changed. @returns the operations that it took */
  mend(): Promise<readonly Operation[]> {
    return this.#exclusively(() => {
      const operations = this.#reconciler.mend();
      this.#tellMended(operations.length);
      return operations;
    });
  }

  #tellMended(operations: number): void {
    if (operations === 0) return;
    this.mended += operations;
    this.#options.log(`Another program changed our table: mended by ${operations} operations`);
  }
}
