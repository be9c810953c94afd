/** Links (network interfaces): what to ask the kernel, and what it says. @see include/uapi/linux/if_link.h */

import { type Attribute, bodyOf, mac, text, u8, u32 } from '../netlink/attribute.ts';
import { NLM_F, readS32, readU32 } from '../netlink/header.ts';
import { AttributeReader } from '../netlink/reader.ts';
import {
  type AsyncExchange,
  type Exchange,
  must,
  type NetlinkReply,
  type NetlinkRequest,
  refusalOf,
} from './message.ts';
import { RTM } from './rtnetlink.ts';

const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  MTU: 4,
  LINK: 5,
  MASTER: 10,
  LINKINFO: 18,
  IFALIAS: 20,
  AF_SPEC: 26,
  GROUP: 27,
  NET_NS_FD: 28,
  EXT_MASK: 29,
  NUM_TX_QUEUES: 31,
  NUM_RX_QUEUES: 32,
  LINK_NETNSID: 37,
} as const;
const IFLA_INFO = { KIND: 1, DATA: 2 } as const;
const names = { prefix: 'IFLA', types: IFLA };
const infoNames = { prefix: 'IFLA_INFO', types: IFLA_INFO };
const VETH_INFO_PEER = 1;
const IFLA_INET_CONF = 1;
const IFLA_INET6_ADDR_GEN_MODE = 8;
const addrGenModes = { eui64: 0, none: 1 } as const;
const IFF_UP = 1;
const IFINFOMSG_LENGTH = 16;
/** Leaves the counters out of a dump, which are most of it. */
const RTEXT_FILTER_SKIP_STATS = 8;
const AF_INET = 2;
const AF_INET6 = 10;
/** dev_set_alias() takes less than IFALIASZ = 256. */
const ALIAS_LIMIT = 255;

/** IPV4_DEVCONF_* of include/uapi/linux/ip.h: what /proc/sys/net/ipv4/conf/<name>/ calls by the same names. */
const ipv4Conf = {
  forwarding: 1,
  proxy_arp: 3,
  accept_redirects: 4,
  secure_redirects: 5,
  send_redirects: 6,
  rp_filter: 8,
  accept_source_route: 9,
  log_martians: 11,
  arp_filter: 13,
  arp_announce: 18,
  arp_ignore: 19,
  arp_accept: 21,
  arp_notify: 22,
  accept_local: 23,
  route_localnet: 26,
} as const;
export type Ipv4Conf = Readonly<Partial<Record<keyof typeof ipv4Conf, number>>>;

export interface LinkEnd {
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
}

export interface Veth extends LinkEnd {
  /** Interface group; the kernel honours it from the first instant. */
  readonly group?: number;
  readonly up?: boolean;
  /** Stays down: a peer cannot be created up. */
  readonly peer: LinkEnd & {
    /** Descriptor of the network namespace that it appears in. */
    readonly netns: number;
  };
}

/** Names a link; by index where it is known, since a name may go over to another link. */
export type LinkKey = { readonly ifindex: number } | { readonly name: string };

export interface LinkChange {
  /** At most 255 bytes in UTF-8; empty takes it away. */
  readonly alias?: string;
  readonly group?: number;
  readonly up?: boolean;
  readonly mtu?: number;
  readonly mac?: string;
  /** ifindex of the bridge, bond or VRF that it becomes a port of; 0: of none. */
  readonly master?: number;
  /** Whether the kernel gives the link an IPv6 link-local address of its own making when it goes up. */
  readonly addrGenMode?: keyof typeof addrGenModes;
  readonly ipv4?: Ipv4Conf;
}

export interface Link {
  readonly ifindex: number;
  readonly name: string;
  readonly up: boolean;
  readonly mtu: number;
  /** 0: the default group. */
  readonly group: number;
  readonly mac: string | undefined;
  readonly alias: string | undefined;
  /** `veth`, `bridge` and so on; undefined for hardware and `lo`. */
  readonly kind: string | undefined;
  /** ifindex of the bridge, bond or VRF that it is a port of. */
  readonly master: number | undefined;
  /** ifindex of a veth's other end, in the netns of `peerNetnsid` where that is given. */
  readonly peer: number | undefined;
  readonly peerNetnsid: number | undefined;
}

const nameOfKey = (key: LinkKey): string => ('ifindex' in key ? `link ${key.ifindex}` : `link ${key.name}`);

