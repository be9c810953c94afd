/** The node's gate as the API wants it: watches feed the live rules, and the table follows. */

import { messageOf } from '../cni/error.ts';
import { judgementOf } from '../enforce/connection-judge.ts';
import { Cutter } from '../enforce/cutter.ts';
import { LiveTable } from '../enforce/live-table.ts';
import type { Owner } from '../gate/node-state.ts';
import type { GateSettings } from '../gate/settings.ts';
import type { Client } from '../kube/client.ts';
import type { NodeKeeperOptions } from '../node/node-network.ts';
import { DiskNodeStore } from '../nodestore/disk-store.ts';
import { nodeFacts } from '../pod/here.ts';
import { LiveRules } from '../policy/compile/live.ts';
import type { Log } from '../rpc/log.ts';
import type { PodJudge } from './agent-hook.ts';
import { DeclaredPods } from './declared-pods.ts';
import { GateSync } from './gate-sync.ts';
import { LinkWatch } from './link-watch.ts';
import type { NodeKernel } from './node-kernel.ts';
import { heed, OwnPods } from './own-pods.ts';
import { StagedPolicies } from './staged-policies.ts';
import { sinksOf } from './watch-sinks.ts';
import { Watches } from './watches.ts';

export interface NodeGateOptions {
  readonly runDir: string;
  readonly owner: Owner;
  readonly settings: GateSettings;
  readonly established: 'cut' | 'keep';
  /** This node's name in the API. */
  readonly node: string;
  readonly client: Client;
  /** Where the cluster's pods are, by the admin's word: no other pod CIDR of a node is believed. */
  readonly clusterCidrs?: NodeKeeperOptions['clusterCidrs'];
  /** Whether to hold the table as its owner, so that no other process can open the gates. */
  readonly ownTable: boolean;
  readonly log: Log;
}

/** Called when a part of the node needs work soon, or to ask it. */
export interface NodeGateNews {
  /** Whether a call is under way. */
  readonly isCalled: () => boolean;
  /** Pod CIDRs or addresses of nodes may have changed. */
  readonly nodes: () => void;
  /** A pod's link has another tag than its own. */
  readonly links: () => void;
}

export class NodeGate {
  readonly rules = new LiveRules();
  readonly staged = new StagedPolicies();
  readonly table: LiveTable;
  readonly watches: Watches;
  readonly sync: GateSync;
  readonly links: LinkWatch;
  readonly judge: PodJudge;
  readonly #cutter: Cutter;
  /** Connections that were ended since no policy allows them any more. */
  cuts = 0;

  /** @throws CniError code 7 where this network namespace is another owner's */
  constructor(options: NodeGateOptions, kernel: NodeKernel, news: NodeGateNews) {
    const { node, client, owner, log, clusterCidrs } = options;
    const facts = nodeFacts(kernel.host, kernel.netns);
    const { isCarried } = facts;
    this.table = this.#openTable(options, kernel, facts);
    this.#cutter = this.#makeCutter(kernel, facts, log, news.isCalled);
    const { rules, staged, table } = this;
    const own = new OwnPods(node, rules);
    const nodesChanged = (): void => {
      this.sync.nodesChanged();
      news.nodes();
    };
    this.watches = new Watches(client, sinksOf({ rules, staged, own, table, nodesChanged }));
    const { watches } = this;
    const { known, declared } = new DeclaredPods(client, watches, rules);
    this.judge = {
      // What an ADD left that died with an agent is closed, and stays so until it is cleared away.
      ...{ table, known, declared, isCarried, opening: facts.unfinished(owner) },
      heed: (state, namespace) => heed(state, own.newsOf(namespace), isCarried),
      recorded: () => facts.recorded(owner),
      trouble: () => (watches.isComplete ? undefined : 'the Kubernetes API has not been heard yet'),
    };
    this.links = new LinkWatch(table, kernel.host, this.judge.opening, news.links);
    this.sync = new GateSync({ table, rules, own, watches, isCarried, clusterCidrs });
  }

  #openTable(options: NodeGateOptions, kernel: NodeKernel, facts: ReturnType<typeof nodeFacts>): LiveTable {
    const { runDir, owner, settings, established, ownTable: own, log } = options;
    const { recover, isCarried, retag } = facts;
    return new LiveTable({
      ...{ store: new DiskNodeStore(runDir, kernel.netns), owner, settings, rules: this.rules, nft: kernel.nft, own },
      ...{ recover, isCarried, retag, log: line => log('warn', line) },
      shrunk: scope => {
        if (established === 'cut') this.#cutter.request(scope);
      },
    });
  }

  #makeCutter(
    { conntrack }: NodeKernel,
    { localAddresses: local }: ReturnType<typeof nodeFacts>,
    log: Log,
    isCalled: () => boolean,
  ): Cutter {
    return new Cutter({
      judgement: () => judgementOf({ state: this.table.state }, this.rules.cluster),
      ...{ local, conntrack, isCalled },
      cut: count => {
        this.cuts += count;
      },
      failed: error => log('error', `Cannot cut connections that are no longer allowed: ${messageOf(error)}`),
    });
  }

  /** Resolves when no connection is being looked up or ended any more. */
  async stop(): Promise<void> {
    this.#cutter[Symbol.dispose]();
    await this.#cutter.settled();
  }
}
