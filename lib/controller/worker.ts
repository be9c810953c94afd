/**
 * The warm worker: one process that carries out the calls of its network namespace, and puts into force what the policies
 * folder says as soon as it says it. Rules stay in place when it ends.
 */
import { parseConfig } from '../cni/config.ts';
import { CniError, codes, messageOf } from '../cni/error.ts';
import { type AttachmentRequest, type NetworkRequest, type ParsedCall, parseRequest } from '../cni/request.ts';
import { isWaiting } from '../enforce/folder.ts';
import { findNode } from '../enforce/found.ts';
import { ownerOf } from '../enforce/inline.ts';
import { CONFIRMING } from '../enforce/kept-file.ts';
import { TABLE_NAME } from '../gate/desired.ts';
import type { Owner } from '../gate/node-state.ts';
import { trimMalloc } from '../kernel/malloc.ts';
import { hasOurMounts } from '../kernel/mount-namespace.ts';
import { NetlinkSocket } from '../kernel/netlink.ts';
import { currentNetns } from '../kernel/netns.ts';
import { Nft } from '../kernel/nft.ts';
import { SocketPool } from '../kernel/socket-pool.ts';
import { watchTable } from '../kernel/table-watch.ts';
import { systemClock } from '../kube/clock.ts';
import { answer, type CallPlace } from '../pod/call.ts';
import { openHere, type Warm } from '../pod/here.ts';
import { listen } from '../rpc/listen.ts';
import type { Log } from '../rpc/log.ts';
import { mountMismatch } from '../rpc/mount-view.ts';
import type { CallAnswer, CallRequest } from '../rpc/protocol.ts';
import { type Caller, CallServer } from '../rpc/server.ts';
import { answerTimeoutMs } from '../rpc/timeouts.ts';
import { workerMetrics } from './agent-metrics.ts';
import { CallLog } from './call-log.ts';
import { CallCounts } from './call-metrics.ts';
import { FolderWatch } from './folder-watch.ts';
import { workerRoutes } from './http-routes.ts';
import type { HttpRoutes } from './http-server.ts';
import { IdleTimer } from './idle-timer.ts';
import { SharedLinkReaper } from './link-reaper.ts';
import { withoutRepeats } from './repeats.ts';
import { type Intervals, Runner } from './runner.ts';

export interface WorkerOptions {
  readonly release: string;
  readonly runDir: string;
  /** Whose calls are served; those of others are not ours. */
  readonly owner: Owner;
  /** Of connections that the folder no longer allows. */
  readonly established: 'cut' | 'keep';
  /** Where Prometheus finds its metrics, if anywhere. */
  readonly metrics?: { readonly host: string; readonly port: number };
  readonly log: Log;
}

export interface Worker {
  /** Looks at the policies folder now. */
  readonly ring: () => void;
  /** Accepts no more calls, and resolves when those under way have their answers. */
  readonly stop: () => Promise<void>;
}

/** An editor writes a file in several steps, so a moment's patience saves a look at half of it. */
const intervals: Intervals = { least: 200, retry: 5_000, greatest: 60_000 };
/** Milliseconds without a call. */
const A_WHILE = 1_000;

const keys = ['enforcer', 'stateDir', 'policies'] as const satisfies readonly (keyof Owner)[];

/** A call is read once, and asked for three times: whose it is, how long it may take, and what to do. */
const read = new WeakMap<CallRequest, ParsedCall | undefined>();

/** So is who calls: a process keeps its view of files as long as a call takes. */
const seen = new WeakMap<CallRequest, boolean>();

function seesOurFiles(call: CallRequest, pid: number): boolean {
  const isSame = seen.get(call) ?? hasOurMounts(pid);
  seen.set(call, isSame);
  return isSame;
}

