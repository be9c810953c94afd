import { messageOf } from '../cni/error.ts';
import { readNodeSettings } from '../cni/own-keys.ts';
import { ConfigCache } from '../cni/request.ts';
import { TableMemory } from '../enforce/footing.ts';
import { findNode } from '../enforce/found.ts';
import { GroupCommit } from '../enforce/group-commit.ts';
import { TABLE_NAME } from '../gate/desired.ts';
import type { Owner } from '../gate/node-state.ts';
import { Conntrack } from '../kernel/conntrack.ts';
import { trimMalloc } from '../kernel/malloc.ts';
import { NetlinkSocket } from '../kernel/netlink.ts';
import { currentNetns } from '../kernel/netns.ts';
import { Nft } from '../kernel/nft.ts';
import { SocketPool } from '../kernel/socket-pool.ts';
import { watchTable } from '../kernel/table-watch.ts';
import { systemClock } from '../kube/clock.ts';
import { DiskNodeStore } from '../nodestore/disk-store.ts';
import { CONFIRMING } from '../nodestore/kept-file.ts';
import { isWaiting } from '../nodestore/policy-folder.ts';
import { localAddresses, openHere, type Warm } from '../pod/here.ts';
import { listen } from '../rpc/listen.ts';
import type { Log } from '../rpc/log.ts';
import { CallServer } from '../rpc/server.ts';
import { workerMetrics } from './agent-metrics.ts';
import { CallLog } from './call-log.ts';
import { CallCounts } from './call-metrics.ts';
import { FlowPart, type FlowSettings } from './flow-part.ts';
import { folderSource } from './flow-source.ts';
import { FolderWatch } from './folder-watch.ts';
import { workerRoutes } from './http-routes.ts';
import type { HttpRoutes, TcpPlace } from './http-server.ts';
import { IdleTimer } from './idle-timer.ts';
import { SharedLinkReaper } from './link-reaper.ts';
import { withoutRepeats } from './repeats.ts';
import { type Intervals, Runner } from './runner.ts';
import { isSameOwner, type OpenContext, receiveCall } from './served-call.ts';

export interface WorkerOptions {
  readonly release: string;
  readonly runDir: string;
  /** Calls of another owner are refused. */
  readonly owner: Owner;
  /** Whether connections that the folder no longer allows are cut or kept. */
  readonly established: 'cut' | 'keep';
  /** Address for metrics; absent: there are none. */
  readonly metrics?: TcpPlace;
  /** Absent: flows are not recorded. */
  readonly flows?: FlowSettings;
  readonly log: Log;
}

export interface Worker {
  /** Looks at the policies folder now. */
  readonly ring: () => void;
  /** Accepts no more calls, and resolves when those under way have their answers. */
  readonly stop: () => Promise<void>;
}

/** An editor writes a file in several steps: a short wait saves a look at half of it. */
const intervals: Intervals = { least: 200, retry: 5_000, greatest: 60_000 };
/** Milliseconds without a call. */
const A_WHILE = 1_000;

/**
 * Brings the node to what the folder says now; nothing to do where no pod of this owner's is plugged in.
 * @returns whether the folder should be looked at again soon
 */
async function applyFolder({ runDir, owner, established, log }: WorkerOptions, warm: Warm): Promise<boolean> {
  const found = findNode(warm.store);
  if (!found || !isSameOwner(found.owner, owner)) return false;
  const { nflogGroup, enforceEgressToNode } = found.settings;
  const settings = readNodeSettings({ ...owner, runDir, established, nflogGroup, enforceEgressToNode });
  const warn = (line: string): void => log('warn', line);
  using context = openHere(settings, {}, warn, undefined, warm);
  const { isChanged, isNews, after } = await context.hook.apply();
  if (isChanged && isNews) log('info', 'policies applied', { pods: Object.keys(after.state.pods).length });
  return isWaiting(after.kept);
}

/** Records flows from now on, and shows them to root. */
async function recordFlows(
  flows: FlowPart,
  routes: HttpRoutes,
  options: WorkerOptions,
  warm: Warm,
): Promise<Disposable> {
  const { runDir, owner, log } = options;
  const settings = readNodeSettings({ ...owner, runDir });
  const { hook } = openHere(settings, {}, line => log('warn', line), undefined, warm);
  const source = folderSource(hook.table, () => localAddresses(warm.route.exchange));
  // The recorder hears of far more flows than it keeps.
  const { limitHeap } = await import('./memory.ts');
  limitHeap();
  await flows.show(log);
  flows.start(() => ({ source, nft: warm.nft, conntrack: warm.conntrack, log }));
  const { serveAdmin } = await import('./http-server.ts');
  return await serveAdmin(runDir, { ...routes, ...flows.routes });
}

