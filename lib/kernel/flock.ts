/** Advisory locks on files, which the kernel releases when their holder dies. @see flock(2) */

import { closeSync, constants, openSync } from 'node:fs';
import { libc, SyscallError } from './ffi.ts';
import { monotonic } from './monotonic.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;
const LEAST_WAIT = 1;
const GREATEST_WAIT = 25;

/** Held until disposed of, or until the process dies. */
export class FileLock implements Disposable {
  readonly path: string;
  /** Of the locked file, open for reading and writing. */
  readonly fd: number;

  constructor(path: string, fd: number) {
    this.path = path;
    this.fd = fd;
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }
}

export class LockTimeoutError extends Error {
  override readonly name = 'LockTimeoutError';
  readonly path: string;

  constructor(path: string, deadline: number) {
    super(`Cannot lock ${path} within ${deadline} ms: another process holds it`);
    this.path = path;
  }
}

/**
 * Locks the file, which is created where there is none, or gives undefined where somebody else holds it. Two locks of one
 * process exclude each other, too.
 */
export function tryLock(path: string): FileLock | undefined {
  const { flock, errno } = libc();
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  if (flock(fd, LOCK_EX | LOCK_NB) === 0) return new FileLock(path, fd);
  const error = new SyscallError(`lock ${path}`, errno());
  closeSync(fd);
  if (error.code === 'EAGAIN') return undefined;
  throw error;
}

/**
 * Locks the file as soon as it is free. The waits between two looks grow, so that a hundred that wait do not take the
 * processor from the one that works; they are random, so that those hundred do not march in step.
 * @param deadline in milliseconds
 * @throws LockTimeoutError after the deadline; the signal's reason, at the next look after it was aborted
 */
export async function lock(path: string, deadline: number, signal?: AbortSignal): Promise<FileLock> {
  const end = monotonic() + deadline;
  for (let pause = LEAST_WAIT; ; pause = Math.min(pause * 1.5, GREATEST_WAIT)) {
    signal?.throwIfAborted();
    const held = tryLock(path);
    if (held) return held;
    const left = end - monotonic();
    if (left <= 0) throw new LockTimeoutError(path, deadline);
    const wait = Math.min(left, pause * (0.5 + Math.random()));
    await new Promise(resolve => setTimeout(resolve, wait));
  }
}
