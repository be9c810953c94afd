/**
 * A pure function of a value that does not change, worked out once for each value, and kept for as long as the value is there.
 * Of many policies few change at a time: what is made of the others is made already.
 */
export function once<Key extends object, Result>(work: (key: Key) => Result): (key: Key) => Result {
  const known = new WeakMap<Key, { readonly result: Result }>();
  return key => {
    const found = known.get(key);
    if (found) return found.result;
    const result = work(key);
    known.set(key, { result });
    return result;
  };
}
