/**
 * The matrix as one HTML page that needs nothing else: no network, no other file. Everything is in its data, packed so that
 * 200 pods are a few hundred kB: sentences are kept once, without the names of the two ends.
 */
import type { Family } from '../../ip/address.ts';
import { type Decision, sentenceText } from '../../policy/evaluate/evaluate.ts';
import { nameOf, type RowDirection } from '../../policy/evaluate/matrix.ts';
import type { JudgedPair, MatrixEnd, MatrixJudge } from '../../policy/evaluate/matrix-judge.ts';
import { script } from './matrix-page-script.ts';
import { style } from './matrix-page-style.ts';

/** What the page's script reads. */
export interface PageData {
  readonly port: number;
  readonly protocol: string;
  readonly pods: readonly {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly addresses: readonly string[];
  }[];
  /** In their sentences \u0001 is the one who asks, \u0002 the one who is asked. */
  readonly directions: readonly RowDirection[];
  /** Egress and ingress, as places in `directions`. */
  readonly verdicts: readonly (readonly [egress: number, ingress: number])[];
  readonly families: readonly {
    readonly family: Family | null;
    /** Row by row, from all to all: places in `verdicts`, or -1 where there is nothing to ask. */
    readonly cells: readonly number[];
  }[];
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
  /** Of decisions between ends whose sentences say nothing but their names. */
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

export function pageData(judge: MatrixJudge): PageData {
  const pods = new Map(judge.pods.map(pod => [nameOf(pod), pod]));
  const byName = new Map([...pods.keys()].map((name, i) => [name, i]));
  const places = judge.pods.map(pod => byName.get(nameOf(pod))!);
  const verdicts = new VerdictPlaces();
  const cells = new Map<Family | null, number[]>();
  for (const pair of judge) {
    const own = cells.get(pair.family) ?? new Array<number>(pods.size * pods.size).fill(-1);
    cells.set(pair.family, own);
    own[places[pair.from.place]! * pods.size + places[pair.to.place]!] = verdicts.of(pair);
  }
  return {
    port: judge.traffic.port,
    protocol: judge.traffic.protocol,
    pods: [...pods].map(([name, { labels, addresses }]) => ({ name, labels: Object.fromEntries(labels), addresses })),
    directions: verdicts.directions.values,
    verdicts: verdicts.verdicts.values,
    families: [...cells].map(([family, own]) => ({ family, cells: own })),
  };
}

/** JSON that no parser of HTML takes for the end of its element. */
const embedded = (data: PageData): string => JSON.stringify(data).replaceAll('<', '\\u003c');

/** The whole file. */
export const matrixPage = (data: PageData): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Who may open ${data.port}/${data.protocol} to whom</title>
<style>${style}</style>
</head>
<body>
<header>
  <h1>Who may open <b>${data.port}/${data.protocol}</b> to whom</h1>
  <form role="search">
    <label>From <input id="from" type="search" placeholder="name, label or address" autocomplete="off" spellcheck="false"></label>
    <label>To <input id="to" type="search" placeholder="name, label or address" autocomplete="off" spellcheck="false"></label>
    <label>Show <select id="show"><option value="all">all pairs</option><option value="denied">with denials</option><option value="allowed">with permissions</option></select></label>
  </form>
  <p id="count" role="status"></p>
  <button id="theme" type="button" aria-label="Colours: as the system has them">◐</button>
</header>
<main>
  <div id="grid" role="grid" tabindex="0" aria-label="Rows open connections to columns" aria-describedby="keys"><div id="space" role="presentation"></div></div>
  <aside>
    <section id="detail" aria-live="polite" aria-label="The chosen pair"></section>
    <canvas id="map" width="180" height="180" aria-hidden="true" title="All pairs: click to go there"></canvas>
    <dl class="legend" aria-label="Legend">
      <div><dt class="cell allowed"></dt><dd>allowed</dd></div>
      <div><dt class="cell denied"></dt><dd>denied</dd></div>
      <div><dt class="cell partly" data-sign="4"></dt><dd>one family only</dd></div>
      <div><dt class="cell absent"></dt><dd>itself, or no family in common</dd></div>
    </dl>
    <p id="keys"><kbd>←</kbd> <kbd>→</kbd> <kbd>↑</kbd> <kbd>↓</kbd> move, <kbd>Home</kbd> <kbd>End</kbd> along the row (with <kbd>Ctrl</kbd>: first and last pair), <kbd>Page</kbd> up and down, <kbd>n</kbd> <kbd>p</kbd> next and previous denial, <kbd>s</kbd> other way round, <kbd>/</kbd> search.</p>
  </aside>
</main>
<script type="application/json" id="data">${embedded(data)}</script>
<script>${script}</script>
</body>
</html>
`;
