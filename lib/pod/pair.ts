/** A pair of links as ADD made it: written into its record, and read by CHECK and `verify`. */
import type { LocalPod } from '../gate/node-state.ts';
import { formatAddress, formatPrefix, parseAddress, parsePrefix } from '../ip/address.ts';
import { linkMac } from '../tag/link-name.ts';
import type { Made, VethPair } from './ends.ts';
import type { MadeFacts, PodFacts } from './facts.ts';
import type { PodInterface } from './interface.ts';
import type { PlannedRoute } from './plan.ts';

/** @param wanted with the layout that came to be */
export const writeMade = ({ podMac, mtu, layout }: Pick<PodInterface, 'podMac' | 'mtu' | 'layout'>): MadeFacts => ({
  podMac,
  mtu,
  gateways: layout.addresses.map(({ gateway }) => formatAddress(gateway)),
  routes: layout.routes.map(({ destination, gateway, ...metrics }) => ({
    destination: formatPrefix(destination),
    gateway: formatAddress(gateway),
    ...metrics,
  })),
});

function readRoute({ destination, gateway, ...metrics }: MadeFacts['routes'][number]): PlannedRoute[] {
  const to = parsePrefix(destination);
  const via = parseAddress(gateway);
  return to && via ? [{ destination: to, gateway: via, ...metrics }] : [];
}

function readMade({ podMac, mtu, gateways, routes }: MadeFacts, addresses: number): Made | undefined {
  const parsed = gateways.flatMap(text => parseAddress(text) ?? []);
  if (parsed.length !== addresses) return undefined;
  return { podMac, mtu, gateways: parsed, routes: routes.flatMap(readRoute) };
}

/** The veth pair of a pod whose interface ADD made. */
export function pairOf(pod: LocalPod, { made }: Pick<PodFacts, 'made'>): VethPair {
  const addresses = pod.addresses.flatMap(text => parseAddress(text) ?? []);
  const known = made && readMade(made, addresses.length);
  return { hostMac: linkMac(pod, 'host'), addresses, ...(known ? { made: known } : {}) };
}
