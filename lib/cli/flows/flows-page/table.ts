/** The table of flows: 10,000 rows, of which those in sight are elements. */
import type { Entry } from '../../../flows/model.ts';
import { element, find, withText } from '../../policy/matrix-page/elements.ts';
import type { Rows } from './rows.ts';
import { byText, bytesText, clock, noteText, stagedText, targetText } from './words.ts';

/** Rows beyond the edges that are drawn as well. */
const MARGIN = 5;

const keyOf = (entry: Entry): string => (entry.kind === 'flow' ? String(entry.id) : `${entry.kind} ${entry.time}`);

function rowOf(entry: Entry): HTMLElement {
  if (entry.kind !== 'flow') return withText(element('div', 'row note', { role: 'row' }), noteText(entry));
  const { staged } = entry;
  const row = element('div', `row ${entry.verdict}${staged ? ' staged' : ''}`, { role: 'row' });
  const cell = (name: string, text: string): void => {
    const made = withText(element('span', name, { role: 'gridcell' }), text);
    made.title = text;
    row.append(made);
  };
  cell('time', clock(entry.time));
  cell(`verdict ${entry.verdict}`, entry.verdict);
  cell('from', entry.from.name);
  cell('to', targetText(entry));
  cell(staged ? 'by would' : 'by', staged ? `${stagedText(staged)}; ${byText(entry)}` : byText(entry));
  cell('bytes', bytesText(entry));
  return row;
}

export class FlowTable {
  readonly #grid = find('grid');
  readonly #space = find('space');
  readonly #rows: Rows;
  readonly #open: (entry: Entry) => void;
  #isDue = false;
  /** Key of the entry that is chosen: it keeps its row while others come. */
  #chosen: string | undefined;

  constructor(rows: Rows, open: (entry: Entry) => void) {
    this.#rows = rows;
    this.#open = open;
    this.#grid.addEventListener('scroll', () => this.draw());
    this.#grid.addEventListener('keydown', event => this.#press(event));
    this.#grid.addEventListener('click', event => this.#click(event));
    addEventListener('resize', () => this.draw());
  }

  get #height(): number {
    return Number.parseFloat(getComputedStyle(document.documentElement).getPropertyValue('--row'));
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
    const { view } = this.#rows;
    const height = this.#height;
    const { scrollTop, clientHeight } = this.#grid;
    const first = Math.max(0, Math.floor(scrollTop / height) - MARGIN);
    const last = Math.min(view.length, Math.ceil((scrollTop + clientHeight) / height) + MARGIN);
    this.#space.style.height = `${view.length * height}px`;
    this.#grid.setAttribute('aria-rowcount', String(view.length));
    const drawn: HTMLElement[] = [];
    for (let i = first; i < last; i++) {
      const entry = view[i]!;
      const row = rowOf(entry);
      row.style.top = `${i * height}px`;
      row.setAttribute('aria-rowindex', String(i + 1));
      row.dataset['at'] = String(i);
      if (keyOf(entry) === this.#chosen) {
        row.classList.add('chosen');
        row.id = 'chosen';
        row.setAttribute('aria-selected', 'true');
      }
      drawn.push(row);
    }
    this.#space.replaceChildren(...drawn);
    this.#grid.toggleAttribute('aria-activedescendant', false);
    if (this.#chosen !== undefined) this.#grid.setAttribute('aria-activedescendant', 'chosen');
    find('empty').hidden = view.length > 0;
  }

  #indexOfChosen(): number {
    return this.#rows.view.findIndex(entry => keyOf(entry) === this.#chosen);
  }

  #choose(index: number): void {
    const { view } = this.#rows;
    const entry = view[Math.max(0, Math.min(index, view.length - 1))];
    if (!entry) return;
    this.#chosen = keyOf(entry);
    const [top, height] = [view.indexOf(entry) * this.#height, this.#height];
    if (top < this.#grid.scrollTop) this.#grid.scrollTop = top;
    const beyond = top + height - this.#grid.scrollTop - this.#grid.clientHeight;
    if (beyond > 0) this.#grid.scrollTop += beyond;
    this.draw();
  }

  #press(event: KeyboardEvent): void {
    const at = this.#indexOfChosen();
    const page = Math.floor(this.#grid.clientHeight / this.#height) - 1;
    const targets: Readonly<Record<string, number>> = {
      ArrowDown: at + 1,
      ArrowUp: Math.max(at - 1, 0),
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: this.#rows.view.length - 1,
    };
    const target = targets[event.key];
    if (target !== undefined) this.#choose(target);
    else if (event.key === 'Enter' && at >= 0) this.#open(this.#rows.view[at]!);
    else return;
    event.preventDefault();
  }

  #click(event: Event): void {
    const row = (event.target as HTMLElement).closest<HTMLElement>('.row');
    if (!row) return;
    const at = Number(row.dataset['at']);
    const entry = this.#rows.view[at];
    if (!entry) return;
    this.#choose(at);
    this.#open(entry);
  }
}
