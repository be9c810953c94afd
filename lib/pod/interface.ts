/**
 * The routed veth pair. Nothing of it waits: neighbour entries are
 * permanent on both sides, addresses skip duplicate detection, and both ends are born with their final names, MACs,
 * sizes and places. The host's end is in quarantine from its first instant.
 */
import { CniError, codes } from '../cni/error.ts';
import { type Lack, probeIpv6 } from '../enforce/probe.ts';
import { formatAddress } from '../ip/address.ts';
import { addAddress } from '../kernel/address.ts';
import { createVeth, getLink, type Ipv4Conf, type Link, setLink } from '../kernel/link.ts';
import { hasQueue } from '../kernel/link-queue.ts';
import { type AsyncExchange, type Exchange, isErrno, must, mustExcept } from '../kernel/message.ts';
import { setNeighbour } from '../kernel/neighbour.ts';
import { NetlinkSocket } from '../kernel/netlink.ts';
import { inNetns, type Netns } from '../kernel/netns.ts';
import { addRoute, type Route } from '../kernel/route.ts';
import { writeSysctl, writeSysctlIfPresent } from '../kernel/sysctl.ts';
import { quarantine } from '../tag/tag.ts';
import type { Dispatch } from './dispatch.ts';
import { findLink, isLinkLocal } from './links.ts';
import { hostPrefix, type PodLayout } from './plan.ts';
import { configurePod, preparePodIpv6 } from './pod-end.ts';
import { settleIpv6, settleQueue } from './settle.ts';

export interface PodInterface {
  readonly hostName: string;
  readonly hostMac: string;
  readonly ifname: string;
  readonly podMac: string;
  readonly mtu: number;
  readonly alias: string;
  readonly layout: PodLayout;
  /** hostPorts on 127.0.0.1: the kernel must take answers to a loopback address from this interface. */
  readonly routeLocalnet: boolean;
}

export class NameTaken extends CniError {
  constructor(ifname: string) {
    super(
      codes.invalidEnvironment,
      `Cannot create ${ifname} in the container: an interface of that name is there already`,
      'delete the interface in the container, or ask for another CNI_IFNAME',
    );
  }
}

/**
 * Creates both ends: the pod's in its namespace, the host's in quarantine.
 * @returns the host's end
 * @throws NameTaken, NetlinkError
 */
export async function createPair(
  dispatch: Dispatch,
  host: Exchange,
  netns: Netns,
  wanted: PodInterface,
): Promise<Link> {
  const { hostName: name, hostMac: mac, ifname, podMac, mtu } = wanted;
  try {
    const peer = { name: ifname, mac: podMac, mtu, netns: netns.fd };
    return await createVeth(dispatch.pair, { name, mac, mtu, group: quarantine, peer });
  } catch (error) {
    // The kernel calls a namespace of another kind a bad argument like any other; entering it tells which it was.
    if (isErrno(error, 'EINVAL')) inNetns(netns, () => {});
    if (!isErrno(error, 'EEXIST') || findLink(host, { name })) throw error;
    throw new NameTaken(ifname);
  }
}

export class Ipv6Off extends CniError {
  constructor({ addresses }: PodLayout, { what, fix }: Lack) {
    const wanted = addresses.filter(({ address }) => address.family === 6).map(({ address }) => formatAddress(address));
    super(codes.kernelRefused, `Cannot give the pod ${wanted.join(', ')}: ${what}`, fix);
  }
}

const hasIpv6 = ({ addresses }: PodLayout): boolean => addresses.some(({ address }) => address.family === 6);

/**
 * Prepares the host's end for IPv6, or switches it off there where the pod has none: with each change of any interface the kernel
 * walks the IPv6 routes of all interfaces, and one that is up has such routes even without addresses.
 * @throws Ipv6Off
 */
function prepareHostIpv6({ name }: Link, { layout: planned }: PodInterface): void {
  if (!hasIpv6(planned)) return void writeSysctlIfPresent(`ipv6/conf/${name}/disable_ipv6`, '1');
  const [off] = probeIpv6('broken');
  if (off) throw new Ipv6Off(planned, off);
  writeSysctl(`ipv6/conf/${name}/accept_ra`, '0');
}

/**
 * The kernel answers ARP requests, and remembers their senders, only where it would route to the sender by the same link. So a
 * pod is answered under its own addresses, and cannot fill the node's neighbour table with others. What ARP is for IPv4,
 * neighbour discovery is for IPv6: the gate's first rules see to that.
 */
export const learnsNothing = { arp_filter: 1, arp_accept: 0 } as const satisfies Ipv4Conf;