/** Undefined where carrying it out will say what is wrong with it. */
function requestOf(call: CallRequest): ParsedCall | undefined {
  if (read.has(call)) return read.get(call);
  let request: ParsedCall | undefined;
  try {
    request = parseRequest(call.env, () => call.stdin, call.role);
  } catch {}
  read.set(call, request);
  return request;
}

/** Milliseconds that the answer may take, by the call's own config; undefined where that cannot be read. */
export function answerTimeoutOf(call: CallRequest): number | undefined {
  const request = requestOf(call);
  return request && 'config' in request ? answerTimeoutMs(request.verb, request.config.enforceTimeout) : undefined;
}

/**
 * Why a call is not for the worker of this owner; undefined where it is, or where carrying it out will say what is wrong.
 * @param pid the caller
 */
export function refusal(
  call: CallRequest,
  { runDir, owner, pid }: { readonly runDir: string; readonly owner: Owner; readonly pid: number },
): string | undefined {
  const request = requestOf(call);
  if (!request || !('config' in request)) return undefined;
  // An IPAM plugin knows nothing of enforcers, and finds the same on disk whoever runs it.
  return (
    (call.role === 'tollgate-ipam' ? undefined : otherOwner(request, runDir, owner)) ??
    mountMismatch(request, pid, seesOurFiles(call, pid))
  );
}

function otherOwner({ config }: NetworkRequest | AttachmentRequest, runDir: string, owner: Owner): string | undefined {
  const wanted = { ...ownerOf(config), runDir: config.runDir };
  const ours = { ...owner, runDir };
  const other = ([...keys, 'runDir'] as const).find(key => ours[key] !== wanted[key]);
  return other && `this agent's ${other} is ${ours[other]}, the call's is ${wanted[other]}`;
}

/** The same moment, with a reason that the log understands. */
function undone(hungUp: AbortSignal): AbortSignal {
  const controller = new AbortController();
  const abort = (): void =>
    controller.abort(new CniError(codes.tryAgainLater, 'The caller hung up: the ADD is undone'));
  if (hungUp.aborted) abort();
  else hungUp.addEventListener('abort', abort, { once: true });
  return controller.signal;
}

/** What a call is carried out with; the signal undoes it. */
export type OpenContext = (
  ...given: [...Parameters<CallPlace['open']>, signal?: AbortSignal | undefined]
) => ReturnType<CallPlace['open']>;

/** Carries a call out as the executable would, with what it says for stderr beside the answer. */
export async function carryOut(
  call: CallRequest,
  { signal, look, pid }: Caller,
  { release, openContext = openHere }: { readonly release: string; readonly openContext?: OpenContext },
): Promise<CallAnswer> {
  const { env, stdin, role } = call;
  const lines: string[] = [];
  const isAdd = env['CNI_COMMAND'] === 'ADD';
  const log = (line: string): void => void lines.push(line);
  const readStdin = (): string => stdin;
  const caller = seesOurFiles(call, pid) ? {} : { caller: pid };
  // What only closes and releases goes on without its caller.
  const open: CallPlace['open'] = (request, own, say) => ({
    ...openContext(request, own, say, isAdd ? undone(signal) : undefined),
    ...caller,
  });
  const request = requestOf(call);
  const known = { env, role, readStdin, ...(request ? { request } : {}) };
  const given = await answer(known, { release, log, open, ...caller });
  look();
  if (isAdd && given.exitCode === 0 && signal.aborted)
    // He went while the last step was under way, and nobody has heard of the result.
    await answer({ env: { ...env, CNI_COMMAND: 'DEL' }, role, readStdin }, { release, log, open: openContext });
  return { ...given, lines };
}

/**
 * Brings the node to what the folder says now; nothing to do where no pod of this owner's is plugged in.
 * @returns whether the folder should be looked at again soon
 */
