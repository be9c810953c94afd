/** Values that many rows share, each kept once, for as long as a row holds it; with what they cost together. */

interface Held<T> {
  readonly value: T;
  readonly key: string;
  readonly cost: number;
  holders: number;
}

/** Bytes of an entry besides its text: the map's slot, the object, the array's slot. On the safe side. */
const OVERHEAD = 200;

export class Interned<T> {
  readonly #byKey = new Map<string, number>();
  readonly #held: (Held<T> | undefined)[] = [];
  readonly #free: number[] = [];
  /** Bytes, as estimated by the keys' length: keys are the values' text. */
  bytes = 0;

  /** @param key equal for equal values */
  hold(key: string, value: () => T): number {
    const known = this.#byKey.get(key);
    if (known !== undefined) {
      this.#held[known]!.holders++;
      return known;
    }
    const id = this.#free.pop() ?? this.#held.length;
    const cost = OVERHEAD + 4 * key.length;
    this.#held[id] = { value: value(), key, cost, holders: 1 };
    this.#byKey.set(key, id);
    this.bytes += cost;
    return id;
  }

  release(id: number): void {
    const held = this.#held[id];
    if (!held || --held.holders > 0) return;
    this.#byKey.delete(held.key);
    this.#held[id] = undefined;
    this.#free.push(id);
    this.bytes -= held.cost;
  }

  get(id: number): T {
    return this.#held[id]!.value;
  }
}
