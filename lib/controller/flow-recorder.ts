/**
 * Listens to the kernel for flows of this node's pods, and keeps what it hears: connections that conntrack begins and ceases
 * to track, packets that the gate denies. What the kernel had no room for is counted, and a look at all connections then
 * makes the record whole again.
 */

import { messageOf } from '../cni/error.ts';
import { Attribution, type FlowScene } from '../flows/attribution.ts';
import { type Connection, FlowJournal } from '../flows/journal.ts';
import type { Conntrack } from '../kernel/conntrack.ts';
import { addressKey } from '../kernel/conntrack-entry.ts';
import { ConntrackEvents, type ConntrackListener } from '../kernel/conntrack-events.ts';
import { monotonic } from '../kernel/monotonic.ts';
import type { LoggedPacket } from '../kernel/nflog.ts';
import type { Nft } from '../kernel/nft.ts';
import { processorTime } from '../kernel/processor-time.ts';
import type { Log } from '../rpc/log.ts';
import { accountingState, useAccounting } from './flow-accounting.ts';
import { DenialWatch } from './flow-denial-watch.ts';
import type { DeniedFlow } from './flow-denials.ts';
import { MatrixNow } from './flow-matrix.ts';
import { type FlowSource, policiesOfChain } from './flow-source.ts';
import { FlowWake } from './flow-wake.ts';
import type { Outlet } from './http-server.ts';
import { Slices } from './slices.ts';

export interface RecorderOptions {
  readonly source: FlowSource;
  readonly nft: Nft;
  /** Connections of the node, for looks at all of them. */
  readonly conntrack: Conntrack;
  readonly nflogGroup: number;
  /** Whether conntrack shall count packets and bytes, and keep times; else these are told only where it does already. */
  readonly accounting: boolean;
  /** Bound on what is kept of single flows. */
  readonly bytes?: number;
  /** Receive buffer of the socket that the kernel's events wait in; bytes. */
  readonly buffer?: number;
  readonly log: Log;
}

/** Events between two looks at the clock. */
const AT_ONCE = 128;
/**
 * Milliseconds before the log of denied packets is asked for again that another process holds: a command that reads it leaves
 * it to us within the first of these.
 */
const SOON = 2_000;
const AGAIN = 5_000;
/** Milliseconds between two looks at all connections: for those that were there before us the kernel may tell no end. */
const LOOK = 60_000;
/** Milliseconds between two looks that are asked for, at least; and how many times a look's own time lies between two. */
const COUNTED_APART = 2_000;
const COUNTED_REST = 9;
/** Milliseconds between a loss and the look that makes up for it: one that floods us is waited for. */
const AFTER_LOSS = 1_000;

const seconds = (): number => Date.now() / 1000;
const resting = (milliseconds: number): Promise<void> => new Promise(done => setTimeout(done, milliseconds).unref());

export class FlowRecorder implements Disposable {
  readonly attribution: Attribution;
  readonly journal: FlowJournal;
  readonly #options: RecorderOptions;
  readonly #undo = new DisposableStack();
  readonly #events: ConntrackEvents;
  readonly #listener: ConntrackListener;
  #stamp: unknown;
  #denials: DenialWatch | undefined;
  #isOver = false;
  #isReading = false;
  #isHeeded = false;
  #looking: Promise<void> = Promise.resolve();
  /** No look for the sake of counts before this, in milliseconds from any start. */
  #lookAgain = 0;
  #loss: { readonly time: number; events: number } | undefined;
  /** Flows that were there already, whose end the kernel may not tell. */
  #found: ReadonlySet<number> = new Set();
  readonly matrix = new MatrixNow(() => this.scene);
  /** Clients that are reading a list, or follow flows as they come; the oldest first. */
  readonly readers = new Set<Outlet>();
  /** Why denied flows are not recorded just now. */
  deaf: string | undefined;

