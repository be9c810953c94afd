/**
 * The tag: the Linux interface group (IFLA_GROUP) of a pod's host-side veth, which is its policy identity on this node.
 * nftables matches it as `meta iifgroup` and `meta oifgroup`; see ARCHITECTURE.md, idea 1.
 */

/** "tg" in the upper half; the lower half is the identity. */
export const tagBase = 0x74670000;
/** Matches ours against `tagBase`: use the mask, not a range. */
export const tagMask = 0xffff0000;
/** Plugged in, not yet judged: closed in every direction. */
export const quarantine = 0x74670000;
/** Being deleted: closed in every direction. */
export const condemned = 0x7467ffff;
/** The link is unrouted; the kernel deletes the group whole. Closed in every direction. */
export const deleting = 0x7467fffe;
/** Under this mask both numbers of a pod that goes, condemned and deleting, are `deleting`. */
export const leavingMask = 0xfffffffe;
export const firstIdentity = quarantine + 1;
export const lastIdentity = deleting - 1;

export const isOurs = (group: number): boolean => group >>> 16 === tagBase >>> 16;

/** A tag that an identity may have: none of the three that are closed. */
export const isIdentity = (group: number): boolean => group >= firstIdentity && group <= lastIdentity;

/** `0x74670001`, as `ip link` prints it where it has no name for the group. */
export const formatTag = (group: number): string => `0x${group.toString(16).padStart(8, '0')}`;

/** What to call a tag in front of a person. */
export function describeTag(group: number): string {
  if (group === quarantine) return 'quarantine';
  if (group === condemned) return 'condemned';
  if (group === deleting) return 'deleting';
  return isOurs(group) ? formatTag(group) : `${formatTag(group)} (not ours)`;
}
