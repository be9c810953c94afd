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
import type { Conntrack } from '../kernel/conntrack.ts';
import type { TrackedFlow } from '../kernel/conntrack-entry.ts';
import { monotonic } from '../kernel/monotonic.ts';
import { ConnectionJudge, type Judgement } from './connection-judge.ts';

/** A packet that passed the gate before the commit may confirm its entry after we looked; by then it has. Milliseconds. */
export const SECOND_LOOK = 100;

/** Milliseconds of work at a time, and of rest in which others have their turn. */
const SLICE = 2;
const REST = 2;
/** Rests that follow each other while a call is under way, which needs many turns; a call without end gets no more. */
const MOST_RESTS = 10;
/** Connections that are forgotten in one exchange. */
const MOST_AT_ONCE = 64;

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
  #judge: ConnectionJudge;
  #isOutdated = false;
  #isStopped = false;
  /** Connections that were cut. */
  cut = 0;
  /** Milliseconds that it took, without its rests: the kernel's walks count, which others wait for. */
  cost = 0;
  /** Connections that were judged. */
  judged = 0;

  constructor(place: CutPlace, scope: CutScope) {
    this.#place = place;
    this.#scope = scope;
    this.#judge = this.#newJudge();
  }

  #newJudge(): ConnectionJudge {
    return new ConnectionJudge(this.#place.judgement(), this.#place.local());
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
    const start = monotonic();
    try {
      await this.#lookAround();
    } finally {
      this.cost += monotonic() - start;
    }
  }

  async #lookAround(): Promise<void> {
    const scope = this.#scope;
    const keys = scope === 'everywhere' ? undefined : scope.map(address => ({ address }));
    /** Milliseconds of this thread's work since the last rest. */
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
          spent = 0;
          await this.#rest();
        }
        start = monotonic() - spent;
      }
    }
    await this.#forget();
  }

  async #rest(): Promise<void> {
    const start = monotonic();
    let rests = 0;
    do await pausing(REST);
    while (!this.#isStopped && ++rests < MOST_RESTS && this.#place.isCalled?.());
    this.cost -= monotonic() - start;
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
