/** What the benchmark found: rows with their ratios, spreads and targets; one table for people, the same as JSON. */
import { cpus, loadavg, release, totalmem } from 'node:os';

/** Empty: a number of things that the row names. */
export type Unit = '' | 'MiB' | 'ms' | 's' | 'Gb/s' | '/s' | 'µs' | 'MB' | 'calls';

/** What is to be reached: by the ratio, or by the value itself where a row has one. */
export interface Target {
  readonly of: 'ratio' | 'value';
  readonly atMost?: number;
  readonly atLeast?: number;
}

export interface Row {
  readonly part: string;
  readonly what: string;
  readonly value: number;
  readonly unit: Unit;
  /** How many measurements the median is of. */
  readonly runs: number;
  readonly against?: string;
  /** Of what it is held against, in the same unit. */
  readonly reference?: number;
  readonly ratio?: number;
  /** Quartiles: of the ratios run by run, or of the values where there is nothing to compare with. */
  readonly spread?: readonly [number, number];
  readonly target?: Target;
  readonly reached?: boolean;
}

export const quantile = (values: readonly number[], q: number): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const [low, high] = [sorted[Math.floor(at)] ?? Number.NaN, sorted[Math.ceil(at)] ?? Number.NaN];
  return low + (high - low) * (at - Math.floor(at));
};
export const median = (values: readonly number[]): number => quantile(values, 0.5);
const quartiles = (values: readonly number[]): readonly [number, number] => [
  quantile(values, 0.25),
  quantile(values, 0.75),
];

const isReached = ({ atMost = Infinity, atLeast = -Infinity }: Target, found: number): boolean =>
  found <= atMost && found >= atLeast;

interface Measured {
  readonly part: string;
  readonly what: string;
  readonly unit: Unit;
}

/** A row with nothing to be held against but perhaps a number. */
export function single(measured: Measured, values: readonly number[], target?: Omit<Target, 'of'>): Row {
  const value = median(values);
  const row = { ...measured, value, runs: values.length, spread: quartiles(values) };
  if (!target) return row;
  return { ...row, target: { of: 'value', ...target }, reached: isReached({ of: 'value', ...target }, value) };
}

/** Both were measured in turn, run by run: the ratio is that of the medians, its spread that of the pairs. */
export function compared(
  measured: Measured,
  ours: readonly number[],
  against: string,
  theirs: readonly number[],
  target?: Omit<Target, 'of'>,
): Row {
  const [value, reference] = [median(ours), median(theirs)];
  const ratio = value / reference;
  const spread = quartiles(ours.map((one, i) => one / (theirs[i] ?? reference)));
  return held({ ...measured, value, runs: ours.length, against, reference, spread }, ratio, target);
}

function held(row: Row, ratio: number, target: Omit<Target, 'of'> | undefined): Row {
  if (!target) return { ...row, ratio };
  return { ...row, ratio, target: { of: 'ratio', ...target }, reached: isReached({ of: 'ratio', ...target }, ratio) };
}

/** The same of turns of one process: the ratio is the median of the pairs', so that it is nothing to it how processes differ. */
export function paired(
  measured: Measured,
  ours: readonly number[],
  against: string,
  theirs: readonly number[],
  target?: Omit<Target, 'of'>,
): Row {
  const ratio = median(ours.map((one, i) => one / theirs[i]!));
  return held(compared(measured, ours, against, theirs), ratio, target);
}

export interface Report {
  readonly date: string;
  readonly machine: {
    readonly cpu: string;
    readonly cpus: number;
    readonly memoryGiB: number;
    readonly kernel: string;
    /** Processes that wanted a processor at the end of it, on average over 15 minutes: ours, and whatever else ran. */
    readonly load: number;
  };
  /** What to type to see it again. */
  readonly command: string;
  /** Programs that we are held against. */
  readonly peers: Readonly<Record<string, string>>;
  readonly rows: readonly Row[];
}

export const reportOf = (rows: readonly Row[], peers: Report['peers'], command: string): Report => ({
  date: new Date().toISOString(),
  command,
  machine: {
    cpu: cpus()[0]?.model ?? 'unknown',
    cpus: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    load: Math.round((loadavg()[2] ?? 0) * 10) / 10,
  },
  peers,
  rows,
});

export const digits = (value: number): string => {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
};
export const formatTarget = ({ atMost, atLeast, of }: Target, unit: Unit): string =>
  `${atMost === undefined ? `≥ ${atLeast}` : `≤ ${atMost}`}${of === 'value' ? ` ${unit}` : ''}`;

const cellsOf = (row: Row): string[] => [
  row.what,
  `${digits(row.value)} ${row.unit}`,
  row.against === undefined ? '' : `${row.against}${row.reference === undefined ? '' : `: ${digits(row.reference)}`}`,
  row.ratio === undefined ? '' : row.ratio.toFixed(2),
  row.spread && row.runs > 1 ? row.spread.map(row.ratio === undefined ? digits : one => one.toFixed(2)).join('–') : '',
  row.target ? formatTarget(row.target, row.unit) : '',
  row.reached === undefined ? '' : row.reached ? 'yes' : 'NO',
];

const headings = ['what', 'median', 'against', 'ratio', 'quartiles', 'target', 'reached'];

/** On what, against whom, and how to see it again. */
export function whereText({ machine, peers, command, date }: Report): string {
  const { cpus: number, cpu, memoryGiB, kernel, load } = machine;
  const whom = Object.entries(peers).map(([name, version]) => `${name} ${version}`);
  const on = `${number} × ${cpu}, ${memoryGiB} GiB, Linux ${kernel}, load ${load}`;
  return `${date.slice(0, 10)}, on ${on}; against ${whom.join(', ')}. To see it again: \`${command}\`.`;
}

/** The rows that have something to reach, for a README. */
export function formatMarkdown(report: Report): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const rows = report.rows.filter(({ target }) => target);
  return [
    line(headings),
    line(headings.map(() => '---')),
    ...rows.map(row => line(cellsOf(row))),
    '',
    whereText(report),
    '',
  ].join('\n');
}

/** One table, part by part. */
export function formatReport(report: Report): string {
  const { rows } = report;
  const body = rows.map(row => ({ part: row.part, cells: cellsOf(row) }));
  const widths = headings.map((heading, i) => Math.max(heading.length, ...body.map(({ cells }) => cells[i]!.length)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join('  ')
      .trimEnd();
  const parts = [...new Set(rows.map(({ part }) => part))].flatMap(part => [
    '',
    `# ${part}`,
    ...body.filter(row => row.part === part).map(({ cells }) => line(cells)),
  ]);
  return [line(headings), ...parts, '', whereText(report), ''].join('\n');
}
