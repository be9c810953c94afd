import { bitsOf, networkOf, type Prefix, prefixContains } from './address.ts';

const ascending = (a: Prefix, b: Prefix): number =>
  a.family - b.family || (a.value < b.value ? -1 : a.value > b.value ? 1 : a.length - b.length);

/** What both halves of a prefix make; undefined where the two are not that. The first is the lower one. */
function whole(a: Prefix, b: Prefix): Prefix | undefined {
  if (a.family !== b.family || a.length !== b.length || a.length === 0) return undefined;
  const size = 1n << BigInt(bitsOf(a.family) - a.length);
  return (a.value ^ b.value) === size ? { ...a, length: a.length - 1 } : undefined;
}

/** The same addresses by the fewest prefixes, ascending, IPv4 first. */
export function unionOfPrefixes(prefixes: readonly Prefix[]): Prefix[] {
  const union: Prefix[] = [];
  for (const prefix of prefixes.map(networkOf).sort(ascending)) {
    const last = union.at(-1);
    if (last && prefixContains(last, prefix)) continue;
    let next = prefix;
    for (let half = last && whole(last, next); half; half = union.length > 0 ? whole(union.at(-1)!, next) : undefined) {
      union.pop();
      next = half;
    }
    union.push(next);
  }
  return union;
}
