/**
 * The node's table and the file that goes with it, brought from one state to another: under the node's lock, by one batch.
 *
 * What the table holds is known from the file, without a look at the kernel: the batch takes away the marker that the file
 * names and puts a new one in, so if anybody else has changed the table since, or it is gone, the kernel refuses the whole
 * batch, and only then is the table read and compared.
 */
import { CniError, codes } from '../cni/error.ts';
import type { FileLock } from '../kernel/flock.ts';
import type { NetnsIdentity } from '../kernel/netns.ts';
import { type Nft, NftError } from '../kernel/nft.ts';
import { diff } from '../nft/diff.ts';
import type { Table } from '../nft/model.ts';
import type { Operation, Ownership, Transaction } from '../nft/transaction.ts';
import { desiredTable, parseOwner, TABLE } from './desired.ts';
import { type Kept, manifestsOf } from './folder.ts';
import type { GateSettings } from './gate.ts';
import { emptyNode, type NodeState, type Owner, withoutPod } from './node.ts';
import { type NodeFile, NodeFiles } from './node-files.ts';
import { rulesetOfNode } from './world.ts';

export interface NodeTableOptions {
  readonly here: NetnsIdentity;
  readonly runDir: string;
  readonly owner: Owner;
  readonly settings: GateSettings;
  readonly nft: () => Nft;
  /** Pods that are plugged in here by their attachments' records, for when the file is gone. */
  readonly recover: () => NodeState['pods'];
}

/** One state, with the manifests that it is judged by. */
export interface Goal {
  readonly state: NodeState;
  readonly kept: Kept;
}

const describeOwner = ({ enforcer, stateDir, policies }: Owner): string =>
  `enforcer ${enforcer}, stateDir ${stateDir}, policies ${policies}`;

export function refuseOtherOwner(owner: Owner, found: Owner | undefined): void {
  if (!found || describeOwner(found) === describeOwner(owner)) return;
  throw new CniError(
    codes.invalidConfig,
    `Cannot share this node's table: it belongs to ${describeOwner(found)}; this network says ${describeOwner(owner)}`,
    'one network namespace has one enforcer: make the configurations agree, or delete the pods of the other first',
  );
}

const nextMarker = (marker: number): number => (marker >= 0xffffffff ? 1 : marker + 1);

const isMarker = (operation: Operation): boolean => operation.object === 'element' && operation.set.name === 'marker';

/** The kernel's word that the table is not the one that the file goes with. */
const isStale = (error: unknown): boolean =>
  error instanceof NftError &&
  error.refusals.some(
    ({ code, operation }) => code === 'ENOENT' || code === 'EEXIST' || (operation && isMarker(operation)),
  );

export class NodeTable {
  readonly #options: NodeTableOptions;
  readonly #files: NodeFiles;

  constructor(options: NodeTableOptions) {
    this.#options = options;
    this.#files = new NodeFiles(options.runDir, options.here);
  }

  /** @throws LockTimeoutError */
  lock(deadline: number, signal?: AbortSignal): Promise<FileLock> {
    return this.#files.lock(deadline, signal);
  }

  /** A moment's view, without the lock. */
  peek(): NodeFile | undefined {
    return this.#files.read();
  }

  readApplied(): Kept {
    return this.#files.readApplied();
  }

