/** Cuts forbidden connections beside the other work of a warm process: requests merge, and looks rest. */
import type { CutScope } from '../gate/shrunk.ts';
import type { Address } from '../ip/address.ts';
import { addressKey } from '../kernel/conntrack-entry.ts';
import { monotonic } from '../kernel/monotonic.ts';
import { type CutPlace, Look, SECOND_LOOK } from './cut.ts';

/** An address whose connections are still to be looked at. */
interface Due {
  /** Undefined: everywhere. */
  readonly address: Address | undefined;
  /** Looks that are still to be had. */
  readonly looks: number;
  /** Milliseconds of the clock. */
  readonly at: number;
}

const LOOKS = 2;
/** An address whose connections took n milliseconds to judge rests for this many times n before the next look. */
const REST_FACTOR = 4;
const LONGEST_REST = 5_000;

export interface CutterOptions extends CutPlace {
  readonly cut: (count: number) => void;
  readonly failed: (error: unknown) => void;
}

/**
 * Cuts beside everything else: requests merge, each address is looked at twice after its last one, and an address whose
 * connections take long is not looked at again before it has rested in proportion, while others are.
 */
export class Cutter implements Disposable {
  readonly #options: CutterOptions;
  readonly #due = new Map<string, Due>();
  /** Until when an address rests. */
  readonly #resting = new Map<string, number>();
  #look: Look | undefined;
  #running: Promise<void> | undefined;
  #wake = (): void => undefined;
  #isOver = false;

  constructor(options: CutterOptions) {
    this.#options = options;
  }

  request(scope: CutScope): void {
    if (scope.length === 0 || this.#isOver) return;
    this.#look?.outdate();
    const now = monotonic();
    for (const address of scope === 'everywhere' ? [undefined] : scope) {
      const key = address === undefined ? '' : addressKey(address);
      const at = Math.max(now, this.#resting.get(key) ?? now);
      this.#due.set(key, { address, looks: LOOKS, at });
    }
    this.#wake();
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** Resolves once nothing is left to be looked at. */
  async settled(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    // Not in the middle of the commit that asks.
    await Promise.resolve();
    while (this.#due.size > 0 && !this.#isOver) {
      const now = monotonic();
      for (const [key, until] of this.#resting) if (until <= now) this.#resting.delete(key);
      const ready = [...this.#due].filter(([, { at }]) => at <= now);
      if (ready.length > 0) await this.#lookAt(ready);
      else await this.#sleep(Math.min(...[...this.#due.values()].map(({ at }) => at)) - now);
    }
  }

  async #sleep(milliseconds: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const timer = setTimeout(resolve, milliseconds);
    await promise;
    clearTimeout(timer);
  }

  async #lookAt(ready: readonly (readonly [string, Due])[]): Promise<void> {
    const { cut, failed } = this.#options;
    for (const [key] of ready) this.#due.delete(key);
    const addresses = ready.flatMap(([, { address }]) => address ?? []);
    let cost = 0;
    try {
      this.#look = new Look(this.#options, addresses.length < ready.length ? 'everywhere' : addresses);
      await this.#look.run();
      cut(this.#look.cut);
    } catch (error) {
      failed(error);
    } finally {
      cost = this.#look?.cost ?? 0;
      this.#look = undefined;
    }
    const end = monotonic();
    const rested = end + Math.min(cost * REST_FACTOR, LONGEST_REST);
    for (const [key, { address, looks }] of ready) {
      this.#resting.set(key, rested);
      const again = this.#due.get(key);
      if (again) this.#due.set(key, { ...again, at: rested });
      else if (looks > 1) this.#due.set(key, { address, looks: looks - 1, at: Math.max(rested, end + SECOND_LOOK) });
    }
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#look?.stop();
    this.#wake();
  }
}
