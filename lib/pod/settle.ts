/**
 * What the kernel has answered and not done yet: work that it queues, and that waits for
 * the lock that each change of a link takes.
 */
import { CniError, codes } from '../cni/error.ts';
import { type Address, formatAddress } from '../ip/address.ts';
import { getLink, type Link } from '../kernel/link.ts';
import { hasQueue } from '../kernel/link-queue.ts';
import { type AsyncExchange, type Exchange, must, mustExcept } from '../kernel/message.ts';
import { monotonic } from '../kernel/monotonic.ts';
import { getRoute, NO_ROUTE, RTN, routeOf } from '../kernel/route.ts';

/** Milliseconds. A busy node changes links for seconds on end; a runtime waits for minutes. */
const TIMEOUT_MS = 30_000;

/** @param missing the end of the sentence that begins with "the kernel" */
async function settled(what: string, missing: string, isSettled: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = monotonic() + TIMEOUT_MS; !(await isSettled()); await new Promise(done => setTimeout(done, 1)))
    if (monotonic() > end)
      throw new CniError(codes.kernelRefused, `Cannot use ${what}: the kernel ${missing} within ${TIMEOUT_MS} ms`);
}

const isLocal = (exchange: Exchange, address: Address): boolean => {
  const [reply] = mustExcept(exchange([getRoute(address)]), ...NO_ROUTE).flat();
  return reply !== undefined && routeOf(reply)?.type === RTN.local;
};

/**
 * Waits until the kernel takes packets to these IPv6 addresses for its own. It has answered RTM_NEWADDR by then, but what
 * makes the local route is queued (addrconf_dad_start in net/ipv6/addrconf.c, without duplicate detection, too): on a busy
 * node the first packet is faster.
 * @throws CniError where it takes longer than thirty seconds
 */
export async function settleIpv6(exchange: Exchange, addresses: readonly Address[]): Promise<void> {
  for (const address of addresses.filter(({ family }) => family === 6))
    await settled(formatAddress(address), 'has not made it its own', () => isLocal(exchange, address));
}

/**
 * Waits until a link of a pair sends whose other end went up after it. It has its carrier by then, but what gives it a queue is
 * queued (linkwatch_event in net/core/link_watch.c): on a busy node the first packet is faster, and is dropped. From Linux 6.8
 * on the question for the link does that work.
 * @throws CniError where it takes longer than thirty seconds
 */
export async function settleQueue(exchange: AsyncExchange, { ifindex, name }: Link): Promise<void> {
  await settled(name, 'has not given it a queue', async () => {
    const [reply] = must(await exchange([getLink({ ifindex })])).flat();
    return reply !== undefined && hasQueue(reply);
  });
}