async function applyFolder({ runDir, owner, established, log }: WorkerOptions, warm: Warm): Promise<boolean> {
  const found = findNode(runDir, warm.here);
  if (!found || keys.some(key => found.owner[key] !== owner[key])) return false;
  const { nflogGroup, enforceEgressToNode } = found.settings;
  // Of no network in particular: its name is nobody's.
  const network = { cniVersion: '1.1.0', name: 'node', type: 'tollgate' };
  const text = JSON.stringify({ ...network, ...owner, runDir, established, nflogGroup, enforceEgressToNode });
  const warn = (line: string): void => log('warn', line);
  using context = openHere({ config: parseConfig(text, 'STATUS') }, {}, warn, undefined, warm);
  const { isChanged, isNews, after } = await context.hook.apply();
  if (isChanged && isNews) log('info', 'policies applied', { pods: Object.keys(after.state.pods).length });
  return isWaiting(after.kept);
}

/** An address that is taken keeps no pod from being plugged in. */
async function show(
  place: NonNullable<WorkerOptions['metrics']>,
  pages: HttpRoutes,
  log: Log,
): Promise<Disposable | undefined> {
  const { serveMetrics: showToAll } = await import('./http-server.ts');
  try {
    return await showToAll(place, pages);
  } catch (error) {
    log('warn', `Cannot show metrics on ${place.host} port ${place.port}: ${messageOf(error)}`);
    return undefined;
  }
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
  const warm: Warm = {
    ...{ here, reaper },
    route: undo.use(NetlinkSocket.open('route')),
    routePool: undo.use(new SocketPool('route')),
    nft: undo.use(Nft.open()),
    others: () => server.calls > 1,
    mended: operations => {
      mended += operations;
      log('warn', 'Another program changed our table: mended', { operations });
    },
  };
  const openContext: OpenContext = (request, env, say, signal) => openHere(request, env, say, signal, warm);
  // To compile what has become hot takes memory, which libc keeps.
  const quiet = undo.use(new IdleTimer(A_WHILE, trimMalloc));
  const calls = new CallLog(log, counts.take);
  const server = new CallServer({
    netns: here,
    refuse: (request, { pid }) => refusal(request, { runDir, owner, pid }),
    answerTimeout: answerTimeoutOf,
    run: (request, caller) =>
      quiet.during(() => calls.tell(request, () => carryOut(request, caller, { release, openContext }))),
    log: (what, caller) => log('warn', `A call came to nothing: ${what}`, { pid: caller?.pid, uid: caller?.uid }),
  });
  const socket = await listen(server.server, runDir);
  const quietly = withoutRepeats(log, systemClock);
  let again = (): void => undefined;
  const watch = new FolderWatch(
    owner.policies,
    () => runner.ring(),
    error => log('warn', `Cannot watch ${owner.policies}, so changes are seen later: ${messageOf(error)}`),
  );
  const runner = new Runner({
    intervals,
    clock: systemClock,
    failed: error => {
      failures++;
      quietly('error', `Cannot apply the policies: ${messageOf(error)}`);
    },
    work: async () => {
      again();
      const isWatched = watch.renew();
      const isHalf = await applyFolder({ ...options, log: quietly }, warm);
      if (isHalf || !isWatched) again = systemClock.after(isHalf ? CONFIRMING : intervals.retry, () => runner.ring());
    },
  });
  // Without a policy of its own to hear of, a process that stays is what notices that another one has changed the table.
  undo.use(watchTable(warm.nft, TABLE_NAME, () => runner.ring()));
  const readings = () => [...workerMetrics({ release, mended, failures }), ...counts.metrics()];
  if (options.metrics) undo.use(await show(options.metrics, workerRoutes(readings), log));
  const open = undo.move();
  log('info', 'serving', { pid: process.pid, netns: here.ino, runDir, ...owner });
  return {
    ring: () => runner.ring(),
    async stop() {
      watch[Symbol.dispose]();
      await Promise.all([server.stop(), runner.stop()]);
      again();
      socket[Symbol.dispose]();
      await reaper.drained();
      open.dispose();
      log('info', 'stopped; rules stay in place');
    },
  };
}
