/**
 * Compares both ends of a pair of ours with what ADD made of them. ADD sets all of it, so whatever differs was changed
 * afterwards, and cuts the pod off in whole or in part.
 */
import { forwarding } from '../enforce/probe.ts';
import {
  type Address,
  type Family,
  formatAddress,
  formatPrefix,
  networkOf,
  prefixContains,
  sameAddress,
} from '../ip/address.ts';
import { addAddress, dumpAddresses, linkAddressOf } from '../kernel/address.ts';
import { type Link, type LinkChange, setLink } from '../kernel/link.ts';
import { type Exchange, must, mustExcept } from '../kernel/message.ts';
import { getNeighbour, neighbourOf, setNeighbour } from '../kernel/neighbour.ts';
import { addRoute, dumpRoutes, type FoundRoute, type Route, RT_TABLE_MAIN, routeOf } from '../kernel/route.ts';
import { findSysctl, writeSysctl } from '../kernel/sysctl.ts';
import { learnsNothing } from './interface.ts';
import { isLinkLocal, linkRoutedTo } from './links.ts';
import { hostPrefix, type PlannedRoute } from './plan.ts';
import { podRoute } from './pod-end.ts';

/** A difference between the pair and what ADD made. */
export interface Deviation {
  readonly what: string;
  /** Absent where the other state may be meant. To be called in the order in which deviations were found. */
  readonly mend?: () => void;
}

/** MAC, MTU, gateways and routes that ADD gave to a pair; the rest follows from its names. */
export interface Made {
  readonly podMac: string;
  readonly mtu: number;
  /** Gateways of the pod's addresses, in the same order. */
  readonly gateways: readonly Address[];
  /** Routes inside the pod. */
  readonly routes: readonly PlannedRoute[];
}

export interface VethPair {
  readonly hostMac: string;
  /** Addresses of the pod. */
  readonly addresses: readonly Address[];
  /** Unknown of a pod whose record was lost, and made again from its link. */
  readonly made?: Made;
}

const samePrefix = (a: FoundRoute['destination'], b: FoundRoute['destination']): boolean =>
  formatPrefix(networkOf(a)) === formatPrefix(networkOf(b));

/** @param neighbours sets them again: the kernel forgets all of them, the permanent ones too, when the link gets a new MAC */
function linkDeviations(exchange: Exchange, link: Link, mac: string | undefined, neighbours: () => void): Deviation[] {
  const { ifindex, name, master } = link;
  const change = (to: LinkChange) => void must(exchange([setLink({ ifindex }, to)]));
  const found: Deviation[] = [];
  if (master !== undefined)
    found.push({
      what: `${name} is a port of link ${master}, which takes its packets past routes and rules`,
      mend: () => change({ master: 0 }),
    });
  if (!link.up) found.push({ what: `${name} is down`, mend: () => change({ up: true }) });
  if (mac !== undefined && link.mac !== mac) {
    const mend = () => {
      change({ mac });
      neighbours();
    };
    found.push({ what: `${name} has MAC ${link.mac}, not ${mac}`, mend });
  }
  return found;
}

function addressDeviations(exchange: Exchange, { ifindex, name }: Link, wanted: readonly Address[]): Deviation[] {
  const found = mustExcept(exchange([dumpAddresses({ ifindex })]), 'ENODEV')
    .flat()
    .map(linkAddressOf);
  const distinct = [...new Map(wanted.map(address => [formatAddress(address), address])).values()];
  return distinct
    .filter(address => !found.some(have => have?.ifindex === ifindex && sameAddress(have, address)))
    .map(address => ({
      what: `${name} lacks address ${formatAddress(address)}`,
      mend: () => {
        const scope = isLinkLocal(address) ? 'link' : 'global';
        mustExcept(exchange([addAddress({ ifindex, ...hostPrefix(address) }, scope)]), 'EEXIST');
      },
    }));
}

