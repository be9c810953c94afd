/**
 * Numbers (nsid) by which one network namespace names others, such as that of a veth's other end. A number is taken back
 * once the kernel begins to delete the namespace.
 * @see include/uapi/linux/net_namespace.h, rtnl_net_getid() in net/core/net_namespace.c
 */
import { bodyOf, u32 } from '../netlink/attribute.ts';
import { type Exchange, type NetlinkRequest, refusalOf } from './message.ts';
import { RTM } from './rtnetlink.ts';

const NETNSA_NSID = 1;
/** NETNSA_NSID_NOT_ASSIGNED (-1), as a u32 attribute is read. */
const NOT_ASSIGNED = 0xffff_ffff;
/** struct rtgenmsg: family (u8), padded to four bytes. */
const RTGENMSG_LENGTH = 4;

/** Asks for a namespace by its number; ENOENT where no namespace that lives has it. */
export const getNetnsid = (nsid: number): NetlinkRequest => ({
  operation: `look for the network namespace with number ${nsid}`,
  type: RTM.GETNSID,
  flags: 0,
  body: bodyOf(new Uint8Array(RTGENMSG_LENGTH), [NETNSA_NSID, u32(nsid)]),
});

/**
 * Whether a namespace is gone for good: no process, descriptor or mount holds it. Its links may still be there, since the
 * kernel deletes one namespace of the machine after another, which takes seconds where many end at once.
 * @param nsid as a link of the exchange's namespace names it (`Link.peerNetnsid`)
 */
export const isNetnsGone = (exchange: Exchange, nsid: number): boolean =>
  nsid === NOT_ASSIGNED || refusalOf(exchange([getNetnsid(nsid)])[0]!) === 'ENOENT';
