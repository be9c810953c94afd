/** Time as a value that is handed in, so that a test need not wait for it. */
export interface Clock {
  /** Milliseconds that only grow, from wherever. */
  now(): number;
  /** Calls once in that many milliseconds; what it gives calls that off. */
  after(milliseconds: number, call: () => void): () => void;
}

/** Node takes a longer time for none at all, and calls at once. */
const longestTimer = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => performance.now(),
  after(milliseconds, call) {
    // A timer takes a millisecond at least.
    if (milliseconds <= 0) {
      const immediate = setImmediate(call);
      return () => clearImmediate(immediate);
    }
    const timer = setTimeout(call, Math.min(milliseconds, longestTimer));
    return () => clearTimeout(timer);
  },
};

/** Resolves in that many milliseconds, or as soon as the signal is aborted. */
export async function pause(clock: Clock, milliseconds: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const stop = (): void => resolve();
  const cancel = clock.after(milliseconds, stop);
  signal.addEventListener('abort', stop, { once: true });
  await promise;
  cancel();
  signal.removeEventListener('abort', stop);
}

/** Calls `late` when it has run for that long without being stopped or started anew. */
export interface Deadline {
  start(): void;
  stop(): void;
}

export function deadline(clock: Clock, milliseconds: number, late: () => void): Deadline {
  let cancel = (): void => undefined;
  return {
    start() {
      cancel();
      cancel = clock.after(milliseconds, late);
    },
    stop: () => cancel(),
  };
}
