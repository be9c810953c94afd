/**
 * Group commit: what calls of one process ask for at nearly the same time goes into force together, in one transaction and one
 * record. To put the changes of ten pods into force takes hardly longer than to put that of one.
 */
import { setImmediate } from 'node:timers/promises';

/** What a call asks for, and how. */
export interface Request<Self, Result> {
  /** Aborted when the caller hangs up: the request leaves the queue. */
  readonly signal?: AbortSignal | undefined;
  /** Takes the lock under which the changes of all are made. @throws where it cannot be had */
  readonly lock: () => Promise<Disposable>;
  readonly goesWith: (other: Self) => boolean;
  /**
   * Puts the changes of these requests, itself among them, into force: all of them, or none.
   * @returns the result of each
   */
  readonly commit: (requests: readonly Self[]) => Promise<readonly Result[]>;
}

interface Waiting<R, Result> {
  readonly request: R;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

export class GroupCommit<R extends Request<R, Result>, Result> {
  readonly #others: () => boolean;
  /** In the order of their arrival. */
  readonly #waiting = new Set<Waiting<R, Result>>();
  #isRunning = false;

  /** @param others whether other calls are under way, which may soon have requests, too */
  constructor(others: () => boolean) {
    this.#others = others;
  }

  /**
   * Resolves when the change is in force.
   * @throws what kept this change from being made; the signal's reason where the caller hangs up before it is its turn
   */
  async join(request: R): Promise<Result> {
    const { signal } = request;
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    const one = { request, resolve, reject };
    const leave = (): void => {
      if (this.#waiting.delete(one)) reject(signal?.reason);
    };
    signal?.addEventListener('abort', leave, { once: true });
    this.#waiting.add(one);
    if (!this.#isRunning) void this.#run();
    try {
      return await promise;
    } finally {
      signal?.removeEventListener('abort', leave);
    }
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    for (let [first] = this.#waiting; first; [first] = this.#waiting) {
      await this.#gather();
      await this.#commitWith(first);
    }
    this.#isRunning = false;
  }

  /** As long as each turn of the event loop brings one more, to wait for the next costs less than to commit without it. */
  async #gather(): Promise<void> {
    if (!this.#others()) return;
    for (let before = 0; this.#waiting.size > before; await setImmediate()) before = this.#waiting.size;
  }

  /** Requests that come until the lock is had go along. */
  async #commitWith(first: Waiting<R, Result>): Promise<void> {
    try {
      using _ = await first.request.lock();
      if (!this.#waiting.has(first)) return;
      const group = [...this.#waiting].filter(one => one === first || first.request.goesWith(one.request));
      for (const one of group) this.#waiting.delete(one);
      await this.#settle(group);
    } catch (error) {
      this.#waiting.delete(first);
      first.reject(error);
    }
  }

  /** Where the changes of all cannot be made, each is made alone: one call's fault is not another's. */
  async #settle(group: readonly Waiting<R, Result>[]): Promise<void> {
    const [first] = group;
    try {
      const results = await first!.request.commit(group.map(({ request }) => request));
      for (const [i, { resolve }] of group.entries()) resolve(results[i]!);
    } catch (error) {
      if (group.length === 1) first!.reject(error);
      else for (const one of group) await this.#settle([one]);
    }
  }
}
