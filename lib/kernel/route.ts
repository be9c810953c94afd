/** Routes. @see include/uapi/linux/rtnetlink.h */

import {
  type Address,
  addressFromBytes,
  bitsOf,
  type Family,
  formatAddress,
  formatPrefix,
  networkOf,
  type Prefix,
} from '../ip/address.ts';
import { address as addressValue, bodyOf, u32 } from '../netlink/attribute.ts';
import { align, NLM_F, readS32, readU16, readU32 } from '../netlink/header.ts';
import { AttributeReader } from '../netlink/reader.ts';
import type { NetlinkReply, NetlinkRequest } from './message.ts';
import { afOf, familyOf, RTM } from './rtnetlink.ts';

const RTA = {
  DST: 1,
  OIF: 4,
  GATEWAY: 5,
  PRIORITY: 6,
  PREFSRC: 7,
  METRICS: 8,
  MULTIPATH: 9,
  TABLE: 15,
  VIA: 18,
} as const;
const RTAX = { MTU: 2, ADVMSS: 8 } as const;
const names = { prefix: 'RTA', types: RTA };
const metricNames = { prefix: 'RTAX', types: RTAX };
const RTNH_F_ONLINK = 4;
const RTM_F_FIB_MATCH = 0x2000;
const RTM_F_CLONED = 0x200;
const RTMSG_LENGTH = 12;
const RTNEXTHOP_LENGTH = 8;
export const RT_TABLE_MAIN = 254;

/** RTPROT_*: who made a route; `kernel`: from an address and its prefix length. */
export const RTPROT = { kernel: 2, static: 4 } as const;
/** RTN_*, of routes that were found. */
export const RTN = { unicast: 1, local: 2 } as const;

/** RTN_* and RT_SCOPE_* */
const types = { unicast: 1, blackhole: 6, unreachable: 7 } as const;
const scopes = { global: 0, link: 253, host: 254 } as const;
const RT_SCOPE_NOWHERE = 255;

export interface Route {
  /** Host bits count for nothing. */
  readonly destination: Prefix;
  readonly oif?: number;
  readonly gateway?: Address;
  /** The gateway need not lie on a network that the link is known to have. */
  readonly onlink?: boolean;
  /** Source address of what the node itself sends this way. */
  readonly source?: Address;
  /** `global` with a gateway and for all but `unicast`, else `link`: as ip-route(8) has it. IPv6 knows none. */
  readonly scope?: keyof typeof scopes;
  readonly type?: keyof typeof types;
  readonly table?: number;
  /** The route with the lowest metric to a destination wins; for IPv6 0 means 1024. */
  readonly metric?: number;
  readonly mtu?: number;
  readonly advmss?: number;
  /** RTPROT_*: who put it there; `static` (4) unless said. */
  readonly protocol?: number;
}

/** One next hop of a route. */
export interface Hop {
  readonly oif: number | undefined;
  readonly gateway: Address | undefined;
}

export interface FoundRoute {
  readonly destination: Prefix;
  /** All of a multipath route's; of any other the one that `oif` and `gateway` are of. */
  readonly hops: readonly Hop[];
  /** Undefined for a multipath route, and where packets are refused or dropped. */
  readonly oif: number | undefined;
  readonly gateway: Address | undefined;
  readonly source: Address | undefined;
  readonly table: number;
  readonly metric: number;
  readonly mtu: number | undefined;
  readonly advmss: number | undefined;
  /** RTN_*: 1 unicast, 2 local, 6 blackhole, 7 unreachable, 8 prohibit, 9 throw. */
  readonly type: number;
  readonly scope: number;
  readonly protocol: number;
  readonly onlink: boolean;
}

function nameOf({ destination, oif, gateway }: Route): string {
  const via = gateway ? ` via ${formatAddress(gateway)}` : '';
  return `route ${formatPrefix(networkOf(destination))}${via}${oif === undefined ? '' : ` dev ${oif}`}`;
}

