/** Sockets that the agent keeps open to the kernel for all of its calls: on one socket no exchange meets another. */
import type { Hook } from '../enforce/hook.ts';
import { Conntrack } from '../kernel/conntrack.ts';
import { NetlinkSocket } from '../kernel/netlink.ts';
import { currentNetns } from '../kernel/netns.ts';
import { Nft } from '../kernel/nft.ts';
import { SocketPool } from '../kernel/socket-pool.ts';
import type { Context } from '../pod/context.ts';
import { dispatchInThreadPool } from '../pod/dispatch.ts';
import type { Log } from '../rpc/log.ts';
import { SharedLinkReaper } from './link-reaper.ts';

/** The agent's sockets; to be made in the node's network namespace. */
export class NodeKernel implements Disposable {
  readonly netns = currentNetns();
  readonly #undo: DisposableStack;
  readonly #route: NetlinkSocket;
  readonly #pool: SocketPool;
  readonly nft: Nft;
  readonly conntrack: Conntrack;
  readonly reaper: SharedLinkReaper;

  constructor(log: Log) {
    using undo = new DisposableStack();
    this.#route = undo.use(NetlinkSocket.open('route'));
    this.#pool = undo.use(new SocketPool(() => NetlinkSocket.open('route')));
    this.nft = undo.use(Nft.open());
    this.conntrack = new Conntrack(undo.use(new SocketPool(() => NetlinkSocket.open('netfilter'))));
    this.reaper = undo.use(new SharedLinkReaper(log));
    this.#undo = undo.move();
  }

  /** rtnetlink, by this thread. */
  get host(): Context['host'] {
    return this.#route.exchange;
  }

  /**
   * Context of a call.
   * @param isBusy whether other calls are under way, which must not wait for this one's requests
   */
  context(hook: Hook, log: (line: string) => void, isBusy: () => boolean, signal?: AbortSignal): Context {
    const { netns: here, host, nft, conntrack, reaper } = this;
    const dispatch = dispatchInThreadPool(host, this.#pool.exchange, isBusy);
    const sockets = { host, dispatch, nft: () => nft, conntrack };
    return { env: {}, here, ...sockets, hook, reaper, log, ...(signal ? { signal } : {}) };
  }

  [Symbol.dispose](): void {
    this.#undo.dispose();
  }
}
