import { type Address, type Prefix, prefixContains } from './address.ts';

const v4 = (value: bigint, length: number): Prefix => ({ family: 4, value, length });
const v6 = (value: bigint, length: number): Prefix => ({ family: 6, value, length });

const special: readonly (readonly [kind: string, prefix: Prefix])[] = [
  ['unspecified', v4(0n, 32)],
  ['unspecified', v6(0n, 128)],
  ['loopback', v4(127n << 24n, 8)],
  ['loopback', v6(1n, 128)],
  ['multicast', v4(224n << 24n, 4)],
  ['multicast', v6(0xffn << 120n, 8)],
  ['broadcast', v4(0xffff_ffffn, 32)],
];

/** What kind of address it is, where the kernel takes it neither as a link's own nor as a gateway; else undefined. */
export const unassignable = (address: Address): string | undefined =>
  special.find(([, prefix]) => prefixContains(prefix, address))?.[0];
