/** Routes. @see include/uapi/linux/rtnetlink.h */
import {
  formatRoute,
  formatRouteAttrs,
  MessageType,
  parseRoute,
  type RouteAttrs,
  RouteScope,
  RouteType,
} from 'netlink/dist/rt/gen_structs.js';
import { putU32, readU32 } from 'netlink/dist/structs.js';
import {
  type Address,
  bitsOf,
  type Family,
  formatAddress,
  formatPrefix,
  networkOf,
  type Prefix,
} from '../ip/address.ts';
import { NLM_F, type Reply, type Request } from './message.ts';
import { addressBuffer, addressOf, afOf, attributesOf, bodyOf, familyOf, present, u32Of } from './rtnetlink.ts';

const RTA = { DST: 1, OIF: 4, GATEWAY: 5, PRIORITY: 6, PREFSRC: 7, METRICS: 8, TABLE: 15 } as const;
const RTAX = { MTU: 2, ADVMSS: 8 } as const;
const RTNH_F_ONLINK = 4;
const RTM_F_FIB_MATCH = 0x2000;
const RTM_F_CLONED = 0x200;
const RTMSG_LENGTH = 12;
const RTPROT_STATIC = 4;
export const RT_TABLE_MAIN = 254;

const types = {
  unicast: RouteType.UNICAST,
  blackhole: RouteType.BLACKHOLE,
  unreachable: RouteType.UNREACHABLE,
} as const;
const scopes = { global: RouteScope.UNIVERSE, link: RouteScope.LINK, host: RouteScope.HOST } as const;

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
  /** Of several to one destination the lowest wins; for IPv6 0 means 1024. */
  readonly metric?: number;
  readonly mtu?: number;
  readonly advmss?: number;
  /** RTPROT_*: who put it there; `static` (4) unless said. */
  readonly protocol?: number;
}

export interface FoundRoute {
  readonly destination: Prefix;
  readonly oif: number | undefined;
  readonly gateway: Address | undefined;
  readonly source: Address | undefined;
  readonly table: number;
  readonly metric: number;
  readonly mtu: number | undefined;
  readonly advmss: number | undefined;
  /** RTN_*: 1 unicast, 2 local, 6 blackhole, 7 unreachable. */
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

function message(route: Route, header: { readonly type: number; readonly scope: number; readonly protocol: number }) {
  const { destination, oif, gateway, source, metric, mtu, advmss, table = RT_TABLE_MAIN } = route;
  const metrics = present({
    mtu: mtu === undefined ? undefined : putU32(mtu),
    advmss: advmss === undefined ? undefined : putU32(advmss),
  });
  const attrs: RouteAttrs = present({
    dst: destination.length > 0 ? addressBuffer(networkOf(destination)) : undefined,
    oif,
    gateway: gateway && addressBuffer(gateway),
    prefsrc: source && addressBuffer(source),
    priority: metric,
    metrics: Object.keys(metrics).length > 0 ? metrics : undefined,
    table,
  });
  return bodyOf(
    formatRoute({
      family: afOf(destination.family),
      dstLen: destination.length,
      table: table < 256 ? table : 0,
      ...header,
      ...(route.onlink ? { flags: { __unknown: RTNH_F_ONLINK } } : {}),
    }),
    formatRouteAttrs(attrs),
  );
}

function write(verb: string, route: Route, flags: number): Request {
  return {
    operation: `${verb} ${nameOf(route)}`,
    type: MessageType.NEWROUTE,
    flags,
    body: message(route, {
      type: types[route.type ?? 'unicast'],
      scope: scopes[route.scope ?? defaultScope(route)],
      protocol: route.protocol ?? RTPROT_STATIC,
    }),
  };
}

/** EEXIST where there is one to the destination with that table and metric, on whatever link: it stays. */
export const addRoute = (route: Route): Request => write('add', route, NLM_F.CREATE | NLM_F.EXCL);

/** In place of one to the destination with that table and metric, whosever it was. */
export const replaceRoute = (route: Route): Request => write('replace', route, NLM_F.CREATE | NLM_F.REPLACE);

/** The first that matches all that is given (type, scope and protocol only if given); ESRCH where there is none. */
export function deleteRoute(route: Route): Request {
  return {
    operation: `delete ${nameOf(route)}`,
    type: MessageType.DELROUTE,
    flags: 0,
    body: message(route, {
      type: route.type ? types[route.type] : RouteType.UNSPEC,
      // fib_table_delete() matches any scope for NOWHERE.
      scope: route.scope ? scopes[route.scope] : RouteScope.NOWHERE,
      protocol: route.protocol ?? 0,
    }),
  };
}

/** One reply: the route that a packet to the address takes. ENETUNREACH or EHOSTUNREACH where there is none. */
export function getRoute(address: Address): Request {
  return {
    operation: `find the route to ${formatAddress(address)}`,
    type: MessageType.GETROUTE,
    flags: 0,
    body: bodyOf(
      formatRoute({
        family: afOf(address.family),
        dstLen: bitsOf(address.family),
        flags: { __unknown: RTM_F_FIB_MATCH },
      }),
      formatRouteAttrs({ dst: addressBuffer(address) }),
    ),
  };
}

export interface RouteFilter {
  readonly family?: Family;
  readonly oif?: number;
  readonly table?: number;
}

/** One reply for each route that passes the filter; ENODEV where there is no such link, ENOENT where no such table. */
export function dumpRoutes({ family, oif, table }: RouteFilter = {}): Request {
  return {
    operation: oif === undefined ? 'list routes' : `list routes of link ${oif}`,
    type: MessageType.GETROUTE,
    flags: NLM_F.DUMP,
    body: bodyOf(formatRoute({ family: afOf(family) }), formatRouteAttrs(present({ oif, table }))),
  };
}

/** Undefined where it is neither IPv4 nor IPv6, or a cached exception rather than a route. */
export function routeOf({ body }: Reply): FoundRoute | undefined {
  const header = parseRoute(body.subarray(0, RTMSG_LENGTH));
  const family = familyOf(body.readUInt8(0));
  const flags = readU32.call(body, 8);
  if (!family || flags & RTM_F_CLONED) return undefined;
  const attributes = attributesOf(body.subarray(RTMSG_LENGTH));
  const metrics = attributesOf(attributes.get(RTA.METRICS) ?? Buffer.alloc(0));
  return {
    destination: { ...(addressOf(attributes.get(RTA.DST)) ?? { family, value: 0n }), length: header.dstLen ?? 0 },
    oif: u32Of(attributes.get(RTA.OIF)),
    gateway: addressOf(attributes.get(RTA.GATEWAY)),
    source: addressOf(attributes.get(RTA.PREFSRC)),
    table: u32Of(attributes.get(RTA.TABLE)) ?? body.readUInt8(4),
    metric: u32Of(attributes.get(RTA.PRIORITY)) ?? 0,
    mtu: u32Of(metrics.get(RTAX.MTU)),
    advmss: u32Of(metrics.get(RTAX.ADVMSS)),
    protocol: body.readUInt8(5),
    scope: body.readUInt8(6),
    type: body.readUInt8(7),
    onlink: (flags & RTNH_F_ONLINK) !== 0,
  };
}
