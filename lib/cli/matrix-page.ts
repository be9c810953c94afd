/**
 * The matrix as one HTML page that needs nothing else: no network, no other file. Everything is in its data, packed so that
 * 200 pods are a few hundred kB: sentences are kept once, without the names of the two ends.
 */
import type { Family } from '../ip/address.ts';
import type { Row, RowDirection, Traffic } from '../policy/matrix.ts';
import type { Pod } from '../policy/model.ts';
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
function template(direction: RowDirection, from: string, to: string): RowDirection {
  const names = [[from, '\u0001'] as const, [to, '\u0002'] as const].sort(([a], [b]) => b.length - a.length);
  const why = names.reduce((text, [name, mark]) => text.replaceAll(name, mark), direction.why);
  return { ...direction, why };
}

export function pageData(rows: readonly Row[], pods: readonly Pod[], { port, protocol }: Traffic): PageData {
  const names = [...new Set(rows.flatMap(({ from, to }) => [from, to]))];
  const place = new Map(names.map((name, i) => [name, i]));
  const byName = new Map(pods.map(pod => [`${pod.namespace}/${pod.name}`, pod]));
  const directions = new Places<RowDirection>();
  const verdicts = new Places<readonly [number, number]>();
  const cells = new Map<Family | null, number[]>();
  for (const { from, to, family, egress, ingress } of rows) {
    const own = cells.get(family) ?? new Array<number>(names.length * names.length).fill(-1);
    cells.set(family, own);
    const places = [egress, ingress].map(each => directions.of(template(each, from, to))) as [number, number];
    own[place.get(from)! * names.length + place.get(to)!] = verdicts.of(places);
  }
  return {
    port,
    protocol,
    pods: names.map(name => ({
      name,
      labels: Object.fromEntries(byName.get(name)?.labels ?? []),
      addresses: byName.get(name)?.addresses ?? [],
    })),
    directions: directions.values,
    verdicts: verdicts.values,
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
