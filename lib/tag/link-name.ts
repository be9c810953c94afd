import { fnv1a64 } from './hash.ts';

/** What names an attachment on this node, for ever: everything else about its links follows from it, with no state. */
export interface AttachmentKey {
  readonly network: string;
  readonly containerID: string;
  readonly ifname: string;
}

const canonical = (role: string, { network, containerID, ifname }: AttachmentKey): string =>
  JSON.stringify([role, network, containerID, ifname]);

/** RFC 4648, lower case. */
const base32 = 'abcdefghijklmnopqrstuvwxyz234567';

/** `tg` and the 64 bits of a hash in base32: the 15 bytes that IFNAMSIZ leaves. Verify the alias before deleting by it. */
export function hostInterfaceName(key: AttachmentKey): string {
  let rest = BigInt(`0x${fnv1a64(canonical('name', key))}`);
  let digits = '';
  for (; digits.length < 13; rest >>= 5n) digits = base32[Number(rest & 31n)] + digits;
  return `tg${digits}`;
}

export const isHostInterfaceName = (name: string): boolean => /^tg[a-z2-7]{13}$/.test(name);

/**
 * Hardware address of one end: the same at each ADD, locally administered, and set at creation, so udev leaves it alone
 * and the pod's permanent neighbour entry for its gateway stays right.
 */
export function linkMac(key: AttachmentKey, end: 'host' | 'pod'): string {
  const hash = fnv1a64(canonical(end, key));
  // 64 bits folded to 40, as the authors of FNV advise: its low bits are its best mixed ones, but none is lost.
  const low = Number.parseInt(hash.slice(6), 16);
  const high = Number.parseInt(hash.slice(0, 6), 16);
  const folded = (BigInt(low) ^ BigInt(high)).toString(16).padStart(10, '0');
  return `02:${folded.match(/../g)!.join(':')}`;
}
