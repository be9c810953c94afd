/** The matrix as JSON, piece by piece: the rows of some thousand pods are gigabytes, and never all in memory. */
import type { Decision, Sentence } from '../../policy/evaluate/decision.ts';
import type { JudgedPair, Traffic } from '../../policy/evaluate/matrix-judge.ts';
import type { PairWithStaged, StagedMatrix } from '../../policy/evaluate/matrix-staged.ts';

/** Length in UTF-16 units. */
const PIECE = 1 << 18;

/** The text of `JSON.stringify(value, null, 2)` for a value that stands this many levels deep. */
const indented = (value: unknown, levels: number): string =>
  JSON.stringify(value, null, 2).replaceAll('\n', `\n${'  '.repeat(levels)}`);

/** Without the quotes around it. */
const escaped = (text: string): string => JSON.stringify(text).slice(1, -1);

/** The JSON of a direction, in parts that are the same for all pairs with that decision. */
interface Written {
  readonly start: string;
  readonly why: Sentence;
}

class RowWriter {
  readonly #traffic: string;
  /** By how deep it stands. */
  readonly #known = new Map<number, Map<Decision, Written>>();
  readonly #names = new Map<string, string>();

  constructor({ protocol, port }: Traffic) {
    this.#traffic = `    "protocol": ${JSON.stringify(protocol)},\n    "port": ${port},\n`;
  }

  #written(levels: number): Map<Decision, Written> {
    const known = this.#known.get(levels) ?? new Map<Decision, Written>();
    this.#known.set(levels, known);
    return known;
  }

  #escaped(name: string): string {
    const known = this.#names.get(name) ?? escaped(name);
    this.#names.set(name, known);
    return known;
  }

  #direction(decision: Decision, pair: JudgedPair, levels: number): string {
    const inner = '  '.repeat(levels);
    const known = this.#written(levels).get(decision) ?? {
      start: `{\n${inner}"allowed": ${decision.allowed},\n${inner}"by": ${indented(decision.by, levels)},\n${inner}"why": "`,
      why: decision.why.map(part => (typeof part === 'string' ? escaped(part) : part)),
    };
    this.#written(levels).set(decision, known);
    let text = known.start;
    for (const part of known.why) text += typeof part === 'string' ? part : this.#escaped(pair[part.end].party.name);
    return `${text}"\n${'  '.repeat(levels - 1)}}`;
  }

  /** `"allowed": …, "egress": …, "ingress": …`, so many levels deep. */
  #verdict(pair: JudgedPair, levels: number): string {
    const { allowed, egress, ingress } = pair;
    const at = '  '.repeat(levels);
    const [out, into] = [this.#direction(egress, pair, levels + 1), this.#direction(ingress, pair, levels + 1)];
    return `${at}"allowed": ${allowed},\n${at}"egress": ${out},\n${at}"ingress": ${into}`;
  }

  row({ pair, staged }: PairWithStaged): string {
    const { from, to, family } = pair;
    const ends = `    "from": "${this.#escaped(from.name)}",\n    "to": "${this.#escaped(to.name)}",\n`;
    const beside = staged ? `,\n    "staged": {\n${this.#verdict(staged, 3)}\n    }` : '';
    return `  {\n${ends}    "family": ${family},\n${this.#traffic}${this.#verdict(pair, 2)}${beside}\n  }`;
  }
}

/** The list of rows, as `printJson` would print it. */
export function* matrixJson(pairs: StagedMatrix): Generator<string> {
  const writer = new RowWriter(pairs.judge.traffic);
  let piece = '[';
  let isFirst = true;
  for (const pair of pairs) {
    piece += `${isFirst ? '' : ','}\n${writer.row(pair)}`;
    isFirst = false;
    if (piece.length < PIECE) continue;
    yield piece;
    piece = '';
  }
  yield `${piece}${isFirst ? '' : '\n'}]\n`;
}
