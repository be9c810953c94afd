export interface Backoff {
  /** Milliseconds to wait before the next attempt: longer after each failure, never the same for two of us. */
  next(): number;
  reset(): void;
}

const [first, longest] = [500, 30_000];

/** Half a second, doubled up to half a minute, of which between a half and the whole is waited. */
export function createBackoff(random: () => number): Backoff {
  let failures = 0;
  return {
    next() {
      const most = Math.min(first * 2 ** failures, longest);
      failures = Math.min(failures + 1, 16);
      return most * (0.5 + 0.5 * random());
    },
    reset() {
      failures = 0;
    },
  };
}
