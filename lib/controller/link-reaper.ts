/** Links of pods that are gone, deleted by a thread of Node's pool while this process goes on. */
import { messageOf } from '../cni/error.ts';
import { NetlinkSocket } from '../kernel/netlink.ts';
import { deleteDeferred, type LinkReaper, markForDeletion } from '../pod/link-reaper.ts';
import type { Log } from '../rpc/log.ts';

/** The reaper of a warm process; to be made in the node's network namespace. */
export class SharedLinkReaper implements LinkReaper, Disposable {
  readonly #socket = NetlinkSocket.open('route');
  readonly #log: Log;
  /** The last deletion, and that one again as long as it has not begun: links that are deferred meanwhile go with it. */
  #last: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;
  #isClosed = false;

  constructor(log: Log) {
    this.#log = log;
    // An agent that died may have left links in the group.
    void this.drained();
  }

  readonly defer = async (ifindex: number): Promise<void> => {
    markForDeletion(this.#socket.exchange, ifindex);
    void this.drained();
  };

  /** Never rejects. */
  readonly drained = (): Promise<void> => {
    this.#next ??= this.#last.then(() => this.#delete());
    this.#last = this.#next;
    return this.#next;
  };

  async #delete(): Promise<void> {
    this.#next = undefined;
    // An agent that is refused its table ends, and the next one finds these links.
    if (this.#isClosed) return;
    try {
      await this.#socket.sendInThreadPool([deleteDeferred]);
    } catch (error) {
      this.#log('error', `Cannot delete links of pods that are gone: ${messageOf(error)}`);
    }
  }

  [Symbol.dispose](): void {
    this.#isClosed = true;
    this.#socket[Symbol.dispose]();
  }
}
