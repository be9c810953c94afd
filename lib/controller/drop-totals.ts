/** What gates have dropped, by policy. The kernel counts by chain or rule, and a count goes with those at the next change. */

import { parseDenial } from '../gate/denial.ts';
import type { Counted } from '../nft/decode.ts';
import { type Denier, denierOf, type Ruleset } from '../policy/compile/ruleset.ts';
import { formatRule } from '../policy/model/model.ts';
import { type LabelValues, MOST_SERIES, type Sample } from './prometheus.ts';

/** Packets that each chain of the table, or rule of it, has dropped, by `denialName`. */
export type Drops = ReadonlyMap<string, Pick<Counted, 'packets'>>;

interface Total extends Sample {
  readonly labels: LabelValues;
}

/** Labels for the first rule of a chain that denies for cluster policies, as its log has it; none for other chains. */
const ruleLabels = ({ denies }: Denier): LabelValues =>
  denies ? { tier: denies.tier, rule: formatRule(denies.rules[0]!) } : {};

const seriesOf = (denier: Denier): readonly LabelValues[] =>
  denier.policies.map(policy => ({ direction: denier.direction, policy, ...ruleLabels(denier) }));

/** Counts that only grow while the agent runs, from nothing: to Prometheus one that falls has begun again from nothing. */
export class DropTotals {
  #seen: Drops;
  #totals: ReadonlyMap<string, Total> = new Map();

  /** @param before what chains have dropped so far, which counts for nothing */
  constructor(before: Drops) {
    this.#seen = before;
  }

  /**
   * A series for each policy and direction, those that drop most. What a chain drops is counted for each of its policies,
   * since each of them isolates the pod and none allows it: the series add up to more than was dropped. A series goes with the
   * last chain of its policy.
   */
  take(drops: Drops, chains: Ruleset['chains']): readonly Sample[] {
    const totals = new Map<string, Total>();
    for (const [name, { packets }] of drops) {
      const denier = denierOf(chains, parseDenial(name));
      const more = Number(packets - this.#before(name, packets));
      for (const labels of denier ? seriesOf(denier) : []) {
        const key = JSON.stringify(labels);
        const { value } = totals.get(key) ?? this.#totals.get(key) ?? { value: 0 };
        totals.set(key, { labels, value: value + more });
      }
    }
    this.#seen = drops;
    this.#totals = totals;
    return [...totals.values()]
      .sort((a, b) => b.value - a.value || (a.labels['policy']! < b.labels['policy']! ? -1 : 1))
      .slice(0, MOST_SERIES);
  }

  /** What of the count was there at the last look; nothing where the chain has been made anew since. */
  #before(name: string, packets: bigint): bigint {
    const seen = this.#seen.get(name)?.packets ?? 0n;
    return seen <= packets ? seen : 0n;
  }
}
