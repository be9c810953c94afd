import type { CallOutcome } from './call-log.ts';
import { Histogram, type Metric, metric } from './prometheus.ts';

/** The verbs that are served: a CNI_COMMAND that is none of them makes no series of its own. */
const verbs = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS'] as const;

/** CNI calls as they went, by verb and code. */
export class CallCounts {
  readonly #counts = new Map<string, { readonly verb: string; readonly code: number; count: number }>();
  readonly #times = new Map<string, Histogram>();

  readonly take = ({ verb, code, ms }: CallOutcome): void => {
    const known = verbs.find(each => each === verb) ?? 'other';
    const key = `${known} ${code}`;
    const found = this.#counts.get(key) ?? { verb: known, code, count: 0 };
    found.count++;
    this.#counts.set(key, found);
    const times = this.#times.get(known) ?? new Histogram();
    times.observe(ms / 1000);
    this.#times.set(known, times);
  };

  metrics(): readonly Metric[] {
    return [
      metric(
        'cni_calls_total',
        'CNI calls by verb and CNI code; code 0 succeeded.',
        'counter',
        [...this.#counts.values()].map(({ verb, code, count: value }) => ({
          labels: { verb, code: String(code) },
          value,
        })),
      ),
      metric(
        'cni_call_duration_seconds',
        'How long CNI calls took.',
        'histogram',
        [...this.#times].flatMap(([verb, times]) => times.samples({ verb })),
      ),
    ];
  }
}
