/** The matrix as JSON, piece by piece: the rows of some thousand pods are gigabytes, and never all in memory. */
import type { Decision, Sentence } from '../../policy/evaluate/decision.ts';
import type { JudgedPair, MatrixJudge } from '../../policy/evaluate/matrix-judge.ts';

/** In UTF-16 units. */
const PIECE = 1 << 18;

/** As `JSON.stringify(value, null, 2)` writes it, so many levels deep. */
const indented = (value: unknown, levels: number): string =>
  JSON.stringify(value, null, 2).replaceAll('\n', `\n${'  '.repeat(levels)}`);

/** Without the quotes around it. */
const escaped = (text: string): string => JSON.stringify(text).slice(1, -1);

/** What of a direction is the same for all pairs that have the decision. */
interface Written {
  readonly start: string;
  readonly why: Sentence;
}

class RowWriter {
  readonly #traffic: string;
  readonly #written = new Map<Decision, Written>();
  readonly #names = new Map<string, string>();

  constructor({ traffic: { protocol, port } }: MatrixJudge) {
    this.#traffic = `    "protocol": ${JSON.stringify(protocol)},\n    "port": ${port},\n`;
  }

  #escaped(name: string): string {
    const known = this.#names.get(name) ?? escaped(name);
    this.#names.set(name, known);
    return known;
  }

  #direction(decision: Decision, pair: JudgedPair): string {
    const known = this.#written.get(decision) ?? {
      start: `{\n      "allowed": ${decision.allowed},\n      "by": ${indented(decision.by, 3)},\n      "why": "`,
      why: decision.why.map(part => (typeof part === 'string' ? escaped(part) : part)),
    };
    this.#written.set(decision, known);
    let text = known.start;
    for (const part of known.why) text += typeof part === 'string' ? part : this.#escaped(pair[part.end].party.name);
    return `${text}"\n    }`;
  }

  row(pair: JudgedPair): string {
    const { from, to, family, allowed, egress, ingress } = pair;
    const ends = `    "from": "${this.#escaped(from.name)}",\n    "to": "${this.#escaped(to.name)}",\n`;
    const directions = `    "egress": ${this.#direction(egress, pair)},\n    "ingress": ${this.#direction(ingress, pair)}\n`;
    return `  {\n${ends}    "family": ${family},\n${this.#traffic}    "allowed": ${allowed},\n${directions}  }`;
  }
}

/** The list of rows, as `printJson` would print it. */
export function* matrixJson(judge: MatrixJudge): Generator<string> {
  const writer = new RowWriter(judge);
  let piece = '[';
  let isFirst = true;
  for (const pair of judge) {
    piece += `${isFirst ? '' : ','}\n${writer.row(pair)}`;
    isFirst = false;
    if (piece.length < PIECE) continue;
    yield piece;
    piece = '';
  }
  yield `${piece}${isFirst ? '' : '\n'}]\n`;
}
