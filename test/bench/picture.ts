/** What was measured as a picture for the README: bars, light or dark. */
import type { Report } from './report.ts';

export const themes = ['light', 'dark'] as const;
export type Theme = (typeof themes)[number];

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

export interface Bar {
  readonly name: string;
  readonly value: number;
  readonly kind: 'ours' | 'alone' | 'theirs';
}

export interface Panel {
  /** With the unit of the bars. */
  readonly title: string;
  readonly bars: readonly Bar[];
}

const [WIDTH, LABEL, ROOM, LINE, GAP, MARGIN] = [760, 218, 450, 22, 34, 20];
const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
const shown = (value: number): string => (value < 10 ? value.toFixed(1) : value.toFixed(0));

/** @param label for readers who do not see the picture */
export function picture(panels: readonly Panel[], { machine, date }: Report, label: string, theme: Theme): string {
  const colour = colours[theme];
  const lines: string[] = [];
  let y = MARGIN;
  const text = (x: number, at: number, content: string, more = '') =>
    lines.push(`<text x="${x}" y="${at}" ${more}>${escaped(content)}</text>`);
  for (const { title, bars } of panels) {
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
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="system-ui, sans-serif" font-size="13" role="img" aria-label="${escaped(label)}">
${lines.join('\n')}
</svg>
`;
}
