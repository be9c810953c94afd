/**
 * What `npm run bench -- load` prints: costs under load as ratios, processor seconds
 * and counts, each beside what is asked of it.
 */
import { grid } from '../../lib/cli/columns.ts';

export interface LoadRow {
  readonly what: string;
  /** The bound that the figure must keep. */
  readonly asked: { readonly atMost: number } | { readonly atLeast: number };
  readonly figure: number;
  /** `× …` for a ratio, `s` of processor time, `MiB`, `failures`, …: no times on the wall, which depend on the machine. */
  readonly unit: string;
  /** The same figure before it was worked on, where it is known. */
  readonly before?: number;
}

/** Measures one kind of load. A file in `load/` exports its own as `group`; the file's name is the group's. */
export type LoadGroup = (say: (progress: string) => void) => Promise<readonly LoadRow[]>;

export interface MeasuredLoad {
  readonly group: string;
  readonly rows: readonly LoadRow[];
}

export const isReached = ({ asked, figure }: LoadRow): boolean =>
  'atMost' in asked ? figure <= asked.atMost : figure >= asked.atLeast;

const digits = (value: number): string => {
  if (Number.isInteger(value)) return String(value);
  return value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);
};

const cellsOf = (row: LoadRow): string[] => [
  row.what,
  `${'atMost' in row.asked ? `≤ ${row.asked.atMost}` : `≥ ${row.asked.atLeast}`} ${row.unit}`,
  `${digits(row.figure)} ${row.unit}`,
  row.before === undefined ? '' : digits(row.before),
  isReached(row) ? 'yes' : 'NO',
];

const headings = ['what', 'asked', 'figure', 'before', 'reached'];

/** One table for all groups, each under its name. */
export function formatLoad(measured: readonly MeasuredLoad[]): string {
  const sections = measured.flatMap(({ group, rows }) => [[], [`# ${group}`], ...rows.map(cellsOf)]);
  return grid(headings, sections);
}

/** The same table for a document. */
export function formatLoadMarkdown(measured: readonly MeasuredLoad[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |\n`;
  const rows = measured.flatMap(({ rows }) => rows.map(cellsOf));
  return [headings, headings.map(() => '---'), ...rows].map(line).join('');
}
