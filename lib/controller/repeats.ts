import type { Clock } from '../kube/clock.ts';
import type { Log } from '../rpc/log.ts';

/** Milliseconds until the same line is worth saying again. */
const AGAIN = 5 * 60_000;
/** Lines that are remembered. */
const MOST = 500;

/** The log without warnings and errors that were just said, word for word: what is tried every few seconds fails alike. */
export function withoutRepeats(log: Log, clock: Clock): Log {
  const saidAt = new Map<string, number>();
  return (level, message, fields) => {
    if (level === 'info' || level === 'debug') return log(level, message, fields);
    const before = saidAt.get(message);
    if (before !== undefined && clock.now() - before < AGAIN) return;
    saidAt.delete(message);
    saidAt.set(message, clock.now());
    const [oldest] = saidAt.keys();
    if (saidAt.size > MOST && oldest !== undefined) saidAt.delete(oldest);
    log(level, message, fields);
  };
}
