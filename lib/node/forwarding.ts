/**
 * Forwarding, without which no pod reaches beyond its node. For IPv6 it has a price: a kernel that routes takes itself for a
 * router, and forgets the default route that a router's advertisement gave it, at once and for good, unless the link's
 * `accept_ra` is 2. That would cut the node off, which is for a person to decide: we say what to set, and wait. Where a daemon
 * listens to advertisements (systemd-networkd, NetworkManager), `accept_ra` is 0, and nothing is lost.
 */
import { forwarding } from '../enforce/probe.ts';
import { type Family, formatAddress } from '../ip/address.ts';
import type { Exchange } from '../kernel/message.ts';
import { findSysctl, SysctlError, writeSysctl } from '../kernel/sysctl.ts';
import { findLink } from '../pod/links.ts';
import { mainRoutes } from './routes.ts';

/** include/uapi/linux/rtnetlink.h */
const RTPROT_RA = 9;

/** Why IPv6 forwarding is not to be switched on yet: a line for each default route that would go. @throws NetlinkError */
function lost(host: Exchange): string[] {
  return mainRoutes(host).flatMap(({ destination, protocol, gateway, oif }) => {
    if (destination.family !== 6 || destination.length !== 0 || protocol !== RTPROT_RA || !gateway || !oif) return [];
    const link = findLink(host, { ifindex: oif });
    if (!link || findSysctl(`ipv6/conf/${link.name}/accept_ra`) !== '1') return [];
    return [
      `IPv6 forwarding stays off: with it the kernel drops the default route by ${formatAddress(gateway)} on ${link.name}, whose accept_ra is 1; sysctl -w net/ipv6/conf/${link.name}/accept_ra=2 first`,
    ];
  });
}

export interface Forwarding {
  /** Why packets of a family are not forwarded. */
  readonly problems: readonly string[];
  /** Families whose packets were not forwarded before this call. */
  readonly switchedOn: readonly Family[];
}

/** Turns forwarding on in the calling thread's namespace, which `host` must be of. @throws NetlinkError */
export function forward(families: Iterable<Family>, host: Exchange): Forwarding {
  const problems: string[] = [];
  const switchedOn: Family[] = [];
  for (const family of families)
    try {
      const reasons = family === 6 && findSysctl(forwarding[6]) !== '1' ? lost(host) : [];
      problems.push(...reasons);
      if (reasons.length === 0 && writeSysctl(forwarding[family], 1)) switchedOn.push(family);
    } catch (error) {
      if (!(error instanceof SysctlError)) throw error;
      problems.push(error.message);
    }
  return { problems, switchedOn };
}
