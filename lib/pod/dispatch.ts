/** How requests to the kernel that take it some time are carried out: by this thread, or by threads of the pool. */
import type { AsyncExchange, Exchange } from '../kernel/message.ts';
import type { NetlinkSocket } from '../kernel/netlink.ts';

/** How requests are put to the kernel that take it some time. */
export interface Dispatch {
  /** Carries out the request that makes the pair, before which nothing else can be done for this pod. */
  readonly pair: AsyncExchange;
  readonly host: AsyncExchange;
  readonly pod: (socket: NetlinkSocket) => AsyncExchange;
}

/** The dispatch of a process that ends with its call: to start threads would take longer than the requests. */
export function dispatchInline(exchange: Exchange): Dispatch {
  const host: AsyncExchange = async requests => exchange(requests);
  return { pair: host, host, pod: socket => async requests => socket.exchange(requests) };
}

/**
 * The dispatch of a warm process, which has other calls to serve while the kernel works.
 * @param others  whether there are other calls to go on with
 */
export const dispatchInThreadPool = (host: Exchange, hostAside: AsyncExchange, others: () => boolean): Dispatch => ({
  pair: async requests => (others() ? await hostAside(requests) : host(requests)),
  host: hostAside,
  pod: socket => requests => socket.exchangeInThreadPool(requests),
});
