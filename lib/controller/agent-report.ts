/** Reports of an agent on itself: status, health, metrics, manifests. */

import { countedDenial } from '../gate/denial.ts';
import { TABLE } from '../gate/desired.ts';
import type { Client } from '../kube/client.ts';
import type { NodeKeeper } from '../node/node-network.ts';
import { nftLines } from '../pod/nft-lines.ts';
import { policyRef } from '../policy/model/model.ts';
import { metricsOf } from './agent-metrics.ts';
import type { CallCounts } from './call-metrics.ts';
import { type Drops, DropTotals } from './drop-totals.ts';
import type { FlowPart } from './flow-part.ts';
import { type HealthProblem, problemsOf } from './health.ts';
import type { AgentView } from './http-routes.ts';
import type { NodeGate } from './node-gate.ts';
import type { NodeKernel } from './node-kernel.ts';
import type { Metric } from './prometheus.ts';
import type { Supervisor } from './supervisor.ts';
import type { NodeMended, Tending } from './tending.ts';
import type { WatchStatus } from './watches.ts';
import { manifestsOfWorld } from './world-manifests.ts';

export interface AgentStatus {
  readonly node: string;
  readonly release: string;
  readonly pid: number;
  readonly server: string;
  /** CNI calls are served: everything has been heard, and is in force. */
  readonly isServing: boolean;
  /** Calls are served, and pods can be plugged in. */
  readonly isReady: boolean;
  readonly waitsFor: readonly string[];
  readonly problems: readonly string[];
  readonly refused: readonly string[];
  /** Policies that allow nothing because they, or all of their namespace, are larger than policies may be. */
  readonly beyondBudget: readonly string[];
  /** How many policies are judged and not enforced. */
  readonly staged: number;
  readonly watches: readonly WatchStatus[];
  readonly pods: number;
  readonly identities: number;
  /** Seconds, not less than; null where nothing has come yet. */
  readonly eventToKernel: { readonly p50: number | null; readonly p99: number | null };
}

export interface AgentParts {
  readonly node: string;
  readonly release: string;
  readonly client: Client;
  readonly kernel: NodeKernel;
  readonly gate: NodeGate;
  readonly keeper: NodeKeeper;
  readonly supervisor: Supervisor;
  readonly tending: Tending;
  readonly calls: CallCounts;
  readonly flows: FlowPart;
  readonly isServing: () => boolean;
}

/** The last rule of a chain is the one that drops, but for chains of rules that each drop by a number. */
const dropsIn = ({ nft }: NodeKernel): Drops =>
  new Map(nft.readRuleCounts({ family: 'inet', name: TABLE }).map(count => [countedDenial(count), count.counted]));

export class AgentReport implements AgentView {
  readonly #parts: AgentParts;
  readonly #dropped: DropTotals;

  constructor(parts: AgentParts) {
    this.#parts = parts;
    this.#dropped = new DropTotals(dropsIn(parts.kernel));
  }

  get health(): readonly HealthProblem[] {
    const { supervisor, gate } = this.#parts;
    return [...supervisor.health, ...gate.watches.statuses.flatMap(problemsOf)];
  }

  get status(): AgentStatus {
    const { node, release, client, gate, keeper } = this.#parts;
    const { statuses: watches } = gate.watches;
    const { waitsFor, problems, ready } = keeper.status;
    const isServing = this.#parts.isServing();
    const unheard = watches
      .filter(({ isComplete }) => !isComplete)
      .map(({ resource, trouble }) => `the first list of ${resource}${trouble ? `: ${trouble}` : ''}`);
    return {
      ...{ node, release, pid: process.pid, server: client.server, isServing },
      isReady: isServing && ready && watches.flatMap(problemsOf).length === 0,
      waitsFor: [...unheard, ...waitsFor],
      problems: [...problems, ...this.health.map(({ message }) => message)],
      refused: gate.table.refused,
      beyondBudget: [...gate.rules.cluster.policiesBeyondBudget()].map(policyRef),
      staged: gate.staged.size,
      watches,
      pods: Object.keys(gate.table.state.pods).length,
      identities: Object.keys(gate.table.state.tags).length,
      eventToKernel: { p50: gate.sync.delays.quantile(0.5), p99: gate.sync.delays.quantile(0.99) },
    };
  }

  get metrics(): readonly Metric[] {
    const { gate, keeper, supervisor, kernel, calls, flows } = this.#parts;
    const { release, isServing, pods, identities, refused, watches } = this.status;
    const readings = {
      ...{ release, isServing, pods, identities, refused: refused.length, watches },
      ...{ delays: gate.sync.delays, syncs: gate.sync.durations, failures: supervisor.failures, cuts: gate.cuts },
      mended: { table: gate.table.mended, links: gate.links.mended, ...keeper.mended },
      dropped: this.#dropped.take(dropsIn(kernel), gate.rules.chains),
      memory: process.memoryUsage.rss(),
    };
    return [...metricsOf(readings), ...calls.metrics(), ...flows.metrics];
  }

  /** Everything that policy is judged by on this node. */
  manifests(): Iterable<object> {
    const { gate, node } = this.#parts;
    return manifestsOfWorld(gate.watches, gate.table.state, node);
  }

  /** Operations that would bring the table to its desired state, as lines for `nft -f`. */
  async drift(): Promise<readonly string[]> {
    return await nftLines(await this.#parts.gate.table.drift());
  }

  /** Puts right what other programs changed, and collects what calls that died left behind. */
  async mend(): Promise<NodeMended> {
    return await this.#parts.tending.mend();
  }
}
