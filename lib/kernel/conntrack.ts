/**
 * Connections that the kernel tracks: listing them, and forgetting them one by one, so that the next packet is judged
 * anew. Where the kernel tracks none (no nf_conntrack), there is nothing to list and nothing to forget.
 * All numbers on this wire are big-endian, but for the filter's.
 * @see include/uapi/linux/netfilter/nfnetlink_conntrack.h
 */

import {
  type Address,
  addressBytes,
  addressFromBytes,
  type Family,
  formatAddress,
  sameAddress,
} from '../ip/address.ts';
import { type Attribute, address, be16, be32, bodyOf, u8, u32 } from '../netlink/attribute.ts';
import { NLM_F } from '../netlink/header.ts';
import { AttributeReader, type ByteRange, findAttribute } from '../netlink/reader.ts';
import {
  type Exchange,
  must,
  mustExcept,
  type NetlinkAnswer,
  type NetlinkReply,
  type NetlinkRequest,
  refusalOf,
} from './message.ts';
import { afOf } from './rtnetlink.ts';

/** (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_* */
const CT = { NEW: 0x100, GET: 0x101, DELETE: 0x102 } as const;
const CTA = { TUPLE_ORIG: 1, TUPLE_REPLY: 2, STATUS: 3, ID: 12, ZONE: 18, FILTER: 25 } as const;
const CTA_TUPLE = { IP: 1, PROTO: 2, ZONE: 3 } as const;
const CTA_IP = { SRC: { 4: 1, 6: 3 }, DST: { 4: 2, 6: 4 } } as const;
const CTA_PROTO = { NUM: 1, SRC_PORT: 2, DST_PORT: 3, ICMP_ID: 4, ICMP_TYPE: 5, ICMP_CODE: 6 } as const;
/** CTA_PROTO_ICMPV6_ID, _TYPE, _CODE follow those of ICMP. */
const ICMPV6_OFFSET = 3;
const CTA_FILTER = { ORIG_FLAGS: 1, REPLY_FLAGS: 2 } as const;
/** CTA_FILTER_FLAG of net/netfilter/nf_internals.h */
const FILTER = { IP_SRC: 1, IP_DST: 2, PROTO_NUM: 8, DST_PORT: 32 } as const;
const NFGENMSG_LENGTH = 4;
/** NLA_F_NESTED */
const NESTED = 0x8000;
const names = { prefix: 'CTA', types: CTA };
const tupleNames = { prefix: 'CTA_TUPLE', types: CTA_TUPLE };
const ipNames = { prefix: 'CTA_IP', types: { V4_SRC: 1, V4_DST: 2, V6_SRC: 3, V6_DST: 4 } };
const protoNames = { prefix: 'CTA_PROTO', types: CTA_PROTO };

/** How many forgettings go into one send: each is answered, and the answers must fit a buffer. */
const DELETES_AT_ONCE = 1000;

export const IPPROTO = { ICMP: 1, TCP: 6, UDP: 17, ICMPV6: 58, SCTP: 132 } as const;

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
  /** As the first packet looked, before any translation. */
  readonly original: FlowTuple;
  /** As answers look, after all translation: destination NAT shows in its source, source NAT in its destination. */
  readonly reply: FlowTuple;
  readonly zone: number;
  /** With it a flow is not taken for a later one with the same addresses and ports. */
  readonly id: number;
  /** IPS_*: 2 answers were seen, 8 confirmed, 16 source NAT, 32 destination NAT. */
  readonly status: number;
  /** The kernel's own writing of the original tuple. */
  readonly key: Uint8Array;
}

/** Selects connections by the tuple of one direction; the kernel leaves all others out of the dump. */
export interface FlowFilter {
  readonly direction: 'original' | 'reply';
  readonly source?: Address;
  readonly destination?: Address;
  readonly protocol?: number;
  /** Together with `protocol`. */
  readonly destinationPort?: number;
}

/** struct nfgenmsg: family, version, resource id 0. A flush heeds the family only with version 1. */
const header = (family: Family | undefined, version = 0): Uint8Array => Uint8Array.of(afOf(family), version, 0, 0);

