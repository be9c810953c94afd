/**
 * The grid of pairs. The document holds only the cells in sight and some around them: 40,000 would make it stutter.
 */
import { showDetail } from './detail.ts';
import { element, type Finder, named, property, withText } from './elements.ts';
import { type MapView, Overview } from './overview.ts';
import { classOf, type Outcome, type Verdicts } from './verdicts.ts';
import { clamp, type GridWindow, isWithin, widened } from './window.ts';

/** Rows and columns around what is in sight that are in the document too, so that not every step draws. */
const AROUND = 12;

const pixels = (name: string, at: Element): number => Number.parseFloat(property(name, at));

/** Whether a pair of this kind is what the choice of `show` asks for. */
const isShown = (show: string, kind: Outcome): boolean =>
  show === 'denied' ? kind !== 'allowed' && kind !== 'absent' : kind !== 'denied' && kind !== 'absent';

export interface GridQuery {
  readonly from: string;
  readonly to: string;
  /** `all`, `denied`, `allowed`, or `staged`: what staged policies would change. */
  readonly show: string;
}

export class Grid {
  #verdicts: Verdicts;
  readonly #grid: HTMLElement;
  readonly #space: HTMLElement;
  readonly #detail: HTMLElement;
  readonly #count: HTMLElement;
  readonly #overview: Overview;
  readonly #cell: number;
  readonly #heads: number;
  /** Width of the names, which is less on a narrow screen. */
  #names: number;
  /** Pods in sight, and the chosen pair as indexes into these. */
  #rows: readonly number[] = [];
  #columns: readonly number[] = [];
  #at = { row: 0, column: 0 };
  #drawn: GridWindow = { top: 0, bottom: 0, left: 0, right: 0 };
  /** Rows that are in the document, by number: they stay as long as the same columns do. */
  #lines = new Map<number, HTMLElement>();

