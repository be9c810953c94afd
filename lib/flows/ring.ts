/**
 * The last flows, within a bound in bytes: numbers in columns, and what flows share (ends, judgements) kept once. The
 * oldest flow gives way, open or not, so a pod can push out what others did, but can make nothing grow.
 */
import { Interned } from './interned.ts';
import {
  type Counters,
  type FlowEnd,
  type FlowRecord,
  type FlowState,
  flowStates,
  hasPorts,
  type Judgements,
  protocolName,
} from './model.ts';

/** A value with a text that is equal for equal values, made once for many flows. */
export interface Keyed<T> {
  readonly key: string;
  readonly value: T;
}

export interface NewFlow {
  readonly time: number;
  readonly isStartKnown: boolean;
  readonly state: FlowState;
  readonly from: Keyed<FlowEnd>;
  readonly to: Keyed<FlowEnd>;
  readonly judgements: Keyed<Judgements>;
  /** IPPROTO_* */
  readonly protocol: number;
  readonly sourcePort: number;
  readonly port: number;
  /** The address as text, where it was translated. */
  readonly sentTo?: { readonly address: string; readonly port: number } | undefined;
  readonly seenFrom?: { readonly address: string; readonly port: number } | undefined;
  /** Numbers of the caller's, kept with the flow. */
  readonly handle: number;
  readonly sumKey: number;
}

export interface Ending {
  readonly end: number;
  readonly sent?: Counters | undefined;
  readonly received?: Counters | undefined;
  /** Start by the kernel's own clock, where the kernel keeps it. */
  readonly start?: number | undefined;
}

/** Bytes of a row in all columns. */
const ROW = 8 * 7 + 4 * 6 + 2 * 4 + 3;
/** The rows' part of the bound; the rest is for values that rows share. */
const ROWS_PART = 0.75;
const NONE = 0xffffffff;
const KNOWN = 1;
const COUNTED = 2;

const RING_BYTES = 16 * 1024 * 1024;

export class FlowRing {
  readonly #capacity: number;
  readonly #sharedLimit: number;
  /** Ends, judgements and addresses: keys of a kind begin with a letter of their own. */
  readonly #shared = new Interned<unknown>();
  readonly #time: Float64Array;
  readonly #end: Float64Array;
  readonly #counts: readonly Float64Array[];
  readonly #handle: Float64Array;
  /** from, to, judgements, sentTo, seenFrom */
  readonly #ids: readonly Uint32Array[];
  /** sourcePort, port, sentTo's, seenFrom's */
  readonly #ports: readonly Uint16Array[];
  readonly #sumKeys: Uint32Array;
  readonly #protocol: Uint8Array;
  readonly #state: Uint8Array;
  readonly #flags: Uint8Array;
  /** The oldest flow that is kept, and the number of the next one. */
  first = 0;
  next = 0;
  /** Told of a flow that gives way. */
  readonly #gone: (handle: number, id: number) => void;

