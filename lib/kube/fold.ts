/** Turns events of a resource into its objects by name, and tells what each event changes about them. */
import { isDeepStrictEqual } from 'node:util';
import type { KubeEvent } from './event.ts';
import type { ObjectName, Resource } from './object.ts';

/** At least one of both; a pod that was replaced by another of its name is two changes. */
export interface ObjectChange<T> {
  readonly before?: T;
  readonly after?: T;
}

export interface Fold<T> {
  /** Some list was whole, and the sink took all of it: what is not here is not there. */
  readonly isComplete: boolean;
  readonly size: number;
  get(id: ObjectName): T | undefined;
  objects(): Iterable<T>;
  /**
   * Takes the event in, tells the sink, and gives what it changed: nothing where all that policy sees is as it was.
   * @throws whatever the sink throws, once all else of the event is done; the sink is told again by the next list
   */
  apply(event: KubeEvent<T>): readonly ObjectChange<T>[];
}

/** Objects by namespace and name, without a text of its own for each. */
class Shelf<T> {
  readonly #namespaces = new Map<string, Map<string, T>>();
  size = 0;

  get({ namespace, name }: ObjectName): T | undefined {
    return this.#namespaces.get(namespace)?.get(name);
  }

  set({ namespace, name }: ObjectName, object: T): void {
    const own = this.#namespaces.get(namespace) ?? new Map<string, T>();
    if (own.size === 0) this.#namespaces.set(namespace, own);
    if (!own.has(name)) this.size++;
    own.set(name, object);
  }

  delete({ namespace, name }: ObjectName): void {
    const own = this.#namespaces.get(namespace);
    if (!own?.delete(name)) return;
    this.size--;
    if (own.size === 0) this.#namespaces.delete(namespace);
  }

  *objects(): Generator<T> {
    for (const own of this.#namespaces.values()) yield* own.values();
  }
}

/** @param sink told of each change before the next one is looked at */
export function createFold<T>(
  { id, isSame = isDeepStrictEqual }: Pick<Resource<T>, 'id' | 'isSame'>,
  sink: (change: ObjectChange<T>) => void,
): Fold<T> {
  const known = new Shelf<T>();
  /** Objects that the list under way has named so far. */
  let named: Shelf<true> | undefined;
  let isComplete = false;
  /** Objects of which the sink did not take the last change. */
  const untold = new Shelf<true>();

  function tell(object: ObjectName, change: ObjectChange<T>): ObjectChange<T> {
    untold.set(object, true);
    sink(change);
    untold.delete(object);
    return change;
  }

  function remove(before: T): ObjectChange<T> {
    known.delete(id(before));
    try {
      return tell(id(before), { before });
    } catch (error) {
      // Kept, so that the next list misses it again.
      known.set(id(before), before);
      throw error;
    }
  }

  function set(object: T): readonly ObjectChange<T>[] {
    const now = id(object);
    named?.set(now, true);
    const before = known.get(now);
    if (before === undefined || id(before).uid !== now.uid) {
      const removed = before === undefined ? [] : [remove(before)];
      known.set(now, object);
      return [...removed, tell(now, { after: object })];
    }
    const isKnown = isSame(before, object) && !untold.get(now);
    // Where the objects are equal the older one stays: other parts hold it already.
    if (!isKnown || isSame !== isDeepStrictEqual) known.set(now, object);
    if (isKnown) return [];
    return [tell(now, { before, after: object })];
  }

  function vanished(): readonly ObjectChange<T>[] {
    const present = named;
    if (!present) return [];
    const gone = [...known.objects()].filter(object => !present.get(id(object)));
    named = undefined;
    const changes: ObjectChange<T>[] = [];
    const errors: unknown[] = [];
    for (const object of gone)
      try {
        changes.push(remove(object));
      } catch (error) {
        errors.push(error);
      }
    if (errors.length > 0) throw errors[0];
    isComplete ||= untold.size === 0;
    return changes;
  }

  function apply(event: KubeEvent<T>): readonly ObjectChange<T>[] {
    if (event.type === 'set') return set(event.object);
    if (event.type === 'listed') return vanished();
    if (event.type === 'listing') named = new Shelf();
    if (event.type !== 'deleted') return [];
    const before = known.get(id(event.object));
    return before !== undefined && id(before).uid === id(event.object).uid ? [remove(before)] : [];
  }

  return {
    get isComplete() {
      return isComplete;
    },
    get size() {
      return known.size;
    },
    get: wanted => known.get(wanted),
    objects: () => known.objects(),
    apply,
  };
}
