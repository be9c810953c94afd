/**
 * The queue of calls: a few are carried out at once, the others wait in the order of their arrival and are told their places.
 * To take calls in goes before carrying them out: one of them starts each time that the event loop has looked at all
 * connections.
 */

/** Milliseconds between two words to a caller that waits; one that cannot see this process takes them for signs of life. */
const REMINDER = 1_000;

interface Waiting {
  readonly start: () => void;
  readonly tell: (place: number) => void;
}

export class Turns {
  readonly #most: number;
  readonly #waiting = new Set<Waiting>();
  #running = 0;
  #isDue = false;
  #reminder: NodeJS.Timeout | undefined;

  /** @param most calls at once */
  constructor(most: number) {
    this.#most = most;
  }

  /** Calls that wait for their turn. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Resolves when it is the call's turn, which lasts until the result is disposed of.
   * @param tell is called with the place in the queue, of which the first is 1, at once and then each second
   * @throws the signal's reason where the caller hangs up before
   */
  async take(tell: (place: number) => void, signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const one: Waiting = { start: resolve, tell };
    const leave = (): void => {
      this.#waiting.delete(one);
      reject(signal.reason);
    };
    signal.addEventListener('abort', leave, { once: true });
    this.#waiting.add(one);
    if (this.#running + this.#waiting.size > this.#most) tell(this.#running + this.#waiting.size - this.#most);
    this.#startLater();
    this.#remindLater();
    try {
      await promise;
    } finally {
      signal.removeEventListener('abort', leave);
    }
    return {
      [Symbol.dispose]: () => {
        this.#running--;
        this.#startLater();
      },
    };
  }

  #startLater(): void {
    if (this.#isDue || this.#waiting.size === 0 || this.#running >= this.#most) return;
    this.#isDue = true;
    setImmediate(() => {
      this.#isDue = false;
      const [first] = this.#waiting;
      if (!first) return;
      this.#waiting.delete(first);
      this.#running++;
      first.start();
      this.#startLater();
    });
  }

  #remindLater(): void {
    this.#reminder ??= setTimeout(() => {
      this.#reminder = undefined;
      let place = 0;
      for (const { tell } of this.#waiting) tell(++place);
      if (place > 0) this.#remindLater();
    }, REMINDER).unref();
  }
}
