/** The heartbeat of a runtime folder's agent: STATUS does not fail while an agent is being replaced. */
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../kube/clock.ts';

const pathOf = (runDir: string): string => join(runDir, 'agent.seen');

/** Milliseconds between two heartbeats: the age of a killed agent's is wrong by no more than that. */
const INTERVAL = 5_000;

const sign = (runDir: string): void => writeFileSync(pathOf(runDir), '', { mode: 0o600 });

/** Touches the heartbeat file every five seconds until it is disposed of, and once then. */
export function startHeartbeat(runDir: string, clock: Clock, failed: (error: unknown) => void): Disposable {
  let cancel = (): void => undefined;
  const show = (): void => {
    try {
      sign(runDir);
    } catch (error) {
      failed(error);
    }
    cancel = clock.after(INTERVAL, show);
  };
  show();
  return {
    [Symbol.dispose]() {
      cancel();
      try {
        sign(runDir);
      } catch (error) {
        failed(error);
      }
    },
  };
}

/** Seconds since the last heartbeat; Infinity where there has been none since boot. */
export function heartbeatAge(runDir: string): number {
  const seen = statSync(pathOf(runDir), { throwIfNoEntry: false });
  return seen ? Math.max(0, (Date.now() - seen.mtimeMs) / 1000) : Number.POSITIVE_INFINITY;
}
