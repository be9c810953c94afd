/** What engines cost beside each other: as a table of an engine a column, and as bars. */
import type { Panel } from '../picture.ts';
import { digits, formatTarget, type Row } from '../report.ts';

const engines = [
  { name: 'tollgate', kind: 'ours' },
  { name: 'kube-router', kind: 'theirs' },
  { name: 'no engine (ptp)', kind: 'theirs' },
] as const;

/** The figure by its name without the engine's, which ends it. */
const figureOf = ({ what }: Row): string => what.slice(0, what.lastIndexOf(', '));

const ofEngine = (rows: readonly Row[], figure: string, engine: string): Row | undefined =>
  rows.find(({ what }) => what === `${figure}, ${engine}`);

/** A line of Markdown for each figure. */
export function engineTable(rows: readonly Row[]): string {
  const figures = [...new Set(rows.map(figureOf))];
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const cell = (row: Row | undefined) => (row ? `${digits(row.value)} ${row.unit}`.trim() : '');
  const headings = ['what', ...engines.map(({ name }) => name), 'asked of tollgate', 'reached'];
  return [
    line(headings),
    line(headings.map(() => '---')),
    ...figures.map(figure => {
      const own = ofEngine(rows, figure, 'tollgate');
      const ratio = own?.ratio === undefined ? '' : ` × ${own.against}: ${own.ratio.toFixed(2)}`;
      const asked = own?.target ? formatTarget(own.target, own.unit).trim() + ratio : '';
      const reached = own?.reached === undefined ? '' : own.reached ? 'yes' : 'NO';
      return line([figure, ...engines.map(({ name }) => cell(ofEngine(rows, figure, name))), asked, reached]);
    }),
    '',
  ].join('\n');
}

export const engineLabel = 'tollgate beside kube-router and no engine: bars of medians';

/** A panel for each figure that some row tells of. */
export function enginePanels(rows: readonly Row[]): readonly Panel[] {
  const panel = (title: string, figure: string): Panel => ({
    title,
    bars: engines.flatMap(({ name, kind }) => {
      const row = ofEngine(rows, figure, name);
      return row ? [{ name, value: row.value, kind }] : [];
    }),
  });
  return [
    panel('A pod written → its first answer, milliseconds', 'write of a pod → its first answer'),
    panel('100 pods at once, until all are Ready, seconds', 'until all are Ready'),
    panel('200 denied pods that start: of how many something arrived', 'of 200 denied pods sent something'),
    panel('A policy written → first refused packet, median, milliseconds', 'write → first refused packet, p50'),
    panel('A connection beside 1,000 policies, microseconds', 'a connection, 1000 policies'),
    panel("The engine's memory beside 20,000 pods, MiB", 'memory, after the churn'),
  ].filter(({ bars }) => bars.length > 1);
}
