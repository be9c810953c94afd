/** Writes metrics in the text format that Prometheus reads. @see https://prometheus.io/docs/instrumenting/exposition_formats/ */

export type LabelValues = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels?: LabelValues;
  /** After the metric's name: `_bucket`, say. */
  readonly suffix?: string;
  readonly value: number;
}

export interface Metric {
  /** The metric's name without `tollgate_`. */
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly samples: readonly Sample[];
}

export const metric = (name: string, help: string, type: Metric['type'], samples: readonly Sample[]): Metric => ({
  name,
  help,
  type,
  samples,
});

export const one = (name: string, help: string, type: Metric['type'], value: number): Metric =>
  metric(name, help, type, [{ value }]);

/** Bound on the series of one metric: a tenant must not make the page larger than Prometheus can store. */
export const MOST_SERIES = 500;

const escaped = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');

function sampleLine(name: string, { labels = {}, suffix = '', value }: Sample): string {
  const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text)}"`);
  return `tollgate_${name}${suffix}${pairs.length > 0 ? `{${pairs.join(',')}}` : ''} ${value}`;
}

export const formatMetrics = (metrics: readonly Metric[]): string =>
  metrics
    .flatMap(({ name, help, type, samples }) => [
      `# HELP tollgate_${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`,
      `# TYPE tollgate_${name} ${type}`,
      ...samples.map(sample => sampleLine(name, sample)),
    ])
    .map(line => `${line}\n`)
    .join('');

/** Bounds of the buckets, in seconds. */
const edges = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const;

/** How long something took, each time. */
export class Histogram {
  readonly #counts = new Array<number>(edges.length).fill(0);
  #count = 0;
  #sum = 0;

  observe(seconds: number): void {
    this.#count++;
    this.#sum += seconds;
    for (const [i, edge] of edges.entries()) if (seconds <= edge) this.#counts[i]!++;
  }

  samples(labels: LabelValues = {}): readonly Sample[] {
    const buckets = edges.map((edge, i) => ({
      ...{ suffix: '_bucket', labels: { ...labels, le: String(edge) } },
      value: this.#counts[i]!,
    }));
    return [
      ...buckets,
      { suffix: '_bucket', labels: { ...labels, le: '+Inf' }, value: this.#count },
      { suffix: '_sum', labels, value: this.#sum },
      { suffix: '_count', labels, value: this.#count },
    ];
  }

  /** The edge that so many of a hundred do not pass; null where there are none, Infinity beyond the last edge. */
  quantile(part: number): number | null {
    if (this.#count === 0) return null;
    const wanted = Math.ceil(this.#count * part);
    const at = this.#counts.findIndex(count => count >= wanted);
    return at < 0 ? Number.POSITIVE_INFINITY : edges[at]!;
  }
}
