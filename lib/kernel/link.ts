/** Links (network interfaces): what to ask the kernel, and what it says. @see include/uapi/linux/if_link.h */
import { formatLink, MessageType, parseLink } from 'netlink/dist/rt/gen_structs.js';
import {
  formatInfo,
  formatLinkAttrs,
  formatLinkProtocolInfoInet6,
  formatVethInfo,
  In6AddrGenMode,
  type LinkAttrs,
} from 'netlink/dist/rt/ifla.js';
import { type AttrStream, putMap, putU32 } from 'netlink/dist/structs.js';
import { type Exchange, must, NLM_F, type Reply, type Request } from './message.ts';
import { attributesOf, bodyOf, bytesOf, macBuffer, macOf, present, textOf, u32Of } from './rtnetlink.ts';

const IFLA = { ADDRESS: 1, IFNAME: 3, MTU: 4, LINK: 5, MASTER: 10, LINKINFO: 18, IFALIAS: 20, GROUP: 27 } as const;
const IFLA_LINK_NETNSID = 37;
const IFLA_INFO_KIND = 1;
const IFINFOMSG_LENGTH = 16;
/** Leaves the counters out of a dump, which are most of it. */
const RTEXT_FILTER_SKIP_STATS = 8;
const AF_INET = 2;
const AF_INET6 = 10;
const IFLA_INET_CONF = 1;
/** Of net/ifalias.txt: dev_set_alias() takes less than IFALIASZ = 256. */
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
  arp_announce: 18,
  arp_ignore: 19,
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

/** By index where there is one: a name may go over to another link. */
export type LinkKey = { readonly ifindex: number } | { readonly name: string };

