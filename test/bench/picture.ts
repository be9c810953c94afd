/** The report as a picture for the README: milliseconds as bars, light or dark. */
import type { Report, Row } from './report.ts';

export type Theme = 'light' | 'dark';

interface Colours {
  readonly text: string;
  readonly faint: string;
  readonly ours: string;
  readonly alone: string;
  readonly theirs: string;
}

const colours: Readonly<Record<Theme, Colours>> = {
  light: { text: '#1f2328', faint: '#59636e', ours: '#0969da', alone: '#54a3f0', theirs: '#afb8c1' },
  dark: { text: '#f0f6fc', faint: '#9198a1', ours: '#4493f8', alone: '#1f5fb0', theirs: '#59636e' },
};

interface Bar {
  readonly name: string;
  readonly value: number;
  readonly kind: 'ours' | 'alone' | 'theirs';
}

interface Panel {
  readonly title: string;
  readonly unit: string;
  readonly bars: readonly Bar[];
}

/** Bars that some row tells of; those of rows that were not measured are left out. */
function panelsOf(rows: readonly Row[]): readonly Panel[] {
  const row = (what: string, against: string) => rows.find(each => each.what === what && each.against === against);
  const own = (name: string, kind: Bar['kind'], found: Row | undefined): Bar[] =>
    found ? [{ name, kind, value: found.value }] : [];
  const their = (name: string, found: Row | undefined): Bar[] =>
    found?.reference === undefined ? [] : [{ name, kind: 'theirs', value: found.reference }];
  const panel = (title: string, what: string, alone: string, unit = 'ms'): Panel => ({
    title,
    unit,
    bars: [
      ...own('tollgate: launcher and worker', 'ours', row(what, 'ptp')),
      ...own('tollgate: executable alone', 'alone', row(alone, 'bridge ipMasq') ?? row(alone, 'ptp')),
      ...their('ptp', row(what, 'ptp')),
      ...their('bridge with ipMasq', row(what, 'bridge ipMasq')),
    ],
  });
  return [
    panel('ADD, milliseconds', 'ADD', 'ADD by the executable alone, a Node process'),
    panel('DEL, milliseconds', 'DEL', 'DEL by the executable alone'),
    panel('50 ADDs, 16 at once, milliseconds', '50 ADDs, 16 at once', ''),
    panel('200 ADDs at once, megabytes', '200 ADDs at once: peak memory of all processes', '', 'MB'),
  ].filter(({ bars }) => bars.length > 1);
}

const [WIDTH, LABEL, ROOM, LINE, GAP, MARGIN] = [760, 218, 450, 22, 34, 20];
const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
const shown = (value: number): string => (value < 10 ? value.toFixed(1) : value.toFixed(0));

export function picture({ rows, machine, date }: Report, theme: Theme): string {
  const colour = colours[theme];
  const lines: string[] = [];
  let y = MARGIN;
  const text = (x: number, at: number, content: string, more = '') =>
    lines.push(`<text x="${x}" y="${at}" ${more}>${escaped(content)}</text>`);
  for (const { title, bars } of panelsOf(rows)) {
    y += 14;
    text(0, y, title, `fill="${colour.text}" font-weight="600"`);
    y += 8;
    const most = Math.max(...bars.map(({ value }) => value));
    for (const { name, value, kind } of bars) {
      const width = Math.max(2, (value / most) * ROOM);
      text(LABEL - 10, y + 15, name, `fill="${colour.text}" text-anchor="end"`);
      lines.push(
        `<rect x="${LABEL}" y="${y + 3}" width="${width.toFixed(1)}" height="16" rx="2" fill="${colour[kind]}"/>`,
      );
      text(LABEL + width + 6, y + 15, shown(value), `fill="${colour.text}"`);
      y += LINE;
    }
    y += GAP - LINE;
  }
  const where = `Medians of interleaved runs on ${machine.cpus} × ${machine.cpu}, Linux ${machine.kernel}, ${date.slice(0, 10)}; shorter is better`;
  y += 12;
  text(0, y, where, `fill="${colour.faint}" font-size="11"`);
  const height = y + MARGIN / 2;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="system-ui, sans-serif" font-size="13" role="img" aria-label="tollgate beside ptp and bridge: bars of medians">
${lines.join('\n')}
</svg>
`;
}
