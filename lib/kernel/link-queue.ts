/** Whether a link sends. @see include/uapi/linux/if_link.h */
import { AttributeReader } from '../netlink/reader.ts';
import type { NetlinkReply } from './message.ts';

const names = { prefix: 'IFLA', types: { QDISC: 6 } };
/** struct ifinfomsg */
const IFINFOMSG_LENGTH = 16;

/** Whether the link of RTM_NEWLINK has a queue for what it sends: until the kernel gives it one, noop drops every packet. */
export const hasQueue = ({ body }: NetlinkReply): boolean =>
  new AttributeReader(body.subarray(IFINFOMSG_LENGTH), names).text(names.types.QDISC) !== 'noop';
