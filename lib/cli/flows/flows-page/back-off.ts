/** Rests before something is tried again: longer each time, until it has gone well for a while. */

/** Milliseconds. */
const FIRST = 500;
const LONGEST = 8_000;
const WELL = 20_000;

export class BackOff {
  #next = FIRST;
  #rested = performance.now();

  /** @throws the signal's reason */
  async rest(signal: AbortSignal): Promise<void> {
    if (performance.now() - this.#rested > WELL) this.#next = FIRST;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, this.#next);
    signal.addEventListener('abort', () => resolve(), { once: true });
    this.#next = Math.min(2 * this.#next, LONGEST);
    await promise;
    clearTimeout(timer);
    this.#rested = performance.now();
    signal.throwIfAborted();
  }
}
