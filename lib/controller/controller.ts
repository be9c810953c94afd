/**
 * The agent of a Kubernetes node: the API listener hears, the rules say what follows, the table brings it about, and calls
 * are served by the same table. It opens its socket once everything has been heard and is in force; before that, and when
 * it is gone, calls only close, release or read, and the rules of before stay in place.
 */

import type { Config } from '../cni/config.ts';
import { CniError, codes, messageOf } from '../cni/error.ts';
import { Cutter, judgementOf } from '../enforce/cut.ts';
import { LiveTable } from '../enforce/live-table.ts';
import type { GateSettings } from '../gate/chains.ts';
import { TABLE } from '../gate/desired.ts';
import type { LocalPod, NodeState, Owner } from '../gate/node-state.ts';
import { formatPrefix } from '../ip/address.ts';
import { unionOfPrefixes } from '../ip/union.ts';
import { NetlinkSocket } from '../kernel/netlink.ts';
import { currentNetns } from '../kernel/netns.ts';
import { Nft } from '../kernel/nft.ts';
import { SocketPool } from '../kernel/socket-pool.ts';
import type { Client } from '../kube/client.ts';
import { systemClock } from '../kube/clock.ts';
import { createIntern } from '../kube/intern.ts';
import type { KubeNode, KubePod } from '../kube/object.ts';
import { getPod } from '../kube/single.ts';
import { concernsRoutes, NodeKeeper, type NodeKeeperOptions } from '../node/node-network.ts';
import { judgeClaims } from '../node/pod-cidrs.ts';
import type { Context } from '../pod/context.ts';
import { nodeFacts } from '../pod/here.ts';
import { dispatchInThreadPool } from '../pod/interface.ts';
import { nftWords } from '../pod/sweep.ts';
import { LiveRules } from '../policy/compile/live.ts';
import { policyRef } from '../policy/model/model.ts';
import { startHeartbeat } from '../rpc/heartbeat.ts';
import { claimNode, listen } from '../rpc/listen.ts';
import type { Log } from '../rpc/log.ts';
import { CallServer } from '../rpc/server.ts';
import { AgentHook, type PodJudge } from './agent-hook.ts';
import { metricsOf } from './agent-metrics.ts';
import { CallLog } from './call-log.ts';
import { CallCounts } from './call-metrics.ts';
import { Complaints } from './complaints.ts';
import { clearDeadCalls, type DeadCalls } from './dead-calls.ts';
import { FolderWatch } from './folder-watch.ts';
import { type HealthProblem, type Part, problemsOf } from './health.ts';
import { agentRoutes } from './http-routes.ts';
import { serveAdmin, serveMetrics } from './http-server.ts';
import { inTurn } from './in-turn.ts';
import { SharedLinkReaper } from './link-reaper.ts';
import { LinkWatch } from './link-watch.ts';
import { heed, isSamePod, OwnPods } from './own-pods.ts';
import { Histogram, type Metric } from './prometheus.ts';
import { type Intervals, Runner } from './runner.ts';
import { Watches, type WatchStatus } from './watches.ts';
import { answerTimeoutOf, carryOut, type OpenContext, refusal } from './worker.ts';
import { manifestsOfWorld } from './world-manifests.ts';

export interface KubernetesOptions {
  readonly release: string;
  readonly runDir: string;
  readonly owner: Owner;
  readonly settings: GateSettings;
  readonly established: 'cut' | 'keep';
  /** This node's name in the API. */
  readonly node: string;
  readonly client: Client;
  /** Where metrics and health are shown; absent: nowhere but on the agent's own socket. */
  readonly metrics?: { readonly host: string; readonly port: number };
  /** Where the cluster's pods are, by the admin's word: no other pod CIDR of a node is believed. */
  readonly clusterCidrs?: NodeKeeperOptions['clusterCidrs'];
  /** Absent: no conflist is written. */
  readonly conflist?: NodeKeeperOptions['conflist'];
  /** Whether to hold the table as its owner, so that nobody else can open the gates. */
  readonly ownTable: boolean;
  readonly log: Log;
}

