import type { Family } from '../../../ip/address.ts';
import type { RowDirection } from '../../../policy/evaluate/matrix.ts';
import type { PackedMatrix } from '../../../policy/evaluate/matrix-packed.ts';

/** `4` and `6`: allowed over that family only. `absent`: the pair is one pod, or has no family in common. */
export type Outcome = 'absent' | 'allowed' | 'denied' | '4' | '6';

export interface FamilyVerdict {
  readonly family: Family | null;
  readonly egress: RowDirection;
  readonly ingress: RowDirection;
  readonly allowed: boolean;
}

/** CSS class of a kind. */
export const classOf = (kind: Outcome): string => (kind === '4' || kind === '6' ? 'partly' : kind);

/** Answers for each pair of pods, which are named by their indexes in the page's data. */
export class Verdicts {
  readonly data: PackedMatrix;
  readonly #outcomes: readonly (readonly Outcome[])[];
  readonly #texts: readonly string[];

  constructor(data: PackedMatrix) {
    this.data = data;
    this.#outcomes = data.pods.map((_, from) => data.pods.map((_, to) => this.#judge(from, to)));
    this.#texts = data.pods.map(({ name, addresses }, i) =>
      [name, ...this.labels(i), ...addresses].join(' ').toLowerCase(),
    );
  }

  name(pod: number): string {
    return this.data.pods[pod]!.name;
  }

  /** -1 where there is none of that name. */
  named(name: string): number {
    return this.data.pods.findIndex(pod => pod.name === name);
  }

  /** `key=value` of each label. */
  labels(pod: number): readonly string[] {
    return Object.entries(this.data.pods[pod]!.labels).map(([key, value]) => `${key}=${value}`);
  }

  kind(from: number, to: number): Outcome {
    return this.#outcomes[from]![to]!;
  }

  /** One verdict for each family that both pods have. */
  pair(from: number, to: number): readonly FamilyVerdict[] {
    return this.#verdictsIn('cells', from, to);
  }

  /** Verdicts that would be others if the staged policies were in force, as they would be then. */
  moved(from: number, to: number): readonly FamilyVerdict[] {
    const now = this.pair(from, to);
    return this.#verdictsIn('staged', from, to).filter(
      ({ family, allowed }) => now.find(each => each.family === family)?.allowed !== allowed,
    );
  }

  #verdictsIn(which: 'cells' | 'staged', from: number, to: number): readonly FamilyVerdict[] {
    const { families, verdicts, directions, pods } = this.data;
    return families.flatMap(({ family, [which]: cells = [] }) => {
      const verdict = verdicts[cells[from * pods.length + to] ?? -1];
      if (!verdict) return [];
      const [egress, ingress] = [directions[verdict[0]]!, directions[verdict[1]]!];
      return [{ family, egress, ingress, allowed: egress.allowed && ingress.allowed }];
    });
  }

  #judge(from: number, to: number): Outcome {
    const found = this.pair(from, to);
    const allowed = found.filter(each => each.allowed);
    if (found.length === 0) return 'absent';
    if (allowed.length === found.length) return 'allowed';
    return allowed.length === 0 ? 'denied' : allowed[0]!.family === 4 ? '4' : '6';
  }

  /** The kind in words. */
  outcome(from: number, to: number): string {
    const kind = this.kind(from, to);
    if (from === to) return 'itself';
    if (kind === 'absent') return 'no address family in common';
    if (kind === 'allowed' || kind === 'denied') return kind;
    return `allowed over IPv${kind} only`;
  }

  /** The sentence of a direction, with the names of both ends. */
  sentence({ why }: RowDirection, from: number, to: number): string {
    return why.replaceAll('\u0001', this.name(from)).replaceAll('\u0002', this.name(to));
  }

  /** The sentence that decides: why the pair is denied, in one family at least; else why it is allowed. */
  reason(from: number, to: number): string {
    const found = this.pair(from, to);
    const deciding = found.find(each => !each.allowed) ?? found[0];
    if (!deciding) return '';
    return this.sentence(deciding.egress.allowed ? deciding.ingress : deciding.egress, from, to);
  }

  /** `a to b: denied`, for a screen reader. */
  label(from: number, to: number): string {
    return `${this.name(from)} to ${this.name(to)}: ${this.outcome(from, to)}`;
  }

  /** Pods whose name, labels or addresses contain each word of the query. */
  matching(query: string): readonly number[] {
    const words = query.toLowerCase().split(' ').filter(Boolean);
    const all = this.data.pods.map((_, i) => i);
    return all.filter(i => words.every(word => this.#texts[i]!.includes(word)));
  }
}
