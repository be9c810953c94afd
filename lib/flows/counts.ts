/** How many flows there were, for metrics: numbers that only rise, and a bound on the names among them. */
import type { Direction } from '../policy/model/model.ts';
import type { FlowRecord, Judgements } from './model.ts';

type Verdict = FlowRecord['verdict'];

export interface FlowTotals {
  /** By verdict. */
  readonly allowed: number;
  readonly denied: number;
  /** By the direction in which a policy of this node was asked; what was judged in both counts in both. */
  readonly byDirection: readonly (readonly [direction: Direction, verdict: Verdict, flows: number])[];
  /** By the policy that denied it; those beyond the first thousand together, as `others`. */
  readonly deniedBy: ReadonlyMap<string, number>;
  /** Packets that were denied and not logged one by one. */
  readonly summedPackets: number;
  readonly lostEvents: number;
}

const MOST_POLICIES = 1000;
const directions = ['egress', 'ingress'] as const;
const verdicts = ['allowed', 'denied'] as const;

export class FlowCounts {
  readonly #all = { allowed: 0, denied: 0 };
  readonly #byDirection = { egress: { allowed: 0, denied: 0 }, ingress: { allowed: 0, denied: 0 } };
  readonly #deniedBy = new Map<string, number>();
  summedPackets = 0;
  lostEvents = 0;

  passed(judged: Judgements): void {
    this.#all.allowed++;
    for (const direction of directions) if (judged[direction]) this.#byDirection[direction].allowed++;
  }

  /** @param direction in which the gate stopped it */
  denied(judged: Judgements, direction: Direction): void {
    this.#all.denied++;
    if (judged[direction]) this.#byDirection[direction].denied++;
    for (const policy of judged[direction]?.by ?? []) {
      const name = this.#deniedBy.has(policy) || this.#deniedBy.size < MOST_POLICIES ? policy : 'others';
      this.#deniedBy.set(name, (this.#deniedBy.get(name) ?? 0) + 1);
    }
  }

  get totals(): FlowTotals {
    const byDirection = directions.flatMap(direction =>
      verdicts.map(verdict => [direction, verdict, this.#byDirection[direction][verdict]] as const),
    );
    const { summedPackets, lostEvents } = this;
    return { ...this.#all, byDirection, deniedBy: this.#deniedBy, summedPackets, lostEvents };
  }
}
