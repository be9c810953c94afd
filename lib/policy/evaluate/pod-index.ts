/** Pods where they can be found: by name, by label, and by whatever else has one or many of them. */
import type { Labels, Pod } from '../model/model.ts';

/** Pods in any order. */
export interface Pods extends Iterable<Pod> {
  readonly size: number;
}

export const none: ReadonlySet<never> = new Set();

/**
 * Sets by key. Where one key mostly has one item, a set for each would take more memory than all else, so that one stands
 * by itself.
 */
export class Buckets<T extends object, K = string> {
  readonly #byKey = new Map<K, T | Set<T>>();

  has(key: K): boolean {
    return this.#byKey.has(key);
  }

  get(key: K): ReadonlySet<T> {
    const found = this.#byKey.get(key);
    return found === undefined ? none : found instanceof Set ? found : new Set([found]);
  }

  /** The one that comes out on top of all. */
  best(key: K, isBetter: (item: T, than: T) => boolean): T | undefined {
    const found = this.#byKey.get(key);
    if (!(found instanceof Set)) return found;
    let best: T | undefined;
    for (const item of found) if (best === undefined || isBetter(item, best)) best = item;
    return best;
  }

  add(key: K, item: T): void {
    const found = this.#byKey.get(key);
    if (found === undefined || found === item) this.#byKey.set(key, item);
    else if (found instanceof Set) found.add(item);
    else this.#byKey.set(key, new Set([found, item]));
  }

  delete(key: K, item: T): void {
    const found = this.#byKey.get(key);
    if (found === item) this.#byKey.delete(key);
    else if (found instanceof Set && found.delete(item) && found.size === 0) this.#byKey.delete(key);
  }

  keys(): Iterable<K> {
    return this.#byKey.keys();
  }
}

/** Several, one after the other, none of them in two. */
class Together implements Pods {
  readonly #parts: readonly Pods[];
  readonly size: number;

  constructor(parts: readonly Pods[]) {
    this.#parts = parts;
    this.size = parts.reduce((sum, { size }) => sum + size, 0);
  }

  *[Symbol.iterator](): Generator<Pod> {
    for (const part of this.#parts) yield* part;
  }
}

/**
 * Pods by label. Those with equal labels mostly share the very value, so each pod stands under that alone, however many
 * labels are in it, and only the values stand under their labels.
 */
export class Labelled {
  readonly #bearers = new Buckets<Pod, Labels>();
  readonly #values = new Buckets<Labels>();

  with(key: string, value: string): Pods {
    const values = this.#values.get(labelKey(key, value));
    return values.size === 0 ? none : new Together([...values].map(labels => this.#bearers.get(labels)));
  }

  add(pod: Pod): void {
    if (!this.#bearers.has(pod.labels))
      for (const [key, value] of pod.labels) this.#values.add(labelKey(key, value), pod.labels);
    this.#bearers.add(pod.labels, pod);
  }

  delete(pod: Pod): void {
    this.#bearers.delete(pod.labels, pod);
    if (this.#bearers.has(pod.labels)) return;
    for (const [key, value] of pod.labels) this.#values.delete(labelKey(key, value), pod.labels);
  }
}

/** Pods of one namespace by name; those of one name are told apart by their uid. */
export class Namesakes implements Pods {
  readonly #byName = new Map<string, Pod | readonly Pod[]>();
  size = 0;

  #all(name: string): readonly Pod[] {
    const found = this.#byName.get(name);
    return found === undefined ? [] : isPod(found) ? [found] : found;
  }

  get(name: string, uid: string | undefined): Pod | undefined {
    return this.#all(name).find(pod => pod.uid === uid);
  }

  set(pod: Pod): void {
    this.delete(pod);
    const others = this.#all(pod.name);
    this.#byName.set(pod.name, others.length === 0 ? pod : [...others, pod]);
    this.size++;
  }

  delete({ name, uid }: Pod): Pod | undefined {
    const found = this.get(name, uid);
    if (!found) return undefined;
    const [first, ...more] = this.#all(name).filter(pod => pod !== found);
    if (first === undefined) this.#byName.delete(name);
    else this.#byName.set(name, more.length === 0 ? first : [first, ...more]);
    this.size--;
    return found;
  }

  *[Symbol.iterator](): Generator<Pod> {
    for (const found of this.#byName.values())
      if (isPod(found)) yield found;
      else yield* found;
  }
}

const isPod = (value: Pod | readonly Pod[]): value is Pod => !Array.isArray(value);

const labelKey = (key: string, value: string): string => `${key}=${value}`;
