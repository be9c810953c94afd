import { messageOf } from '../cni/error.ts';
import type { NodeSettings } from '../cni/own-keys.ts';
import { ConfigCache } from '../cni/request.ts';
import { systemClock } from '../kube/clock.ts';
import { createIntern } from '../kube/intern.ts';
import { NodeKeeper, type NodeKeeperOptions } from '../node/node-network.ts';
import type { Context } from '../pod/context.ts';
import { startHeartbeat } from '../rpc/heartbeat.ts';
import { claimNode, listen } from '../rpc/listen.ts';
import { CallServer } from '../rpc/server.ts';
import { AgentHook } from './agent-hook.ts';
import { serveAgentHttp } from './agent-http.ts';
import { AgentReport } from './agent-report.ts';
import { CallLog } from './call-log.ts';
import { CallCounts } from './call-metrics.ts';
import { Complaints } from './complaints.ts';
import { FlowPart, type FlowSettings } from './flow-part.ts';
import { gateSource } from './flow-source.ts';
import { FolderWatch } from './folder-watch.ts';
import type { TcpPlace } from './http-server.ts';
import { NodeGate, type NodeGateOptions } from './node-gate.ts';
import { NodeKernel } from './node-kernel.ts';
import { watchNode } from './node-watch.ts';
import { type OpenContext, receiveCall } from './served-call.ts';
import { Supervisor } from './supervisor.ts';
import { Tending } from './tending.ts';
import { logLoss } from './watches.ts';

export interface KubernetesOptions extends NodeGateOptions {
  readonly release: string;
  /** Address for metrics and health; absent: they are shown on the agent's own socket only. */
  readonly metrics?: TcpPlace;
  /** Absent: flows are not recorded. */
  readonly flows?: FlowSettings;
  /** Absent: no conflist is written. */
  readonly conflist?: NodeKeeperOptions['conflist'];
}

export class KubernetesAgent {
  readonly #options: KubernetesOptions;
  readonly #undo: DisposableStack;
  readonly #abort = new AbortController();
  readonly #claim: Disposable;
  readonly #kernel: NodeKernel;
  readonly #gate: NodeGate;
  readonly #keeper: NodeKeeper;
  readonly #tending: Tending;
  readonly #supervisor: Supervisor;
  readonly #server: CallServer;
  readonly #calls = new CallCounts();
  readonly #report: AgentReport;
  readonly #flows: FlowPart;
  #isServing = false;
  #listening: Promise<void> = Promise.resolve();

