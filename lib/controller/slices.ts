/** Long work in slices of a few milliseconds, between which calls have their turn. */
import { monotonic } from '../kernel/monotonic.ts';

/** Milliseconds of work and of rest. */
const SLICE = 5;
const REST = 2;

export class Slices {
  #end = monotonic() + SLICE;

  get isOver(): boolean {
    return monotonic() >= this.#end;
  }

  /** Others have their turn; then the next slice begins. */
  async rest(): Promise<void> {
    await new Promise(done => setTimeout(done, REST).unref());
    this.#end = monotonic() + SLICE;
  }
}
