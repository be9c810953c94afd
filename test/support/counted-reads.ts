/** Values that count how often anything of them is read: what a computation costs, on any machine. */

export interface Counted<T> {
  readonly value: T;
  /** Reads of members and items so far. */
  readonly reads: () => number;
}

const isPlain = (value: unknown): value is object =>
  Array.isArray(value) ||
  (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype);

/** The value, with lists and plain objects in it that count; each stays one and the same object. */
export function countReads<T>(value: T): Counted<T> {
  let reads = 0;
  const known = new WeakMap<object, object>();
  const counting = <V>(inner: V): V => {
    if (!isPlain(inner)) return inner;
    const proxy =
      known.get(inner) ??
      new Proxy(inner, {
        get(target, key, receiver) {
          reads++;
          return counting(Reflect.get(target, key, receiver));
        },
      });
    known.set(inner, proxy);
    return proxy as V;
  };
  return { value: counting(value), reads: () => reads };
}