/** @param mac of the other end */
function neighbourDeviations(exchange: Exchange, link: Link, addresses: readonly Address[], mac: string): Deviation[] {
  const { ifindex, name } = link;
  return addresses.flatMap((address): Deviation[] => {
    const [reply] = mustExcept(exchange([getNeighbour(ifindex, address)]), 'ENOENT', 'EINVAL', 'ENODEV').flat();
    const found = reply && neighbourOf(reply);
    if (found?.permanent && found.mac === mac) return [];
    const text = formatAddress(address);
    const isOther = found?.mac !== undefined && found.mac !== mac;
    const what = isOther
      ? `${name} has neighbour ${text} at MAC ${found.mac}, not ${mac}`
      : `${name} lacks its permanent neighbour ${text}`;
    return [{ what, mend: () => setNeighbours(exchange, ifindex, [address], mac) }];
  });
}

const setNeighbours = (exchange: Exchange, ifindex: number, addresses: readonly Address[], mac: string): void =>
  void must(exchange(addresses.map(address => setNeighbour({ ifindex, address, mac }))));

/** A global address on the node's end is its pod's gateway, and the source of what the node sends there. */
function gatewayOn(host: Exchange, ifindex: number, family: Family): Address | undefined {
  const GLOBAL_SCOPE = 0;
  return mustExcept(host([dumpAddresses({ ifindex, family })]), 'ENODEV')
    .flat()
    .flatMap(reply => linkAddressOf(reply) ?? [])
    .find(address => address.ifindex === ifindex && address.scope === GLOBAL_SCOPE);
}

/** A route that leads elsewhere may be meant, and stays. */
function hostRouteDeviations(host: Exchange, { ifindex, name }: Link, { addresses, made }: VethPair): Deviation[] {
  return addresses.flatMap((address, i): Deviation[] => {
    const oif = linkRoutedTo(host, address);
    if (oif === ifindex) return [];
    const text = formatAddress(address);
    if (oif !== undefined) return [{ what: `the route to ${text} leads to link ${oif}, not to ${name}` }];
    const mend = () => {
      const gateway = made?.gateways[i] ?? gatewayOn(host, ifindex, address.family);
      const source = gateway && !isLinkLocal(gateway) ? { source: gateway } : {};
      mustExcept(host([addRoute({ destination: hostPrefix(address), oif: ifindex, ...source })]), 'EEXIST');
    };
    return [{ what: `the route to ${text} by ${name} is missing`, mend }];
  });
}

/** Carries out work in a network namespace. */
export type Inside = (work: () => void) => void;

function sysctlDeviations(inside: Inside, wanted: readonly (readonly [key: string, value: string])[]): Deviation[] {
  const found: Deviation[] = [];
  inside(() => {
    for (const [key, value] of wanted) {
      const is = findSysctl(key);
      if (is === undefined || is === value) continue;
      const mend = () => inside(() => void writeSysctl(key, value));
      found.push({ what: `net/${key} is ${is}, not ${value}`, mend });
    }
  });
  return found;
}

const ipv6Enabled = ({ name }: Link, { addresses }: VethPair): [string, string][] =>
  addresses.some(({ family }) => family === 6) ? [[`ipv6/conf/${name}/disable_ipv6`, '0']] : [];

/**
 * The node's own switch turns forwarding off on all links, and on again: where that is
 * off, it is the one fault, and is told as such.
 */
const hostEndIpv4 = () => (findSysctl(forwarding[4]) === '0' ? learnsNothing : { forwarding: 1, ...learnsNothing });

/** How the host end differs from what ADD made. */
export function hostEndDeviations(host: Exchange, link: Link, pair: VethPair): Deviation[] {
  const { addresses, made } = pair;
  const { ifindex, name } = link;
  const neighbours = () => made && setNeighbours(host, ifindex, addresses, made.podMac);
  const size = (mtu: number): Deviation => ({
    what: `${name} has MTU ${link.mtu}, not ${mtu}`,
    mend: () => void must(host([setLink({ ifindex }, { mtu })])),
  });
  return [
    ...(made && made.mtu !== link.mtu ? [size(made.mtu)] : []),
    ...sysctlDeviations(
      work => work(),
      [
        ...Object.entries(hostEndIpv4()).map(([key, value]) => [`ipv4/conf/${name}/${key}`, `${value}`] as const),
        ...ipv6Enabled(link, pair),
      ],
    ),
    ...linkDeviations(host, link, pair.hostMac, neighbours),
    ...(made ? addressDeviations(host, link, made.gateways) : []),
    ...hostRouteDeviations(host, link, pair),
    ...(made ? neighbourDeviations(host, link, addresses, made.podMac) : []),
  ];
}

