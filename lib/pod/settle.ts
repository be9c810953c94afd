import { CniError, codes } from '../cni/error.ts';
import { type Address, formatAddress } from '../ip/address.ts';
import { type Exchange, mustExcept } from '../kernel/message.ts';
import { monotonic } from '../kernel/monotonic.ts';
import { getRoute, NO_ROUTE, RTN, routeOf } from '../kernel/route.ts';

const deadline = 5000;

const isLocal = (exchange: Exchange, address: Address): boolean => {
  const [reply] = mustExcept(exchange([getRoute(address)]), ...NO_ROUTE).flat();
  return reply !== undefined && routeOf(reply)?.type === RTN.local;
};

/**
 * Waits until the kernel takes packets to these IPv6 addresses for its own. It has answered RTM_NEWADDR by then, but what
 * makes the local route is work that it queues (addrconf_dad_start in net/ipv6/addrconf.c, without duplicate detection,
 * too), and that waits for the lock that each change of a link takes: on a busy node the first packet is faster.
 * @throws CniError where it takes longer than five seconds
 */
export function settleIpv6(exchange: Exchange, addresses: readonly Address[]): void {
  const end = monotonic() + deadline;
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  for (const address of addresses.filter(({ family }) => family === 6))
    while (!isLocal(exchange, address)) {
      if (monotonic() > end)
        throw new CniError(
          codes.kernelRefused,
          `Cannot use ${formatAddress(address)}: the kernel has not made it its own within ${deadline} ms`,
        );
      Atomics.wait(sleeper, 0, 0, 1);
    }
}
