/**
 * Connections that were allowed when they were made, and are no longer: `established: cut` ends them. The gate lets
 * established connections pass unjudged, so their conntrack entries are judged here, by the same policies, and deleted;
 * the gate's mid-stream rule then keeps them from coming back, whichever end goes on sending.
 *
 * A pod may have opened hundreds of thousands, and its owner may change its labels as often as he likes. So the enforcer asks
 * the kernel only for connections of the addresses that a change concerns, reads and judges them a few at a time, and lets
 * other work run in between.
 */

import type { CutScope } from '../gate/shrunk.ts';
import { type Address, formatAddress } from '../ip/address.ts';
import type { Conntrack } from '../kernel/conntrack.ts';
import { addressKey, addressOfKey, type TrackedEntry, type TrackedFlow } from '../kernel/conntrack-entry.ts';
import { IPPROTO } from '../kernel/conntrack-request.ts';
import { monotonic } from '../kernel/monotonic.ts';
import type { Cluster } from '../policy/evaluate/cluster.ts';
import { FlowJudge, type PairVerdict } from '../policy/evaluate/flow-judge.ts';
import type { Endpoint, Flow, Protocol } from '../policy/model/model.ts';
import type { Goal } from './footing.ts';

const protocols: Readonly<Record<number, Protocol>> = {
  [IPPROTO.TCP]: 'TCP',
  [IPPROTO.UDP]: 'UDP',
  [IPPROTO.SCTP]: 'SCTP',
};

/** A packet that passed the gate before the commit may confirm its entry after we looked; by then it has. Milliseconds. */
const SECOND_LOOK = 100;

/** Milliseconds of work at a time, and of rest in which others have their turn. */
const SLICE = 2;
const REST = 2;
/** So many rests follow each other while a call is under way, which needs many turns; a call without end gets no more. */
const MOST_RESTS = 10;
/** Connections that are forgotten in one exchange. */
const MOST_AT_ONCE = 64;
/** Verdicts on pairs of addresses that are kept during a look. */
const MOST_PAIRS = 4096;

/** By what connections are judged. */
export interface Judgement {
  readonly cluster: Cluster;
  /** Canonical texts of the addresses of this node's pods. */
  readonly pods: ReadonlySet<string>;
  readonly enforceEgressToNode: boolean;
}

export function judgementOf({ state }: Pick<Goal, 'state'>, cluster: Cluster): Judgement {
  const pods = new Set(Object.values(state.pods).flatMap(pod => pod.addresses));
  return { cluster, pods, enforceEgressToNode: state.settings.enforceEgressToNode };
}

/** Tells connections that no policy allows any more; as of its making. */
class Judge {
  readonly #judgement: Judgement;
  readonly #own: ReadonlySet<string>;
  readonly #flows: FlowJudge;
  /** By both ends; undefined where neither is a pod of this node, or where the node itself is the client. */
  readonly #pairs = new Map<string, PairVerdict | undefined>();

  /** @param own canonical texts of the node's own addresses */
  constructor(judgement: Judgement, own: ReadonlySet<string>) {
    const { cluster, enforceEgressToNode } = judgement;
    this.#judgement = judgement;
    this.#own = own;
    this.#flows = new FlowJudge(cluster, { enforceEgressToNode });
  }

  isForbidden({ entry }: TrackedFlow): boolean {
    const { protocol, port } = entry;
    const verdict = this.#verdictOn(entry);
    return verdict !== undefined && !verdict(protocols[protocol] ?? 'other', port);
  }

  #verdictOn({ from, to }: TrackedEntry): PairVerdict | undefined {
    const key = from + to;
    const known = this.#pairs.get(key);
    if (known || this.#pairs.has(key)) return known;
    const family = from.length === 4 ? 4 : 6;
    const verdict = this.#verdictBetween(formatAddress(addressOfKey(from)), formatAddress(addressOfKey(to)), family);
    if (this.#pairs.size >= MOST_PAIRS) this.#pairs.clear();
    this.#pairs.set(key, verdict);
    return verdict;
  }

  /** The node's own connections are never judged: probes must go on. */
  #verdictBetween(from: string, to: string, family: Flow['family']): PairVerdict | undefined {
    const { pods } = this.#judgement;
    if (this.#own.has(from) || (!pods.has(from) && !pods.has(to))) return undefined;
    const end = (address: string): Endpoint => ({ kind: 'address', address });
    return this.#flows.between(end(from), this.#own.has(to) ? { kind: 'node' } : end(to), family);
  }
}

/** Judgement and connections that a look needs. */
export interface CutPlace {
  /** As it is when asked. */
  readonly judgement: () => Judgement;
  /** Canonical texts of the node's own addresses. */
  readonly local: () => ReadonlySet<string>;
  /** Of the node's network namespace. */
  readonly conntrack: Conntrack;
  /** Whether a call is under way in this process: it goes first. */
  readonly isCalled?: () => boolean;
}

const pausing = (milliseconds: number): Promise<void> => new Promise(resolve => setTimeout(resolve, milliseconds));

/** One look at the connections of the scope, in slices. */
export class Look {
  readonly #place: CutPlace;
  readonly #scope: CutScope;
  readonly #doomed: TrackedFlow[] = [];
  #judge: Judge;
  #isOutdated = false;
  #isStopped = false;
  /** Connections that were cut. */
  cut = 0;
  /** Milliseconds of work. */
  cost = 0;
  /** Connections that were judged. */
  judged = 0;

