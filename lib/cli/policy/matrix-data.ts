/**
 * The matrix as data for its page (`matrix-page/`), packed so that 200 pods are a few hundred kB: equal verdicts are kept
 * once, and sentences without the names of their two ends.
 */
import type { Family } from '../../ip/address.ts';
import { type Decision, sentenceText } from '../../policy/evaluate/decision.ts';
import { nameOf, type RowDirection } from '../../policy/evaluate/matrix.ts';
import type { JudgedPair, MatrixEnd } from '../../policy/evaluate/matrix-judge.ts';
import type { StagedMatrix } from '../../policy/evaluate/matrix-staged.ts';
import type { PageData } from './matrix-page/data.ts';

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

export function pageData(pairs: StagedMatrix): PageData {
  const { judge } = pairs;
  const pods = new Map(judge.pods.map(pod => [nameOf(pod), pod]));
  const byName = new Map([...pods.keys()].map((name, i) => [name, i]));
  const places = judge.pods.map(pod => byName.get(nameOf(pod))!);
  const verdicts = new VerdictPlaces();
  const cells = new Map<Family | null, Cells>();
  const none = () => new Array<number>(pods.size * pods.size).fill(-1);
  for (const { pair, staged } of pairs) {
    const own = cells.get(pair.family) ?? { cells: none(), ...(pairs.hasStaged ? { staged: none() } : {}) };
    cells.set(pair.family, own);
    const at = places[pair.from.place]! * pods.size + places[pair.to.place]!;
    own.cells[at] = verdicts.of(pair);
    if (staged && own.staged) own.staged[at] = verdicts.of(staged);
  }
  return {
    port: judge.traffic.port,
    protocol: judge.traffic.protocol,
    pods: [...pods].map(([name, { labels, addresses }]) => ({ name, labels: Object.fromEntries(labels), addresses })),
    directions: verdicts.directions.values,
    verdicts: verdicts.verdicts.values,
    families: [...cells].map(([family, own]) => ({ family, ...own })),
  };
}
