import type { Clock } from '../../lib/kube/clock.ts';

interface Timer {
  readonly due: number;
  readonly milliseconds: number;
  readonly call: () => void;
}

/** Time that passes when a test says so. */
export class ManualClock implements Clock {
  #now = 0;
  readonly #timers = new Set<Timer>();
  #waiting: { readonly milliseconds: number; readonly resolve: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  after(milliseconds: number, call: () => void): () => void {
    const timer = { due: this.#now + milliseconds, milliseconds, call };
    this.#timers.add(timer);
    const isMet = (wanted: { readonly milliseconds: number }) => wanted.milliseconds === milliseconds;
    for (const { resolve } of this.#waiting.filter(isMet)) resolve();
    this.#waiting = this.#waiting.filter(wanted => !isMet(wanted));
    return () => void this.#timers.delete(timer);
  }

  /** Lets that much time pass, and everything happen that is due by then, in order. */
  advance(milliseconds: number): void {
    const until = this.#now + milliseconds;
    for (;;) {
      const next = [...this.#timers].filter(({ due }) => due <= until).sort((a, b) => a.due - b.due)[0];
      if (!next) break;
      this.#now = next.due;
      this.#timers.delete(next);
      next.call();
    }
    this.#now = until;
  }

  /** Resolves once a timer of that length runs. */
  armed(milliseconds: number): Promise<void> {
    if ([...this.#timers].some(timer => timer.milliseconds === milliseconds)) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ milliseconds, resolve });
    return promise;
  }
}
