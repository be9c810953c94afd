/**
 * Network namespaces. setns() moves one thread, and the threads of libuv's pool are born into the namespace of the
 * moment: one asynchronous file call inside the window would leave the whole pool abroad for good. So the window is
 * strictly synchronous, and a process that cannot find its way home ends there.
 */
import { closeSync, constants, fstatSync, openSync, readSync, statfsSync, writeSync } from 'node:fs';
import { checked, libc, SyscallError } from './ffi.ts';
import { type FileLock, tryLock } from './flock.ts';
import { holderOf } from './lock-holder.ts';
import { isErrno } from './message.ts';
import { openAsSeenBy } from './mount-namespace.ts';

const CLONE_NEWNET = 0x40000000;
/** include/uapi/linux/magic.h */
const NSFS_MAGIC = 0x6e736673;
/** The calling thread's network namespace: /proc/self would name that of the main thread. */
const HERE = '/proc/thread-self/ns/net';

/** Device and inode, which identify a netns for as long as it lives. */
export interface NetnsIdentity {
  readonly dev: number;
  readonly ino: number;
}

/**
 * Why a path is no network namespace: `missing`, nothing is there; `empty`, a plain file as a reboot leaves it where a
 * namespace was mounted; `foreign`, something else.
 */
export type NetnsFault = 'missing' | 'empty' | 'foreign';

export class NetnsError extends Error {
  override readonly name = 'NetnsError';
  readonly fault: NetnsFault;
  readonly path: string;

  constructor(fault: NetnsFault, path: string, why: string) {
    super(`Cannot enter network namespace ${path}: ${why}`);
    this.fault = fault;
    this.path = path;
  }
}

/** An open network namespace, which lives at least as long. */
export class Netns implements Disposable {
  readonly path: string;
  readonly fd: number;
  readonly identity: NetnsIdentity;

  /**
   * @param seenBy the process whose files the path is one of; this one where absent
   * @throws NetnsError where the path is none; what open() throws otherwise
   */
  static open(path: string, seenBy?: number): Netns {
    return new Netns(path, openNetns(path, seenBy));
  }

  /** The one that the calling thread is in. */
  static current(): Netns {
    return Netns.open(HERE);
  }

  private constructor(path: string, fd: number) {
    this.path = path;
    this.fd = fd;
    this.identity = identityOf(fd);
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }
}

function identityOf(fd: number): NetnsIdentity {
  const { dev, ino } = fstatSync(fd);
  return { dev, ino };
}

function openNetns(path: string, seenBy: number | undefined): number {
  let fd: number;
  try {
    // O_NONBLOCK: a FIFO in that place must not hold us.
    fd = seenBy === undefined ? openSync(path, constants.O_RDONLY | constants.O_NONBLOCK) : openAsSeenBy(seenBy, path);
  } catch (error) {
    if (isErrno(error, 'ESRCH')) throw new NetnsError('missing', path, 'its caller is gone');
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) throw new NetnsError('missing', path, 'nothing is there');
    if (isErrno(error, 'ENXIO', 'ELOOP')) throw new NetnsError('foreign', path, 'not a namespace');
    if (isErrno(error, 'EACCES', 'EPERM', 'ENAMETOOLONG'))
      throw new NetnsError('foreign', path, `it cannot be opened (${error.code})`);
    throw error;
  }
  try {
    if (statfsSync(`/proc/self/fd/${fd}`).type === NSFS_MAGIC) return fd;
    // Read, since files below /proc have no size.
    throw fstatSync(fd).isFile() && readSync(fd, new Uint8Array(1)) === 0
      ? new NetnsError('empty', path, 'an empty file, as a reboot leaves it')
      : new NetnsError('foreign', path, 'not a namespace');
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

export const sameNetns = (a: NetnsIdentity, b: NetnsIdentity): boolean => a.dev === b.dev && a.ino === b.ino;

/** Identity of the calling thread's network namespace. */
export function currentNetns(): NetnsIdentity {
  using here = Netns.current();
  return here.identity;
}

/**
 * The calling thread's network namespace, for one process at a time that asks for it so: a lock on the namespace itself,
 * whatever folders and mounts the processes have. Released with the process. Undefined where the lock is held already.
 */
export const claimNetns = (): FileLock | undefined => tryLock(HERE, { flags: constants.O_RDONLY });

/** Id of the process that has claimed the calling thread's network namespace; undefined where it cannot be told. */
export const claimantOfNetns = (): number | undefined => holderOf(HERE);

/** Tells the compiler to refuse a function that gives a promise: `never` then, which no argument fits. */
type Synchronous<T> = [T] extends [never] ? unknown : T extends PromiseLike<unknown> ? never : unknown;

/**
 * Runs fn with the calling thread inside the namespace. For what takes its namespace from the thread and keeps it
 * (opening a socket) or is done when it returns (a synchronous write below /proc/sys/net). Nothing that fn starts may go
 * on afterwards; process.exit() inside fn is forbidden.
 * @throws NetnsError where it is a namespace of another kind, TypeError where fn returns a promise
 */
export function inNetns<T>(netns: Pick<Netns, 'fd' | 'path'>, fn: (() => T) & Synchronous<T>): T {
  const { setns } = libc();
  const home = openSync(HERE, 'r');
  try {
    enter(netns);
    let result: T;
    try {
      result = fn();
    } finally {
      if (setns(home, CLONE_NEWNET) !== 0) dieAbroad(libc().errno());
    }
    if (isThenable(result))
      throw new TypeError(`Cannot work asynchronously in network namespace ${netns.path}: the window is closed`);
    return result;
  } finally {
    closeSync(home);
  }
}

function enter({ fd, path }: Pick<Netns, 'fd' | 'path'>): void {
  try {
    checked(`enter network namespace ${path}`, libc().setns(fd, CLONE_NEWNET));
  } catch (error) {
    if (error instanceof SyscallError && error.code === 'EINVAL')
      throw new NetnsError('foreign', path, 'a namespace, but not a network namespace');
    throw error;
  }
}

/** Everything this process did next would be done to the wrong network. No exit handler may run, and no other thread. */
function dieAbroad(errno: number): never {
  writeSync(2, `tollgate: cannot return from a pod's network namespace (errno ${errno}); ending at once\n`);
  process.kill(process.pid, 'SIGKILL');
  for (;;);
}

const isThenable = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
