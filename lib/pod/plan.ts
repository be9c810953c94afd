/** Plans the interface of one pod from values alone; `interface.ts` makes it. */
import type { Result } from '../cni/result.ts';
import { type Address, bitsOf, type Family, formatPrefix, networkOf, type Prefix } from '../ip/address.ts';

export interface PlannedAddress {
  readonly address: Address;
  /** An address on the host end, which answers for it and by which the node has a source address towards the pod. */
  readonly gateway: Address;
  /** The subnet that the IPAM took the address from. */
  readonly subnet: Prefix;
}

export interface PlannedRoute {
  readonly destination: Prefix;
  readonly gateway: Address;
  readonly mtu?: number;
  readonly advmss?: number;
  readonly priority?: number;
  readonly table?: number;
  readonly scope?: number;
}

/** Addresses and routes inside the pod, in the order in which they are set. */
export interface PodLayout {
  readonly addresses: readonly PlannedAddress[];
  readonly routes: readonly PlannedRoute[];
}

/** Gateways for an IPAM that names none: link-local, so that no network of the site is taken for them. */
const fallbackGateway: Record<Family, Address> = {
  4: { family: 4, value: 0xa9fe0101n },
  6: { family: 6, value: (0xfe80n << 112n) | 1n },
};

const everything = (family: Family): Prefix => ({ family, value: 0n, length: 0 });

/** The prefix of this address alone: /32 or /128. */
export const hostPrefix = ({ family, value }: Address): Prefix => ({ family, value, length: bitsOf(family) });

/**
 * Plans addresses and routes from what an IPAM gave. A family for which it named no route gets a default route: a pod on a routed
 * veth without one reaches its gateway and nothing else.
 */
export function layout(ipam: Result): PodLayout {
  const addresses = ipam.ips.map(({ address, gateway }) => ({
    address: { family: address.family, value: address.value },
    gateway: gateway ?? fallbackGateway[address.family],
    subnet: address,
  }));
  const gatewayOf = (family: Family) => addresses.find(a => a.address.family === family)?.gateway;
  const given = ipam.routes.flatMap((route): PlannedRoute[] => {
    const gateway = route.gw ?? gatewayOf(route.dst.family);
    if (!gateway) return [];
    const { dst, gw: _, table, ...rest } = route;
    // Table 0 is none, which the kernel takes for the main one.
    return [{ destination: dst, gateway, ...rest, ...(table ? { table } : {}) }];
  });
  const added = ([4, 6] as const).flatMap((family): PlannedRoute[] => {
    const gateway = gatewayOf(family);
    if (!gateway || given.some(route => route.destination.family === family)) return [];
    return [{ destination: everything(family), gateway }];
  });
  // Other pods of the subnet are reached through the gateway, too. No default route stands in for that: it may be refused, as
  // that of another interface of the pod, or go with that interface.
  const siblings = addresses.flatMap(({ subnet, gateway }): PlannedRoute[] => {
    const destination = networkOf(subnet);
    const isGiven = given.some(route => formatPrefix(networkOf(route.destination)) === formatPrefix(destination));
    return isGiven || subnet.length === bitsOf(subnet.family) ? [] : [{ destination, gateway }];
  });
  return { addresses, routes: [...siblings, ...given, ...added] };
}

export interface Ends {
  readonly hostName: string;
  readonly hostMac: string;
  readonly ifname: string;
  readonly podMac: string;
  readonly netns: string;
  readonly mtu: number;
}

/** The result of ADD: host end first, the pod's interface second, as ptp has it. */
export function resultOf(layout: PodLayout, ends: Ends, dns: Result['dns']): Result {
  return {
    interfaces: [
      { name: ends.hostName, mac: ends.hostMac, mtu: ends.mtu },
      { name: ends.ifname, mac: ends.podMac, mtu: ends.mtu, sandbox: ends.netns },
    ],
    ips: layout.addresses.map(({ address, gateway }) => ({ address: hostPrefix(address), gateway, interface: 1 })),
    routes: layout.routes.map(({ destination, gateway, ...rest }) => ({ dst: destination, gw: gateway, ...rest })),
    ...(dns ? { dns } : {}),
  };
}