/** What a warm process does when it has nothing else to do. */
async function rest({ store, memory }: Warm, log: Log): Promise<void> {
  try {
    if (memory.last) {
      using _ = await store.lock(A_WHILE);
      memory.writeForOthers();
    }
  } catch (error) {
    log('warn', `Cannot write down the rules, so the next process works them out: ${messageOf(error)}`);
  }
  // Compiling functions that have become hot takes memory, which libc keeps.
  trimMalloc();
}

interface FolderFollower extends AsyncDisposable {
  /** Looks at the folder soon. */
  readonly ring: () => void;
}

/** Keeps the node at what the policies folder says: by watching it, and by looks where it cannot be watched. */
function followFolder(options: WorkerOptions, warm: Warm, failed: () => void): FolderFollower {
  const { owner, log } = options;
  const quietly = withoutRepeats(log, systemClock);
  let again = (): void => undefined;
  const ring = (): void => runner.ring();
  const watch = new FolderWatch(owner.policies, ring, error =>
    log('warn', `Cannot watch ${owner.policies}, so changes are seen later: ${messageOf(error)}`),
  );
  const runner = new Runner({
    intervals,
    clock: systemClock,
    failed: error => {
      failed();
      quietly('error', `Cannot apply the policies: ${messageOf(error)}`);
    },
    work: async () => {
      again();
      const isWatched = watch.renew();
      const isHalf = await applyFolder({ ...options, log: quietly }, warm);
      if (isHalf || !isWatched) again = systemClock.after(isHalf ? CONFIRMING : intervals.retry, ring);
    },
  });
  return {
    ring,
    async [Symbol.asyncDispose]() {
      watch[Symbol.dispose]();
      await runner.stop();
      again();
    },
  };
}

/** @throws Error where there is an agent already */
export async function startWorker(options: WorkerOptions): Promise<Worker> {
  const { release, runDir, owner, log } = options;
  const here = currentNetns();
  using undo = new DisposableStack();
  const reaper = undo.use(new SharedLinkReaper(log));
  let mended = 0;
  let failures = 0;
  const counts = new CallCounts();
  const others = (): boolean => server.calls > 1;
  const warm: Warm = {
    ...{ here, runDir, reaper, store: new DiskNodeStore(runDir, here), memory: new TableMemory() },
    changes: new GroupCommit(others),
    route: undo.use(NetlinkSocket.open('route')),
    routePool: undo.use(new SocketPool(() => NetlinkSocket.open('route'))),
    conntrack: new Conntrack(undo.use(new SocketPool(() => NetlinkSocket.open('netfilter')))),
    nft: undo.use(Nft.open()),
    others,
    mended: operations => {
      mended += operations;
      log('warn', 'Another program changed our table: mended', { operations });
    },
  };
  const openContext: OpenContext = ({ config }, env, say, signal) => openHere(config, env, say, signal, warm);
  const idle = undo.use(new IdleTimer(A_WHILE, () => void rest(warm, log)));
  const calls = new CallLog(log, counts.take);
  const configs = new ConfigCache();
  const server = new CallServer({
    netns: here,
    receive: (request, { pid }) => {
      const received = receiveCall(request, pid, { release, runDir, owner, openContext, configs });
      return { ...received, run: caller => idle.during(() => calls.tell(request, () => received.run(caller))) };
    },
    log: (what, caller) => log('warn', `A call came to nothing: ${what}`, { pid: caller?.pid, uid: caller?.uid }),
  });
  const socket = await listen(server.server, runDir);
  const follower = followFolder(options, warm, () => void failures++);
  // Without a policy of its own to hear of, a process that stays is what notices that another one has changed the table.
  undo.use(watchTable(warm.nft, TABLE_NAME, follower.ring));
  const flows = undo.use(new FlowPart(options.flows));
  const readings = () => [...workerMetrics({ release, mended, failures }), ...counts.metrics(), ...flows.metrics];
  if (options.flows) undo.use(await recordFlows(flows, workerRoutes(readings), options, warm));
  if (options.metrics) {
    const { serveMetrics } = await import('./http-server.ts');
    undo.use(await serveMetrics(options.metrics, workerRoutes(readings), log));
  }
  const open = undo.move();
  log('info', 'serving', { pid: process.pid, netns: here.ino, runDir, ...owner });
  return {
    ring: follower.ring,
    async stop() {
      await Promise.all([server.stop(), follower[Symbol.asyncDispose]()]);
      socket[Symbol.dispose]();
      await Promise.all([rest(warm, log), reaper.drained()]);
      open.dispose();
      log('info', 'stopped; rules stay in place');
    },
  };
}