  #desired({ state, kept }: Goal, marker: number, refused: ReadonlySet<string> = new Set()): Table {
    const { judge } = state.settings;
    if (judge !== 'inline' && judge !== 'agent') return desiredTable(state, marker);
    return desiredTable(state, marker, rulesetOfNode(manifestsOf(kept).world, state, refused));
  }

  /** The table as the kernel has it. @throws CniError code 7 where it is another owner's */
  #read(): Table | undefined {
    const found = this.#options.nft().readTable('inet', TABLE);
    refuseOtherOwner(this.#options.owner, found?.comment === undefined ? undefined : parseOwner(found.comment));
    return found;
  }

  /** Where the kernel knows it (6.10), nobody else's `flush ruleset` opens the gates. */
  #ownership(): Ownership {
    const { owner, persist } = this.#options.nft().probeTableFlags();
    return owner && persist ? { owner, persist } : {};
  }

  #start(): NodeState {
    const { owner, settings, recover } = this.#options;
    this.#read();
    const pods = recover();
    const tags = Object.values(pods).map(pod => pod.tag);
    const start = emptyNode(owner, settings);
    return { ...start, pods, next: Math.max(start.next, ...tags.map(tag => tag + 1)) };
  }

  /**
   * Brings table and file to what `change` makes of the state; to be called under the lock.
   * @returns the state before and after
   * @throws CniError code 7 for another owner, NftError where the kernel refuses
   */
  bring(change: (state: NodeState) => NodeState, kept: Kept): { readonly before: Goal; readonly after: Goal } {
    const { owner, settings } = this.#options;
    const file = this.#files.read();
    refuseOtherOwner(owner, file?.state.owner);
    const before = { state: file?.state ?? this.#start(), kept: this.#files.readApplied() };
    const changed = change(before.state);
    const after = { state: { ...changed, settings }, kept };
    if (file && changed === before.state && !this.#isNews(before, after)) return { before, after: before };
    if (Object.keys(after.state.pods).length === 0) this.#removeAll();
    else this.#write(file, before, after);
    return { before, after };
  }

  /** Other manifests, or other settings of the gate, count even where no pod came or went. */
  #isNews(before: Goal, after: Goal): boolean {
    return (
      JSON.stringify(before.kept) !== JSON.stringify(after.kept) ||
      JSON.stringify(before.state.settings) !== JSON.stringify(after.state.settings)
    );
  }

  #write(file: NodeFile | undefined, before: Goal, after: Goal): void {
    const marker = nextMarker(file?.marker ?? Date.now() >>> 0);
    const want = this.#desired(after, marker);
    const known = file && diff(this.#desired(before, file.marker), want);
    if (!known || !this.#commitIfKnown(known)) this.#commitByComparison(want);
    if (before.kept !== after.kept) this.#files.writeApplied(after.kept);
    this.#files.write({ marker, state: after.state });
  }

  /** False where the table is not what the file says. */
  #commitIfKnown(transaction: Transaction): boolean {
    try {
      this.#options.nft().commit(transaction);
      return true;
    } catch (error) {
      if (isStale(error)) return false;
      throw error;
    }
  }

  #commitByComparison(want: Table): void {
    const have = this.#read();
    this.#options.nft().commit(diff(have, want, have ? {} : this.#ownership()));
  }

  /** The last pod has gone: nothing of ours is left on the node. */
  #removeAll(): void {
    if (this.#read()) this.#options.nft().commit({ ...TRANSACTION, operations: [{ verb: 'delete', object: 'table' }] });
    this.#files.removeAll();
  }

  /** Whether this network namespace has our table. @throws CniError code 7 where it is another owner's */
  exists(): boolean {
    return this.#read() !== undefined;
  }

  /** What would have to change for the table to be what the file says. */
  drift(): readonly Operation[] {
    const file = this.#files.read();
    if (!file) return [];
    const goal = { state: file.state, kept: this.#files.readApplied() };
    return diff(this.#read(), this.#desired(goal, file.marker)).operations;
  }

  /** Puts back what somebody else changed, and forgets pods that `isGone` says are no more. @returns the operations */
  mend(isGone: (key: string) => boolean): readonly Operation[] {
    const file = this.#files.read();
    if (!file) return [];
    const pods = Object.keys(file.state.pods).filter(isGone);
    const state = pods.reduce(withoutPod, file.state);
    if (Object.keys(state.pods).length === 0) {
      this.#removeAll();
      return [];
    }
    const want = this.#desired({ state, kept: this.#files.readApplied() }, file.marker);
    const have = this.#read();
    const transaction = diff(have, want, have ? {} : this.#ownership());
    this.#options.nft().commit(transaction);
    this.#files.write({ marker: file.marker, state });
    return transaction.operations;
  }
}

const TRANSACTION = { family: 'inet', table: TABLE } as const;
