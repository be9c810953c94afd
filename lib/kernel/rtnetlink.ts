/** Shared by requests about links, addresses, routes and neighbours. @see include/uapi/linux/rtnetlink.h */
import type { Family } from '../ip/address.ts';

/** include/uapi/linux/rtnetlink.h */
export const RTM = {
  NEWLINK: 16,
  DELLINK: 17,
  GETLINK: 18,
  SETLINK: 19,
  NEWADDR: 20,
  DELADDR: 21,
  GETADDR: 22,
  NEWROUTE: 24,
  DELROUTE: 25,
  GETROUTE: 26,
  NEWNEIGH: 28,
  DELNEIGH: 29,
  GETNEIGH: 30,
  NEWNETCONF: 80,
  GETNSID: 90,
} as const;

/** include/uapi/linux/socket.h */
const AF = { 4: 2, 6: 10 } as const;

export const afOf = (family: Family | undefined): number => (family === undefined ? 0 : AF[family]);

/** Undefined for another family than IPv4 and IPv6 (bridge, MPLS, unspecified). */
export const familyOf = (af: number): Family | undefined => (af === AF[4] ? 4 : af === AF[6] ? 6 : undefined);