/** Events of one burst are brought about together. */
const syncing: Intervals = { least: 10, retry: 1_000, greatest: 300_000 };
/** What somebody else changed, and what dead calls left behind. */
const tending: Intervals = { least: 200, retry: 5_000, greatest: 60_000 };
/** What the node's routes, ranges and conflist should be. */
const keeping: Intervals = { least: 100, retry: 5_000, greatest: 60_000 };
/** How often a table that we own is looked at whole, in milliseconds. */
const MENDING = 600_000;

/** What the runners do, as in "Cannot …". */
const works = {
  sync: 'bring the gate up to date',
  tend: 'tend the node',
  node: 'bring the node up to date',
} as const;
type Work = keyof typeof works;
const partOf: Readonly<Record<Work, Part>> = { sync: 'gate', tend: 'tending', node: 'node' };

/** Milliseconds: longer than all deadlines in one run together. */
const STUCK = 180_000;
/** How long an ADD waits for the API's word of a pod that no watch has told of, in milliseconds. */
const ASKING = 5_000;

/** What was put right. */
export interface NodeMended extends DeadCalls {
  /** Operations on the table, as lines that `nft -f` would take. */
  readonly nft: readonly string[];
  /** Links that got their tags back. */
  readonly links: number;
}

export interface AgentStatus {
  readonly node: string;
  readonly release: string;
  readonly pid: number;
  readonly server: string;
  /** CNI calls are served: everything has been heard, and is in force. */
  readonly isServing: boolean;
  /** And pods can be plugged in. */
  readonly isReady: boolean;
  readonly waitsFor: readonly string[];
  readonly problems: readonly string[];
  readonly refused: readonly string[];
  /** Policies that allow nothing because they, or all of their namespace, are larger than policies may be. */
  readonly beyondBudget: readonly string[];
  readonly watches: readonly WatchStatus[];
  readonly pods: number;
  readonly identities: number;
  /** Seconds, not less than; null where nothing has come yet. */
  readonly eventToKernel: { readonly p50: number | null; readonly p99: number | null };
}

export class KubernetesAgent {
  readonly #options: KubernetesOptions;
  readonly #stop = new AbortController();
  readonly #undo = new DisposableStack();
  readonly #rules = new LiveRules();
  readonly #cutter: Cutter;
  readonly #own: OwnPods;
  readonly listeners: Watches;
  readonly table: LiveTable;
  readonly #host: NetlinkSocket;
  readonly #routePool: SocketPool;
  readonly #nft: Nft;
  readonly #facts: ReturnType<typeof nodeFacts>;
  readonly #judge: PodJudge;
  readonly #server: CallServer;
  readonly #links: LinkWatch;
  readonly #reaper: SharedLinkReaper;
  readonly node: NodeKeeper;
  /** None before the start. */
  #runners: Readonly<Record<Work, Runner>> | undefined;
  #listening: Promise<void> = Promise.resolve();
  #isServing = false;
  /** When the first event came that is not in force yet; milliseconds of the clock. */
  #waitingSince: number | undefined;
  #podCidrs: readonly string[] | undefined;
  #mendedAt = Number.NEGATIVE_INFINITY;
  /** Seconds from an event to the kernel. */
  readonly #delays = new Histogram();
  readonly #syncs = new Histogram();
  readonly #calls = new CallCounts();
  #cuts = 0;
  #failures = 0;
  /** Why the last attempt of a kind to bring the node up to date failed. */
  readonly #troubles = new Map<Work, string>();

