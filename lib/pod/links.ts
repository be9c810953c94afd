/** Links and routes of the node, by rtnetlink: looked up, tagged, closed, deleted. */
import { type Address, parseAddress } from '../ip/address.ts';
import { deleteLink, dumpLinks, getLink, type Link, type LinkKey, linkOf, setLink } from '../kernel/link.ts';
import { type Exchange, must, mustExcept, type NetlinkAnswer } from '../kernel/message.ts';
import { deleteRoute, dumpRoutes, type FoundRoute, getRoute, NO_ROUTE, RTN, RTPROT, routeOf } from '../kernel/route.ts';
import { condemned, deleting } from '../tag/tag.ts';
import { hostPrefix } from './plan.ts';

/** The link, or undefined where there is none. */
export const findLink = (exchange: Exchange, key: LinkKey): Link | undefined => foundLink(exchange([getLink(key)]));

/** @param answers  to `getLink` */
export function foundLink(answers: readonly NetlinkAnswer[]): Link | undefined {
  const [reply] = mustExcept(answers, 'ENODEV').flat();
  return reply && linkOf(reply);
}

/** False for a link in the deleting group: the kernel deletes it within a second. */
export const isThere = (link: Link | undefined): link is Link => link !== undefined && link.group !== deleting;

/** Every link of this network namespace. */
export const allLinks = (exchange: Exchange): Link[] =>
  must(exchange([dumpLinks()]))
    .flat()
    .map(linkOf)
    .filter(isThere);

/** The routes that packets to these addresses take; undefined for an address without one. */
function routesTo(exchange: Exchange, addresses: readonly Address[]): (FoundRoute | undefined)[] {
  const answers = mustExcept(exchange(addresses.map(getRoute)), ...NO_ROUTE);
  return answers.map(([reply]) => reply && routeOf(reply));
}

/** Whether the node takes what is sent to this address for its own. */
export const isLocalAddress = (exchange: Exchange, address: Address): boolean =>
  routesTo(exchange, [address])[0]?.type === RTN.local;

/** The link that packets to exactly this address leave by, where the node has a route of its own for it. */
export function linkRoutedTo(exchange: Exchange, address: Address): number | undefined {
  const [route] = routesTo(exchange, [address]);
  return route?.destination.length === hostPrefix(address).length ? route.oif : undefined;
}

/**
 * The first of the addresses that another has: the node has a route for it alone, and not as for one of its own. While an IPv6
 * address of its own is tentative, there is only the route that the kernel makes of its prefix.
 */
export function findRoutedAway(exchange: Exchange, addresses: readonly Address[]): Address | undefined {
  const routes = routesTo(exchange, addresses);
  return addresses.find((address, i) => {
    const { type, protocol, destination } = routes[i] ?? {};
    const isTentative = address.family === 6 && protocol === RTPROT.kernel;
    return type === RTN.unicast && !isTentative && destination?.length === hostPrefix(address).length;
  });
}

const LINK_LOCAL_PREFIX = 0xfe80n << 112n;

export const isLinkLocal = ({ family, value }: Address): boolean =>
  family === 6 ? value >> 118n === LINK_LOCAL_PREFIX >> 118n : value >> 16n === 0xa9fen;

export const removeLink = (exchange: Exchange, ifindex: number): void =>
  void mustExcept(exchange([deleteLink({ ifindex })]), 'ENODEV');

export const condemn = (exchange: Exchange, ifindex: number): void =>
  void mustExcept(exchange([setLink({ ifindex }, { group: condemned })]), 'ENODEV');

/** Whether the node answers the pod with packets of 127.0.0.1: by a hostPort. The gate drops what it sends there by itself. */
export const answerFromLoopback = (exchange: Exchange, ifindex: number, isOn: boolean): void =>
  void mustExcept(exchange([setLink({ ifindex }, { ipv4: { route_localnet: isOn ? 1 : 0 } })]), 'ENODEV');

export const writeAlias = (exchange: Exchange, ifindex: number, alias: string): void =>
  void must(exchange([setLink({ ifindex }, { alias })]));

export const tagLink = (exchange: Exchange, ifindex: number, group: number): void =>
  void must(exchange([setLink({ ifindex }, { group })]));

/** The node's own routes over a link: where its pod's addresses are. */
export function routesOver(exchange: Exchange, ifindex: number): FoundRoute[] {
  const replies = ([4, 6] as const).flatMap(family =>
    mustExcept(exchange([dumpRoutes({ family, oif: ifindex })]), 'ENODEV', 'EAFNOSUPPORT', 'EOPNOTSUPP').flat(),
  );
  return replies
    .map(reply => routeOf(reply))
    .filter(route => route !== undefined)
    .filter(route => route.oif === ifindex && route.table === 254 && route.type === 1);
}

/** @param addresses the pod's, where they are known: to ask the kernel costs more the more routes there are */
export function unroute(exchange: Exchange, ifindex: number, addresses?: readonly string[]): void {
  const destinations = addresses
    ? addresses.flatMap(text => parseAddress(text) ?? []).map(hostPrefix)
    : routesOver(exchange, ifindex).map(({ destination }) => destination);
  const ours = destinations.filter(destination => !isLinkLocal(destination));
  mustExcept(exchange(ours.map(destination => deleteRoute({ destination, oif: ifindex }))), 'ESRCH', 'ENODEV');
}
