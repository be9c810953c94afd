import type { NetlinkChannel } from './channel.ts';
import type { AsyncExchange, NetlinkReply, NetlinkRequest } from './message.ts';
import type { NetlinkSocket } from './netlink.ts';

/** Node's pool has four threads: more exchanges than these wait, whatever sockets they have. */
const MOST_KEPT = 4;

/**
 * Exchanges and dumps by threads of Node's pool, as many at a time as are wanted, each on a socket of its own. To be asked
 * outside of any other namespace than the one that the sockets are to be in.
 */
export class SocketPool implements NetlinkChannel, Disposable {
  readonly #open: () => NetlinkSocket;
  readonly #idle: NetlinkSocket[] = [];
  #isOver = false;

  constructor(open: () => NetlinkSocket) {
    this.#open = open;
  }

  readonly exchange: AsyncExchange = async requests => {
    const socket = this.#take();
    try {
      return await socket.exchangeInThreadPool(requests);
    } finally {
      this.#give(socket);
    }
  };

  async *dump(request: NetlinkRequest): AsyncGenerator<readonly NetlinkReply[], void> {
    const socket = this.#take();
    let isWhole = false;
    try {
      yield* socket.dumpInThreadPool(request);
      isWhole = true;
    } finally {
      if (isWhole) this.#give(socket);
      else socket[Symbol.dispose]();
    }
  }

  #take(): NetlinkSocket {
    return this.#idle.pop() ?? this.#open();
  }

  #give(socket: NetlinkSocket): void {
    if (this.#isOver || this.#idle.length === MOST_KEPT) socket[Symbol.dispose]();
    else this.#idle.push(socket);
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    for (const socket of this.#idle.splice(0)) socket[Symbol.dispose]();
  }
}
