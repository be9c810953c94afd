/** Advisory locks on files, which the kernel releases when their holder dies. @see flock(2) */

import { closeSync, constants, openSync } from 'node:fs';
import { libc, SyscallError } from './ffi.ts';
import { holding } from './lock-holder.ts';
import { monotonic } from './monotonic.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;
const LEAST_WAIT = 1;
const GREATEST_WAIT = 25;

/** Held until disposed of, or until the process dies. */
export class FileLock implements Disposable {
  readonly path: string;
  /** Descriptor of the locked file, open for reading and writing. */
  readonly fd: number;
  readonly #released: () => void;

  constructor(path: string, fd: number, released: () => void = () => {}) {
    this.path = path;
    this.fd = fd;
    this.#released = released;
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
    this.#released();
  }
}

export class LockTimeoutError extends Error {
  override readonly name = 'LockTimeoutError';
  readonly path: string;

  constructor(path: string, timeoutMs: number) {
    super(`Cannot lock ${path} within ${Math.round(timeoutMs)} ms: ${holding(path)}`);
    this.path = path;
  }
}

export interface FlockOptions {
  /** Flags of open(2). */
  readonly flags?: number;
  /** Called when the lock is given back. */
  readonly released?: () => void;
}

/**
 * Locks an open file, whatever its name is now; false where the lock is held already. The lock goes with the last copy of the
 * descriptor.
 * @param path for the message of an error
 * @throws SyscallError
 */
export function tryFlock(fd: number, path: string): boolean {
  const { flock, errno } = libc();
  if (flock(fd, LOCK_EX | LOCK_NB) === 0) return true;
  const error = new SyscallError(`lock ${path}`, errno());
  if (error.code === 'EAGAIN') return false;
  throw error;
}

/**
 * Locks the file, which is created where there is none, or gives undefined where the lock is held already. Two locks of one
 * process exclude each other, too.
 */
export function tryLock(
  path: string,
  { flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, released }: FlockOptions = {},
): FileLock | undefined {
  const fd = openSync(path, flags, 0o600);
  let isHeld = false;
  try {
    isHeld = tryFlock(fd, path);
  } finally {
    if (!isHeld) closeSync(fd);
  }
  return isHeld ? new FileLock(path, fd, released) : undefined;
}

/**
 * Calls `look` until it gives something but undefined. The waits between two looks grow, so that a hundred that wait do not
 * take the processor from the one that works; they are random, so that those hundred do not march in step.
 * @throws LockTimeoutError after the timeout; the signal's reason, at the next look after it was aborted
 */
async function polled<T>(
  look: () => T | undefined,
  path: string,
  timeoutMs: number,
  signal: AbortSignal | undefined,
  end = monotonic() + timeoutMs,
): Promise<T> {
  for (let pause = LEAST_WAIT; ; pause = Math.min(pause * 1.5, GREATEST_WAIT)) {
    signal?.throwIfAborted();
    const found = look();
    if (found !== undefined) return found;
    const left = end - monotonic();
    if (left <= 0) throw new LockTimeoutError(path, timeoutMs);
    await new Promise(resolve => setTimeout(resolve, Math.min(left, pause * (0.5 + Math.random()))));
  }
}

/**
 * Locks an open file as soon as no other process holds it. Unlike `lock` it never makes a file: where a call finds an
 * attachment's record, the attachment exists.
 * @throws as `lock`
 */
export async function waitForFlock(fd: number, path: string, timeoutMs: number, signal?: AbortSignal): Promise<void> {
  await polled(() => tryFlock(fd, path) || undefined, path, timeoutMs, signal);
}

/**
 * The last waiter of this process by path: resolves when it has had the lock, or has given up. A lock excludes processes only.
 */
const lines = new Map<string, Promise<void>>();

/** Joins the end of the line. @returns a promise of its turn, and a function that lets the next one in */
function queue(path: string): { readonly turn: Promise<void>; readonly leave: () => void } {
  const turn = lines.get(path) ?? Promise.resolve();
  const { promise: left, resolve: leave } = Promise.withResolvers<void>();
  const end = turn.then(() => left);
  lines.set(path, end);
  end.then(() => {
    if (lines.get(path) === end) lines.delete(path);
  });
  return { turn, leave };
}

/** @returns false where `timeoutMs` have passed before. @throws the signal's reason once it is aborted */
async function comesBefore(turn: Promise<void>, timeoutMs: number, signal: AbortSignal | undefined): Promise<boolean> {
  const { promise: over, resolve, reject } = Promise.withResolvers<boolean>();
  const timer = setTimeout(resolve, timeoutMs, false);
  const abort = (): void => reject(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([turn.then(() => true), over]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}

/**
 * Locks the file as soon as it is free. Within a process it goes by turns, and only who is next looks at the file.
 * @throws LockTimeoutError after the timeout; the signal's reason, at the next look after it was aborted
 */
export async function lock(path: string, timeoutMs: number, signal?: AbortSignal): Promise<FileLock> {
  const end = monotonic() + timeoutMs;
  const { turn, leave } = queue(path);
  try {
    signal?.throwIfAborted();
    if (!(await comesBefore(turn, timeoutMs, signal))) throw new LockTimeoutError(path, timeoutMs);
    return await polled(() => tryLock(path, { released: leave }), path, timeoutMs, signal, end);
  } catch (error) {
    leave();
    throw error;
  }
}