  /** @throws Error where there is an agent already, CniError code 7 where this network namespace is another owner's */
  constructor(options: KubernetesOptions) {
    this.#options = options;
    const { runDir, owner, settings, node, client, log, ownTable: own } = options;
    const here = currentNetns();
    const undo = this.#undo;
    try {
      const claim = undo.use(claimNode(runDir));
      this.#host = undo.use(NetlinkSocket.open('route'));
      this.#routePool = undo.use(new SocketPool('route'));
      const nft = undo.use(Nft.open());
      this.#nft = nft;
      this.#facts = nodeFacts(this.#host.exchange, here);
      const { recover, isCarried, retag } = this.#facts;
      const warn = (line: string): void => log('warn', line);
      this.table = new LiveTable({
        ...{ here, runDir, owner, settings, rules: this.#rules },
        nft,
        own,
        log: warn,
        recover,
        isCarried,
        retag,
        shrunk: scope => {
          if (options.established === 'cut') this.#cutter.request(scope);
        },
      });
      this.#cutter = undo.use(
        new Cutter({
          judgement: () => judgementOf({ state: this.table.state }, this.#rules.cluster),
          local: this.#facts.localAddresses,
          netfilter: nft.exchange,
          open: () => NetlinkSocket.open('netfilter'),
          cut: count => {
            this.#cuts += count;
          },
          failed: error => log('error', `Cannot cut connections that are no longer allowed: ${messageOf(error)}`),
        }),
      );
      this.#own = new OwnPods(node, this.#rules);
      this.listeners = new Watches(client, this.#sinks());
      this.#judge = this.#makeJudge();
      this.#reaper = undo.use(new SharedLinkReaper(log));
      const { conflist } = options;
      const host = this.#host.exchange;
      this.node = new NodeKeeper({
        ...{ node, runDir, host, client, log },
        ...(options.clusterCidrs ? { clusterCidrs: options.clusterCidrs } : {}),
        ...(conflist ? { conflist } : {}),
      });
      this.#links = new LinkWatch(this.table, this.#host.exchange, this.#judge.opening, () =>
        this.#runners?.tend.ring(),
      );
      const calls = new CallLog(log, this.#calls.take);
      this.#server = new CallServer({
        netns: here,
        refuse: (request, { pid }) => refusal(request, { runDir, owner, pid }),
        answerTimeout: answerTimeoutOf,
        run: (request, caller) =>
          calls.tell(request, () => carryOut(request, caller, { release: options.release, openContext: this.#open })),
        log: (what, caller) => log('warn', `A call came to nothing: ${what}`, { pid: caller?.pid, uid: caller?.uid }),
      });
      this.#claim = claim;
    } catch (error) {
      undo.dispose();
      throw error;
    }
  }
  readonly #claim: ReturnType<typeof claimNode>;

  #sinks(): ConstructorParameters<typeof Watches>[1] {
    const rules = this.#rules;
    return {
      pods: this.#own.hear,
      namespaces: ({ before, after }) => {
        if (after) rules.setNamespace(after.name, after.labels);
        else if (before) rules.deleteNamespace(before.name);
      },
      policies: ({ before, after }) => {
        this.table.retryRefused();
        if (after) rules.setPolicy(after);
        else if (before) rules.deletePolicy(before);
      },
      nodes: ({ before, after }) => {
        if (concernsRoutes({ before, after })) {
          this.#podCidrs = undefined;
          this.#runners?.node.ring();
        }
        if (after) rules.setNode(after);
        else if (before) rules.deleteNode(before.name);
      },
    };
  }

  #makeJudge(): PodJudge {
    const { owner } = this.#options;
    const { isCarried, recorded } = this.#facts;
    return {
      table: this.table,
      known: pod => this.#known(pod),
      heed: (state, namespace) => heed(state, this.#own.newsOf(namespace), isCarried),
      declared: (pod, signal) => this.#declared(pod, signal),
      isCarried,
      opening: new Set(),
      recorded: () => recorded(owner),
      trouble: () => (this.listeners.isComplete ? undefined : 'the Kubernetes API has not been heard yet'),
    };
  }

  #known(pod: Omit<LocalPod, 'tag'>): KubePod | undefined {
    const known = this.listeners.pods.get(pod);
    return known && isSamePod(pod, known) ? known : undefined;
  }

  /** By the watch; where that has not told of it yet, by asking. */
  async #declared(pod: Omit<LocalPod, 'tag'>, signal: AbortSignal | undefined): Promise<KubePod> {
    const known = this.#known(pod);
    if (known) return known;
    const name = `${pod.namespace}/${pod.name}`;
    let found: KubePod | undefined;
    try {
      found = await getPod(this.#options.client, pod, { timeoutMs: ASKING, ...(signal ? { signal } : {}) });
    } catch (error) {
      signal?.throwIfAborted();
      throw new CniError(codes.tryAgainLater, `Cannot judge pod ${name}: nothing is known of it`, messageOf(error));
    }
    if (found && isSamePod(pod, found)) return found;
    const what = found ? `the API has another pod of that name, with uid ${found.uid}` : 'the API has no such pod';
    throw new CniError(codes.tryAgainLater, `Cannot judge pod ${name}: ${what}`, 'the runtime tries again');
  }

  readonly #open: OpenContext = ({ config }, env, log, signal) => ({
    ...this.#context(config, log, signal),
    env,
    [Symbol.dispose]() {},
  });

  #context(config: Config, log: (line: string) => void, signal?: AbortSignal): Context {
    const hook = new AgentHook({ config, judge: this.#judge, signal });
    const host = this.#host.exchange;
    return {
      env: {},
      here: currentNetns(),
      host,
      dispatch: dispatchInThreadPool(host, this.#routePool.exchange, () => this.#server.calls > 1),
      hook,
      nft: () => this.#nft,
      reaper: this.#reaper,
      log,
      ...(signal ? { signal } : {}),
    };
  }

  /** Resolves when calls are served; rejects where they never will be. */
  async start(): Promise<void> {
    const { log, node, runDir, owner, client } = this.#options;
    const ready = Promise.withResolvers<void>();
    const sync = this.#runner('sync', syncing, async () => {
      await this.#sync();
      if (this.listeners.isComplete && !this.#isServing) await this.#serve().then(ready.resolve, ready.reject);
    });
    const tend = this.#runner('tend', tending, () => this.#tend());
    const confDir = this.#watchConfs();
    const keepNode = this.#runner('node', keeping, async () => {
      confDir?.renew();
      if (this.listeners.isComplete) await this.node.update(this.listeners.nodes.objects(), this.#isServing);
    });
    this.#runners = { sync, tend, node: keepNode };
    await this.#show();
    log('info', 'listening', { node, server: client.server, runDir, ...owner });
    const { signal } = this.#stop;
    const news = (): void => {
      this.#waitingSince ??= systemClock.now();
      sync.ring();
    };
    this.#listening = this.listeners.listen(
      {
        signal,
        intern: createIntern(),
        report: this.#undo.use(new Complaints(log, systemClock)).take,
        // Older servers send no bookmarks for what never changes: a silent stream is only asked for anew.
        lost: (resource, error, retryIn) =>
          log(error.reason === 'Silent' ? 'debug' : 'warn', `Lost the watch of ${resource}: ${error.message}`, {
            retryIn: Math.round(retryIn),
          }),
      },
      news,
    );
    this.#listening.catch(ready.reject);
    await ready.promise;
  }

  /** Whatever others do to the runtimes' configurations is looked at soon. */
  #watchConfs(): FolderWatch | undefined {
    const { conflist, log } = this.#options;
    if (!conflist) return undefined;
    const { confDir } = conflist;
    const unwatched = (error: unknown): void =>
      log('warn', `Cannot watch ${confDir}, so changes are seen later: ${messageOf(error)}`);
    return this.#undo.use(new FolderWatch(confDir, () => this.#runners?.node.ring(), unwatched));
  }

  /** What fails is tried again, counted, and told until it succeeds. */
  #runner(name: Work, intervals: Intervals, work: () => Promise<void>): Runner {
    return new Runner({
      intervals,
      clock: systemClock,
      failed: error => {
        this.#failures++;
        this.#troubles.set(name, messageOf(error));
        this.#options.log('error', `Cannot ${works[name]}: ${messageOf(error)}`);
      },
      work: async () => {
        await work();
        this.#troubles.delete(name);
      },
    });
  }

  /** Also before it serves: what it waits for is what somebody may want to know. */
  async #show(): Promise<void> {
    const { runDir, log, metrics: place } = this.#options;
    const pages = agentRoutes(this);
    this.#undo.use(await serveAdmin(runDir, pages.toRoot));
    if (!place) return;
    try {
      this.#undo.use(await serveMetrics(place, pages.toAll));
    } catch (error) {
      log('warn', `Cannot show metrics on ${place.host} port ${place.port}: ${messageOf(error)}`);
    }
  }

  async #serve(): Promise<void> {
    const { runDir, log } = this.#options;
    this.#isServing = true;
    this.#undo.use(await listen(this.#server.server, runDir, { claim: this.#claim }));
    this.#undo.use(
      startHeartbeat(runDir, systemClock, error => log('warn', `Cannot show presence: ${messageOf(error)}`)),
    );
    this.#undo.use(this.#links.watch());
    this.#undo.use(this.table.watch(() => this.#runners?.tend.ring()));
    log('info', 'serving', { pid: process.pid, netns: currentNetns().ino });
    this.#runners?.tend.ring();
    this.#runners?.node.ring();
  }

  /**
   * Brings the table to what has been heard, one namespace after the other: what one of them costs, pods of others do not
   * wait for.
   */
  async #sync(): Promise<void> {
    if (!this.listeners.isComplete) return;
    const since = this.#waitingSince;
    this.#waitingSince = undefined;
    const start = systemClock.now();
    const namespaces = new Set([...this.#rules.unsettled, ...this.#own.unheeded]);
    let operations = namespaces.size === 0 ? await this.#settle() : 0;
    const settle = async (namespace: string): Promise<void> => {
      operations += await this.#settle(namespace);
    };
    await inTurn(namespaces, settle, this.#server, systemClock);
    this.#syncs.observe((systemClock.now() - start) / 1000);
    if (since !== undefined && operations > 0) this.#delays.observe((systemClock.now() - since) / 1000);
  }

  /** What pods and namespaces have become, and the policies of this one. @returns operations that it took */
  async #settle(namespace?: string): Promise<number> {
    let news: readonly KubePod[] = [];
    const change = (state: NodeState): NodeState => {
      news = this.#own.newsOf(namespace);
      return this.#withPodCidrs(heed(state, news, this.#facts.isCarried));
    };
    const namespaces = namespace === undefined ? [] : [namespace];
    const operations = await this.table.bring(change, { namespaces });
    this.#own.heeded(news);
    return operations;
  }

  #withPodCidrs(state: NodeState): NodeState {
    // Of 5,000 nodes with neighbouring ranges a handful are left.
    const nodes = (): KubeNode[] => [...this.listeners.nodes.objects()];
    this.#podCidrs ??= unionOfPrefixes(judgeClaims(nodes(), this.#options.clusterCidrs).believed).map(formatPrefix);
    const isSame = JSON.stringify(state.podCidrs ?? []) === JSON.stringify(this.#podCidrs);
    return isSame ? state : { ...state, podCidrs: this.#podCidrs };
  }

  async #tend(): Promise<void> {
    if (!this.#isServing) return;
    // Nobody else can change a table that we own; looking at it whole is for the unforeseen then.
    const isDue = !this.table.isOwned || systemClock.now() - this.#mendedAt > MENDING;
    await this.mend(isDue);
  }

  /**
   * Puts right what somebody else changed, and takes away what calls that died left behind.
   * @param withTable whether the table is looked at whole
   */
  async mend(withTable = true): Promise<NodeMended> {
    const { log } = this.#options;
    if (withTable) this.#mendedAt = systemClock.now();
    const operations = withTable ? await this.table.mend() : [];
    const links = this.#links.mend();
    if (links > 0) log('warn', "Somebody changed the tags of pods' links: mended", { links });
    return { nft: await nftWords(operations), links, ...(await this.#clearAway()) };
  }

  async #clearAway(): Promise<DeadCalls> {
    const { owner, runDir, log } = this.#options;
    return await clearDeadCalls({ owner, runDir, log, contextFor: (config, say) => this.#context(config, say) });
  }

  manifests(): Iterable<object> {
    return manifestsOfWorld(this.listeners, this.table.state, this.#options.node);
  }

  /** What would have to change in the table for it to be what it should be, in nft's words. */
  async drift(): Promise<readonly string[]> {
    return await nftWords(await this.table.drift());
  }

  get status(): AgentStatus {
    const { node, release, client } = this.#options;
    const waitsFor = [
      ...this.listeners.statuses
        .filter(({ isComplete }) => !isComplete)
        .map(({ resource, trouble }) => `the first list of ${resource}${trouble ? `: ${trouble}` : ''}`),
      ...this.node.status.waitsFor,
    ];
    return {
      ...{ node, release, pid: process.pid, server: client.server, isServing: this.#isServing },
      ...{ isReady: this.#isReady, waitsFor },
      problems: [...this.node.status.problems, ...this.health.map(({ message }) => message)],
      refused: this.table.refused,
      beyondBudget: [...this.#rules.cluster.policiesBeyondBudget()].map(policyRef),
      watches: this.listeners.statuses,
      pods: Object.keys(this.table.state.pods).length,
      identities: Object.keys(this.table.state.tags).length,
      eventToKernel: { p50: this.#delays.quantile(0.5), p99: this.#delays.quantile(0.99) },
    };
  }

  get #isReady(): boolean {
    return this.#isServing && this.node.status.ready && this.listeners.statuses.flatMap(problemsOf).length === 0;
  }

  /** What keeps the node from being brought up to date. */
  get health(): readonly HealthProblem[] {
    const failed = [...this.#troubles].map(([name, why]) => ({
      ...{ part: partOf[name], isStuck: false },
      message: `cannot ${works[name]}: ${why}`,
    }));
    return [...failed, ...this.#stuck(), ...this.listeners.statuses.flatMap(problemsOf)];
  }

  /** Work that should have come to an end: each wait in it has a deadline. */
  *#stuck(): Generator<HealthProblem> {
    for (const [name, { busy = 0 }] of Object.entries(this.#runners ?? {}) as [Work, Runner][])
      if (busy > STUCK)
        yield {
          ...{ part: partOf[name], isStuck: true },
          message: `cannot ${works[name]}: at it for ${Math.round(busy / 1000)} s`,
        };
  }

  get metrics(): readonly Metric[] {
    const { release } = this.#options;
    const { isServing, pods, identities, refused } = this.status;
    const counts = this.#nft.readRuleCounts({ family: 'inet', name: TABLE });
    const readings = {
      ...{ release, isServing, pods, identities, refused: refused.length, hearings: this.listeners.statuses },
      ...{ delays: this.#delays, syncs: this.#syncs, failures: this.#failures, cuts: this.#cuts },
      mended: { table: this.table.mended, links: this.#links.mended },
      // The last rule of a chain is the one that drops.
      drops: new Map(counts.map(({ chain, counted }) => [chain, counted])),
      chains: this.#rules.chains,
      memory: process.memoryUsage.rss(),
    };
    return [...metricsOf(readings), ...this.#calls.metrics()];
  }

  /** Looks at everything now. */
  ring(): void {
    for (const runner of Object.values(this.#runners ?? {})) runner.ring();
  }

  /** Takes no more calls, and resolves when those under way have their answers; rules stay in place. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all([
      this.#server.stop(),
      ...Object.values(this.#runners ?? {}).map(runner => runner.stop()),
      this.#listening,
    ]);
    await this.#reaper.drained();
    this.#cutter[Symbol.dispose]();
    await this.#cutter.settled();
    this.node.stop();
    this.#undo.dispose();
    this.#options.log('info', 'stopped; rules stay in place');
  }
}
