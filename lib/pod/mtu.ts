/**
 * The MTU of a pod's interface where the configuration names none: what the node can send in one piece. Nothing here may fail
 * an ADD: a node without a way out, or one that refuses to route, has pods all the same.
 */
import { leastMtu } from '../cni/config.ts';
import { type Address, type Family, parseAddress } from '../ip/address.ts';
import { getLink, linkOf } from '../kernel/link.ts';
import { type Exchange, mustExcept, type NetlinkAnswer, type NetlinkRequest } from '../kernel/message.ts';
import {
  dumpRoutes,
  type FoundRoute,
  getRoute,
  NO_ROUTE,
  RT_TABLE_MAIN,
  RTN,
  RTPROT,
  routeOf,
} from '../kernel/route.ts';
import { isOurs } from '../tag/tag.ts';

/** Documentation prefixes (RFC 5737, RFC 9637): no node has a route of its own to them, so its default route answers. */
const elsewhere: Readonly<Record<Family, Address>> = { 4: parseAddress('203.0.113.1')!, 6: parseAddress('3fff::1')! };

/** Bytes that the node sends in one packet by its default route, for each family that has one. */
export type PathMtu = Readonly<Partial<Record<Family, number>>>;

/** The requests whose answers `readPathMtu` takes. */
export const defaultRoutes = (): readonly NetlinkRequest[] => [getRoute(elsewhere[4]), getRoute(elsewhere[6])];

/** The least of the devices that the routes lead to, and of what the routes themselves allow; pods' interfaces excepted. */
function leastOf(routes: readonly FoundRoute[], exchange: Exchange): number | undefined {
  const hops = new Set(routes.flatMap(route => route.hops.flatMap(({ oif }) => oif ?? [])));
  const links = mustExcept(exchange([...hops].map(ifindex => getLink({ ifindex }))), 'ENODEV')
    .flat()
    .map(linkOf);
  const devices = links.filter(({ name, group }) => name !== 'lo' && !isOurs(group)).map(({ mtu }) => mtu);
  if (devices.length === 0) return undefined;
  return Math.min(...devices, ...routes.flatMap(({ mtu }) => (mtu ? [mtu] : [])));
}

/** The networks that the node's own addresses are in. */
function connectedRoutes(family: Family, exchange: Exchange): FoundRoute[] {
  const dump = dumpRoutes({ family, table: RT_TABLE_MAIN, protocol: RTPROT.kernel });
  return mustExcept(exchange([dump]), 'EAFNOSUPPORT', 'EOPNOTSUPP', 'ENOENT')
    .flat()
    .flatMap(reply => routeOf(reply) ?? [])
    .filter(({ type, scope }) => type === RTN.unicast && (family === 6 || scope === 253));
}

/**
 * Reads the MTU of the default routes; on a node without one, the MTU of its own networks.
 * @param answers  to `defaultRoutes`
 */
export function readPathMtu(answers: readonly NetlinkAnswer[], exchange: Exchange): PathMtu {
  const [by4, by6] = mustExcept(answers, ...NO_ROUTE).map(replies => {
    const routes = replies.flatMap(reply => routeOf(reply) ?? []).filter(({ type }) => type === RTN.unicast);
    return leastOf(routes, exchange);
  });
  if (by4 === undefined && by6 === undefined) {
    const connected =
      leastOf(connectedRoutes(4, exchange), exchange) ?? leastOf(connectedRoutes(6, exchange), exchange);
    return connected === undefined ? {} : { 4: connected, 6: connected };
  }
  return { ...(by4 === undefined ? {} : { 4: by4 }), ...(by6 === undefined ? {} : { 6: by6 }) };
}

/**
 * MTU of a pod with addresses of these families, in bytes: the least of their paths;
 * that of the other family where they have none.
 */
export function mtuOfPod(path: PathMtu, families: ReadonlySet<Family>): number {
  const own = [...families].flatMap(family => path[family] ?? []);
  const known = own.length > 0 ? own : Object.values(path);
  const least = known.length > 0 ? Math.min(...known) : 1500;
  return Math.min(Math.max(least, ...[...families].map(family => leastMtu[family])), 65535);
}
