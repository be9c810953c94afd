import { CniError, codes, messageOf } from '../cni/error.ts';
import { concerns } from '../gate/concern.ts';
import { TABLE } from '../gate/desired.ts';
import { refuseTakenPorts } from '../gate/host-ports.ts';
import {
  type LocalPod,
  labelled,
  type Owner,
  type PodManifest,
  podKey,
  withoutPod,
  withPod,
} from '../gate/node-state.ts';
import { worldOfNode } from '../gate/node-world.ts';
import { isJudged } from '../gate/settings.ts';
import type { CutScope } from '../gate/shrunk.ts';
import { monotonic } from '../kernel/monotonic.ts';
import { NftError } from '../kernel/nft-refusal.ts';
import { nameOperation, type Operation, type Transaction } from '../nft/transaction.ts';
import type { FolderLook } from '../nodestore/kept-file.ts';
import type { Concern } from '../nodestore/node-store.ts';
import {
  type Folder,
  type Kept,
  manifestsOf,
  notesOf,
  podManifestsOf,
  readFolder,
  refuseBroken,
  warningsOf,
} from '../nodestore/policy-folder.ts';
import { Cluster } from '../policy/evaluate/cluster.ts';
import { judgementOf } from './connection-judge.ts';
import { cutForbidden } from './cut.ts';
import { runProgram } from './exec.ts';
import { type BringOptions, type Brought, FolderTable } from './folder-table.ts';
import type { Goal } from './footing.ts';
import { gateDigest } from './gate-digest.ts';
import type { Hook } from './hook.ts';
import type { InlineOptions } from './inline-options.ts';
import { isSameOwner, ownerOf, refuseOtherOwner, settingsOf } from './owner.ts';
import { isSameKind, type PodChange, type StateChange } from './pod-change.ts';
import { probeForeignChains, probeKernel } from './probe.ts';

/** Says by how many operations another program had changed the table. */
export const driftText = (operations: number): string =>
  `Table inet ${TABLE} was not as it should be, by ${operations} operation${operations === 1 ? '' : 's'}`;

export class InlineHook implements Hook {
  readonly #options: InlineOptions;
  readonly #table: FolderTable;
  #folder: Folder | undefined;

  constructor(options: InlineOptions) {
    this.#options = options;
    const { config, store, memory, log, node, nft } = options;
    const wanted = { owner: ownerOf(config), settings: settingsOf(config) };
    this.#table = new FolderTable({ store, memory, log, nft, ...node, ...wanted });
  }

  get table(): FolderTable {
    return this.#table;
  }