function filterAttributes(family: Family, filter: FlowFilter): readonly Attribute[] {
  const { direction, source, destination, protocol, destinationPort } = filter;
  const tuple: Attribute[] = [
    [
      CTA_TUPLE.IP,
      [
        [CTA_IP.SRC[family], address(source)],
        [CTA_IP.DST[family], address(destination)],
      ],
    ],
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
    (destination ? FILTER.IP_DST : 0) |
    (protocol === undefined ? 0 : FILTER.PROTO_NUM) |
    (destinationPort === undefined ? 0 : FILTER.DST_PORT);
  const [type, flagsType] =
    direction === 'original' ? [CTA.TUPLE_ORIG, CTA_FILTER.ORIG_FLAGS] : [CTA.TUPLE_REPLY, CTA_FILTER.REPLY_FLAGS];
  return [
    [type, tuple],
    [CTA.FILTER, [[flagsType, u32(flags)]]],
  ];
}

/** One reply for each connection, of one family or both. */
export const dumpFlows = (family?: Family): NetlinkRequest => ({
  operation: 'list tracked connections',
  type: CT.GET,
  flags: NLM_F.DUMP,
  body: header(family),
});

const dumpFiltered = (family: Family, filter: FlowFilter): NetlinkRequest => ({
  operation: 'list some tracked connections',
  type: CT.GET,
  flags: NLM_F.DUMP,
  body: bodyOf(header(family), ...filterAttributes(family, filter)),
});

/** ENOENT where it is gone, or another has taken its place. */
export function deleteFlow(flow: ConntrackEntry): NetlinkRequest {
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

/** The fields of a connection by which it is judged, and by which it is deleted. */
export interface TrackedFlow {
  readonly family: Family;
  /** Address bytes of the end that opened the connection, a character each: cheap to compare, and to look up. */
  readonly from: string;
  /** Address bytes of the end that it leads to, after destination NAT. */
  readonly to: string;
  /** IPPROTO_* */
  readonly protocol: number;
  /** Where it leads, after destination NAT; 0 without ports. */
  readonly port: number;
  /** The rest of the kernel's message, to find the flow's key and id in. */
  readonly body: Uint8Array;
}

/** A character for each byte. */
const characters = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');

/** The bytes of a tuple's source address; undefined where it has none. */
function sourceIn(bytes: Uint8Array, tuple: ByteRange): string | undefined {
  const ip = findAttribute(bytes, CTA_TUPLE.IP, tuple);
  const source = ip && (findAttribute(bytes, CTA_IP.SRC[4], ip) ?? findAttribute(bytes, CTA_IP.SRC[6], ip));
  return source && characters(bytes.subarray(source.start, source.end));
}

/**
 * The connection in place, without a copy of it: of hundreds of thousands that a busy node tracks, few are of interest.
 * Undefined where it is none over IP.
 */
export function trackedFlowOf({ body }: NetlinkReply): TrackedFlow | undefined {
  const whole = { start: NFGENMSG_LENGTH, end: body.length };
  const original = findAttribute(body, CTA.TUPLE_ORIG, whole);
  const reply = original && findAttribute(body, CTA.TUPLE_REPLY, whole);
  const proto = reply && findAttribute(body, CTA_TUPLE.PROTO, reply);
  if (!proto) return undefined;
  const [from, to] = [sourceIn(body, original), sourceIn(body, reply)];
  const number = findAttribute(body, CTA_PROTO.NUM, proto);
  if (from === undefined || to === undefined || !number) return undefined;
  const port = findAttribute(body, CTA_PROTO.SRC_PORT, proto);
  return {
    ...{ family: from.length === 4 ? 4 : 6, from, to },
    protocol: body[number.start]!,
    port: port ? (body[port.start]! << 8) | body[port.start + 1]! : 0,
    body,
  };
}

/** As `trackedFlowOf` has the bytes of an address. */
export const addressKey = (address: Address): string => characters(addressBytes(address));

export const addressOfKey = (key: string): Address => addressFromBytes(Buffer.from(key, 'latin1'));

/** Forgets it: its key and its id are the kernel's own bytes. ENOENT where it is gone, or another has taken its place. */
export function deleteTracked({ body, family }: TrackedFlow): NetlinkRequest {
  const whole = { start: NFGENMSG_LENGTH, end: body.length };
  const bytesOf = (type: number): Uint8Array | undefined => {
    const place = findAttribute(body, type, whole);
    return place && body.subarray(place.start, place.end);
  };
  return {
    operation: 'forget a tracked connection',
    type: CT.DELETE,
    flags: 0,
    body: bodyOf(
      header(family),
      [CTA.TUPLE_ORIG | NESTED, bytesOf(CTA.TUPLE_ORIG)],
      [CTA.ZONE, bytesOf(CTA.ZONE)],
      [CTA.ID, bytesOf(CTA.ID)],
    ),
  };
}

/** @returns how many were there still */
export function deleteAllTracked(exchange: Exchange, flows: readonly TrackedFlow[]): number {
  const answers = exchange(flows.map(deleteTracked));
  mustExcept(answers, 'ENOENT');
  return answers.filter(answer => refusalOf(answer) === undefined).length;
}

/** Requests for the connections that the address opened, and for those that lead to it: a dump for each. */
export const dumpFlowsOf = (address: Address): readonly NetlinkRequest[] => [
  dumpFiltered(address.family, { direction: 'original', source: address }),
  dumpFiltered(address.family, { direction: 'reply', source: address }),
];

const isFlow = (flow: ConntrackEntry | undefined): flow is ConntrackEntry => flow !== undefined;

/** Every connection that is tracked in this network namespace. A subsystem that the kernel lacks answers EINVAL. */
export function listFlows(exchange: Exchange, family?: Family): ConntrackEntry[] {
  const [replies] = mustExcept(exchange([dumpFlows(family)]), 'EINVAL', 'EOPNOTSUPP');
  return (replies ?? []).map(flowOf).filter(isFlow);
}

/** Whether the flow is what the filter asks for. */
function matches(flow: ConntrackEntry, filter: FlowFilter): boolean {
  const tuple = flow[filter.direction];
  const { source, destination, protocol, destinationPort } = filter;
  return (
    (!source || sameAddress(source, tuple.source)) &&
    (!destination || sameAddress(destination, tuple.destination)) &&
    (protocol === undefined || protocol === tuple.protocol) &&
    (destinationPort === undefined || destinationPort === tuple.destinationPort)
  );
}

/** The kernel does not know the filter. */
const isUnknown = (answer: NetlinkAnswer): boolean => ['EINVAL', 'EOPNOTSUPP'].includes(refusalOf(answer) ?? '');

/**
 * The connections that pass any of the filters, each once. The kernel does the looking, since a busy node tracks
 * hundreds of thousands; a kernel that does not know the filter has them all sorted here.
 */
export function findFlows(exchange: Exchange, family: Family, filters: readonly FlowFilter[]): ConntrackEntry[] {
  const answers = exchange(filters.map(filter => dumpFiltered(family, filter)));
  const flows = answers.some(isUnknown) ? listFlows(exchange, family) : must(answers).flat().map(flowOf).filter(isFlow);
  const wanted = flows.filter(flow => filters.some(filter => matches(flow, filter)));
  return [...new Map(wanted.map(flow => [`${flow.id} ${Buffer.from(flow.key).toString('latin1')}`, flow])).values()];
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

/** The address stands on either side, before or after translation. */
const touching = (address: Address): readonly FlowFilter[] => [
  { direction: 'original', source: address },
  { direction: 'original', destination: address },
  { direction: 'reply', source: address },
  { direction: 'reply', destination: address },
];

/** Connections in which the address stands on either side, before or after translation. */
export const flowsOf = (exchange: Exchange, address: Address): ConntrackEntry[] =>
  findFlows(exchange, address.family, touching(address));

/**
 * Forgets what passes the filter, in one walk through the kernel's table (Linux 6.8). Earlier kernels overlook the filter,
 * take the tuple for that of one connection, find it incomplete and answer EINVAL.
 */
const forgetFiltered = (family: Family, filter: FlowFilter): NetlinkRequest => ({
  operation: 'forget some tracked connections',
  type: CT.DELETE,
  flags: 0,
  body: bodyOf(header(family, 1), ...filterAttributes(family, filter)),
});

/** Forgets the connections that pass any of the filters, and no others. */
export function forgetFlows(exchange: Exchange, family: Family, filters: readonly FlowFilter[]): void {
  const answers = exchange(filters.map(filter => forgetFiltered(family, filter)));
  if (answers.some(isUnknown)) deleteFlows(exchange, findFlows(exchange, family, filters));
  else must(answers);
}

/** Forgets them, so that the address's next owner inherits no permission. */
export const forgetFlowsOf = (exchange: Exchange, address: Address): void =>
  forgetFlows(exchange, address.family, touching(address));

/**
 * Forgets UDP flows to a port of the node: without a handshake, a client that goes on sending would for ever be
 * translated to where the port led before.
 */
export const forgetUdpFlowsToPort = (exchange: Exchange, family: Family, port: number): void =>
  forgetFlows(exchange, family, [{ direction: 'original', protocol: IPPROTO.UDP, destinationPort: port }]);
