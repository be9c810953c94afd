import { libc, SyscallError } from '../kernel/ffi.ts';
import { LockTimeoutError } from '../kernel/flock.ts';
import { monotonic } from '../kernel/monotonic.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;
const leastWait = 1;
const greatestWait = 25;

/**
 * Locks an open file, whatever its name is now; false where another process has it locked. The lock goes with the last
 * copy of the descriptor. Unlike kernel/flock.ts it never makes a file: here, a file that exists says something.
 */
export function tryFlock(fd: number): boolean {
  const { flock, errno } = libc();
  if (flock(fd, LOCK_EX | LOCK_NB) === 0) return true;
  const error = new SyscallError('lock', errno());
  if (error.code === 'EAGAIN') return false;
  throw error;
}

/**
 * @param deadline in milliseconds
 * @throws LockTimeoutError after the deadline; the signal's reason once it is aborted
 */
export async function waitForFlock(fd: number, path: string, deadline: number, signal?: AbortSignal): Promise<void> {
  const end = monotonic() + deadline;
  for (let pause = leastWait; !tryFlock(fd); pause = Math.min(pause * 1.5, greatestWait)) {
    signal?.throwIfAborted();
    const left = end - monotonic();
    if (left <= 0) throw new LockTimeoutError(path, deadline);
    // Random, so that many that wait do not march in step.
    await new Promise(resolve => setTimeout(resolve, Math.min(left, pause * (0.5 + Math.random()))));
  }
}