function defaultScope({ destination, gateway, type = 'unicast' }: Route): keyof typeof scopes {
  return destination.family === 4 && type === 'unicast' && !gateway ? 'link' : 'global';
}

interface Header {
  readonly destination: Pick<Prefix, 'length'> & { readonly family?: Family | undefined };
  readonly table?: number;
  readonly protocol?: number;
  readonly scope?: number;
  readonly type?: number;
  readonly flags?: number;
}

/** struct rtmsg: family, lengths of destination and source, TOS, table, protocol, scope, type (u8 each), flags (u32) */
function headerOf({ destination, table = 0, protocol = 0, scope = 0, type = 0, flags = 0 }: Header): Uint8Array {
  const bytes = new Uint8Array(RTMSG_LENGTH);
  bytes.set([afOf(destination.family), destination.length, 0, 0, table < 256 ? table : 0, protocol, scope, type]);
  new DataView(bytes.buffer).setUint32(8, flags, true);
  return bytes;
}

function message(route: Route, header: Pick<Header, 'protocol' | 'scope' | 'type'>): Uint8Array {
  const { destination, oif, gateway, source, metric, mtu, advmss, table = RT_TABLE_MAIN } = route;
  const metrics = [
    [RTAX.MTU, u32(mtu)],
    [RTAX.ADVMSS, u32(advmss)],
  ] as const;
  return bodyOf(
    headerOf({ destination, table, flags: route.onlink ? RTNH_F_ONLINK : 0, ...header }),
    [RTA.DST, destination.length > 0 ? addressValue(networkOf(destination)) : undefined],
    [RTA.OIF, u32(oif)],
    [RTA.GATEWAY, addressValue(gateway)],
    [RTA.PREFSRC, addressValue(source)],
    [RTA.PRIORITY, u32(metric)],
    [RTA.METRICS, mtu === undefined && advmss === undefined ? undefined : metrics],
    [RTA.TABLE, u32(table)],
  );
}

function write(verb: string, route: Route, flags: number): NetlinkRequest {
  return {
    operation: `${verb} ${nameOf(route)}`,
    type: RTM.NEWROUTE,
    flags,
    body: message(route, {
      type: types[route.type ?? 'unicast'],
      scope: scopes[route.scope ?? defaultScope(route)],
      protocol: route.protocol ?? RTPROT.static,
    }),
  };
}

/** EEXIST where there is one to the destination with that table and metric, on whatever link: it stays. */
export const addRoute = (route: Route): NetlinkRequest => write('add', route, NLM_F.CREATE | NLM_F.EXCL);

/** Adds a route of IPv6 behind those of other links to the destination with that table and metric. */
export const appendRoute = (route: Route): NetlinkRequest => write('append', route, NLM_F.CREATE | NLM_F.APPEND);

/** Adds a route, and replaces one to the destination with that table and metric, whichever program made it. */
export const replaceRoute = (route: Route): NetlinkRequest => write('replace', route, NLM_F.CREATE | NLM_F.REPLACE);

/** The first that matches all that is given (type, scope and protocol only if given); ESRCH where there is none. */
export function deleteRoute(route: Route): NetlinkRequest {
  return {
    operation: `delete ${nameOf(route)}`,
    type: RTM.DELROUTE,
    flags: 0,
    body: message(route, {
      type: route.type ? types[route.type] : 0,
      // fib_table_delete() matches any scope for NOWHERE.
      scope: route.scope ? scopes[route.scope] : RT_SCOPE_NOWHERE,
      protocol: route.protocol ?? 0,
    }),
  };
}

/**
 * How the kernel refuses `getRoute`: no route; one that is unreachable, a blackhole (EINVAL), prohibit (EACCES) or throw
 * (EAGAIN), or a rule that says so; no IPv6.
 */
export const NO_ROUTE = ['ENETUNREACH', 'EHOSTUNREACH', 'EINVAL', 'EACCES', 'EAGAIN', 'EAFNOSUPPORT'] as const;

