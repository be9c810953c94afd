/** Ways to the kernel on which a request may take long: by this thread, or by threads of the pool (`SocketPool`). */
import type { AsyncExchange, NetlinkReply, NetlinkRequest } from './message.ts';
import type { NetlinkSocket } from './netlink.ts';

export interface NetlinkChannel {
  readonly exchange: AsyncExchange;
  /**
   * The replies of a dump, a datagram at a time; to be read to its end, or returned from.
   * @throws NetlinkError the kernel refused, or broke off
   */
  readonly dump: (request: NetlinkRequest) => AsyncGenerator<readonly NetlinkReply[], void>;
}

/**
 * The channel of a process that ends with its call, and has nothing else to do
 * meanwhile. The socket is opened at the first use.
 */
export class InlineChannel implements NetlinkChannel, Disposable {
  readonly #open: () => NetlinkSocket;
  #opened: NetlinkSocket | undefined;

  constructor(open: () => NetlinkSocket) {
    this.#open = open;
  }

  get #socket(): NetlinkSocket {
    this.#opened ??= this.#open();
    return this.#opened;
  }

  readonly exchange: AsyncExchange = async requests => this.#socket.exchange(requests);

  async *dump(request: NetlinkRequest): AsyncGenerator<readonly NetlinkReply[], void> {
    // The dump has a socket of its own, since other requests may be sent before it has ended.
    using socket = this.#open();
    yield* socket.dump(request);
  }

  [Symbol.dispose](): void {
    this.#opened?.[Symbol.dispose]();
    this.#opened = undefined;
  }
}
