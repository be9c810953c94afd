/**
 * The journal of this node's flows, in order: flows that opened, closed and were denied, and how many were missed in between.
 * Values in, values out: rooms above listen to the kernel and answer requests.
 */
import { formatAddress } from '../ip/address.ts';
import type { Direction } from '../policy/model/model.ts';
import { type Attributed, type Attribution, addressOfBytes } from './attribution.ts';
import { Changes } from './changes.ts';
import { FlowCounts, type FlowTotals } from './counts.ts';
import type { Filter } from './filter.ts';
import { keyedJudgements, stopped } from './judgement.ts';
import { type ListQuery, listOf } from './listing.ts';
import { Minutes } from './minutes.ts';
import {
  type Counters,
  type Entry,
  type FlowRecord,
  hasPorts,
  type LossNote,
  type Note,
  protocolName,
} from './model.ts';
import { FlowRing } from './ring.ts';

/** A connection as conntrack has it. Addresses are their bytes, a character each. */
export interface Connection {
  readonly id: number;
  /** IPPROTO_* */
  readonly protocol: number;
  /** Address of the end that opened it, before source NAT. */
  readonly from: string;
  readonly sourcePort: number;
  /** Destination before destination NAT. */
  readonly sentTo: string;
  readonly sentToPort: number;
  /** Destination after destination NAT. */
  readonly to: string;
  readonly port: number;
  /** The client's address as the other end sees it: after source NAT. */
  readonly seenFrom: string;
  readonly seenFromPort: number;
  readonly sent?: Counters | undefined;
  readonly received?: Counters | undefined;
  /** Seconds since 1970, where the kernel keeps them. */
  readonly start?: number | undefined;
  readonly stop?: number | undefined;
}

/** A flow that the gate denied. */
export interface Denial {
  readonly time: number;
  readonly direction: Direction;
  /** IPPROTO_* */
  readonly protocol: number;
  readonly from: string;
  readonly to: string;
  readonly sourcePort: number;
  readonly port: number;
  /** `Kind/namespace/name` of the policies that the chain belongs to. */
  readonly by: readonly string[];
}

const MOST_NOTES = 1000;

/** A flow's number in conntrack is a hash; with its port, two at once do not have the same. */
const handleOf = ({ id, sourcePort }: Connection): number => id * 65_536 + sourcePort;

/** Entries that have changed since the reader last asked. */
export interface FlowPage {
  readonly entries: readonly Entry[];
  /** Cursor for the next read. */
  readonly cursor: number;
  /** Changes that it has missed for good, or that were more than it wanted. */
  readonly skipped: number;
}

export class FlowJournal {
  readonly minutes = new Minutes();
  readonly #ring: FlowRing;
  readonly #attribution: Attribution;
  /** Flows that are open, by handle. */
  readonly #open = new Map<number, number>();
  /** Handles of flows that closed while a look at all of them is under way: its word of them is older. */
  #closedMeanwhile: Set<number> | undefined;
  readonly #notes: Note[] = [];
  #firstNote = 0;
  readonly #changes = new Changes();
  readonly #counts = new FlowCounts();