/** One reply: the route that a packet to the address takes. Refused with one of `NO_ROUTE` where there is none. */
export function getRoute(address: Address): NetlinkRequest {
  return {
    operation: `find the route to ${formatAddress(address)}`,
    type: RTM.GETROUTE,
    flags: 0,
    body: bodyOf(headerOf({ destination: { ...address, length: bitsOf(address.family) }, flags: RTM_F_FIB_MATCH }), [
      RTA.DST,
      addressValue(address),
    ]),
  };
}

export interface RouteFilter {
  readonly family?: Family;
  readonly oif?: number;
  readonly table?: number;
  /** RTPROT_* */
  readonly protocol?: number;
}

/** One reply for each route that passes the filter; ENODEV where there is no such link, ENOENT where no such table. */
export function dumpRoutes({ family, oif, table, protocol }: RouteFilter = {}): NetlinkRequest {
  return {
    operation: oif === undefined ? 'list routes' : `list routes of link ${oif}`,
    type: RTM.GETROUTE,
    flags: NLM_F.DUMP,
    body: bodyOf(
      headerOf({ destination: { family, length: 0 }, ...(protocol === undefined ? {} : { protocol }) }),
      [RTA.OIF, u32(oif)],
      [RTA.TABLE, u32(table)],
    ),
  };
}

/** RTA_VIA is struct rtvia: family (u16), then the address; of an IPv4 route through an IPv6 gateway. */
function gatewayOf(attributes: AttributeReader): Address | undefined {
  const via = attributes.get(RTA.VIA)?.subarray(2);
  return attributes.address(RTA.GATEWAY) ?? (via && addressFromBytes(via));
}

/** struct rtnexthop, again and again: length of it all (u16), flags (u8), hops (u8), ifindex (s32), then attributes. */
function hopsOf(route: AttributeReader, bytes: Uint8Array): Hop[] {
  const hops: Hop[] = [];
  for (let start = 0; start + RTNEXTHOP_LENGTH <= bytes.length; ) {
    const length = readU16(bytes, start);
    if (length < RTNEXTHOP_LENGTH) break;
    const attributes = route.within(bytes.subarray(start + RTNEXTHOP_LENGTH, start + length), names);
    hops.push({ oif: readS32(bytes, start + 4), gateway: gatewayOf(attributes) });
    start += align(length);
  }
  return hops;
}

/**
 * Undefined for a route of another family than IPv4 and IPv6, and for a cached exception, which is no route.
 * @throws RangeError a malformed attribute
 */
export function routeOf({ body }: NetlinkReply): FoundRoute | undefined {
  const [af = 0, length = 0, , , shortTable = 0, protocol = 0, scope = 0, type = 0] = body;
  const family = familyOf(af);
  const flags = readU32(body, 8);
  if (!family || flags & RTM_F_CLONED) return undefined;
  const attributes = new AttributeReader(body.subarray(RTMSG_LENGTH), names);
  const metrics = attributes.nested(RTA.METRICS, metricNames);
  const hop = { oif: attributes.u32(RTA.OIF), gateway: gatewayOf(attributes) };
  const multipath = attributes.get(RTA.MULTIPATH);
  const route = {
    ...hop,
    hops: multipath ? hopsOf(attributes, multipath) : [hop],
    destination: { ...(attributes.address(RTA.DST) ?? { family, value: 0n }), length },
    source: attributes.address(RTA.PREFSRC),
    table: attributes.u32(RTA.TABLE) ?? shortTable,
    metric: attributes.u32(RTA.PRIORITY) ?? 0,
    mtu: metrics.u32(RTAX.MTU),
    advmss: metrics.u32(RTAX.ADVMSS),
    protocol,
    scope,
    type,
    onlink: (flags & RTNH_F_ONLINK) !== 0,
  };
  attributes.check();
  return route;
}
