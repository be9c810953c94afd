/**
 * Requests to the kernel's table of tracked connections. All numbers on this wire are big-endian, but for a filter's flags.
 *
 * The table is one for all network namespaces, and so is the lock behind which the kernel takes these requests, one after the
 * other. A request that names no single connection walks through the whole table, whatever it asks for.
 * @see include/uapi/linux/netfilter/nfnetlink_conntrack.h
 */

import type { Address, Family } from '../ip/address.ts';
import { type Attribute, address, be16, bodyOf, u8, u32 } from '../netlink/attribute.ts';
import { NLM_F } from '../netlink/header.ts';
import { findAttribute } from '../netlink/reader.ts';
import type { NetlinkRequest } from './message.ts';
import { afOf } from './rtnetlink.ts';

/** (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_* */
const CT = { GET: 0x101, DELETE: 0x102 } as const;
const CTA = { TUPLE_ORIG: 1, TUPLE_REPLY: 2, ID: 12, ZONE: 18, FILTER: 25 } as const;
const CTA_TUPLE = { IP: 1, PROTO: 2 } as const;
const CTA_IP = { SRC: { 4: 1, 6: 3 } } as const;
const CTA_PROTO = { NUM: 1, DST_PORT: 3 } as const;
const CTA_FILTER = { ORIG_FLAGS: 1, REPLY_FLAGS: 2 } as const;
/** CTA_FILTER_FLAG of net/netfilter/nf_internals.h */
const FILTER = { IP_SRC: 1, PROTO_NUM: 8, DST_PORT: 32 } as const;
const NFGENMSG_LENGTH = 4;
/** NLA_F_NESTED */
const NESTED = 0x8000;

export const IPPROTO = { ICMP: 1, TCP: 6, UDP: 17, ICMPV6: 58, SCTP: 132 } as const;

/** Selects connections by the tuple of one direction. */
export interface FlowFilter {
  readonly family: Family;
  readonly direction: 'original' | 'reply';
  readonly source?: Address;
  /** IPPROTO_* */
  readonly protocol?: number;
  /** Together with `protocol`. */
  readonly destinationPort?: number;
}

/** struct nfgenmsg: family, version, resource id 0. A deletion of many heeds the family only with version 1. */
const header = (family: Family | undefined, version = 0): Uint8Array => Uint8Array.of(afOf(family), version, 0, 0);

function filterAttributes({ family, direction, source, protocol, destinationPort }: FlowFilter): readonly Attribute[] {
  const tuple: Attribute[] = [
    [CTA_TUPLE.IP, [[CTA_IP.SRC[family], address(source)]]],
    [
      CTA_TUPLE.PROTO,
      [
        [CTA_PROTO.NUM, u8(protocol)],
        [CTA_PROTO.DST_PORT, be16(destinationPort)],
      ],
    ],
  ];
  const flags =
    (source ? FILTER.IP_SRC : 0) |
    (protocol === undefined ? 0 : FILTER.PROTO_NUM) |
    (destinationPort === undefined ? 0 : FILTER.DST_PORT);
  const [type, flagsType] =
    direction === 'original' ? [CTA.TUPLE_ORIG, CTA_FILTER.ORIG_FLAGS] : [CTA.TUPLE_REPLY, CTA_FILTER.REPLY_FLAGS];
  return [
    [type, tuple],
    [CTA.FILTER, [[flagsType, u32(flags)]]],
  ];
}

/** A walk with a reply for each connection of the network namespace: of one family, or of both. */
export const dumpFlows = (family?: Family): NetlinkRequest => ({
  operation: 'list tracked connections',
  type: CT.GET,
  flags: NLM_F.DUMP,
  body: header(family),
});

/** A walk with a reply for each connection that passes the filter. */
export const dumpFiltered = (filter: FlowFilter): NetlinkRequest => ({
  operation: 'list some tracked connections',
  type: CT.GET,
  flags: NLM_F.DUMP,
  body: bodyOf(header(filter.family), ...filterAttributes(filter)),
});

/**
 * A walk that forgets what passes the filter (Linux 6.8). Earlier kernels overlook the filter, take the tuple for that of one
 * connection, find it incomplete and answer EINVAL.
 */
export const forgetFiltered = (filter: FlowFilter): NetlinkRequest => ({
  operation: 'forget some tracked connections',
  type: CT.DELETE,
  flags: 0,
  body: bodyOf(header(filter.family, 1), ...filterAttributes(filter)),
});

/**
 * Forgets one connection, without a walk. ENOENT where it is gone, or another has taken its place.
 * @param message the kernel's word of the connection, behind the netlink header: it holds key and id in the kernel's own bytes
 */
export function forgetFlow(message: Uint8Array): NetlinkRequest {
  const whole = { start: NFGENMSG_LENGTH, end: message.length };
  const bytesOf = (type: number): Uint8Array | undefined => {
    const place = findAttribute(message, type, whole);
    return place && message.subarray(place.start, place.end);
  };
  return {
    operation: 'forget a tracked connection',
    type: CT.DELETE,
    flags: 0,
    // Never without a tuple: that would forget every connection of the node.
    body: bodyOf(
      message.subarray(0, NFGENMSG_LENGTH),
      [CTA.TUPLE_ORIG | NESTED, bytesOf(CTA.TUPLE_ORIG)],
      [CTA.ZONE, bytesOf(CTA.ZONE)],
      [CTA.ID, bytesOf(CTA.ID)],
    ),
  };
}
