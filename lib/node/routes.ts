/**
 * Routes between nodes: to each other node's pod CIDRs by its own address, where we share a link with it, so that the node's
 * routing table reaches that address without a gateway. One more leads the node's own pod CIDRs nowhere, so that a packet to an
 * address that no pod has ends here, and does not travel between this node and its default gateway until its time is up; pods'
 * own routes are longer, and win.
 *
 * Ours carry a protocol number of our own: they alone are changed and removed. Their metric is high, so that a route that another
 * program makes to the same prefix, before or after, wins. They stay when the agent stops, as the pods do.
 */
import { type Address, type Family, formatAddress, formatPrefix, networkOf, parseAddress } from '../ip/address.ts';
import { type Exchange, must, type NetlinkReply, type NetlinkRequest } from '../kernel/message.ts';
import {
  addRoute,
  deleteRoute,
  dumpRoutes,
  type FoundRoute,
  type Route,
  RT_TABLE_MAIN,
  RTPROT,
  replaceRoute,
  routeOf,
} from '../kernel/route.ts';
import { RTM } from '../kernel/rtnetlink.ts';
import type { KubeNode } from '../kube/object.ts';
import { isLinkLocal } from '../pod/links.ts';
import { type CidrClaims, judgeClaims, LongestMatch } from './pod-cidrs.ts';

/** Protocol number of our routes, "t": no daemon in rtnetlink.h or iproute2's rt_protos has it. `ip route show proto 116`. */
export const RTPROT_TOLLGATE = 0x74;
const METRIC = 1024;
/** RTN_*. */
const RTN_UNICAST = 1;
const RTN_UNREACHABLE = 7;

export interface RoutePlan {
  readonly wanted: readonly Route[];
  /** A line for each route that could not be made, with the reason. */
  readonly problems: readonly string[];
}

const isOurs = ({ protocol }: FoundRoute): boolean => protocol === RTPROT_TOLLGATE;
const common = { protocol: RTPROT_TOLLGATE, metric: METRIC } as const;

function wayOf({ gateway, oif, protocol }: FoundRoute): string {
  const via = gateway ? ` via ${formatAddress(gateway)}` : '';
  return `${oif === undefined ? '' : ` on link ${oif}`}${via} of protocol ${protocol}`.trimStart();
}

/**
 * @param nodes all of the cluster; `own` may be among them
 * @param found what is in the main table
 */
export function planRoutes(
  nodes: readonly KubeNode[],
  own: KubeNode,
  found: readonly FoundRoute[],
  claims: CidrClaims = judgeClaims([own, ...nodes.filter(({ name }) => name !== own.name)]),
): RoutePlan {
  const all = nodes.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const theirs = new LongestMatch<FoundRoute>();
  for (const route of found) if (!isOurs(route)) theirs.add(route.destination, route);

  const wanted: Route[] = [];
  const problems: string[] = [];
  for (const cidr of own.podCidrs) {
    const destination = networkOf(cidr);
    if (claims.refusal(own, cidr) !== undefined) continue;
    const other = theirs.get(destination);
    if (other)
      problems.push(
        `This node's pod CIDR ${formatPrefix(destination)} has a route that another program made (${wayOf(other)}): it is left as it is`,
      );
    else wanted.push({ ...common, destination, type: 'unreachable' });
  }
  for (const node of all.filter(({ name }) => name !== own.name))
    for (const cidr of node.podCidrs) {
      const destination = networkOf(cidr);
      const text = formatPrefix(destination);
      const way = wayTo(node, destination.family, { theirs, claims, own });
      const other = theirs.get(destination);
      const why =
        claims.refusal(node, destination) ??
        (other && !leadsThere(other, way)
          ? `another program has a route there (${wayOf(other)}), which stays`
          : undefined) ??
        (other || way.kind === 'link' ? undefined : way.why);
      if (why !== undefined) problems.push(`No route to pods of node ${node.name}, ${text}: ${why}`);
      else if (!other && way.kind === 'link')
        wanted.push({ ...common, destination, gateway: way.gateway, oif: way.oif });
    }
  return { wanted, problems };
}

type Way =
  | { readonly kind: 'link'; readonly gateway: Address; readonly oif: number }
  | { readonly kind: 'none'; readonly why: string };

interface Surroundings {
  readonly theirs: LongestMatch<FoundRoute>;
  readonly claims: CidrClaims;
  readonly own: KubeNode;
}

