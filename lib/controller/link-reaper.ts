/** Links of pods that are gone, deleted by a thread of Node's pool while this process goes on. */
import { NetlinkSocket } from '../kernel/netlink.ts';
import { deleteBuried, type Graveyard, putAside } from '../pod/graveyard.ts';
import type { Log } from '../rpc/log.ts';

/** To be made outside of any other namespace than the node's. */
export class SharedGraveyard implements Graveyard, Disposable {
  readonly #socket = NetlinkSocket.open('route');
  readonly #log: Log;
  /** The last deletion, and that one again as long as it has not begun: whatever is buried meanwhile goes with it. */
  #last: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  constructor(log: Log) {
    this.#log = log;
    // Of an agent that died.
    void this.emptied();
  }

  readonly bury = async (ifindex: number): Promise<void> => {
    putAside(this.#socket.exchange, ifindex);
    void this.emptied();
  };

  /** Never rejects. */
  readonly emptied = (): Promise<void> => {
    this.#next ??= this.#last.then(() => this.#delete());
    this.#last = this.#next;
    return this.#next;
  };

  async #delete(): Promise<void> {
    this.#next = undefined;
    try {
      await this.#socket.sendAside([deleteBuried]);
    } catch (error) {
      this.#log('error', `Cannot delete links of pods that are gone: ${error}`);
    }
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}
