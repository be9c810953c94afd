/** Columns for a person to read, as wide as their widest cell. */
import { printable } from '../tag/printable.ts';

export type GridRow = readonly (string | readonly string[])[];

/** Each stays one line, whatever others wrote into it. */
const linesOf = (cell: string | readonly string[]): readonly string[] =>
  (typeof cell === 'string' ? [cell] : cell).map(printable);

/** A cell of several lines makes its row that high. Nothing is left at the ends of lines. */
export function grid(head: readonly string[], rows: readonly GridRow[]): string {
  const all: readonly GridRow[] = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...all.flatMap(row => linesOf(row[i] ?? '').map(({ length }) => length))));
  const lines = all.flatMap(row => {
    const height = Math.max(1, ...row.map(cell => linesOf(cell).length));
    return Array.from({ length: height }, (_, line) => {
      const cells = widths.map((width, i) => {
        const text = linesOf(row[i] ?? '')[line] ?? '';
        return text + ' '.repeat(width - text.length);
      });
      return cells.join('  ').trimEnd();
    });
  });
  return lines.map(line => `${line}\n`).join('');
}
