import { CniError, codes } from '../cni/error.ts';
import type { NodeSettings } from '../cni/own-keys.ts';
import type { Hook } from '../enforce/hook.ts';
import type { LiveTable } from '../enforce/live-table.ts';
import { ownerOf, refuseOtherOwner } from '../enforce/owner.ts';
import { concerns } from '../gate/concern.ts';
import { refuseTakenPorts } from '../gate/host-ports.ts';
import {
  type IsCarried,
  type LocalPod,
  type NodeState,
  type Owner,
  podKey,
  withoutPod,
  withPod,
} from '../gate/node-state.ts';
import type { KubePod } from '../kube/object.ts';
import { nameOperation, type Operation } from '../nft/transaction.ts';
import { asDeclared } from './own-pods.ts';

/** The judge of pods, which all calls of this process share. */
export interface PodJudge {
  readonly table: LiveTable;
  /** The pod as the watch has it, where it has told of it. */
  readonly known: (pod: Omit<LocalPod, 'tag'>) => KubePod | undefined;
  /** The pod as the API has it. @throws CniError code 11 where nothing is known of it */
  readonly declared: (pod: Omit<LocalPod, 'tag'>, signal: AbortSignal | undefined) => Promise<KubePod>;
  /** The node with what the API has said of the pods of a namespace that are plugged in. */
  readonly heed: (state: NodeState, namespace: string) => NodeState;
  readonly isCarried: IsCarried;
  /** Keys of pods that are judged and whose interfaces an ADD has yet to open. */
  readonly opening: Set<string>;
  /** Keys of all pods that some attachment's record speaks of. */
  readonly recorded: () => ReadonlySet<string>;
  /** Why no pod could be judged now. */
  readonly trouble: () => string | undefined;
}

export interface AgentHookOptions {
  readonly settings: NodeSettings;
  readonly judge: PodJudge;
  readonly signal?: AbortSignal | undefined;
}

export class AgentHook implements Hook {
  readonly #options: AgentHookOptions;
  readonly #table: LiveTable;

  constructor(options: AgentHookOptions) {
    this.#options = options;
    this.#table = options.judge.table;
  }

  async admit(): Promise<void> {
    refuseOtherOwner(ownerOf(this.#options.settings), this.#table.state.owner);
  }

  /** No manifest of the pod is known before it is judged: `judge` asks the API. */
  manifestOf(): undefined {
    return undefined;
  }

  async judge(pod: Omit<LocalPod, 'tag'>): Promise<LocalPod> {
    const { judge, signal } = this.#options;
    const asked = await judge.declared(pod, signal);
    judge.opening.add(podKey(pod));
    // Judge the pod by the policies of its own namespace and by all pods as they are now; changed policies of others may wait.
    const namespaces = [pod.namespace];
    await this.#table.bring(
      state => {
        // The watch may have told something newer while this waited for its turn, and will not tell it again.
        const declared = asDeclared(pod, judge.known(pod) ?? asked);
        refuseTakenPorts(state, declared);
        return withPod(judge.heed(state, pod.namespace), declared, judge.isCarried).state;
      },
      { namespaces, signal, opening: [podKey(pod)] },
    );
    const judged = this.#table.state.pods[podKey(pod)];
    if (!judged)
      throw new CniError(codes.tryAgainLater, `Cannot judge ${pod.namespace}/${pod.name}: it is being deleted`);
    return judged;
  }

  /** Goes on when the caller has hung up: an ADD is undone by it. */
  async dismiss(key: string, stays = () => false): Promise<void> {
    await this.#table.bring(state => (stays() ? state : withoutPod(state, key)), { namespaces: [] });
    if (!stays()) this.opened(key);
  }

  opened(key: string): void {
    this.#options.judge.opening.delete(key);
  }

  find(key: string): LocalPod | undefined {
    return this.#table.state.pods[key];
  }

  pods(): readonly LocalPod[] {
    return Object.values(this.#table.state.pods);
  }

  owner(): Owner {
    return this.#table.state.owner;
  }

  async differences(pod: LocalPod): Promise<readonly string[]> {
    const drift = (await this.#table.drift()).filter(operation => concerns(operation, pod));
    return drift.map(operation => `the table differs: ${operation.verb} ${nameOperation(operation)} would mend it`);
  }

  async mend(): Promise<readonly Operation[]> {
    await this.#table.bring(state => {
      // A pod's record is written before the table knows it: to be read when no other pod can come into the table.
      const recorded = this.#options.judge.recorded();
      return Object.keys(state.pods)
        .filter(key => !recorded.has(key))
        .reduce(withoutPod, state);
    });
    return await this.#table.mend();
  }

  probe(): void {
    const trouble = this.#options.judge.trouble();
    if (trouble !== undefined) throw new CniError(codes.notAvailable, `Cannot judge pods: ${trouble}`);
  }
}