  get #judges(): boolean {
    return this.#options.config.enforcer.kind === 'inline';
  }

  /** Parsed outside the lock. */
  async admit(how: FolderLook = {}): Promise<void> {
    const { config, log } = this.#options;
    refuseOtherOwner(ownerOf(config), this.#table.store.owner());
    if (config.enforcer.kind === 'agent') return;
    this.#folder = await readFolder(config.policies, this.#table.store.readApplied(), how);
    for (const line of [...warningsOf(this.#folder), ...notesOf(this.#folder)]) log(line);
    if (this.#judges) refuseBroken(this.#folder);
  }

  #kept(): Kept {
    return this.#folder?.kept ?? this.#table.store.readApplied();
  }

  manifestOf(namespace: string, name: string): PodManifest | undefined {
    return podManifestsOf(this.#kept()).find(pod => pod.namespace === namespace && pod.name === name);
  }

  get #lockTimeoutMs(): number {
    return this.#options.config.enforceTimeout * 1000;
  }

  async #lock(signal: AbortSignal | undefined, timeoutMs = this.#lockTimeoutMs): Promise<Disposable> {
    return await this.#table.store.lock(Math.max(0, timeoutMs), signal);
  }

  async judge(pod: Omit<LocalPod, 'tag'>): Promise<LocalPod> {
    const { config, node, signal } = this.#options;
    if (config.enforcer.kind === 'agent')
      throw new CniError(codes.tryAgainLater, 'Cannot judge the pod: only the agent may', 'see that it runs');
    const key = podKey(pod);
    const { state } = await this.#bringPod(
      { key, coming: pod },
      before => {
        refuseTakenPorts(before, pod);
        // By the folder as it is now: its newest word may be in force already, and is no news then.
        return withPod(before, labelled(pod, this.manifestOf(pod.namespace, pod.name)), node.isCarried).state;
      },
      signal,
    );
    const judged = state.pods[key]!;
    if (config.enforcer.kind === 'exec') await runProgram(config.enforcer.path, judged, this.#options);
    return judged;
  }

  /** Does nothing: without an agent, no other process would open the interface before ADD does. */
  opened(): void {}

  /** Brings one pod in or out: in a warm process together with the pods of other calls that wait for the node's lock. */
  async #bringPod(only: Concern, change: StateChange, signal: AbortSignal | undefined): Promise<Goal> {
    const { config, changes } = this.#options;
    const end = monotonic() + this.#lockTimeoutMs;
    const request: PodChange = {
      ...{ only, change, signal, settings: JSON.stringify([ownerOf(config), settingsOf(config), config.established]) },
      kept: () => this.#kept(),
      heed: folder => {
        this.#folder = folder;
      },
      lock: () => this.#lock(signal, end - monotonic()),
      goesWith: other => isSameKind(request, other),
      commit: all => this.#bringPods(all),
    };
    if (changes) return await changes.join(request);
    using _ = await request.lock();
    return (await this.#bringPods([request]))[0]!;
  }

  async #bringPods(all: readonly PodChange[]): Promise<readonly Goal[]> {
    const isComing = all[0]!.only.coming !== undefined;
    // A pod that goes is let go whatever the folder says by now.
    const kept = isComing ? await this.#newest(this.#kept()) : this.#table.store.readApplied();
    if (isComing) for (const { heed } of all) heed(this.#folder);
    const change: StateChange = state => all.reduce((before, each) => each.change(before), state);
    const only = all.map(each => each.only);
    const { after, drift } = await this.#bring(change, { kept, asFound: !isComing, only });
    if (drift > 0) this.#options.log(`${driftText(drift)}: it is put right`);
    return all.map(() => after);
  }

  /** To be called under the lock. */
  async #bring(change: StateChange, options: BringOptions): Promise<Brought> {
    const brought = this.#table.bring(change, options);
    if (brought.drift > 0) this.#options.mended?.(brought.drift);
    await this.#cut(brought.after, brought.shrunk);
    return brought;
  }

  /**
   * The policies that this call read before it had the lock may be older than those that another call has put into force since:
   * where the two differ, this call reads the folder once more.
   */
  async #newest(kept: Kept): Promise<Kept> {
    if (kept !== this.#folder?.kept || this.#table.isApplied(kept)) return kept;
    this.#folder = await readFolder(this.#options.config.policies, kept);
    if (this.#judges) refuseBroken(this.#folder);
    return this.#folder.kept;
  }

  /** A call that is killed during the cut leaves `uncut` in the record, and the next call makes the cut. */
  async #cut(goal: Goal, scope: CutScope): Promise<void> {
    if (!goal.state.uncut) return;
    const { config, node, conntrack } = this.#options;
    if (config.established === 'cut' && isJudged(goal.state.settings)) {
      const cluster = new Cluster(worldOfNode(manifestsOf(goal.kept).world, goal.state));
      const judgement = judgementOf(goal, cluster);
      await cutForbidden({ judgement: () => judgement, local: node.localAddresses, conntrack }, scope);
    }
    this.#table.isCut();
  }

  async dismiss(key: string, stays = () => false): Promise<void> {
    const owner = await this.#restored(key);
    if (!owner) return;
    if (owner.enforcer === 'agent') return await this.#close([key], stays);
    // Closing goes on when the caller has hung up: it is how his ADD is undone.
    await this.#bringPod({ key }, state => (stays() ? state : withoutPod(state, key)), undefined);
  }

  /** The owner; where the record is gone while pods run, it is there again with all of the table. */
  async #restored(but?: string): Promise<Owner | undefined> {
    const owner = this.#table.owner();
    const isOurs = !owner || isSameOwner(owner, ownerOf(this.#options.config));
    if (this.#table.store.owner() || !this.#judges || !isOurs) return owner;
    const { gateAgain } = await import('./gate-again.ts');
    await gateAgain(this.#options, () => this.apply(), but);
    return this.#table.owner();
  }

  /** While the agent is away: what policies say only it knows, so pods leave the table and nothing else is touched. */
  async #close(keys: readonly string[], stays = () => false): Promise<void> {
    using _ = await this.#lock(undefined);
    try {
      if (!stays()) for (const key of keys) this.#table.close(key);
    } catch (error) {
      if (!(error instanceof NftError) || error.code !== 'EPERM') throw error;
      throw new CniError(
        codes.tryAgainLater,
        'Cannot take the pod out of the table: the agent holds the table, and did not take the call',
        'see that `tollgate agent` works on this node, or end it; the runtime tries again',
      );
    }
  }

  /** Brings the node to what the folder says now. @returns what came of it */
  async apply(how?: FolderLook): Promise<Brought> {
    await this.admit(how);
    using _ = await this.#lock(this.#options.signal);
    return await this.#bring(state => state, { kept: await this.#newest(this.#kept()) });
  }

  /** The transactions that `apply` would send now, and the manifests that it would put into force. */
  async plan(how?: FolderLook): Promise<{ readonly transactions: readonly Transaction[]; readonly kept: Kept }> {
    await this.admit(how);
    using _ = await this.#lock(this.#options.signal);
    const kept = this.#kept();
    return { transactions: this.#table.plan(kept), kept };
  }

  find(key: string): LocalPod | undefined {
    return this.#table.store.find(key);
  }

  pods(): readonly LocalPod[] {
    return Object.values(this.#table.store.read()?.state.pods ?? {});
  }

  owner(): Owner | undefined {
    return this.#table.owner();
  }

  async differences(pod: LocalPod): Promise<readonly string[]> {
    await this.#renew();
    using _ = await this.#lock(this.#options.signal);
    const drift = this.#table.drift().filter(operation => concerns(operation, pod));
    return drift.map(operation => `the table differs: ${operation.verb} ${nameOperation(operation)} would mend it`);
  }

  /**
   * Brings a table that another release of tollgate made to what this one makes of the same state, as ADD and DEL do: CHECK
   * would tell of the other release's rules as of faults of the pod.
   */
  async #renew(): Promise<void> {
    const record = this.#table.store.read();
    if (!record || record.state.settings.judge === 'agent' || record.gate === gateDigest(record.state.settings)) return;
    using _ = await this.#lock(this.#options.signal);
    await this.#bring(state => state, { kept: this.#table.store.readApplied(), asFound: true });
  }

  async mend(): Promise<readonly Operation[]> {
    const owner = await this.#restored();
    if (!owner) return [];
    const { recorded } = this.#options.node;
    if (owner.enforcer === 'agent') {
      const pods = Object.keys(this.#table.store.read()?.state.pods ?? {});
      const known = recorded(owner);
      await this.#close(pods.filter(key => !known.has(key)));
      return [];
    }
    using _ = await this.#lock(this.#options.signal);
    // A pod's record is written before the table knows it: to be read when no other pod can come into the table.
    const known = recorded(owner);
    const operations = this.#table.mend(key => !known.has(key));
    if (operations.length > 0) this.#options.mended?.(operations.length);
    const uncut = this.#table.uncut();
    if (uncut) await this.#cut(uncut, 'everywhere');
    return operations;
  }

  probe(): void {
    const { config, log } = this.#options;
    try {
      refuseOtherOwner(ownerOf(config), this.#table.store.owner());
      this.#table.read();
      const [broken] = probeKernel();
      if (broken) throw new Error(broken.what);
    } catch (error) {
      throw new CniError(codes.notAvailable, `Cannot judge pods: ${messageOf(error)}`);
    }
    // An ADD would succeed all the same, and another program may change its rules while this reads them.
    try {
      for (const { what, fix } of probeForeignChains(this.#options.nft())) log(`${what}: ${fix}`);
    } catch (error) {
      log(`Cannot tell whether another table drops pods' packets: ${messageOf(error)}`);
    }
  }
}
