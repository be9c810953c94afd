/** What the engines' own processes take of their nodes. */
import { readFileSync } from 'node:fs';
import type { Contender } from './contenders.ts';

export interface Taken {
  /** Resident, MiB. */
  readonly memory: number;
  /** Seconds since its start, its children's that have ended included. */
  readonly processor: number;
}

/** Of `getconf CLK_TCK`, which Linux has had at this for as long as it has had USER_HZ. */
const TICKS = 100;

/** Undefined where there is no engine. @see proc_pid_stat(5) */
export function takenBy({ pid }: Contender): Taken | undefined {
  const process = pid();
  if (process === undefined) return undefined;
  const status = readFileSync(`/proc/${process}/status`, 'utf8');
  const stat = readFileSync(`/proc/${process}/stat`, 'utf8');
  // After the name, which may have blanks: utime, stime, cutime, cstime.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = fields.slice(11, 15).reduce((sum, each) => sum + Number(each), 0);
  return { memory: Number(/^VmRSS:\s+(\d+) kB/m.exec(status)![1]) / 1024, processor: ticks / TICKS };
}
