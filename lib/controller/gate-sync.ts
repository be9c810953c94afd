/** Brings the node's table to what the watches have heard, one namespace after the other. */
import type { LiveTable } from '../enforce/live-table.ts';
import type { IsCarried, NodeState } from '../gate/node-state.ts';
import { formatPrefix } from '../ip/address.ts';
import { unionOfPrefixes } from '../ip/union.ts';
import { systemClock } from '../kube/clock.ts';
import type { KubePod } from '../kube/object.ts';
import type { NodeKeeperOptions } from '../node/node-network.ts';
import { judgeClaims } from '../node/pod-cidrs.ts';
import type { LiveRules } from '../policy/compile/live.ts';
import { type Calls, inTurn, stillWaiting } from './in-turn.ts';
import { heed, type OwnPods } from './own-pods.ts';
import { Histogram } from './prometheus.ts';
import type { Watches } from './watches.ts';

export interface GateSyncOptions {
  readonly table: LiveTable;
  readonly rules: LiveRules;
  readonly own: OwnPods;
  readonly watches: Watches;
  readonly isCarried: IsCarried;
  readonly clusterCidrs: NodeKeeperOptions['clusterCidrs'];
}

export class GateSync {
  readonly #options: GateSyncOptions;
  /** When the first event came that is not in force yet; milliseconds of the clock. */
  #waitingSince: number | undefined;
  /** The cluster's pod CIDRs, by the nodes that the watch knows; undefined: to be worked out. */
  #podCidrs: readonly string[] | undefined;
  /** Seconds from an event of the API to the kernel. */
  readonly delays = new Histogram();
  /** Seconds that a run took. */
  readonly durations = new Histogram();

  constructor(options: GateSyncOptions) {
    this.#options = options;
  }

  /** Notes an event of the API that changes something. */
  heard(): void {
    this.#waitingSince ??= systemClock.now();
  }

  /** Has the pod CIDRs worked out again: those or addresses of nodes may have changed. */
  nodesChanged(): void {
    this.#podCidrs = undefined;
  }

  /**
   * Brings into force what has been heard; does nothing before the API has been heard whole. CNI calls go in between, so that
   * pods do not wait for the policies of other namespaces.
   */
  async run(calls: Calls): Promise<void> {
    const { watches, rules, own } = this.#options;
    const waiting = () => new Set([...rules.unsettled, ...own.unheeded]);
    if (!watches.isComplete) return;
    const since = this.#waitingSince;
    this.#waitingSince = undefined;
    const start = systemClock.now();
    let operations = waiting().size === 0 ? await this.#settle() : 0;
    const settle = async (namespace: string): Promise<void> => {
      operations += await this.#settle(namespace);
    };
    await inTurn(stillWaiting(waiting), settle, calls, systemClock);
    this.durations.observe((systemClock.now() - start) / 1000);
    if (since !== undefined && operations > 0) this.delays.observe((systemClock.now() - since) / 1000);
  }

  /**
   * Brings into force what pods and namespaces have become, and the policies of this namespace.
   * @returns operations that it took
   */
  async #settle(namespace?: string): Promise<number> {
    const { table, own, isCarried } = this.#options;
    let news: readonly KubePod[] = [];
    const change = (state: NodeState): NodeState => {
      news = own.newsOf(namespace);
      return this.#withPodCidrs(heed(state, news, isCarried));
    };
    const operations = await table.bring(change, { namespaces: namespace === undefined ? [] : [namespace] });
    own.heeded(news);
    return operations;
  }

  #withPodCidrs(state: NodeState): NodeState {
    const { watches, clusterCidrs } = this.#options;
    // Neighbouring ranges are merged: of 5,000 nodes a handful of prefixes is left.
    const believed = () => judgeClaims([...watches.nodes.objects()], clusterCidrs).believed;
    this.#podCidrs ??= unionOfPrefixes(believed()).map(formatPrefix);
    const isSame = JSON.stringify(state.podCidrs ?? []) === JSON.stringify(this.#podCidrs);
    return isSame ? state : { ...state, podCidrs: this.#podCidrs };
  }
}