  /** @throws SyscallError where the kernel tells nothing of connections to us */
  constructor(options: RecorderOptions) {
    this.#options = options;
    const { source, accounting, bytes, buffer, log } = options;
    this.attribution = new Attribution(() => source.scene(), { time: monotonic, work: processorTime });
    this.journal = new FlowJournal(this.attribution, bytes);
    this.#listener = {
      opened: entry => {
        this.#heed();
        this.journal.opened(entry, seconds());
      },
      closed: entry => {
        this.#heed();
        this.journal.closed(entry, seconds());
      },
      lost: events => this.#lost(events),
    };
    using undo = new DisposableStack();
    if (accounting) undo.use(useAccounting(log));
    this.#events = undo.use(new ConntrackEvents(buffer));
    undo.use(new FlowWake({ read: () => this.#read(), log }));
    const looks = setInterval(() => {
      if (this.#found.size > 0 || !accountingState().events) void this.look();
    }, LOOK).unref();
    undo.defer(() => clearInterval(looks));
    this.#undo.use(undo.move());
    void this.look();
    void this.#hearDenials();
  }

  get scene(): FlowScene {
    this.#isHeeded = false;
    this.#heed();
    return this.attribution.scene;
  }

  /** Since when there is a record: single flows, and sums. Seconds since 1970. */
  readonly since = seconds();

  /** Before the first event of each reading: nothing is looked at where nothing has come. */
  #heed(): void {
    if (this.#isHeeded) return;
    this.#isHeeded = true;
    const stamp = this.#options.source.stamp();
    if (stamp === this.#stamp) return;
    this.#stamp = stamp;
    this.attribution.outdate();
  }

  /**
   * All that has come is in the journal when this returns, or will be soon where it is much.
   * @returns whether anything had come
   */
  #read(): boolean {
    if (this.#isReading || this.#isOver) return true;
    this.#isHeeded = false;
    const slices = new Slices();
    while (this.#events.drain(this.#listener, AT_ONCE)) {
      if (!slices.isOver) continue;
      this.#isReading = true;
      void slices.rest().then(() => {
        this.#isReading = false;
        this.#read();
      });
      return true;
    }
    if (this.#isHeeded) this.#events.unreported(this.#listener);
    return this.#isHeeded;
  }

  #lost(events: number): void {
    if (this.#loss) {
      this.#loss.events += events;
      return;
    }
    this.#loss = { time: seconds(), events };
    void resting(AFTER_LOSS).then(() => this.look());
  }

  /** A look at all connections, after those that are under way. */
  look(): Promise<void> {
    this.#looking = this.#looking
      .then(() => this.#lookNow())
      .catch(error => {
        if (!this.#isOver) this.#options.log('warn', `Cannot look at all connections: ${messageOf(error)}`);
      });
    return this.#looking;
  }

  /**
   * Bytes and packets of open flows are those of a moment ago when this resolves, where conntrack counts: the kernel tells
   * of them when it is asked for all connections only, which has its price.
   */
  async counted(): Promise<void> {
    if (!accountingState().counts || monotonic() < this.#lookAgain) return;
    const start = monotonic();
    this.#lookAgain = start + COUNTED_APART;
    await this.look();
    this.#lookAgain = Math.max(this.#lookAgain, monotonic() + (monotonic() - start) * COUNTED_REST);
  }

  async #lookNow(): Promise<void> {
    if (this.#isOver) return;
    const loss = this.#loss;
    this.#loss = undefined;
    this.#read();
    const begun = this.journal.lookBegins();
    const found = new Set<number>();
    try {
      await this.#dump(connection => {
        const id = this.journal.found(connection, seconds());
        if (id !== undefined) found.add(id);
      });
    } catch (error) {
      this.journal.lookEnds(begun, found, undefined);
      throw error;
    } finally {
      if (loss) this.journal.lost({ ...loss, until: seconds() });
    }
    this.journal.lookEnds(begun, found, seconds());
    this.#found = new Set([...found].filter(id => id >= begun || (this.#found.has(id) && this.journal.isOpen(id))));
  }

  async #dump(take: (connection: Connection) => void): Promise<void> {
    const slices = new Slices();
    for await (const flows of this.#options.conntrack.flows()) {
      if (this.#isOver) return;
      for (const { entry } of flows) take(entry);
      if (!slices.isOver) continue;
      await slices.rest();
      if (this.#isOver) return;
      this.#read();
    }
  }

  /** Asks for the kernel's log again and again, as long as another process holds it. */
  async #hearDenials(): Promise<void> {
    const { log, nft, nflogGroup: group, source } = this.#options;
    let [failures, told]: [number, string | undefined] = [0, undefined];
    while (!this.#isOver) {
      const { promise: ended, resolve } = Promise.withResolvers<Error>();
      const names = {
        who: (address: string) => address,
        policies: (chain: string, subject?: string) => policiesOfChain(source.chains(), this.scene, chain, subject),
      };
      const watched = new DenialWatch(
        { group, nft, names },
        {
          flow: (flow, packet) => this.#denied(flow, packet),
          sum: ({ time, direction, by, packets }) => this.journal.summed({ time, direction, by, packets }),
          ended: resolve,
        },
      );
      try {
        await watched.ready();
        this.#denials = watched;
        this.deaf = undefined;
        [failures, told] = [0, undefined];
        throw await ended;
      } catch (error) {
        this.deaf = messageOf(error);
        failures++;
        if (failures > 1 && told !== this.deaf) log('warn', `Denied flows are not recorded: ${this.deaf}`);
        if (failures > 1) told = this.deaf;
      }
      watched[Symbol.dispose]();
      this.#denials = undefined;
      await resting(failures > 1 ? AGAIN : SOON);
    }
  }

  #denied({ time, direction, by }: DeniedFlow, { source, destination, ...packet }: LoggedPacket): void {
    // Connections that were allowed before this packet are recorded before it.
    this.#read();
    const { protocol, sourcePort = 0, destinationPort: port = 0 } = packet;
    const ends = { from: addressKey(source), to: addressKey(destination) };
    this.journal.denied({ time, direction, by, protocol, sourcePort, port, ...ends });
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#denials?.[Symbol.dispose]();
    this.#undo.dispose();
  }
}