export interface LinkChange {
  /** At most 255 bytes in UTF-8; empty takes it away. */
  readonly alias?: string;
  readonly group?: number;
  readonly up?: boolean;
  readonly mtu?: number;
  readonly mac?: string;
  /** Whether the kernel gives the link an IPv6 link-local address of its own making when it goes up. */
  readonly addrGenMode?: 'eui64' | 'none';
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
const headerOf = (key: LinkKey) => ('ifindex' in key ? { index: key.ifindex } : {});
const attrsOf = (key: LinkKey): LinkAttrs => ('ifindex' in key ? {} : { ifname: key.name });
const endAttrs = ({ name, mac, mtu }: LinkEnd): LinkAttrs => ({ ifname: name, address: macBuffer(mac), mtu });

/**
 * Creates a veth pair in one message, so that no end ever has another name, address, size, group or place.
 * An alias set here would be ignored: it takes a `setLink` of its own.
 */
export function newVeth(veth: Veth): Request {
  const { peer } = veth;
  const peerInfo = bytesOf(formatLink({}), formatLinkAttrs({ ...endAttrs(peer), netNsFd: peer.netns }));
  const info = bytesOf(formatInfo({ kind: 'veth', data: bytesOf(formatVethInfo({ peer: peerInfo })) }));
  const flags = veth.up ? ({ flags: { up: true }, change: { up: true } } as const) : {};
  return {
    operation: `create veth ${veth.name} with peer ${peer.name}`,
    type: MessageType.NEWLINK,
    flags: NLM_F.CREATE | NLM_F.EXCL | NLM_F.ECHO,
    body: bodyOf(
      formatLink(flags),
      formatLinkAttrs({ ...endAttrs(veth), ...present({ group: veth.group }), linkinfo: info }),
    ),
  };
}

function afSpecOf({ addrGenMode, ipv4 }: LinkChange): Map<number, Buffer> | undefined {
  const spec = new Map<number, Buffer>();
  if (ipv4) {
    const conf = new Map(
      Object.entries(present(ipv4)).map(([key, value]) => [ipv4Conf[key as keyof Ipv4Conf], value] as const),
    );
    spec.set(
      AF_INET,
      bytesOf(out => out.push(IFLA_INET_CONF, putMap(conf, putU32))),
    );
  }
  if (addrGenMode) {
    const mode = addrGenMode === 'none' ? In6AddrGenMode.NONE : In6AddrGenMode.EUI64;
    spec.set(AF_INET6, bytesOf(formatLinkProtocolInfoInet6({ addrGenMode: mode })));
  }
  return spec.size > 0 ? spec : undefined;
}

/** Changes what is given and leaves the rest. @throws RangeError where the alias is too long. */
export function setLink(key: LinkKey, change: LinkChange): Request {
  const alias = change.alias === undefined ? undefined : Buffer.from(change.alias);
  if (alias && alias.length > ALIAS_LIMIT)
    throw new RangeError(`Cannot set an alias of ${alias.length} bytes on ${nameOfKey(key)}: ${ALIAS_LIMIT} at most`);
  const { group, mtu, mac, up } = change;
  const attrs: LinkAttrs = {
    ...attrsOf(key),
    ...present({ group, mtu, address: mac === undefined ? undefined : macBuffer(mac), afSpec: afSpecOf(change) }),
  };
  const flags = up === undefined ? {} : { flags: up ? ({ up: true } as const) : {}, change: { up: true } as const };
  return {
    operation: `set ${Object.keys(change).join(', ')} of ${nameOfKey(key)}`,
    type: MessageType.SETLINK,
    flags: 0,
    body: bodyOf(
      formatLink({ ...headerOf(key), ...flags }),
      formatLinkAttrs(attrs),
      // Without the NUL that the package would add: the kernel counts it as part of the alias.
      ...(alias ? [(out: AttrStream) => out.push(IFLA.IFALIAS, alias)] : []),
    ),
  };
}

export function deleteLink(key: LinkKey): Request {
  return {
    operation: `delete ${nameOfKey(key)}`,
    type: MessageType.DELLINK,
    flags: 0,
    body: bodyOf(formatLink(headerOf(key)), formatLinkAttrs(attrsOf(key))),
  };
}

/**
 * Deletes every link of an interface group behind one grace period; ENODEV where there is none.
 * @throws RangeError for group 0, which is every link that nobody put into a group.
 */
export function deleteLinkGroup(group: number): Request {
  if (!(group > 0)) throw new RangeError(`Cannot delete the links of group ${group}: that is the default group`);
  return {
    operation: `delete the links of group ${group}`,
    type: MessageType.DELLINK,
    flags: 0,
    body: bodyOf(formatLink({}), formatLinkAttrs({ group })),
  };
}

/** One reply; ENODEV where there is no such link. */
export function getLink(key: LinkKey): Request {
  return {
    operation: `get ${nameOfKey(key)}`,
    type: MessageType.GETLINK,
    flags: 0,
    body: bodyOf(
      formatLink(headerOf(key)),
      formatLinkAttrs({ ...attrsOf(key), extMask: putU32(RTEXT_FILTER_SKIP_STATS) }),
    ),
  };
}

/**
 * One reply for each link of the netns; with a kind (`veth`), for each of that kind. A kernel that has not loaded the
 * kind's module sends them all.
 */
export function dumpLinks(kind?: string): Request {
  const linkinfo = kind === undefined ? undefined : bytesOf(formatInfo({ kind }));
  return {
    operation: kind === undefined ? 'list links' : `list ${kind} links`,
    type: MessageType.GETLINK,
    flags: NLM_F.DUMP,
    body: bodyOf(
      formatLink({}),
      formatLinkAttrs({ extMask: putU32(RTEXT_FILTER_SKIP_STATS), ...present({ linkinfo }) }),
    ),
  };
}

/** RTM_NEWLINK and RTM_DELLINK. @throws RangeError for another message. */
export function linkOf({ type, body }: Reply): Link {
  if (type !== MessageType.NEWLINK && type !== MessageType.DELLINK)
    throw new RangeError(`Cannot read a link from a message of type ${type}`);
  const header = parseLink(body.subarray(0, IFINFOMSG_LENGTH));
  const attributes = attributesOf(body.subarray(IFINFOMSG_LENGTH));
  const info = attributes.get(IFLA.LINKINFO);
  const kind = info && textOf(attributesOf(info).get(IFLA_INFO_KIND));
  return {
    ifindex: header.index ?? 0,
    name: textOf(attributes.get(IFLA.IFNAME)) ?? '',
    up: header.flags?.up === true,
    mtu: u32Of(attributes.get(IFLA.MTU)) ?? 0,
    group: u32Of(attributes.get(IFLA.GROUP)) ?? 0,
    mac: macOf(attributes.get(IFLA.ADDRESS)),
    alias: textOf(attributes.get(IFLA.IFALIAS)),
    kind,
    master: u32Of(attributes.get(IFLA.MASTER)),
    peer: kind === 'veth' ? u32Of(attributes.get(IFLA.LINK)) : undefined,
    peerNetnsid: u32Of(attributes.get(IFLA_LINK_NETNSID)),
  };
}

/** Sends `newVeth` and gives the host's end: by the kernel's echo, or by asking where the kernel does not echo. */
export function createVeth(exchange: Exchange, veth: Veth): Link {
  const echoed = must(exchange([newVeth(veth)])).flat()[0];
  return linkOf(echoed ?? must(exchange([getLink({ name: veth.name })])).flat()[0]!);
}