  constructor(attribution: Attribution, bytes?: number) {
    this.#attribution = attribution;
    this.#ring = new FlowRing(bytes, (handle, id) => {
      if (this.#open.get(handle) === id) this.#open.delete(handle);
    });
  }

  get totals(): FlowTotals {
    return this.#counts.totals;
  }

  /** Memory of flows, of sums, and of the changes that readers may ask for. */
  get bytes(): number {
    return this.#ring.bytes + this.minutes.bytes + this.#open.size * 48 + Changes.bytes;
  }

  get size(): number {
    return this.#ring.size;
  }

  get open(): number {
    return this.#open.size;
  }

  /** Calls back at the next change, once. */
  awaitChange(tell: () => void): void {
    this.#changes.await(tell);
  }

  #sumKeyOf(attributed: Attributed, { protocol, port }: Pick<Connection, 'protocol' | 'port'>): number {
    if (attributed.sumKey !== undefined && this.minutes.knows(attributed.sumKey)) return attributed.sumKey;
    const sumKey = this.minutes.keyOf({
      ...{ from: attributed.from.value, to: attributed.to.value, judgements: attributed.passed.value },
      ...{ protocol: protocolName(protocol), port: hasPorts(protocol) ? port : null, verdict: 'allowed' },
    });
    attributed.sumKey = sumKey;
    return sumKey;
  }

  #attributed({ from, to, protocol, port }: Pick<Connection, 'from' | 'to' | 'protocol' | 'port'>): Attributed {
    const key = from + to + String.fromCharCode(protocol, port);
    const ends = () => ({ from: addressOfBytes(from), to: addressOfBytes(to) });
    return this.#attribution.of(key, ends, protocol, port);
  }

  #add(connection: Connection, time: number, isStartKnown: boolean): number {
    const { protocol, sourcePort, port, from, to, sentTo, sentToPort, seenFrom, seenFromPort } = connection;
    const attributed = this.#attributed(connection);
    const sumKey = this.#sumKeyOf(attributed, connection);
    const translated = (address: string, number: number, before: string, portBefore: number) =>
      address === before && number === portBefore
        ? undefined
        : { address: formatAddress(addressOfBytes(address)), port: number };
    const handle = handleOf(connection);
    const id = this.#ring.add({
      ...{ time, isStartKnown, state: 'open', protocol, sourcePort, port, handle, sumKey },
      ...{ from: attributed.from, to: attributed.to, judgements: attributed.passed },
      sentTo: translated(sentTo, sentToPort, to, port),
      seenFrom: translated(seenFrom, seenFromPort, from, sourcePort),
    });
    this.#open.set(handle, id);
    this.minutes.count(sumKey, time, 1);
    this.#counts.passed(attributed.passed.value);
    this.#changes.add(id);
    return id;
  }

  /** The kernel tracks it from now on: the gate has let its first packet pass. @param now seconds since 1970 */
  opened(connection: Connection, now: number): void {
    if (!this.#attribution.concerns(connection.from, connection.to)) return;
    if (!this.#open.has(handleOf(connection))) this.#add(connection, connection.start ?? now, true);
  }

  /** A look at all flows begins. @returns what `lookEnds` wants */
  lookBegins(): number {
    this.#closedMeanwhile = new Set();
    return this.#ring.next;
  }

  /** It was there when the kernel was asked for all flows. @returns its id; undefined where it is no pod's of this node */
  found(connection: Connection, now: number): number | undefined {
    const known = this.#open.get(handleOf(connection));
    if (known === undefined && this.#closedMeanwhile?.has(handleOf(connection))) return undefined;
    const { sent, received, start } = connection;
    if (known === undefined && !this.#attribution.concerns(connection.from, connection.to)) return undefined;
    const id = known ?? this.#add(connection, start ?? now, start !== undefined);
    if (sent && received) this.#ring.count(id, sent, received);
    return id;
  }

  closed(connection: Connection, now: number): void {
    const handle = handleOf(connection);
    this.#closedMeanwhile?.add(handle);
    let id = this.#open.get(handle);
    if (id === undefined) {
      if (!this.#attribution.concerns(connection.from, connection.to)) return;
      id = this.#add(connection, connection.start ?? now, connection.start !== undefined);
    }
    const { sent, received, start, stop } = connection;
    this.#close(handle, id, { end: stop ?? now, sent, received, start });
  }

  #close(handle: number, id: number, ending: Parameters<FlowRing['close']>[1]): void {
    this.#open.delete(handle);
    if (!this.#ring.close(id, ending)) return;
    const bytes = (ending.sent?.bytes ?? 0) + (ending.received?.bytes ?? 0);
    if (bytes > 0) this.minutes.count(this.#ring.sumKeyOf(id), ending.end, 0, bytes);
    this.#changes.add(id);
  }

  /**
   * Flows that were open before the look began and that it did not find have closed: the kernel told of no end of theirs.
   * @param now undefined where the look came to no end, and so nothing is known of those
   */
  lookEnds(begun: number, found: ReadonlySet<number>, now: number | undefined): void {
    this.#closedMeanwhile = undefined;
    if (now === undefined) return;
    for (const [handle, id] of this.#open) if (id < begun && !found.has(id)) this.#close(handle, id, { end: now });
  }

  isOpen(id: number): boolean {
    return id >= this.#ring.first && this.#ring.stateOf(id) === 'open';
  }

  denied(denial: Denial): void {
    const { time, protocol, sourcePort, port, direction } = denial;
    const attributed = this.#attributed(denial);
    const judgements = stopped(attributed.judgements.value, direction, denial.by);
    const { from, to } = attributed;
    const sumKey = this.minutes.keyOf({
      ...{ from: from.value, to: to.value, protocol: protocolName(protocol), verdict: 'denied', judgements },
      port: hasPorts(protocol) ? port : null,
    });
    const id = this.#ring.add({
      ...{ time, isStartKnown: true, state: 'denied', from, to, protocol, sourcePort, port, sumKey, handle: 0 },
      judgements: judgements === attributed.judgements.value ? attributed.judgements : keyedJudgements(judgements),
    });
    this.minutes.count(sumKey, time, 1);
    this.#counts.denied(judgements, direction);
    this.#changes.add(id);
  }

  #note(note: Note): void {
    this.#changes.add(-1 - (this.#firstNote + this.#notes.length));
    this.#notes.push(note);
    if (this.#notes.length <= MOST_NOTES) return;
    this.#notes.shift();
    this.#firstNote++;
  }

  lost(loss: Omit<LossNote, 'kind'>): void {
    this.#counts.lostEvents += loss.events;
    this.#note({ kind: 'loss', ...loss });
  }

  summed(sum: { time: number; direction: Direction; by: readonly string[]; packets: number }): void {
    this.#counts.summedPackets += sum.packets;
    this.#note({ kind: 'sum', ...sum });
  }

  /**
   * The newest entries that pass, in the order of time: those of now, each as it is when it is asked for.
   * @param now seconds since 1970
   */
  list(query: ListQuery, now: number): Generator<Entry, void> {
    return listOf(this.#ring, this.#notes, query, now);
  }

  /** One flow, while it is kept. */
  get(id: number): FlowRecord | undefined {
    return this.#ring.get(id);
  }

  /** Cursor for a reader that wants changes from now on. */
  get cursor(): number {
    return this.#changes.next;
  }

  /**
   * Flows that have changed since the cursor, each once, as it is now. Beyond `most` the oldest changes are left out and
   * counted, whatever the filter would have made of them: a reader that is far behind costs no more than one that is not.
   */
  read(cursor: number, { filter, most }: { readonly filter: Filter; readonly most: number }): FlowPage {
    const oldest = this.#changes.keptFrom(cursor);
    let skipped = oldest - cursor;
    const seen = new Set<number>();
    const entries: Entry[] = [];
    for (let at = this.#changes.next - 1; at >= oldest; at--) {
      if (entries.length >= most) {
        skipped += at + 1 - oldest;
        break;
      }
      const number = this.#changes.at(at);
      if (seen.has(number)) continue;
      seen.add(number);
      const entry = number < 0 ? this.#notes[-1 - number - this.#firstNote] : this.#ring.get(number);
      if (!entry) skipped++;
      else if (entry.kind !== 'flow' || filter(entry)) entries.push(entry);
    }
    return { entries: entries.reverse(), cursor: this.#changes.next, skipped };
  }
}
