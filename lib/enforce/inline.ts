/**
 * The enforcement hook with no daemon: whoever runs the call judges, with the policies of a folder. Every call brings the
 * node to what the folder says now. Under `exec:` a program of the admin's judges; under `none` nobody does.
 */
import { type Config, formatEnforcer } from '../cni/config.ts';
import { CniError, codes } from '../cni/error.ts';
import type { NetnsIdentity } from '../kernel/netns.ts';
import { Nft } from '../kernel/nft.ts';
import { nameOperation } from '../nft/transaction.ts';
import type { World } from '../policy/model.ts';
import { quarantine } from '../tag/tag.ts';
import { concerns } from './concern.ts';
import { runProgram } from './exec.ts';
import { type Folder, type Kept, manifestsOf, readFolder, refuseBroken, warningsOf } from './folder.ts';
import type { GateSettings } from './gate.ts';
import type { Hook, PodManifest } from './hook.ts';
import { type LocalPod, type NodeState, type Owner, podKey, withoutPod, withPod } from './node.ts';
import { NodeTable, refuseOtherOwner } from './table.ts';

export interface InlineOptions {
  readonly config: Config;
  readonly here: NetnsIdentity;
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
  /** Pods that are plugged in here by their attachments' records. */
  readonly recover: () => NodeState['pods'];
  /** Tags that links of this node carry. */
  readonly carried: () => ReadonlySet<number>;
}

export const ownerOf = (config: Config): Owner => ({
  enforcer: formatEnforcer(config.enforcer),
  stateDir: config.stateDir,
  policies: config.policies,
});

export const settingsOf = ({ enforcer, nflogGroup, enforceEgressToNode }: Config): GateSettings => ({
  judge: enforcer.kind,
  nflogGroup,
  enforceEgressToNode,
});

export class InlineHook implements Hook, Disposable {
  readonly #options: InlineOptions;
  readonly #table: NodeTable;
  #nft: Nft | undefined;
  #folder: Folder | undefined;

  constructor(options: InlineOptions) {
    this.#options = options;
    const { config, here, recover } = options;
    this.#table = new NodeTable({
      here,
      runDir: config.runDir,
      owner: ownerOf(config),
      settings: settingsOf(config),
      recover,
      nft: () => {
        this.#nft ??= Nft.open();
        return this.#nft;
      },
    });
  }

  [Symbol.dispose](): void {
    this.#nft?.[Symbol.dispose]();
  }

  get table(): NodeTable {
    return this.#table;
  }

  get #judges(): boolean {
    return this.#options.config.enforcer.kind === 'inline';
  }

  /** Parsed outside the lock. */
  async admit(): Promise<void> {
    const { config, log } = this.#options;
    refuseOtherOwner(ownerOf(config), this.#table.peek()?.state.owner);
    this.#folder = await readFolder(config.policies, this.#table.readApplied());
    for (const warning of warningsOf(this.#folder)) log(warning);
    if (this.#judges) refuseBroken(this.#folder);
  }

  #kept(): Kept {
    return this.#folder?.kept ?? this.#table.readApplied();
  }

  #manifests(): World {
    return manifestsOf(this.#kept()).world;
  }

  manifestOf(namespace: string, name: string): PodManifest | undefined {
    return this.#manifests().pods.find(pod => pod.namespace === namespace && pod.name === name);
  }

  #deadline(): number {
    return this.#options.config.enforceTimeout * 1000;
  }

  async judge(pod: Omit<LocalPod, 'tag'>): Promise<LocalPod> {
    const { config, signal, carried } = this.#options;
    let judged: LocalPod | undefined;
    {
      using _ = await this.#table.lock(this.#deadline(), signal);
      this.#table.bring(state => {
        refuseTakenPorts(state, pod);
        const added = withPod(state, pod, tag => carried().has(tag));
        judged = added.pod;
        return added.state;
      }, this.#kept());
    }
    if (config.enforcer.kind === 'exec') await runProgram(config.enforcer.path, judged!, this.#options);
    return judged!;
  }

  async dismiss(key: string): Promise<void> {
    const file = this.#table.peek();
    if (!file && !this.#table.exists()) return;
    using _ = await this.#table.lock(this.#deadline(), this.#options.signal);
    this.#table.bring(state => withoutPod(state, key), this.#kept());
  }

  async differences(pod: LocalPod): Promise<readonly string[]> {
    using _ = await this.#table.lock(this.#deadline(), this.#options.signal);
    const drift = this.#table.drift().filter(operation => concerns(operation, pod));
    return drift.map(operation => `the table differs: ${operation.verb} ${nameOperation(operation)} would mend it`);
  }

  async mend(): Promise<void> {
    if (!this.#table.peek()) return;
    using _ = await this.#table.lock(this.#deadline(), this.#options.signal);
    const alive = this.#options.recover();
    this.#table.mend(key => !alive[key] || alive[key].tag === quarantine);
  }

  probe(): void {
    const { config } = this.#options;
    try {
      refuseOtherOwner(ownerOf(config), this.#table.peek()?.state.owner);
      this.#table.exists();
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      throw new CniError(codes.notAvailable, `Cannot judge pods: ${said}`);
    }
  }
}

/** A hostPort leads to one pod. @throws CniError code 7 */
function refuseTakenPorts(state: NodeState, pod: Omit<LocalPod, 'tag'>): void {
  const key = podKey(pod);
  for (const wanted of pod.hostPorts)
    for (const [other, { hostPorts, namespace, name }] of Object.entries(state.pods)) {
      const taken = hostPorts.find(
        ({ hostPort, protocol, hostIP }) =>
          hostPort === wanted.hostPort && protocol === wanted.protocol && hostIP === wanted.hostIP,
      );
      if (taken && other !== key)
        throw new CniError(
          codes.invalidConfig,
          `Cannot map hostPort ${wanted.hostPort}/${wanted.protocol}: taken by pod ${namespace}/${name}`,
          'choose another hostPort, or delete that pod',
        );
    }
}