  constructor(place: CutPlace, scope: CutScope) {
    this.#place = place;
    this.#scope = scope;
    this.#judge = this.#newJudge();
  }

  #newJudge(): Judge {
    return new Judge(this.#place.judgement(), this.#place.local());
  }

  /** Policies have changed: what is left is judged by what they say now. */
  outdate(): void {
    this.#isOutdated = true;
  }

  /** Ends it before its time, at the next rest. */
  stop(): void {
    this.#isStopped = true;
  }

  async run(): Promise<void> {
    const scope = this.#scope;
    const keys = scope === 'everywhere' ? undefined : scope.map(address => ({ address }));
    /** Milliseconds of work since the last rest; the kernel's work is done by other threads. */
    let spent = 0;
    for await (const flows of this.#place.conntrack.flows(keys)) {
      let start = monotonic() - spent;
      for (const flow of flows) {
        if (this.#isStopped) return;
        this.#take(flow);
        spent = monotonic() - start;
        if (spent < SLICE && this.#doomed.length < MOST_AT_ONCE) continue;
        await this.#forget();
        if (spent >= SLICE) {
          this.cost += spent;
          spent = 0;
          await this.#rest();
        }
        start = monotonic() - spent;
      }
    }
    await this.#forget();
    this.cost += spent;
  }

  async #rest(): Promise<void> {
    let rests = 0;
    do await pausing(REST);
    while (!this.#isStopped && ++rests < MOST_RESTS && this.#place.isCalled?.());
  }

  #take(flow: TrackedFlow): void {
    if (this.#isOutdated) this.#judge = this.#newJudge();
    this.#isOutdated = false;
    this.judged++;
    if (this.#judge.isForbidden(flow)) this.#doomed.push(flow);
  }

  async #forget(): Promise<void> {
    this.cut += await this.#place.conntrack.delete(this.#doomed.splice(0));
  }
}

/** To be called after the commit. @returns how many connections were cut, in two looks */
export async function cutForbidden(place: CutPlace, scope: CutScope): Promise<number> {
  const [first, second] = [new Look(place, scope), new Look(place, scope)];
  await first.run();
  await pausing(SECOND_LOOK);
  await second.run();
  return first.cut + second.cut;
}

/** An address whose connections are still to be looked at. */
interface Due {
  /** Undefined: everywhere. */
  readonly address: Address | undefined;
  /** Looks that are still to be had. */
  readonly looks: number;
  /** Milliseconds of the clock. */
  readonly at: number;
}

const LOOKS = 2;
/** An address whose connections took n milliseconds to judge rests for this many times n before the next look. */
const REST_FACTOR = 4;
const LONGEST_REST = 5_000;

export interface CutterOptions extends CutPlace {
  readonly cut: (count: number) => void;
  readonly failed: (error: unknown) => void;
}

/**
 * Cuts beside everything else: requests merge, each address is looked at twice after its last one, and an address whose
 * connections take long is not looked at again before it has rested in proportion, while others are.
 */
export class Cutter implements Disposable {
  readonly #options: CutterOptions;
  readonly #due = new Map<string, Due>();
  /** Until when an address rests. */
  readonly #resting = new Map<string, number>();
  #look: Look | undefined;
  #running: Promise<void> | undefined;
  #wake = (): void => undefined;
  #isOver = false;

  constructor(options: CutterOptions) {
    this.#options = options;
  }

  request(scope: CutScope): void {
    if (scope.length === 0 || this.#isOver) return;
    this.#look?.outdate();
    const now = monotonic();
    for (const address of scope === 'everywhere' ? [undefined] : scope) {
      const key = address === undefined ? '' : addressKey(address);
      const at = Math.max(now, this.#resting.get(key) ?? now);
      this.#due.set(key, { address, looks: LOOKS, at });
    }
    this.#wake();
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** Resolves once nothing is left to be looked at. */
  async settled(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    // Not in the middle of the commit that asks.
    await Promise.resolve();
    while (this.#due.size > 0 && !this.#isOver) {
      const now = monotonic();
      for (const [key, until] of this.#resting) if (until <= now) this.#resting.delete(key);
      const ready = [...this.#due].filter(([, { at }]) => at <= now);
      if (ready.length > 0) await this.#lookAt(ready);
      else await this.#sleep(Math.min(...[...this.#due.values()].map(({ at }) => at)) - now);
    }
  }

  async #sleep(milliseconds: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const timer = setTimeout(resolve, milliseconds);
    await promise;
    clearTimeout(timer);
  }

  async #lookAt(ready: readonly (readonly [string, Due])[]): Promise<void> {
    const { cut, failed } = this.#options;
    for (const [key] of ready) this.#due.delete(key);
    const addresses = ready.flatMap(([, { address }]) => address ?? []);
    let cost = 0;
    try {
      this.#look = new Look(this.#options, addresses.length < ready.length ? 'everywhere' : addresses);
      await this.#look.run();
      cut(this.#look.cut);
    } catch (error) {
      failed(error);
    } finally {
      cost = this.#look?.cost ?? 0;
      this.#look = undefined;
    }
    const end = monotonic();
    const rested = end + Math.min(cost * REST_FACTOR, LONGEST_REST);
    for (const [key, { address, looks }] of ready) {
      this.#resting.set(key, rested);
      const again = this.#due.get(key);
      if (again) this.#due.set(key, { ...again, at: rested });
      else if (looks > 1) this.#due.set(key, { address, looks: looks - 1, at: Math.max(rested, end + SECOND_LOOK) });
    }
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#look?.stop();
    this.#wake();
  }
}
