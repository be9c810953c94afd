/** The agent's recurring work: each kind has its runner, failures are counted and reported until a run succeeds. */
import { messageOf } from '../cni/error.ts';
import { systemClock } from '../kube/clock.ts';
import type { Log } from '../rpc/log.ts';
import type { HealthProblem, Part } from './health.ts';
import { type Intervals, Runner } from './runner.ts';

interface Kind {
  /** Finishes the sentence "Cannot …". */
  readonly does: string;
  readonly part: Part;
  readonly intervals: Intervals;
}

const kinds = {
  /** Intervals: events of one burst take one run. */
  sync: {
    does: 'bring the gate up to date',
    part: 'gate',
    intervals: { least: 10, retry: 1_000, greatest: 300_000 },
  },
  /** Other programs' changes are mended, and dead calls are collected. */
  tend: { does: 'tend the node', part: 'tending', intervals: { least: 200, retry: 5_000, greatest: 60_000 } },
  /** The node's routes, address ranges and conflist. */
  node: { does: 'bring the node up to date', part: 'node', intervals: { least: 100, retry: 5_000, greatest: 60_000 } },
} as const satisfies Record<string, Kind>;

export type Work = keyof typeof kinds;

/** Milliseconds: longer than all timeouts of one run together. */
const STUCK = 180_000;

export class Supervisor {
  readonly #log: Log;
  /** Empty before the start. */
  readonly #runners = new Map<Work, Runner>();
  /** Why the last run of a kind failed. */
  readonly #troubles = new Map<Work, string>();
  /** Runs that failed. */
  failures = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Runs each kind of work once, and again whenever it is rung. */
  start(work: Readonly<Record<Work, () => Promise<void>>>): void {
    for (const name of Object.keys(kinds) as Work[]) this.#runners.set(name, this.#runner(name, work[name]));
  }

  #runner(name: Work, work: () => Promise<void>): Runner {
    const { does, intervals } = kinds[name];
    return new Runner({
      intervals,
      clock: systemClock,
      failed: error => {
        this.failures++;
        this.#troubles.set(name, messageOf(error));
        this.#log('error', `Cannot ${does}: ${messageOf(error)}`);
      },
      work: async () => {
        await work();
        this.#troubles.delete(name);
      },
    });
  }

  /** Has the work run soon; before the start it does nothing. */
  ring(work: Work): void {
    this.#runners.get(work)?.ring();
  }

  ringAll(): void {
    for (const runner of this.#runners.values()) runner.ring();
  }

  /** A problem for each kind of work whose last run failed, or whose present run does not end. */
  get health(): readonly HealthProblem[] {
    const failed = [...this.#troubles].map(([name, why]) => ({
      ...{ part: kinds[name].part, isStuck: false },
      message: `cannot ${kinds[name].does}: ${why}`,
    }));
    const stuck = [...this.#runners].flatMap(([name, { busy = 0 }]) =>
      busy > STUCK
        ? {
            ...{ part: kinds[name].part, isStuck: true },
            message: `cannot ${kinds[name].does}: at it for ${Math.round(busy / 1000)} s`,
          }
        : [],
    );
    return [...failed, ...stuck];
  }

  /** No further run begins; resolves when those under way have ended. */
  async stop(): Promise<void> {
    await Promise.all([...this.#runners.values()].map(runner => runner.stop()));
  }
}
