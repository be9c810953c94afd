/**
 * Stores the node's record beside the kernel's table: its pods and their tags, the manifests that it was made from, and what
 * is known of its parts. All of it can be found again from the kernel and the attachments' records.
 */
import type { Judging, Sizes } from '../gate/judging.ts';
import type { LocalPod, NodeState, Owner } from '../gate/node-state.ts';
import type { RulesIndex } from '../policy/compile/rules-index.ts';
import type { Kept } from './policy-folder.ts';

/** The state that the table goes with: the two have one marker. */
export interface NodeRecord {
  readonly marker: number;
  /** The oldest of the markers that are still in the table, where that is not the only one. */
  readonly since?: number;
  /** Stamps of the manifests that the table was made from: those of `readApplied`, unless their writer died in between. */
  readonly folder: string;
  /** The marker that the index of rules is kept under, where it is. */
  readonly index?: number;
  /**
   * The generation of the network namespace's nftables that the last batch made, where the table was what the state asks for by
   * then: while it is the same, it still is.
   */
  readonly generation?: number;
  /** `gateDigest` of the static chains that are in the table. */
  readonly gate?: string;
  /** The marker that what is known of chains and rules is kept under, where they are. */
  readonly judging?: number;
  /** By how much sets have grown since those were written. */
  readonly resized?: Sizes;
  /** Handles of the rules of the chain `one-moment`, where they are others since. */
  readonly moment?: readonly number[];
  readonly state: NodeState;
}

/** The pods that the change of one pod may touch: that one by its key, and the one that comes under it. */
export interface Concern {
  readonly key: string;
  readonly coming?: Pick<LocalPod, 'addresses' | 'hostPorts'>;
}

/**
 * The store of one network namespace. Callers hold the lock for the methods that write, and call `write` after a `read` with no
 * other call in between, since it writes what has changed.
 */
export interface NodeStore {
  /**
   * One holder at a time, of all processes.
   * @throws LockTimeoutError, StateError
   */
  lock(timeoutMs: number, signal?: AbortSignal): Promise<Disposable>;
  /** The table's owner, without a look at the pods; undefined as for `read`. */
  owner(): Owner | undefined;
  /** Stamps of the manifests that the table was made from, without a look at the pods; undefined as for `read`. */
  folder(): string | undefined;
  /** Undefined where there is none, or none that can be read: then the kernel and the records tell. */
  read(): NodeRecord | undefined;
  /**
   * As `read`, but with the pods only that a change of these concerns: they, and those that have an address of theirs or a port
   * of the node. Costs nearly the same whatever the number of other pods.
   * Undefined also where only the whole state will do.
   */
  readConcerned(concerns: readonly Concern[]): NodeRecord | undefined;
  /** The pod of this key, without a look at the others. */
  find(key: string): LocalPod | undefined;
  /** Changes whenever `read` or `readApplied` would give something else. */
  stamp(): string;
  /**
   * The state that is in force now.
   * @throws StateError; then what was written before is as it was, as far as it counts
   */
  write(record: NodeRecord): void;
  /**
   * As if nothing had ever been written, but for the manifests: the node is found again from records and links. It takes no
   * space, and what no longer holds must not stay.
   */
  forget(): void;
  /** When the last pod has gone. */
  removeAll(): void;
  /** The manifests that the table was made from. */
  readApplied(): Kept;
  writeApplied(kept: Kept): void;
  /** The rules index of the table that had this marker. */
  readIndex(marker: number | undefined): RulesIndex | undefined;
  writeIndex(marker: number, index: RulesIndex): void;
  /** By what the kernel calls the parts of the table that judge, as written with this marker. */
  findJudging(marker: number | undefined): Judging | undefined;
  writeJudging(judging: Judging): void;
}