  /** Elements: `grid` and its `space`, the `detail` of the chosen pair, the `count` of what is shown, the small `map`. */
  constructor(find: Finder, verdicts: Verdicts) {
    this.#verdicts = verdicts;
    this.#grid = find('grid');
    this.#space = find('space');
    const length = (name: string): number => pixels(name, this.#grid);
    [this.#cell, this.#heads, this.#names] = [length('--cell'), length('--heads'), length('--names')];
    this.#detail = find('detail');
    this.#count = find('count');
    this.#overview = new Overview(find<HTMLCanvasElement>('map'));
    this.#overview.onClick(
      () => this.#scene(),
      (row, column) => this.moveTo(row, column),
    );
  }

  get at(): { readonly row: number; readonly column: number } {
    return this.#at;
  }

  get size(): { readonly rows: number; readonly columns: number } {
    return { rows: this.#rows.length, columns: this.#columns.length };
  }

  /** Rows that fit the screen, less one. */
  get page(): number {
    return Math.max(1, Math.floor((this.#grid.clientHeight - this.#heads) / this.#cell) - 1);
  }

  /** Takes other verdicts over; the chosen pair stays where both pods are still there. `filter` shows them. */
  judge(verdicts: Verdicts): void {
    const again = (pod: number | undefined): number =>
      pod === undefined ? -1 : verdicts.named(this.#verdicts.name(pod));
    const { from, to } = this.#chosen();
    [this.#rows, this.#columns] = [[again(from)], [again(to)]];
    this.#at = { row: 0, column: 0 };
    this.#verdicts = verdicts;
  }

  /** Takes over what is searched for and shown. */
  filter(query: GridQuery): void {
    this.#names = pixels('--names', this.#grid);
    const { from, to } = this.#chosen();
    let rows = this.#verdicts.matching(query.from);
    let columns = this.#verdicts.matching(query.to);
    if (query.show !== 'all') {
      const isWanted = (row: number, column: number): boolean =>
        query.show === 'staged'
          ? this.#verdicts.moved(row, column).length > 0
          : isShown(query.show, this.#verdicts.kind(row, column));
      const all = { rows, columns };
      rows = all.rows.filter(row => all.columns.some(column => isWanted(row, column)));
      columns = all.columns.filter(column => all.rows.some(row => isWanted(row, column)));
    }
    [this.#rows, this.#columns] = [rows, columns];
    this.#at = { row: Math.max(0, rows.indexOf(from ?? -1)), column: Math.max(0, columns.indexOf(to ?? -1)) };
    this.#count.textContent = this.#countText();
    this.#grid.setAttribute('aria-rowcount', String(rows.length + 1));
    this.#grid.setAttribute('aria-colcount', String(columns.length + 1));
    this.#space.style.height = `${this.#heads + rows.length * this.#cell}px`;
    this.#space.style.width = `${this.#names + columns.length * this.#cell + 90}px`;
    this.draw(true);
    this.tell();
  }

  #countText(): string {
    if (this.#rows.length === 0 || this.#columns.length === 0) return 'No pod matches.';
    let [allowed, denied] = [0, 0];
    for (const from of this.#rows)
      for (const to of this.#columns) {
        const kind = this.#verdicts.kind(from, to);
        if (kind === 'denied') denied++;
        else if (kind !== 'absent') allowed++;
      }
    return `${this.#rows.length} × ${this.#columns.length} pods: ${allowed} pairs allowed, ${denied} denied`;
  }

  #chosen(): { readonly from: number | undefined; readonly to: number | undefined } {
    return { from: this.#rows[this.#at.row], to: this.#columns[this.#at.column] };
  }

  /** Shows a pair in the panel: that of the cell, or the chosen one. */
  tell(cell?: { readonly row: number; readonly column: number }): void {
    const { row, column } = cell ?? this.#at;
    showDetail(this.#detail, this.#verdicts, this.#rows[row], this.#columns[column]);
  }

  /** `a → b: denied`, and why. */
  title({ row, column }: { readonly row: number; readonly column: number }): string {
    const [from, to] = [this.#rows[row]!, this.#columns[column]!];
    const verdicts = this.#verdicts;
    const ends = `${verdicts.name(from)} → ${verdicts.name(to)}`;
    return `${ends}: ${verdicts.outcome(from, to)}\n${verdicts.reason(from, to)}`;
  }

  #inSight(): GridWindow {
    const { scrollTop, scrollLeft, clientHeight, clientWidth } = this.#grid;
    const [rows, columns] = [this.#rows.length, this.#columns.length];
    return {
      top: clamp(Math.floor(scrollTop / this.#cell), rows),
      bottom: clamp(Math.ceil((scrollTop + clientHeight - this.#heads) / this.#cell), rows),
      left: clamp(Math.floor(scrollLeft / this.#cell), columns),
      right: clamp(Math.ceil((scrollLeft + clientWidth - this.#names) / this.#cell), columns),
    };
  }

  #header({ left, right }: GridWindow): HTMLElement {
    const row = element('div', 'row head', { role: 'row', 'aria-rowindex': 1 });
    const corner = element('div', 'corner', { role: 'columnheader', 'aria-colindex': 1 });
    corner.append(withText(element('span'), 'from ↓'), withText(element('span'), 'to →'));
    row.append(corner);
    for (let c = left; c < right; c++) {
      const attributes = { role: 'columnheader', 'aria-colindex': c + 2, 'data-column': c };
      const column = element('div', c === this.#at.column ? 'column at' : 'column', attributes);
      const name = this.#verdicts.name(this.#columns[c]!);
      column.style.left = `${this.#names + c * this.#cell}px`;
      column.title = name;
      column.append(named(element('span'), name));
      row.append(column);
    }
    return row;
  }

  #line(r: number, { left, right }: GridWindow): HTMLElement {
    const from = this.#rows[r]!;
    const row = element('div', 'row', { role: 'row', 'aria-rowindex': r + 2 });
    row.style.top = `${this.#heads + r * this.#cell}px`;
    const attributes = { role: 'rowheader', 'aria-colindex': 1, 'data-row': r };
    const name = element('div', r === this.#at.row ? 'name at' : 'name', attributes);
    name.title = this.#verdicts.name(from);
    row.append(named(name, this.#verdicts.name(from)));
    for (let c = left; c < right; c++) row.append(this.#pairCell(r, c));
    return row;
  }

  #pairCell(r: number, c: number): HTMLElement {
    const [from, to] = [this.#rows[r]!, this.#columns[c]!];
    const kind = this.#verdicts.kind(from, to);
    const cell = element('div', `cell ${classOf(kind)}`, {
      ...{ role: 'gridcell', id: `cell-${r}-${c}`, 'aria-colindex': c + 2, 'data-row': r, 'data-column': c },
      'aria-label': this.#verdicts.label(from, to),
    });
    if (classOf(kind) === 'partly') cell.dataset['sign'] = kind;
    cell.style.left = `${this.#names + c * this.#cell + 1}px`;
    if (r === this.#at.row && c === this.#at.column) cell.classList.add('active');
    return cell;
  }

  /** @param always also where all that is in sight is in the document already */
  draw(always: boolean): void {
    const sight = this.#inSight();
    if (!always && isWithin(sight, this.#drawn)) return;
    const next = widened(sight, AROUND, this.#rows.length, this.#columns.length);
    const isKept = !always && next.left === this.#drawn.left && next.right === this.#drawn.right;
    const before = isKept ? this.#lines : new Map<number, HTMLElement>();
    const head = isKept ? this.#space.firstElementChild! : this.#header(next);
    this.#drawn = next;
    this.#lines = new Map();
    for (let r = next.top; r < next.bottom; r++) this.#lines.set(r, before.get(r) ?? this.#line(r, next));
    this.#space.replaceChildren(head, ...this.#lines.values());
    this.#announce();
    this.drawOverview();
  }

  #scene(): MapView {
    const { scrollTop, scrollLeft, clientHeight, clientWidth } = this.#grid;
    const frame = {
      x: scrollLeft / this.#cell,
      y: scrollTop / this.#cell,
      width: (clientWidth - this.#names) / this.#cell,
      height: (clientHeight - this.#heads) / this.#cell,
    };
    return { verdicts: this.#verdicts, rows: this.#rows, columns: this.#columns, frame };
  }

  drawOverview(): void {
    this.#overview.draw(this.#scene());
  }

  #activeCell(): HTMLElement | null {
    return document.getElementById(`cell-${this.#at.row}-${this.#at.column}`);
  }

  /** Tells a screen reader the chosen cell, with its reason. */
  #announce(): void {
    const cell = this.#activeCell();
    const { from, to } = this.#chosen();
    this.#grid.removeAttribute('aria-activedescendant');
    if (!cell || from === undefined || to === undefined) return;
    cell.setAttribute('aria-label', `${this.#verdicts.label(from, to)}. ${this.#verdicts.reason(from, to)}`);
    cell.setAttribute('aria-selected', 'true');
    this.#grid.setAttribute('aria-activedescendant', cell.id);
  }

  #mark(isOn: boolean): void {
    const cell = this.#activeCell();
    cell?.classList.toggle('active', isOn);
    cell?.removeAttribute('aria-selected');
    const heads = [`.name[data-row="${this.#at.row}"]`, `.column[data-column="${this.#at.column}"]`];
    for (const head of heads) this.#space.querySelector(head)?.classList.toggle('at', isOn);
  }

  /** Chooses the pair and scrolls to it. */
  moveTo(row: number, column: number): void {
    const { rows, columns } = this.size;
    if (rows === 0 || columns === 0) return;
    this.#mark(false);
    this.#at = { row: clamp(row, rows - 1), column: clamp(column, columns - 1) };
    const [x, y] = [this.#at.column * this.#cell, this.#at.row * this.#cell];
    const width = this.#grid.clientWidth - this.#names - 4 * this.#cell;
    const height = this.#grid.clientHeight - this.#heads - this.#cell;
    if (x < this.#grid.scrollLeft) this.#grid.scrollLeft = x;
    else if (x > this.#grid.scrollLeft + width) this.#grid.scrollLeft = x - width;
    if (y < this.#grid.scrollTop) this.#grid.scrollTop = y;
    else if (y > this.#grid.scrollTop + height) this.#grid.scrollTop = y - height;
    this.draw(false);
    this.#mark(true);
    this.#announce();
    this.drawOverview();
    this.tell();
  }

  /** Chooses the next denial in reading order, in either sense, round the end. */
  seek(step: 1 | -1): void {
    const { rows, columns } = this.size;
    const count = rows * columns;
    let place = this.#at.row * columns + this.#at.column;
    for (let i = 0; i < count; i++) {
      place = (place + step + count) % count;
      const [row, column] = [Math.floor(place / columns), place % columns];
      if (this.#verdicts.kind(this.#rows[row]!, this.#columns[column]!) !== 'denied') continue;
      this.moveTo(row, column);
      return;
    }
  }

  /** Chooses the same two pods, the other way round. */
  swap(): void {
    const { from, to } = this.#chosen();
    const [row, column] = [this.#rows.indexOf(to ?? -1), this.#columns.indexOf(from ?? -1)];
    if (row >= 0 && column >= 0) this.moveTo(row, column);
  }
}
