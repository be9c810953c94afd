/**
 * The matrix packed for a page (`cli/policy/matrix-page`), so that 200 pods are a few hundred kB: equal verdicts are kept
 * once, and sentences without the names of their two ends.
 */
import type { Family } from '../../ip/address.ts';
import type { Pod } from '../model/model.ts';
import { type Decision, sentenceText } from './decision.ts';
import { nameOf, type RowDirection } from './matrix.ts';
import { type JudgedPair, type MatrixEnd, titleOf } from './matrix-judge.ts';
import type { PairWithStaged, StagedMatrix } from './matrix-staged.ts';

export interface PackedMatrix {
  readonly port: number;
  readonly protocol: string;
  readonly title: string;
  readonly pods: readonly {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly addresses: readonly string[];
  }[];
  /** Directions, in whose sentences \u0001 stands for the pod that connects and \u0002 for the pod that it connects to. */
  readonly directions: readonly RowDirection[];
  /** Egress and ingress, as indexes into `directions`. */
  readonly verdicts: readonly (readonly [egress: number, ingress: number])[];
  readonly families: readonly {
    readonly family: Family | null;
    /** Row by row, one for each pair of pods: indexes into `verdicts`, or -1 where the pods have no such family. */
    readonly cells: readonly number[];
    /** Like `cells`, if all staged policies were in force; absent where there are none. */
    readonly staged?: readonly number[];
  }[];
}

/** The matrix of now, as the page of flows gets it from an agent. */
export interface ShownMatrix {
  /** Another number for another matrix. */
  readonly version: number;
  /** Pods that pass the filter, shown or not. */
  readonly count: number;
  readonly matrix: PackedMatrix;
}

/** Equal values get one place in a list. */
class Places<T> {
  readonly #places = new Map<string, number>();
  readonly values: T[] = [];

  of(value: T): number {
    const key = JSON.stringify(value);
    const known = this.#places.get(key);
    if (known !== undefined) return known;
    this.#places.set(key, this.values.length);
    return this.values.push(value) - 1;
  }
}

/** Without the names of its ends, a sentence is the same for many pairs. */
function template({ allowed, by, why }: Decision, { from, to }: JudgedPair): RowDirection {
  // The page knows a pod by its name alone; what else there is to say of it stays in the sentence.
  const marked = (mark: string, { name, party }: MatrixEnd): string => mark + party.name.slice(name.length);
  return { allowed, by, why: sentenceText(why, { from: marked('\u0001', from), to: marked('\u0002', to) }) };
}

/** Places of the verdicts in the page's data, found by the very decisions that they are made of. */
class VerdictPlaces {
  readonly directions = new Places<RowDirection>();
  readonly verdicts = new Places<readonly [egress: number, ingress: number]>();
  /** Places of decisions whose sentences differ in the names of the ends only. */
  readonly #known = new Map<Decision, number>();
  readonly #byPlaces = new Map<number, number>();

  #direction(decision: Decision, pair: JudgedPair): number {
    const isPlain = pair.from.isPlain && pair.to.isPlain;
    const place = (isPlain ? this.#known.get(decision) : undefined) ?? this.directions.of(template(decision, pair));
    if (isPlain) this.#known.set(decision, place);
    return place;
  }

  of(pair: JudgedPair): number {
    const [egress, ingress] = [this.#direction(pair.egress, pair), this.#direction(pair.ingress, pair)];
    const both = egress * 2 ** 26 + ingress;
    const known = this.#byPlaces.get(both) ?? this.verdicts.of([egress, ingress]);
    this.#byPlaces.set(both, known);
    return known;
  }
}

interface Cells {
  readonly cells: number[];
  readonly staged?: number[];
}

/** Packs pair by pair, so that the caller may rest in between. */
export class MatrixPacking {
  readonly #pairs: StagedMatrix;
  readonly #pods: ReadonlyMap<string, Pod>;
  /** For each pod of the judge, its index among the pods with different names. */
  readonly #places: readonly number[];
  readonly #verdicts = new VerdictPlaces();
  readonly #cells = new Map<Family | null, Cells>();

  constructor(pairs: StagedMatrix) {
    this.#pairs = pairs;
    const { pods } = pairs.judge;
    this.#pods = new Map(pods.map(pod => [nameOf(pod), pod]));
    const byName = new Map([...this.#pods.keys()].map((name, i) => [name, i]));
    this.#places = pods.map(pod => byName.get(nameOf(pod))!);
  }

  #none(): number[] {
    return new Array<number>(this.#pods.size ** 2).fill(-1);
  }

  add({ pair, staged }: PairWithStaged): void {
    const { hasStaged } = this.#pairs;
    const own = this.#cells.get(pair.family) ?? { cells: this.#none(), ...(hasStaged ? { staged: this.#none() } : {}) };
    this.#cells.set(pair.family, own);
    const at = this.#places[pair.from.place]! * this.#pods.size + this.#places[pair.to.place]!;
    own.cells[at] = this.#verdicts.of(pair);
    if (staged && own.staged) own.staged[at] = this.#verdicts.of(staged);
  }

  get packed(): PackedMatrix {
    return {
      ...this.#pairs.judge.traffic,
      title: titleOf(this.#pairs.judge.traffic),
      pods: [...this.#pods].map(([name, { labels, addresses }]) => ({
        ...{ name, labels: Object.fromEntries(labels), addresses },
      })),
      directions: this.#verdicts.directions.values,
      verdicts: this.#verdicts.verdicts.values,
      families: [...this.#cells].map(([family, own]) => ({ family, ...own })),
    };
  }
}

export function packMatrix(pairs: StagedMatrix): PackedMatrix {
  const packing = new MatrixPacking(pairs);
  for (const pair of pairs) packing.add(pair);
  return packing.packed;
}
