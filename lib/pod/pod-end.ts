/** The pod's end of the pair: addresses, routes and the node's MAC, all known beforehand, so that nothing has to be asked for. */
import { CniError, codes } from '../cni/error.ts';
import { formatAddress } from '../ip/address.ts';
import { addAddress } from '../kernel/address.ts';
import { setLink } from '../kernel/link.ts';
import { type AsyncExchange, must, mustExcept, type NetlinkAnswer, refusalOf } from '../kernel/message.ts';
import { setNeighbour } from '../kernel/neighbour.ts';
import { inNetns, type Netns } from '../kernel/netns.ts';
import { addRoute, appendRoute, type Route } from '../kernel/route.ts';
import { SysctlError, writeSysctl, writeSysctlIfPresent } from '../kernel/sysctl.ts';
import type { PodInterface } from './interface.ts';
import { hostPrefix, type PlannedRoute } from './plan.ts';

function enableIpv6(where: string): void {
  try {
    writeSysctl(`ipv6/conf/${where}/disable_ipv6`, '0');
  } catch (error) {
    if (!(error instanceof SysctlError)) throw error;
    throw new CniError(
      codes.kernelRefused,
      `IPv6 is switched off in the container, and stays so: ${error.message}`,
      "take net.ipv6.conf.*.disable_ipv6 out of the container's sysctls, or IPv6 ranges out of the configuration",
      { cause: error },
    );
  }
}

/**
 * Switches on IPv6, which image or runtime may have switched off, and off what would delay the first packet.
 * @throws CniError, SysctlError
 */
export function preparePodIpv6(netns: Netns, ifname: string): void {
  inNetns(netns, () => {
    for (const where of ['all', 'default', 'lo', ifname]) enableIpv6(where);
    writeSysctl(`ipv6/conf/${ifname}/accept_ra`, '0');
    writeSysctl(`ipv6/conf/${ifname}/accept_dad`, '0');
    writeSysctlIfPresent(`ipv6/conf/${ifname}/keep_addr_on_down`, '1');
  });
}

/** The route as a request to the kernel. */
export function podRoute(planned: PlannedRoute, ifindex: number): Route {
  const { destination, gateway, mtu, advmss, priority, table } = planned;
  return {
    destination,
    gateway,
    oif: ifindex,
    onlink: true,
    ...(mtu === undefined ? {} : { mtu }),
    ...(advmss === undefined ? {} : { advmss }),
    ...(priority === undefined ? {} : { metric: priority }),
    ...(table === undefined ? {} : { table }),
  };
}

/** A route of the pod, as the kernel is asked for it, and as the result of ADD tells of it where it does. */
interface Wanted {
  readonly route: Route;
  readonly planned?: PlannedRoute;
}

/** A route metric behind those that the kernel gives by itself: 0 for IPv4, 1024 for IPv6. */
const behind = (ifindex: number): number => 2048 + ifindex;

/**
 * A second interface wants routes that the first one has, a default route above all: the first keeps them, as with ptp, and
 * the second has its own behind them, for when the first is unplugged. Of IPv6 the kernel takes none by a gateway (EINVAL) to
 * which another link has the only route of the least metric, so that the route to a shared gateway has the metric of the first.
 * @param answers  to the first attempt at each
 * @returns what came to be of those that the plan names
 */
async function routesMade(
  pod: AsyncExchange,
  ifindex: number,
  wanted: readonly Wanted[],
  answers: readonly NetlinkAnswer[],
): Promise<PlannedRoute[]> {
  const isShared = wanted.some(({ planned }, i) => !planned && refusalOf(answers[i]!) === 'EEXIST');
  mustExcept(answers, 'EEXIST', ...(isShared ? ['EINVAL'] : []));
  const refused = wanted.filter((_, i) => refusalOf(answers[i]!) !== undefined);
  const metric = behind(ifindex);
  const besides = ({ route, planned }: Wanted) =>
    !planned && route.destination.family === 6 ? appendRoute(route) : addRoute({ ...route, metric });
  const again = refused.length === 0 ? [] : await pod(refused.map(besides));
  mustExcept(again, 'EEXIST');
  return wanted.flatMap(({ planned }, i) => {
    if (!planned) return [];
    if (refusalOf(answers[i]!) === undefined) return [planned];
    const isMade = refusalOf(again[refused.indexOf(wanted[i]!)]!) === undefined;
    return isMade ? [{ ...planned, priority: metric }] : [];
  });
}

/**
 * @param pod  how to ask for all of it, in the pod's namespace
 * @returns the routes that were made
 */
export async function configurePod(
  pod: AsyncExchange,
  ifindex: number,
  wanted: PodInterface,
): Promise<readonly PlannedRoute[]> {
  const { addresses, routes } = wanted.layout;
  const gateways = new Map(addresses.map(planned => [formatAddress(planned.gateway), planned]));
  for (const { gateway } of routes)
    if (!gateways.has(formatAddress(gateway))) {
      const own = addresses.find(planned => planned.address.family === gateway.family)!;
      gateways.set(formatAddress(gateway), { ...own, gateway });
    }
  const needed = [
    setLink({ name: 'lo' }, { up: true }),
    setLink({ ifindex }, { up: true }),
    ...addresses.map(({ address }) => addAddress({ ifindex, ...hostPrefix(address) })),
    ...[...gateways.values()].map(({ gateway }) => setNeighbour({ ifindex, address: gateway, mac: wanted.hostMac })),
  ];
  const routed: readonly Wanted[] = [
    ...[...gateways.values()].map(({ gateway, address }) => ({
      route: { destination: hostPrefix(gateway), oif: ifindex, source: address },
    })),
    ...routes.map(planned => ({ route: podRoute(planned, ifindex), planned })),
  ];
  const answers = await pod([...needed, ...routed.map(({ route }) => addRoute(route))]);
  must(answers.slice(0, needed.length));
  return await routesMade(pod, ifindex, routed, answers.slice(needed.length));
}