  /** @throws Error where there is an agent already, CniError code 7 where this network namespace is another owner's */
  constructor(options: KubernetesOptions) {
    this.#options = options;
    const { runDir, owner, node, client, log, clusterCidrs, conflist, release } = options;
    using undo = new DisposableStack();
    this.#claim = undo.use(claimNode(runDir));
    this.#kernel = undo.use(new NodeKernel(log));
    this.#supervisor = new Supervisor(log);
    const [kernel, supervisor, calls] = [this.#kernel, this.#supervisor, this.#calls];
    this.#gate = new NodeGate(options, kernel, {
      nodes: () => supervisor.ring('node'),
      links: () => supervisor.ring('tend'),
      isCalled: () => this.#server.calls > 0,
    });
    const extra = { ...(clusterCidrs ? { clusterCidrs } : {}), ...(conflist ? { conflist } : {}) };
    this.#keeper = new NodeKeeper({ node, runDir, host: kernel.host, client, log, ...extra });
    const contextFor = (settings: NodeSettings, say: (line: string) => void): Context => this.#context(settings, say);
    const [gate, keeper] = [this.#gate, this.#keeper];
    this.#tending = new Tending({ table: gate.table, links: gate.links, owner, runDir, log, contextFor });
    const tending = this.#tending;
    const flows = undo.use(new FlowPart(options.flows));
    this.#flows = flows;
    const isServing = (): boolean => this.#isServing;
    this.#report = new AgentReport({
      ...{ node, release, client, kernel, gate, keeper, supervisor, tending, calls, flows, isServing },
    });
    this.#server = this.#makeServer();
    this.#undo = undo.move();
  }

  #makeServer(): CallServer {
    const { release, runDir, owner, log } = this.#options;
    const calls = new CallLog(log, this.#calls.take);
    const configs = new ConfigCache();
    const openContext: OpenContext = ({ config }, env, say, signal) => ({
      ...this.#context(config, say, signal),
      env,
      [Symbol.dispose]() {},
    });
    return new CallServer({
      netns: this.#kernel.netns,
      receive: (request, { pid }) => {
        const received = receiveCall(request, pid, { release, runDir, owner, openContext, configs });
        return { ...received, run: caller => calls.tell(request, () => received.run(caller)) };
      },
      log: (what, caller) => log('warn', `A call came to nothing: ${what}`, { pid: caller?.pid, uid: caller?.uid }),
    });
  }

  #context(settings: NodeSettings, log: (line: string) => void, signal?: AbortSignal): Context {
    const hook = new AgentHook({ settings, judge: this.#gate.judge, signal });
    return this.#kernel.context(hook, log, () => this.#server.calls > 1, signal);
  }

  /** Resolves when calls are served; rejects where they never will be. */
  async start(): Promise<void> {
    const { log, node, runDir, owner, client, conflist } = this.#options;
    const { watches, sync } = this.#gate;
    const ready = Promise.withResolvers<void>();
    const confDir = conflist && this.#watchConfs(conflist.confDir);
    this.#supervisor.start({
      sync: async () => {
        await sync.run(this.#server);
        if (watches.isComplete && !this.#isServing) await this.#serve().then(ready.resolve, ready.reject);
      },
      tend: async () => {
        if (this.#isServing) await this.#tending.run();
      },
      node: async () => {
        confDir?.renew();
        if (watches.isComplete) await this.#keeper.update(watches.nodes.objects(), this.#isServing);
      },
    });
    // Also before calls are served: an admin may ask what the agent waits for.
    await this.#flows.show(log);
    this.#undo.use(await serveAgentHttp(this.#report, this.#options, this.#flows.routes));
    log('info', 'listening', { node, server: client.server, runDir, ...owner });
    this.#listening = this.#listen();
    this.#listening.catch(ready.reject);
    await ready.promise;
  }

  /** Reads the watches until the agent is stopped. */
  #listen(): Promise<void> {
    const { log } = this.#options;
    const report = this.#undo.use(new Complaints(log, systemClock)).take;
    const options = { signal: this.#abort.signal, intern: createIntern(), report, lost: logLoss(log) };
    return this.#gate.watches.listen(options, () => {
      this.#gate.sync.heard();
      this.#flows.heard();
      this.#supervisor.ring('sync');
    });
  }

  /** Has the node's work run soon after another program changes a runtime's configuration. */
  #watchConfs(confDir: string): FolderWatch {
    const unwatched = (error: unknown): void =>
      this.#options.log('warn', `Cannot watch ${confDir}, so changes are seen later: ${messageOf(error)}`);
    return this.#undo.use(new FolderWatch(confDir, () => this.#supervisor.ring('node'), unwatched));
  }

  async #serve(): Promise<void> {
    const { runDir, log } = this.#options;
    const ring = (): void => this.#supervisor.ring('tend');
    const unshown = (error: unknown): void => log('warn', `Cannot show presence: ${messageOf(error)}`);
    this.#isServing = true;
    const { nft, conntrack } = this.#kernel;
    this.#flows.start(heard => ({ source: gateSource(this.#gate, this.#kernel, heard), nft, conntrack, log }));
    this.#undo.use(await listen(this.#server.server, runDir, { claim: this.#claim }));
    this.#undo.use(startHeartbeat(runDir, systemClock, unshown));
    this.#undo.use(this.#gate.links.watch());
    this.#undo.use(watchNode(() => this.#supervisor.ring('node')));
    this.#undo.use(this.#gate.table.watch(ring));
    log('info', 'serving', { pid: process.pid, netns: this.#kernel.netns.ino });
    ring();
    this.#supervisor.ring('node');
  }

  /** Has all work run soon. */
  ring(): void {
    this.#supervisor.ringAll();
  }

  /** Takes no more calls, and resolves when those under way have their answers; rules stay in place. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await Promise.all([this.#server.stop(), this.#supervisor.stop(), this.#listening]);
    await this.#kernel.reaper.drained();
    await this.#gate.stop();
    this.#keeper.stop();
    this.#undo.dispose();
    this.#options.log('info', 'stopped; rules stay in place');
  }
}