/** The node's first address that this node reaches without a gateway, and that no other node claims. */
function wayTo(node: KubeNode, family: Family, { theirs, claims, own }: Surroundings): Way {
  const ofFamily = node.addresses.flatMap(text => parseAddress(text) ?? []).filter(each => each.family === family);
  const bad: string[] = [];
  for (const gateway of ofFamily) {
    const text = formatAddress(gateway);
    const why = own.addresses.includes(text)
      ? `its address ${text} is this node's own`
      : claims.badAddress(node, gateway);
    if (why !== undefined) {
      bad.push(why);
      continue;
    }
    const route = theirs.find(gateway);
    if (route?.oif !== undefined && route.type === RTN_UNICAST && !route.gateway)
      return { kind: 'link', gateway, oif: route.oif };
  }
  if (bad.length > 0) return { kind: 'none', why: bad.join(', and ') };
  const [first] = ofFamily;
  if (!first) return { kind: 'none', why: `it has no IPv${family} address` };
  return {
    kind: 'none',
    why: `it shares no link with this node, which reaches ${formatAddress(first)} through a gateway only: routers between them must know that prefix`,
  };
}

const sameAddress = (a: Address | undefined, b: Address | undefined): boolean =>
  a?.family === b?.family && a?.value === b?.value;

const leadsThere = ({ gateway }: FoundRoute, way: Way): boolean =>
  way.kind === 'link' && sameAddress(gateway, way.gateway);

const keyOf = ({ destination }: Pick<Route, 'destination'>): string => formatPrefix(networkOf(destination));

/**
 * Whether the found route is the wanted one. Of an unreachable one the link does not count: for IPv6 the kernel names the
 * loopback link.
 */
const isAsWanted = (found: FoundRoute, want: Route): boolean =>
  found.metric === METRIC &&
  (want.type === 'unreachable'
    ? found.type === RTN_UNREACHABLE
    : found.type === RTN_UNICAST && found.oif === want.oif && sameAddress(found.gateway, want.gateway));

/** Requests that turn our routes, of those found, into the wanted ones: additions first, then deletions. */
export function routeChanges(found: readonly FoundRoute[], wanted: readonly Route[]): readonly NetlinkRequest[] {
  const ours = found.filter(isOurs);
  const have = new Map(ours.map(route => [keyOf(route), route]));
  const want = new Set(wanted.map(keyOf));
  const made = wanted.flatMap(route => {
    const old = have.get(keyOf(route));
    if (!old) return [addRoute(route)];
    return isAsWanted(old, route) ? [] : [old.metric === METRIC ? replaceRoute(route) : addRoute(route)];
  });
  const stale = ours.filter(route => !want.has(keyOf(route)) || route.metric !== METRIC);
  return [
    ...made,
    ...stale.map(({ destination, metric }) => deleteRoute({ destination, metric, protocol: RTPROT_TOLLGATE })),
  ];
}

/** Routes of the main table, of both families. @throws NetlinkError */
export const mainRoutes = (host: Exchange): readonly FoundRoute[] =>
  must(host([dumpRoutes({ table: RT_TABLE_MAIN })]))
    .flat()
    .flatMap(reply => routeOf(reply) ?? [])
    .filter(({ table }) => table === RT_TABLE_MAIN);

export interface Routed {
  readonly problems: readonly string[];
  /** Routes that were made, changed or removed. */
  readonly changed: number;
  /** Prefixes of our routes that stand now. */
  readonly standing: ReadonlySet<string>;
  /** Prefixes of routes that are wanted and stood before, and that another program removed. */
  readonly lost: readonly string[];
  /** The routes to all of the node's own pod CIDRs stand. */
  readonly isOwnDone: boolean;
}

/**
 * Whether the message tells of a change of routes that `keepRoutes` answers: one of ours has gone, or the node is in a network
 * again, by which others may be reached. Pods come and go without either.
 * @throws RangeError a malformed attribute
 */
export function concernsOurs(message: NetlinkReply): boolean {
  if (message.type !== RTM.NEWROUTE && message.type !== RTM.DELROUTE) return false;
  const route = routeOf(message);
  if (route?.table !== RT_TABLE_MAIN) return false;
  if (message.type === RTM.DELROUTE) return isOurs(route);
  return route.protocol === RTPROT.kernel && !isLinkLocal(route.destination);
}

/**
 * Brings our routes to what the nodes say. A route that the kernel refuses is a problem, and keeps no other back.
 * @param before `standing` of the last time
 */
export function keepRoutes(
  nodes: readonly KubeNode[],
  own: KubeNode,
  host: Exchange,
  { claims, before = new Set() }: { readonly claims?: CidrClaims; readonly before?: ReadonlySet<string> } = {},
): Routed {
  const found = mainRoutes(host);
  const { wanted, problems } = planRoutes(nodes, own, found, claims);
  const changes = routeChanges(found, wanted);
  const refused = host(changes).flatMap(({ error }) => error ?? []);
  const now = changes.length > 0 ? mainRoutes(host) : found;
  const routed = new Set(now.map(keyOf));
  const foundOurs = new Set(found.filter(isOurs).map(keyOf));
  return {
    problems: [...problems, ...refused.map(({ message }) => message)],
    changed: changes.length - refused.length,
    standing: new Set(now.filter(isOurs).map(keyOf)),
    lost: wanted.map(keyOf).filter(key => before.has(key) && !foundOurs.has(key)),
    isOwnDone: own.podCidrs.every(destination => routed.has(keyOf({ destination }))),
  };
}
