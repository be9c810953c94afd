import type { AsyncExchange } from './message.ts';
import { NetlinkSocket } from './netlink.ts';
import type { NetlinkProtocol } from './socket.ts';

/** Node's pool has four threads: more exchanges than these wait, whatever sockets they have. */
const MOST_KEPT = 4;

/**
 * Exchanges by threads of Node's pool, as many at a time as are wanted, each on a socket of its own. To be made outside of any
 * other namespace than the one that they are to be in.
 */
export class SocketPool implements Disposable {
  readonly #protocol: NetlinkProtocol;
  readonly #idle: NetlinkSocket[] = [];
  #isOver = false;

  constructor(protocol: NetlinkProtocol) {
    this.#protocol = protocol;
  }

  readonly exchange: AsyncExchange = async requests => {
    const socket = this.#idle.pop() ?? NetlinkSocket.open(this.#protocol);
    try {
      return await socket.exchangeInThreadPool(requests);
    } finally {
      if (this.#isOver || this.#idle.length === MOST_KEPT) socket[Symbol.dispose]();
      else this.#idle.push(socket);
    }
  };

  [Symbol.dispose](): void {
    this.#isOver = true;
    for (const socket of this.#idle.splice(0)) socket[Symbol.dispose]();
  }
}
