/** How many flows there were, for metrics: numbers that only rise, and a bound on the names among them. */
import type { Direction } from '../policy/model/model.ts';
import { type FlowRecord, type Judgements, OTHERS, policiesIn, type StagedJudgement } from './model.ts';

type Verdict = FlowRecord['verdict'];

export interface FlowTotals {
  /** Flows by verdict. */
  readonly allowed: number;
  readonly denied: number;
  /** Flows by the direction in which a policy of this node was asked; a flow that was judged in both counts in both. */
  readonly byDirection: readonly (readonly [direction: Direction, verdict: Verdict, flows: number])[];
  /** Denied flows by policy; policies beyond the first thousand are counted together, as `others`. */
  readonly deniedBy: ReadonlyMap<string, number>;
  /** By the staged policy that would make the difference; those beyond the first thousand together, as `others`. */
  readonly staged: ReadonlyMap<string, StagedFlows>;
  /** Packets that were denied and not logged one by one. */
  readonly summedPackets: number;
  readonly lostEvents: number;
}

/** Flows that would fare otherwise if staged policies were in force. */
export interface StagedFlows {
  /** They were allowed, and would be denied. */
  readonly wouldDeny: number;
  /** They were denied, and would be allowed. */
  readonly wouldAllow: number;
}

const MOST_POLICIES = 1000;
const directions = ['egress', 'ingress'] as const;
const verdicts = ['allowed', 'denied'] as const;

const nameIn = (counted: ReadonlyMap<string, unknown>, policy: string): string =>
  counted.has(policy) || counted.size < MOST_POLICIES ? policy : OTHERS;

/** What staged policies would have changed since flows are recorded. */
export interface StagedCounts {
  /** Seconds since 1970. */
  readonly since: number;
  /** Flows that came too fast for policies to be asked, and are not counted here. */
  readonly unattributed: number;
  readonly policies: Readonly<Record<string, StagedFlows>>;
  /** There were more policies than are counted one by one: the count of one that is not named is not known. */
  readonly isCut: boolean;
}

export class FlowCounts {
  readonly #all = { allowed: 0, denied: 0 };
  readonly #byDirection = { egress: { allowed: 0, denied: 0 }, ingress: { allowed: 0, denied: 0 } };
  readonly #deniedBy = new Map<string, number>();
  readonly #staged = new Map<string, { wouldDeny: number; wouldAllow: number }>();
  summedPackets = 0;
  lostEvents = 0;

  passed(judged: Judgements): void {
    this.#all.allowed++;
    for (const direction of directions) if (judged[direction]) this.#byDirection[direction].allowed++;
    if (judged.staged) this.#besides(judged.staged);
  }

  /** @param direction in which the gate stopped it */
  denied(judged: Judgements, direction: Direction): void {
    this.#all.denied++;
    if (judged[direction]) this.#byDirection[direction].denied++;
    for (const policy of policiesIn(judged[direction]?.by ?? [])) {
      const name = nameIn(this.#deniedBy, policy);
      this.#deniedBy.set(name, (this.#deniedBy.get(name) ?? 0) + 1);
    }
    if (judged.staged) this.#besides(judged.staged);
  }

  #besides({ verdict, by }: StagedJudgement): void {
    for (const policy of policiesIn(by)) {
      const name = nameIn(this.#staged, policy);
      const count = this.#staged.get(name) ?? { wouldDeny: 0, wouldAllow: 0 };
      count[verdict === 'denied' ? 'wouldDeny' : 'wouldAllow']++;
      this.#staged.set(name, count);
    }
  }

  get totals(): FlowTotals {
    const byDirection = directions.flatMap(direction =>
      verdicts.map(verdict => [direction, verdict, this.#byDirection[direction][verdict]] as const),
    );
    const { summedPackets, lostEvents } = this;
    const named = { deniedBy: this.#deniedBy, staged: this.#staged };
    return { ...this.#all, byDirection, ...named, summedPackets, lostEvents };
  }
}