/** struct ifinfomsg: family (u8), padding, type (u16), index (s32), flags (u32), change mask (u32) */
function header(ifindex: number, up?: boolean): Uint8Array {
  const bytes = new Uint8Array(IFINFOMSG_LENGTH);
  const view = new DataView(bytes.buffer);
  view.setInt32(4, ifindex, true);
  view.setUint32(8, up ? IFF_UP : 0, true);
  view.setUint32(12, up === undefined ? 0 : IFF_UP, true);
  return bytes;
}

const indexOf = (key: LinkKey): number => ('ifindex' in key ? key.ifindex : 0);
const nameAttribute = (key: LinkKey): Attribute => [IFLA.IFNAME, 'ifindex' in key ? undefined : text(key.name)];
const withoutStats: Attribute = [IFLA.EXT_MASK, u32(RTEXT_FILTER_SKIP_STATS)];

const endAttributes = (end: LinkEnd): Attribute[] => [
  [IFLA.IFNAME, text(end.name)],
  [IFLA.ADDRESS, mac(end.mac)],
  [IFLA.MTU, u32(end.mtu)],
  // A veth uses one of each. Left to itself the kernel makes one for each processor and takes all but one away again.
  [IFLA.NUM_TX_QUEUES, u32(1)],
  [IFLA.NUM_RX_QUEUES, u32(1)],
];

/**
 * Creates a veth pair in one message, so that no end ever has another name, address, size, group or place.
 * An alias set here would be ignored: it takes a `setLink` of its own.
 */
export function newVeth(veth: Veth): NetlinkRequest {
  const { peer } = veth;
  // struct ifinfomsg of the peer, then its attributes.
  const peerInfo = bodyOf(header(0), ...endAttributes(peer), [IFLA.NET_NS_FD, u32(peer.netns)]);
  const info: Attribute[] = [
    [IFLA_INFO.KIND, text('veth')],
    [IFLA_INFO.DATA, [[VETH_INFO_PEER, peerInfo]]],
  ];
  return {
    operation: `create veth ${veth.name} with peer ${peer.name}`,
    type: RTM.NEWLINK,
    flags: NLM_F.CREATE | NLM_F.EXCL | NLM_F.ECHO,
    body: bodyOf(header(0, veth.up), ...endAttributes(veth), [IFLA.GROUP, u32(veth.group)], [IFLA.LINKINFO, info]),
  };
}

function afSpecOf({ addrGenMode, ipv4 }: LinkChange): readonly Attribute[] | undefined {
  if (!addrGenMode && !ipv4) return undefined;
  const conf = (Object.keys(ipv4Conf) as (keyof Ipv4Conf)[]).map(key => [ipv4Conf[key], u32(ipv4?.[key])] as const);
  return [
    [AF_INET, ipv4 && [[IFLA_INET_CONF, conf]]],
    [AF_INET6, addrGenMode && [[IFLA_INET6_ADDR_GEN_MODE, u8(addrGenModes[addrGenMode])]]],
  ];
}

/** Changes what is given and leaves the rest. @throws RangeError where the alias is too long. */
export function setLink(key: LinkKey, change: LinkChange): NetlinkRequest {
  const alias = change.alias === undefined ? undefined : new TextEncoder().encode(change.alias);
  if (alias && alias.length > ALIAS_LIMIT)
    throw new RangeError(`Cannot set an alias of ${alias.length} bytes on ${nameOfKey(key)}: ${ALIAS_LIMIT} at most`);
  return {
    operation: `set ${Object.keys(change).join(', ')} of ${nameOfKey(key)}`,
    type: RTM.SETLINK,
    flags: 0,
    body: bodyOf(
      header(indexOf(key), change.up),
      nameAttribute(key),
      [IFLA.GROUP, u32(change.group)],
      [IFLA.MTU, u32(change.mtu)],
      [IFLA.MASTER, u32(change.master)],
      [IFLA.ADDRESS, mac(change.mac)],
      [IFLA.AF_SPEC, afSpecOf(change)],
      // Without a closing NUL: the kernel would count it as part of the alias.
      [IFLA.IFALIAS, alias],
    ),
  };
}

export function deleteLink(key: LinkKey): NetlinkRequest {
  return {
    operation: `delete ${nameOfKey(key)}`,
    type: RTM.DELLINK,
    flags: 0,
    body: bodyOf(header(indexOf(key)), nameAttribute(key)),
  };
}