type Wanted = Pick<PlannedRoute, 'destination' | 'table'> & Partial<PlannedRoute>;

/** Every route of a network namespace. */
export const allRoutes = (exchange: Exchange): FoundRoute[] =>
  mustExcept(exchange([dumpRoutes({ family: 4 }), dumpRoutes({ family: 6 })]), 'EAFNOSUPPORT', 'EOPNOTSUPP')
    .flat()
    .flatMap(reply => routeOf(reply) ?? []);

/**
 * Whether another plugin moved a route into a table of its own, where one to more says the same: sbr makes a single default
 * route of all that lead to one gateway.
 */
const isMovedInto = (have: FoundRoute, { destination, gateway, table }: Wanted): boolean =>
  gateway !== undefined &&
  table === undefined &&
  have.table !== RT_TABLE_MAIN &&
  have.destination.length < destination.length &&
  prefixContains(have.destination, destination);

/** Whether one of them leads to this link and gateway, whatever next hops others added to it (Go's RouteAddEcmp does). */
export const isRouted = (found: readonly FoundRoute[], ifindex: number, wanted: Wanted): boolean => {
  const { destination, gateway, table } = wanted;
  const isIt = (have: FoundRoute) =>
    samePrefix(have.destination, destination) && (table === undefined || have.table === table);
  return found.some(
    have =>
      (isIt(have) || isMovedInto(have, wanted)) &&
      have.hops.some(hop => hop.oif === ifindex && (!gateway || sameAddress(hop.gateway, gateway))),
  );
};

/** A default route that leads elsewhere is meant: multus makes such a one for the network that is to be the first. */
const isLedElsewhere = (found: readonly FoundRoute[], { destination, table = RT_TABLE_MAIN }: PlannedRoute): boolean =>
  destination.length === 0 && found.some(have => have.table === table && samePrefix(have.destination, destination));

function podRouteDeviations(pod: Exchange, { ifindex }: Link, addresses: readonly Address[], made: Made): Deviation[] {
  const found = allRoutes(pod);
  const lacks = (route: Route): Deviation => ({
    what: `the container lacks its route to ${formatPrefix(networkOf(route.destination))}`,
    mend: () => void mustExcept(pod([addRoute(route)]), 'EEXIST'),
  });
  const toGateways = made.gateways
    .map((gateway, i): Route => ({ destination: hostPrefix(gateway), oif: ifindex, source: addresses[i]! }))
    .filter(({ destination }) => !isRouted(found, ifindex, { destination }));
  const planned = made.routes
    .filter(route => !isRouted(found, ifindex, route) && !isLedElsewhere(found, route))
    .map(route => podRoute(route, ifindex));
  return [...toGateways, ...planned].map(lacks);
}

/**
 * Deviations of the pod's end. Its MTU may be smaller than the node's: other plugins of the list may set it (tuning).
 * @param pod asks in the pod's network namespace
 */
export function podEndDeviations(pod: Exchange, inside: Inside, link: Link, pair: VethPair): Deviation[] {
  const { hostMac, addresses, made } = pair;
  if (!made) return [];
  const { ifindex, name } = link;
  const size: Deviation = {
    what: `${name} has MTU ${link.mtu}, more than the ${made.mtu} that the node's end takes`,
    mend: () => void must(pod([setLink({ ifindex }, { mtu: made.mtu })])),
  };
  const neighbours = () => setNeighbours(pod, ifindex, made.gateways, hostMac);
  return [
    ...sysctlDeviations(inside, ipv6Enabled(link, pair)),
    ...(link.mtu > made.mtu ? [size] : []),
    ...linkDeviations(pod, link, made.podMac, neighbours),
    ...addressDeviations(pod, link, addresses),
    ...podRouteDeviations(pod, link, addresses, made),
    ...neighbourDeviations(pod, link, made.gateways, hostMac),
  ];
}
