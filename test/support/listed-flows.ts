/**
 * Connections that the kernel tracks, read whole: as a test looks at them, with statuses and zones, which the code under test
 * leaves aside.
 * @see include/uapi/linux/netfilter/nfnetlink_conntrack.h
 */
import { type Address, type Family, formatAddress } from '../../lib/ip/address.ts';
import {
  type Exchange,
  must,
  mustExcept,
  type NetlinkReply,
  type NetlinkRequest,
  refusalOf,
} from '../../lib/kernel/message.ts';
import { afOf } from '../../lib/kernel/rtnetlink.ts';
import { be16, be32, bodyOf } from '../../lib/netlink/attribute.ts';
import { NLM_F } from '../../lib/netlink/header.ts';
import { AttributeReader } from '../../lib/netlink/reader.ts';

/** (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_* */
const CT = { GET: 0x101, DELETE: 0x102 } as const;
const CTA = { TUPLE_ORIG: 1, TUPLE_REPLY: 2, STATUS: 3, ID: 12, ZONE: 18 } as const;
const CTA_TUPLE = { IP: 1, PROTO: 2 } as const;
const CTA_IP = { SRC: { 4: 1, 6: 3 }, DST: { 4: 2, 6: 4 } } as const;
const CTA_PROTO = { NUM: 1, SRC_PORT: 2, DST_PORT: 3, ICMP_ID: 4, ICMP_TYPE: 5, ICMP_CODE: 6 } as const;
/** CTA_PROTO_ICMPV6_ID, _TYPE, _CODE follow those of ICMP. */
const ICMPV6_OFFSET = 3;
const NFGENMSG_LENGTH = 4;
/** NLA_F_NESTED */
const NESTED = 0x8000;
const names = { prefix: 'CTA', types: CTA };
const tupleNames = { prefix: 'CTA_TUPLE', types: CTA_TUPLE };
const ipNames = { prefix: 'CTA_IP', types: { V4_SRC: 1, V4_DST: 2, V6_SRC: 3, V6_DST: 4 } };
const protoNames = { prefix: 'CTA_PROTO', types: CTA_PROTO };

/** The number of requests in one send: each is answered, and the answers must fit a buffer. */
const DELETES_AT_ONCE = 1000;

/** One direction of a connection, as its packets look. */
export interface FlowTuple {
  readonly source: Address;
  readonly destination: Address;
  /** IPPROTO_* */
  readonly protocol: number;
  /** TCP, UDP, SCTP and their like. */
  readonly sourcePort: number | undefined;
  readonly destinationPort: number | undefined;
  /** ICMP and ICMPv6. */
  readonly icmp: { readonly type: number; readonly code: number; readonly id: number } | undefined;
}

export interface ConntrackEntry {
  /** Addresses and ports of the first packet, before any translation. */
  readonly original: FlowTuple;
  /** Addresses and ports of replies: destination NAT shows in its source, source NAT in its destination. */
  readonly reply: FlowTuple;
  readonly zone: number;
  /** Tells a flow from a later one with the same addresses and ports. */
  readonly id: number;
  /** IPS_*: 2 answers were seen, 8 confirmed, 16 source NAT, 32 destination NAT. */
  readonly status: number;
  /** The kernel's own writing of the original tuple. */
  readonly key: Uint8Array;
}

/** struct nfgenmsg: family, version 0, resource id 0. */
const header = (family: Family | undefined): Uint8Array => Uint8Array.of(afOf(family), 0, 0, 0);

/** One reply for each connection, of one family or both. */
const dumpFlows = (family?: Family): NetlinkRequest => ({
  operation: 'list tracked connections',
  type: CT.GET,
  flags: NLM_F.DUMP,
  body: header(family),
});

/** ENOENT where it is gone, or another has taken its place. */
function deleteFlow(flow: ConntrackEntry): NetlinkRequest {
  const { original, key, zone, id } = flow;
  return {
    operation: `forget the connection from ${formatAddress(original.source)} to ${formatAddress(original.destination)}`,
    type: CT.DELETE,
    flags: 0,
    // Never without a tuple: that would forget every connection of the node.
    body: bodyOf(
      header(original.source.family),
      [CTA.TUPLE_ORIG | NESTED, key],
      [CTA.ZONE, be16(zone || undefined)],
      [CTA.ID, be32(id)],
    ),
  };
}

/** All connections of this network namespace: the kernel passes over empty buckets here, and locks each where it lists. */
export function forgetFlows(exchange: Exchange): void {
  const body = header(undefined);
  must(exchange([{ operation: 'forget all connections', type: CT.DELETE, flags: 0, body }]));
}

function tupleOf(tuple: AttributeReader): FlowTuple | undefined {
  const ip = tuple.nested(CTA_TUPLE.IP, ipNames);
  const proto = tuple.nested(CTA_TUPLE.PROTO, protoNames);
  const source = ip.address(CTA_IP.SRC[4]) ?? ip.address(CTA_IP.SRC[6]);
  const destination = ip.address(CTA_IP.DST[4]) ?? ip.address(CTA_IP.DST[6]);
  if (!source || !destination) return undefined;
  const offset = source.family === 4 ? 0 : ICMPV6_OFFSET;
  const id = proto.be16(CTA_PROTO.ICMP_ID + offset);
  const type = proto.u8(CTA_PROTO.ICMP_TYPE + offset) ?? 0;
  const code = proto.u8(CTA_PROTO.ICMP_CODE + offset) ?? 0;
  return {
    source,
    destination,
    protocol: proto.u8(CTA_PROTO.NUM) ?? 0,
    sourcePort: proto.be16(CTA_PROTO.SRC_PORT),
    destinationPort: proto.be16(CTA_PROTO.DST_PORT),
    icmp: id === undefined ? undefined : { type, code, id },
  };
}

/** Undefined for what is no connection over IP. @throws RangeError a malformed attribute */
export function flowOf({ body }: NetlinkReply): ConntrackEntry | undefined {
  const attributes = new AttributeReader(body.subarray(NFGENMSG_LENGTH), names);
  const key = attributes.get(CTA.TUPLE_ORIG);
  const original = tupleOf(attributes.nested(CTA.TUPLE_ORIG, tupleNames));
  const reply = tupleOf(attributes.nested(CTA.TUPLE_REPLY, tupleNames));
  const flow = {
    zone: attributes.be16(CTA.ZONE) ?? 0,
    id: attributes.be32(CTA.ID) ?? 0,
    status: attributes.be32(CTA.STATUS) ?? 0,
  };
  attributes.check();
  if (!key || !original || !reply) return undefined;
  return { original, reply, ...flow, key };
}

const isFlow = (flow: ConntrackEntry | undefined): flow is ConntrackEntry => flow !== undefined;

/** Every connection that is tracked in this network namespace. A subsystem that the kernel lacks answers EINVAL. */
export function listFlows(exchange: Exchange, family?: Family): ConntrackEntry[] {
  const [replies] = mustExcept(exchange([dumpFlows(family)]), 'EINVAL', 'EOPNOTSUPP');
  return (replies ?? []).map(flowOf).filter(isFlow);
}

/** @returns how many were there still */
export function deleteFlows(exchange: Exchange, flows: readonly ConntrackEntry[]): number {
  let deleted = 0;
  for (let at = 0; at < flows.length; at += DELETES_AT_ONCE) {
    const answers = exchange(flows.slice(at, at + DELETES_AT_ONCE).map(deleteFlow));
    mustExcept(answers, 'ENOENT');
    deleted += answers.filter(answer => refusalOf(answer) === undefined).length;
  }
  return deleted;
}