/**
 * Deletes every link of an interface group behind one grace period; ENODEV where there is none.
 * @throws RangeError for group 0, which holds every link that no program put into a group.
 */
export function deleteLinkGroup(group: number): NetlinkRequest {
  if (!(group > 0)) throw new RangeError(`Cannot delete the links of group ${group}: that is the default group`);
  return {
    operation: `delete the links of group ${group}`,
    type: RTM.DELLINK,
    flags: 0,
    body: bodyOf(header(0), [IFLA.GROUP, u32(group)]),
  };
}

/**
 * Asks whether a link of this netns has the group, without a dump of all links: the kernel applies the change to every
 * link of the group (rtnl_group_changelink in net/core/rtnetlink.c), and an empty hardware address is one that it accepts
 * for no link. So it acknowledges where the group is empty, and refuses, having changed nothing, where it is not.
 * @see isGroupCarried
 * @throws RangeError for group 0, which is every link that has no group of its own
 */
export function probeGroup(group: number): NetlinkRequest {
  if (!(group > 0)) throw new RangeError(`Cannot look for links of group ${group}: that is the default group`);
  return {
    operation: `look for links of group ${group}`,
    type: RTM.NEWLINK,
    flags: 0,
    body: bodyOf(header(0), [IFLA.ADDRESS, Buffer.alloc(0)], [IFLA.GROUP, u32(group)]),
  };
}

/** Whether a link of this netns, of whatever kind, has the group. @throws NetlinkError */
export function isGroupCarried(exchange: Exchange, group: number): boolean {
  const answers = exchange([probeGroup(group)]);
  const isRefused = answers.some(answer => ['EINVAL', 'EOPNOTSUPP'].includes(refusalOf(answer) ?? ''));
  if (!isRefused) must(answers);
  return isRefused;
}

/** One reply; ENODEV where there is no such link. */
export function getLink(key: LinkKey): NetlinkRequest {
  return {
    operation: `get ${nameOfKey(key)}`,
    type: RTM.GETLINK,
    flags: 0,
    body: bodyOf(header(indexOf(key)), nameAttribute(key), withoutStats),
  };
}

/**
 * One reply for each link of the netns; with a kind (`veth`), for each of that kind. A kernel that has not loaded the
 * kind's module sends them all.
 */
export function dumpLinks(kind?: string): NetlinkRequest {
  const info = kind === undefined ? undefined : [[IFLA_INFO.KIND, text(kind)] as const];
  return {
    operation: kind === undefined ? 'list links' : `list ${kind} links`,
    type: RTM.GETLINK,
    flags: NLM_F.DUMP,
    body: bodyOf(header(0), withoutStats, [IFLA.LINKINFO, info]),
  };
}

/** From RTM_NEWLINK or RTM_DELLINK. @throws RangeError another message, or a malformed attribute */
export function linkOf({ type, body }: NetlinkReply): Link {
  if (type !== RTM.NEWLINK && type !== RTM.DELLINK)
    throw new RangeError(`Cannot read a link from a message of type ${type}`);
  const attributes = new AttributeReader(body.subarray(IFINFOMSG_LENGTH), names);
  const kind = attributes.nested(IFLA.LINKINFO, infoNames).text(IFLA_INFO.KIND);
  const link = {
    ifindex: readS32(body, 4),
    name: attributes.text(IFLA.IFNAME) ?? '',
    up: (readU32(body, 8) & IFF_UP) !== 0,
    mtu: attributes.u32(IFLA.MTU) ?? 0,
    group: attributes.u32(IFLA.GROUP) ?? 0,
    mac: attributes.mac(IFLA.ADDRESS),
    alias: attributes.text(IFLA.IFALIAS),
    kind,
    master: attributes.u32(IFLA.MASTER),
    peer: kind === 'veth' ? attributes.u32(IFLA.LINK) : undefined,
    peerNetnsid: attributes.u32(IFLA.LINK_NETNSID),
  };
  attributes.check();
  return link;
}

/** Sends `newVeth` and gives the host's end: by the kernel's echo, or by asking where the kernel does not echo. */
export async function createVeth(exchange: AsyncExchange, veth: Veth): Promise<Link> {
  const echoed = must(await exchange([newVeth(veth)])).flat()[0];
  return linkOf(echoed ?? must(await exchange([getLink({ name: veth.name })])).flat()[0]!);
}
