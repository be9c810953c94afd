/** Receives messages of netlink's multicast groups, as the event loop turns. */
import type { MessageInfo } from 'netlink/dist/raw.js';
import { formatHeader, NLM_F, parseMessages } from '../netlink/header.ts';
import { dropsOf, type EventSocket, hasMore, openEventSocket } from './event-socket.ts';
import type { NetlinkReply, NetlinkRequest } from './message.ts';
import { type NetlinkProtocol, SO, SOL_NETLINK, SOL_SOCKET, setOption } from './socket.ts';
import { ignorePort } from './socket-filter.ts';

/** include/uapi/linux/rtnetlink.h, include/uapi/linux/netfilter/nfnetlink.h */
export const RTNLGRP = {
  LINK: 1,
  NEIGH: 3,
  IPV4_IFADDR: 5,
  IPV4_ROUTE: 7,
  IPV6_IFADDR: 9,
  IPV6_ROUTE: 11,
  IPV4_NETCONF: 24,
  IPV6_NETCONF: 25,
} as const;
export const NFNLGRP = { CONNTRACK_NEW: 1, CONNTRACK_DESTROY: 3, NFTABLES: 7 } as const;

export interface Listener {
  readonly onMessage: (message: NetlinkReply) => void;
  /**
   * Messages were lost, since they came faster than they were read, or one could not be read. Nothing more will come:
   * subscribe anew, then look at the kernel's state whole.
   */
  readonly onLost: (error: Error) => void;
  /** Port of a netlink socket that causes messages which are no news to the listener: the kernel keeps them back. */
  readonly ignored?: number;
  /** The subscription goes on where messages were lost because it was too slow: the listener can do without them. */
  readonly mayMiss?: boolean;
}

const NETLINK_NO_ENOBUFS = 5;
const BUFFER_SIZE = 1 << 20;

/** Bound to the network namespace that it was opened in. Does not keep the process alive. */
export class Subscription implements Disposable {
  readonly #socket: EventSocket;
  readonly #listener: Listener;
  #ended = false;
  #seq = 0;

  constructor(protocol: NetlinkProtocol, groups: readonly number[], listener: Listener) {
    this.#listener = listener;
    this.#socket = openEventSocket(protocol);
    const { raw, fd } = this.#socket;
    try {
      setOption('grow a netlink buffer', fd, SOL_SOCKET, SO.RCVBUFFORCE, BUFFER_SIZE);
      // The package ends the process when the kernel reports the overflow, so it must not; the drops are counted.
      setOption('have netlink drops counted', fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, 1);
      if (listener.ignored !== undefined) ignorePort(fd, listener.ignored);
      for (const group of groups) raw.addMembership(group);
    } catch (error) {
      raw.close();
      throw error;
    }
    raw.on('message', (datagram, from) => this.#guard(() => this.#read(datagram, from)));
    raw.on('truncatedMessage', () => this.#lose(new Error('Cannot read a netlink message: it is cut short')));
    raw.on('error', error => this.#lose(error));
  }

  /** Asks for something; what the kernel answers comes to the listener, like everything else. */
  send({ type, flags, body }: NetlinkRequest): void {
    const header = formatHeader(type, flags | NLM_F.REQUEST, ++this.#seq, body.length);
    this.#socket.raw.send(Buffer.concat([header, body]), {}, error => {
      if (error) this.#lose(error);
    });
  }

  /** Whether messages have come that the listener has not been told of. */
  get isBehind(): boolean {
    return !this.#ended && hasMore(this.#socket.fd);
  }

  [Symbol.dispose](): void {
    if (this.#ended) return;
    this.#ended = true;
    // Closed in the next turn of the event loop: the package may be delivering a message just now.
    setImmediate(() => this.#socket.raw.close());
  }

  #read(datagram: Buffer, { port }: MessageInfo): void {
    // Port 0 is the kernel; another process may send to a group, too.
    if (port !== 0) return;
    for (const { type, flags, port: cause, body } of parseMessages(datagram))
      if (!this.#ended) this.#listener.onMessage({ type, flags, port: cause, body });
    const drops = this.#ended || this.#listener.mayMiss ? 0 : dropsOf(this.#socket.fd);
    if (drops > 0) this.#lose(new Error(`Cannot keep up with netlink: ${drops} messages lost`));
  }

  #lose(error: Error): void {
    if (this.#ended) return;
    this[Symbol.dispose]();
    this.#guard(() => this.#listener.onLost(error));
  }

  /** Keeps a listener's error from the package, which would end the process. */
  #guard(deliver: () => void): void {
    try {
      deliver();
    } catch (error) {
      setImmediate(() => {
        throw error;
      });
    }
  }
}
