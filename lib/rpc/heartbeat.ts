/** When the agent of a runtime folder was last there: STATUS has patience with one that is being replaced. */
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../kube/clock.ts';

const pathOf = (runDir: string): string => join(runDir, 'agent.seen');

/** Milliseconds between two signs of life, so one that was killed is missed by no more than that. */
const INTERVAL = 5_000;

const sign = (runDir: string): void => writeFileSync(pathOf(runDir), '', { mode: 0o600 });

/** Gives signs of life until it is disposed of, and a last one then. */
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

/** Seconds since the last sign of life; Infinity where there has been none since the folder was made, which is at boot. */
export function heartbeatAge(runDir: string): number {
  const seen = statSync(pathOf(runDir), { throwIfNoEntry: false });
  return seen ? Math.max(0, (Date.now() - seen.mtimeMs) / 1000) : Number.POSITIVE_INFINITY;
}
