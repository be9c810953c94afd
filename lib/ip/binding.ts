import type { Address, Family } from './address.ts';

const families: readonly Family[] = [4, 6];

/** 0.0.0.0 or `::`: every address of its family. */
export const isUnspecified = ({ value }: Address): boolean => value === 0n;

/** An IPv4 address that is written as IPv6, `::ffff:a.b.c.d`, as the IPv4 address that it names; any other as it is. */
export const unmapped = (address: Address): Address =>
  address.family === 6 && address.value >> 32n === 0xffffn
    ? { family: 4, value: address.value & 0xffffffffn }
    : address;

/** Whether a port that is bound to `hostIP` is bound in this family; undefined binds it in both. */
export const isBoundIn = (hostIP: Address | undefined, family: Family): boolean =>
  hostIP === undefined || hostIP.family === family;

/**
 * Whether two bindings of one port and protocol exclude each other, as in bind(2): they share a family, and one of them is
 * bound to every address of it, or both to the same one.
 * @param among the families to look at
 */
export const bindingsOverlap = (
  a: Address | undefined,
  b: Address | undefined,
  among: readonly Family[] = families,
): boolean =>
  among.some(
    family =>
      isBoundIn(a, family) &&
      isBoundIn(b, family) &&
      (a === undefined || b === undefined || isUnspecified(a) || isUnspecified(b) || a.value === b.value),
  );