/**
 * A write below /proc/sys that concerns a link does not wait for the kernel's lock of links: it begins again for as long as the
 * lock is held, and takes a processor for that. So it follows a request that has waited.
 */
function raiseHostEnd(host: Exchange, link: Link, wanted: PodInterface): void {
  const { ifindex } = link;
  const { alias, routeLocalnet } = wanted;
  const ipv4 = {
    forwarding: 1,
    accept_redirects: 0,
    send_redirects: 0,
    ...learnsNothing,
    proxy_arp: 0,
    ...(routeLocalnet ? { route_localnet: 1 } : {}),
  };
  // A link below 1280 bytes has no IPv6, nor has any link of a kernel that was started without, and both refuse its settings.
  const ipv6 = hasIpv6(wanted.layout) ? ({ addrGenMode: 'none' } as const) : {};
  must(host([setLink({ ifindex }, { alias, ...ipv6, ipv4 })]));
  prepareHostIpv6(link, wanted);
  must(host([setLink({ ifindex }, { up: true })]));
}

/**
 * Gives the host's end, which is up, its addresses, routes to the pod's addresses, and permanent neighbour entries for them.
 * @returns whether it sends, which it does from a while after the pod's end is up
 */
async function routeHostEnd(host: AsyncExchange, { ifindex }: Link, wanted: PodInterface): Promise<boolean> {
  const { podMac: mac } = wanted;
  const { addresses } = wanted.layout;
  const gateways = new Map(addresses.map(({ gateway }) => [formatAddress(gateway), gateway]));
  const own = [...gateways.values()].map(gateway =>
    addAddress({ ifindex, ...hostPrefix(gateway) }, isLinkLocal(gateway) ? 'link' : 'global'),
  );
  const route = ({ address, gateway }: PodLayout['addresses'][number]): Route => ({
    destination: hostPrefix(address),
    oif: ifindex,
    ...(isLinkLocal(gateway) ? {} : { source: gateway }),
  });
  const answers = await host([
    ...own,
    ...addresses.map(planned => addRoute(route(planned))),
    ...addresses.map(({ address }) => setNeighbour({ ifindex, address, mac })),
    getLink({ ifindex }),
  ]);
  mustExcept(answers.slice(0, own.length), 'EEXIST');
  return must(answers.slice(own.length)).at(-1)!.every(hasQueue);
}

/** Switches forwarding on for the pod's families, where the node has it off: /proc/sys may be read-only. */
function enableForwarding({ addresses }: PodLayout): void {
  const families = new Set(addresses.map(({ address }) => address.family));
  if (families.has(4)) writeSysctl('ipv4/ip_forward', '1');
  if (families.has(6)) writeSysctl('ipv6/conf/all/forwarding', '1');
}

/** ifindex of the pod's end, by the host's end: the kernel leaves it out where both have the same. */
const peerOf = ({ peer, ifindex }: Link): number => peer ?? ifindex;

export interface PlugOptions<T> {
  readonly dispatch: Dispatch;
  /** Work that runs while both ends are made ready. */
  readonly meanwhile: () => Promise<T>;
}

export interface Plugged<T> {
  /** The result of that work. */
  readonly layout: PodLayout;
  /** The result of the work that ran meanwhile. */
  readonly done: T;
}

/**
 * Makes the interface ready, closed. Whatever fails, deleting the host's end takes the pair and its routes away as a whole.
 * @param link  of `createPair`
 */
export async function plugIn<T>(
  host: Exchange,
  link: Link,
  netns: Netns,
  wanted: PodInterface,
  { dispatch, meanwhile }: PlugOptions<T>,
): Promise<Plugged<T>> {
  raiseHostEnd(host, link, wanted);
  enableForwarding(wanted.layout);
  if (hasIpv6(wanted.layout)) preparePodIpv6(netns, wanted.ifname);
  using pod = inNetns(netns, () => NetlinkSocket.open('route'));
  const configureEnds = async () => {
    const routes = await configurePod(dispatch.pod(pod), peerOf(link), wanted);
    if (!(await routeHostEnd(dispatch.host, link, wanted))) await settleQueue(dispatch.host, link);
    return routes;
  };
  const work = [configureEnds(), meanwhile()] as const;
  // If one fails, the other is still waited for.
  await Promise.allSettled(work);
  const [routes, done] = await Promise.all(work);
  await settleIpv6(
    pod.exchange,
    wanted.layout.addresses.map(({ address }) => address),
  );
  // A link-local gateway is on every link: no route by its address alone could tell.
  await settleIpv6(
    host,
    wanted.layout.addresses.map(({ gateway }) => gateway).filter(gateway => !isLinkLocal(gateway)),
  );
  return { layout: { ...wanted.layout, routes }, done };
}
