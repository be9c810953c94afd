/** Links of pods that are gone, deleted by a thread of Node's pool while this process goes on. */
import { NetlinkSocket } from '../kernel/netlink.ts';
import { deleteBuried, type Graveyard, putAside } from '../pod/graveyard.ts';
import type { Log } from './log.ts';

/** Milliseconds that the first link waits for others. */
const GATHERING = 100;

/** To be made outside of any other namespace than the node's. */
export class SharedGraveyard implements Graveyard, Disposable {
  readonly #socket = NetlinkSocket.open('route');
  readonly #log: Log;
  #timer: NodeJS.Timeout | undefined;
  #deleting: Promise<void> = Promise.resolve();

  constructor(log: Log) {
    this.#log = log;
    // Of an agent that died.
    void this.emptied();
  }

  readonly bury = (ifindex: number): void => {
    putAside(this.#socket.exchange, ifindex);
    this.#timer ??= setTimeout(() => void this.emptied(), GATHERING);
  };

  /** Never rejects. */
  readonly emptied = (): Promise<void> => {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    // One that is under way may have begun before the last was buried.
    this.#deleting = this.#deleting.then(async () => {
      try {
        await this.#socket.sendAside([deleteBuried]);
      } catch (error) {
        this.#log('error', `Cannot delete links of pods that are gone: ${error}`);
      }
    });
    return this.#deleting;
  };

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#socket[Symbol.dispose]();
  }
}