  /** @param bytes bound on rows and what they share, 64 KiB at least */
  constructor(bytes = RING_BYTES, gone: (handle: number, id: number) => void = () => {}) {
    const bound = Math.max(bytes, 65_536);
    this.#capacity = Math.floor((bound * ROWS_PART) / ROW);
    this.#sharedLimit = Math.floor(bound * (1 - ROWS_PART));
    this.#gone = gone;
    const n = this.#capacity;
    const columns = (count: number) => Array.from({ length: count }, () => new Float64Array(n));
    [this.#time, this.#end, this.#handle] = columns(3) as [Float64Array, Float64Array, Float64Array];
    this.#counts = columns(4);
    this.#ids = Array.from({ length: 5 }, () => new Uint32Array(n));
    this.#ports = Array.from({ length: 4 }, () => new Uint16Array(n));
    this.#sumKeys = new Uint32Array(n);
    [this.#protocol, this.#state, this.#flags] = [new Uint8Array(n), new Uint8Array(n), new Uint8Array(n)];
  }

  get size(): number {
    return this.next - this.first;
  }

  /** Memory of the rows in use and of the values that they share. */
  get bytes(): number {
    return this.size * ROW + this.#shared.bytes;
  }

  add(flow: NewFlow): number {
    if (this.size === this.#capacity) this.#drop();
    const id = this.next++;
    const row = id % this.#capacity;
    const share = <T>({ key, value }: Keyed<T>): number => this.#shared.hold(key, () => value);
    const place = (address: string | undefined): number =>
      address === undefined ? NONE : this.#shared.hold(`a${address}`, () => address);
    this.#time[row] = flow.time;
    this.#end[row] = flow.state === 'denied' ? flow.time : 0;
    this.#handle[row] = flow.handle;
    this.#set(this.#ids, row, [
      ...[share(flow.from), share(flow.to), share(flow.judgements)],
      ...[place(flow.sentTo?.address), place(flow.seenFrom?.address)],
    ]);
    this.#set(this.#ports, row, [flow.sourcePort, flow.port, flow.sentTo?.port ?? 0, flow.seenFrom?.port ?? 0]);
    this.#set(this.#counts, row, [0, 0, 0, 0]);
    this.#sumKeys[row] = flow.sumKey;
    this.#protocol[row] = flow.protocol;
    this.#state[row] = flowStates.indexOf(flow.state);
    this.#flags[row] = flow.isStartKnown ? KNOWN : 0;
    while (this.#shared.bytes > this.#sharedLimit && this.size > 1) this.#drop();
    return id;
  }

  #set(columns: readonly { [row: number]: number }[], row: number, values: readonly number[]): void {
    for (const [i, column] of columns.entries()) column[row] = values[i]!;
  }

  #drop(): void {
    const row = this.first % this.#capacity;
    for (const column of this.#ids) if (column[row] !== NONE) this.#shared.release(column[row]!);
    this.#gone(this.#handle[row]!, this.first);
    this.first++;
  }

  #holds(id: number): boolean {
    return id >= this.first && id < this.next;
  }

  /** @returns whether it was there, and open */
  close(id: number, { end, sent, received, start }: Ending): boolean {
    const row = id % this.#capacity;
    if (!this.#holds(id) || flowStates[this.#state[row]!] !== 'open') return false;
    this.#end[row] = end;
    this.#state[row] = flowStates.indexOf('closed');
    if (start !== undefined) this.#time[row] = start;
    if (start !== undefined) this.#flags[row] = this.#flags[row]! | KNOWN;
    if (sent && received) this.count(id, sent, received);
    return true;
  }

  /** Writes conntrack's counts by now. */
  count(id: number, sent: Counters, received: Counters): void {
    if (!this.#holds(id)) return;
    const row = id % this.#capacity;
    this.#set(this.#counts, row, [sent.packets, sent.bytes, received.packets, received.bytes]);
    this.#flags[row] = this.#flags[row]! | COUNTED;
  }

  /** Seconds since 1970 at which it began, or was found. */
  timeOf(id: number): number {
    return this.#time[id % this.#capacity]!;
  }

  /** Seconds since 1970; 0 of a flow that is open. */
  endOf(id: number): number {
    return this.#end[id % this.#capacity]!;
  }

  sumKeyOf(id: number): number {
    return this.#sumKeys[id % this.#capacity]!;
  }

  stateOf(id: number): FlowState {
    return flowStates[this.#state[id % this.#capacity]!]!;
  }

  get(id: number): FlowRecord | undefined {
    if (!this.#holds(id)) return undefined;
    const row = id % this.#capacity;
    const shared = <T>(column: number): T => this.#shared.get(this.#ids[column]![row]!) as T;
    const protocol = this.#protocol[row]!;
    const port = (column: number) => (hasPorts(protocol) ? this.#ports[column]![row]! : null);
    const translated = (column: number, portColumn: number) =>
      this.#ids[column]![row] === NONE ? null : { address: shared<string>(column), port: port(portColumn) };
    const counters = (column: number) =>
      this.#flags[row]! & COUNTED
        ? { packets: this.#counts[column]![row]!, bytes: this.#counts[column + 1]![row]! }
        : null;
    const state = flowStates[this.#state[row]!]!;
    return {
      kind: 'flow',
      id,
      time: this.#time[row]!,
      isStartKnown: (this.#flags[row]! & KNOWN) !== 0,
      end: state === 'open' ? null : this.#end[row]!,
      state,
      verdict: state === 'denied' ? 'denied' : 'allowed',
      from: shared<FlowEnd>(0),
      to: shared<FlowEnd>(1),
      protocol: protocolName(protocol),
      sourcePort: port(0),
      port: port(1),
      sentTo: translated(3, 2),
      seenFrom: translated(4, 3),
      ...shared<Judgements>(2),
      sent: counters(0),
      received: counters(2),
    };
  }
}
