/** The table of flows: 10,000 rows, of which those in sight are elements. An element is made once, and then only moved. */
import type { Entry } from '../../../flows/model.ts';
import { element, find, withText } from '../../policy/matrix-page/elements.ts';
import { keyOf, type Row, type RowKey, type Rows } from './rows.ts';
import { byText, bytesText, clock, noteText, stagedText, targetText } from './words.ts';

/** Rows beyond the edges that are drawn as well. */
const MARGIN = 5;

function drawn(entry: Entry): HTMLElement {
  if (entry.kind !== 'flow') return withText(element('div', 'row note', { role: 'row' }), noteText(entry));
  const { staged } = entry;
  const made = element('div', `row ${entry.verdict}${staged ? ' staged' : ''}`, { role: 'row' });
  const cell = (name: string, text: string): void =>
    made.append(withText(element('span', name, { role: 'gridcell' }), text));
  cell('time', clock(entry.time));
  cell(`verdict ${entry.verdict}`, entry.verdict);
  cell('from', entry.from.name);
  cell('to', targetText(entry));
  cell(staged ? 'by would' : 'by', staged ? `${stagedText(staged)}; ${byText(entry)}` : byText(entry));
  cell('bytes', bytesText(entry));
  return made;
}

/** A row in the document, and what it says. */
interface DrawnRow {
  readonly entry: Entry;
  readonly element: HTMLElement;
  at: number;
}

export class FlowTable {
  readonly #grid = find('grid');
  readonly #space = find('space');
  readonly #rows: Rows;
  readonly #open: (entry: Entry) => void;
  #drawn: ReadonlyMap<Row, DrawnRow> = new Map();
  #isDue = false;
  /** The entry that is chosen: it keeps its row while others come. */
  #chosen: RowKey | undefined;
  #marked: HTMLElement | undefined;
  /** Of a row, in pixels. */
  #height = 0;

  constructor(rows: Rows, open: (entry: Entry) => void) {
    this.#rows = rows;
    this.#open = open;
    this.#grid.addEventListener('scroll', () => this.draw());
    this.#grid.addEventListener('keydown', event => this.#press(event));
    this.#grid.addEventListener('click', event => this.#click(event));
    // A cell may be too narrow for what it says.
    this.#grid.addEventListener('mouseover', ({ target }) => {
      if (target instanceof HTMLSpanElement) target.title = target.textContent;
    });
    addEventListener('resize', () => this.#measure());
    this.#measure();
  }

  /** Rows are higher where the page is narrow. */
  #measure(): void {
    this.#height = Number.parseFloat(getComputedStyle(document.documentElement).getPropertyValue('--row'));
    this.#drawn = new Map();
    this.draw();
  }

  /** Soon, and once for all that comes until then. */
  draw(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      this.#drawNow();
    });
  }

  #drawNow(): void {
    const { size } = this.#rows;
    const { scrollTop, clientHeight } = this.#grid;
    const first = Math.max(0, Math.floor(scrollTop / this.#height) - MARGIN);
    const last = Math.min(size, Math.ceil((scrollTop + clientHeight) / this.#height) + MARGIN);
    this.#space.style.height = `${size * this.#height}px`;
    this.#grid.setAttribute('aria-rowcount', String(size));
    const before = this.#drawn;
    const now = new Map<Row, DrawnRow>();
    for (let at = first; at < last; at++) {
      const row = this.#rows.at(at)!;
      now.set(row, this.#placed(at, row.entry, before.get(row)));
    }
    this.#drawn = now;
    this.#hang([...now.values()].map(({ element: each }) => each));
    this.#markChosen();
    find('empty').hidden = size > 0;
  }

  /** In its place; as it was, where it says what it said. */
  #placed(at: number, entry: Entry, before: DrawnRow | undefined): DrawnRow {
    const isAsBefore = before?.entry === entry;
    if (isAsBefore && before.at === at) return before;
    const row = isAsBefore ? before : { entry, element: drawn(entry), at };
    row.at = at;
    row.element.style.top = `${at * this.#height}px`;
    row.element.setAttribute('aria-rowindex', String(at + 1));
    return row;
  }

  /** Makes these the elements of the table, in this order; what is there already is not touched. */
  #hang(elements: readonly HTMLElement[]): void {
    const wanted = new Set<Element>(elements);
    for (const each of [...this.#space.children]) if (!wanted.has(each)) each.remove();
    let next = this.#space.firstElementChild;
    for (const each of elements)
      if (each === next) next = next.nextElementSibling;
      else this.#space.insertBefore(each, next);
  }

  get #chosenRow(): Row | undefined {
    return this.#chosen === undefined ? undefined : this.#rows.get(this.#chosen);
  }

  #markChosen(): void {
    const row = this.#chosenRow;
    const chosen = row && this.#drawn.get(row)?.element;
    if (chosen === this.#marked) return;
    this.#marked?.classList.remove('chosen');
    for (const name of ['id', 'aria-selected']) this.#marked?.removeAttribute(name);
    this.#grid.removeAttribute('aria-activedescendant');
    this.#marked = chosen;
    if (!chosen) return;
    chosen.classList.add('chosen');
    chosen.id = 'chosen';
    chosen.setAttribute('aria-selected', 'true');
    this.#grid.setAttribute('aria-activedescendant', 'chosen');
  }

  #choose(index: number): void {
    const at = Math.max(0, Math.min(index, this.#rows.size - 1));
    const row = this.#rows.at(at);
    if (!row) return;
    this.#chosen = keyOf(row.entry);
    const [top, height] = [at * this.#height, this.#height];
    if (top < this.#grid.scrollTop) this.#grid.scrollTop = top;
    const beyond = top + height - this.#grid.scrollTop - this.#grid.clientHeight;
    if (beyond > 0) this.#grid.scrollTop += beyond;
    this.draw();
  }

  #press(event: KeyboardEvent): void {
    const chosen = this.#chosenRow;
    const at = chosen ? this.#rows.indexOf(chosen) : -1;
    const page = Math.floor(this.#grid.clientHeight / this.#height) - 1;
    const targets: Readonly<Record<string, number>> = {
      ArrowDown: at + 1,
      ArrowUp: Math.max(at - 1, 0),
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: this.#rows.size - 1,
    };
    const target = targets[event.key];
    if (target !== undefined) this.#choose(target);
    else if (event.key === 'Enter' && chosen) this.#open(chosen.entry);
    else return;
    event.preventDefault();
  }

  #click({ target }: Event): void {
    const clicked = (target as HTMLElement).closest('.row');
    for (const [row, { element: each }] of this.#drawn) {
      if (each !== clicked || this.#rows.get(keyOf(row.entry)) !== row) continue;
      this.#choose(this.#rows.indexOf(row));
      this.#open(row.entry);
    }
  }
}
