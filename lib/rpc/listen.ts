/** The agent's place on a node: `<runDir>/cni.sock`, one agent for each, and none for a socket without a listener. */
import { ftruncateSync, readFileSync, writeSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { join } from 'node:path';
import { type FileLock, tryLock } from '../kernel/flock.ts';
import { holderOf } from '../kernel/lock-holder.ts';
import { claimantOfNetns, claimNetns } from '../kernel/netns.ts';
import { doing, errnoOf } from '../state/error.ts';
import { makeFolders } from '../state/make-folders.ts';
import { placeSocket, started } from './root-socket.ts';
import { socketPath } from './socket-path.ts';

/** First descriptor that systemd hands over. @see sd_listen_fds(3) */
const SD_LISTEN_FDS_START = 3;

/** Whether systemd listens for us already; said once, so that no child takes it for its own. */
function takeActivation(env: NodeJS.ProcessEnv): boolean {
  const { LISTEN_PID: pid, LISTEN_FDS: count } = env;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete env[name];
  if (pid !== String(process.pid) || count === undefined) return false;
  if (count === '1') return true;
  throw new Error(`Cannot serve ${count} sockets of systemd's: the unit must have one ListenStream`);
}

/**
 * Claims the network namespace, which has one table, and the runtime folder, which has one socket: each has one agent. Released
 * when the process ends, however it ends.
 * @throws Error where there is one; StateError where the folder cannot be written
 */
export function claimNode(runDir: string): Disposable {
  using claims = new DisposableStack();
  claims.use(claimFolder(runDir));
  const here = claimNetns();
  if (!here) {
    const pid = claimantOfNetns();
    const who = pid === undefined ? 'another process' : `process ${pid}`;
    throw new Error(
      `Cannot be the agent with ${runDir}: ${who} is the agent of this network namespace, with another runtime folder`,
    );
  }
  claims.use(here);
  return claims.move();
}

const lockPath = (runDir: string): string => join(runDir, 'agent.lock');

/** Id of the process that is the agent or the worker of the runtime folder; undefined where none is, or none that can be seen. */
export const warmProcessOf = (runDir: string): number | undefined => holderOf(lockPath(runDir));

function claimFolder(runDir: string): FileLock {
  doing('make folder', runDir, () => makeFolders(runDir));
  const path = lockPath(runDir);
  const held = doing('lock', path, () => tryLock(path));
  if (!held) {
    const pid = readFileSync(path, 'utf8').trim() || holderOf(path);
    throw new Error(`Cannot be the agent of ${runDir}: process ${pid ?? '(unknown)'} is`);
  }
  noteHolder(held.fd);
  return held;
}

/** The kernel knows the holder, too: a full disk keeps no agent, which releases what it holds, from its node. */
function noteHolder(fd: number): void {
  try {
    ftruncateSync(fd, 0);
    writeSync(fd, `${process.pid}\n`, 0);
  } catch (error) {
    if (errnoOf(error) !== 'ENOSPC' && errnoOf(error) !== 'EDQUOT') throw error;
  }
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED' || error.code === 'ENOTSOCK') resolve(false);
      // The queue is full, so a process listens.
      else if (error.code === 'EAGAIN') resolve(true);
      else reject(error);
    });
  });
}

async function bind(server: Server, path: string): Promise<Disposable> {
  if (await answers(path)) throw new Error(`Cannot listen on ${path}: another process does already`);
  return await placeSocket(server, path);
}

/**
 * Listens, once it has claimed the folder (or the caller has); disposing of what it gives takes the socket away, if it is
 * still ours and not systemd's.
 * @throws Error where another agent is there already
 */
export async function listen(
  server: Server,
  runDir: string,
  { env = process.env, claim }: { readonly env?: NodeJS.ProcessEnv; readonly claim?: Disposable } = {},
): Promise<Disposable> {
  const isActivated = takeActivation(env);
  using undo = new DisposableStack();
  if (!claim) undo.use(claimNode(runDir));
  if (isActivated) await started(server, { fd: SD_LISTEN_FDS_START });
  else undo.use(await bind(server, socketPath(runDir)));
  return undo.move();
}
