/** Forwarding of a whole network namespace, as the kernel tells of its changes. @see include/uapi/linux/netconf.h */
import { AttributeReader } from '../netlink/reader.ts';
import type { NetlinkReply } from './message.ts';
import { RTM } from './rtnetlink.ts';

const NETCONFA = { IFINDEX: 1, FORWARDING: 2 } as const;
const names = { prefix: 'NETCONFA', types: NETCONFA } as const;
/** All interfaces, present and to come: -1, read as u32. */
const IFINDEX_ALL = 0xffff_ffff;
/** struct netconfmsg: family (u8), padded. */
const NETCONFMSG_LENGTH = 4;

/** Whether the message says that the namespace no longer forwards packets of a family. */
export function isForwardingOff({ type, body }: NetlinkReply): boolean {
  if (type !== RTM.NEWNETCONF) return false;
  const attributes = new AttributeReader(body.subarray(NETCONFMSG_LENGTH), names);
  return attributes.u32(NETCONFA.IFINDEX) === IFINDEX_ALL && attributes.u32(NETCONFA.FORWARDING) === 0;
}
