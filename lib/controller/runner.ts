/**
 * Level-triggered work: any event only rings the bell, and one run brings everything up to date. Rings merge; a run that
 * failed is tried again; and without any ring there is a run after the greatest interval.
 */
import type { Clock } from '../kube/clock.ts';

/** Milliseconds from the end of one run to the start of the next. */
export interface Intervals {
  /** However often the bell rings. */
  readonly least: number;
  /** After a failure. */
  readonly retry: number;
  /** Even if it never rings. */
  readonly greatest: number;
}

export interface RunnerOptions {
  readonly work: () => Promise<void>;
  readonly failed: (error: unknown) => void;
  readonly intervals: Intervals;
  readonly clock: Clock;
}

/** Runs once as soon as it is made. */
export class Runner {
  readonly #options: RunnerOptions;
  #cancel = (): void => undefined;
  #running: Promise<void> | undefined;
  #start: number | undefined;
  #end = Number.NEGATIVE_INFINITY;
  #isRung = false;
  #isStopped = false;

  constructor(options: RunnerOptions) {
    this.#options = options;
    this.#schedule(0);
  }

  ring(): void {
    if (this.#isRung || this.#isStopped) return;
    this.#isRung = true;
    if (this.#running) return;
    const { clock, intervals } = this.#options;
    this.#schedule(Math.max(0, this.#end + intervals.least - clock.now()));
  }

  #schedule(wait: number): void {
    this.#cancel();
    if (this.#isStopped) return;
    this.#cancel = this.#options.clock.after(wait, () => {
      this.#running = this.#run();
    });
  }

  /** Milliseconds since the run that is under way began; undefined between runs. */
  get busy(): number | undefined {
    return this.#start === undefined ? undefined : this.#options.clock.now() - this.#start;
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { work, failed, clock, intervals } = this.#options;
    this.#isRung = false;
    this.#start = clock.now();
    let next = intervals.greatest;
    try {
      await work();
    } catch (error) {
      next = intervals.retry;
      failed(error);
    }
    this.#start = undefined;
    this.#end = clock.now();
    this.#running = undefined;
    this.#schedule(this.#isRung ? Math.min(intervals.least, next) : next);
  }

  /** No further run begins; resolves when the one under way has ended. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancel();
    await this.#running;
  }
}
