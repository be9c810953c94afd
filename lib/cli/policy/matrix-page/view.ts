/** The matrix in a page, or in a part of one: keys, pointer and searches act on the grid. */
import type { PackedMatrix } from '../../../policy/evaluate/matrix-packed.ts';
import type { Finder } from './elements.ts';
import { Grid } from './grid.ts';
import { Verdicts } from './verdicts.ts';

interface Cell {
  readonly element: HTMLElement;
  readonly row: number;
  readonly column: number;
}

function cellOf({ target }: Event): Cell | undefined {
  const element = target instanceof Element ? target.closest<HTMLElement>('.cell[data-row]') : null;
  return element
    ? { element, row: Number(element.dataset['row']), column: Number(element.dataset['column']) }
    : undefined;
}

export class MatrixView {
  readonly #find: Finder;
  readonly #grid: Grid;
  readonly #holder: HTMLElement;

  /** The elements of `Grid`, and the searches `from` and `to` with the choice `show` in a form. */
  constructor(find: Finder, data: PackedMatrix) {
    this.#find = find;
    this.#grid = new Grid(find, new Verdicts(data));
    this.#holder = find('grid');
    this.#installKeys();
    this.#installPointer();
    this.#installSearches();
    this.show(data);
  }

  /** Other verdicts: what is searched for and which pair is chosen stays. */
  show(data: PackedMatrix): void {
    this.#grid.judge(new Verdicts(data));
    const isStaged = data.families.some(({ staged }) => staged !== undefined);
    const show = this.#find<HTMLSelectElement>('show');
    for (const option of show.options) if (option.value === 'staged') option.hidden = !isStaged;
    if (!isStaged && show.value === 'staged') show.value = 'all';
    this.#filter();
  }

  /** For other colours. */
  redraw(): void {
    this.#grid.drawOverview();
  }

  #filter(): void {
    const [from, to, show] = ['from', 'to', 'show'].map(id => this.#find<HTMLInputElement>(id).value);
    this.#grid.filter({ from: from!, to: to!, show: show! });
  }

  #installKeys(): void {
    const grid = this.#grid;
    const keys: Readonly<Record<string, (event: KeyboardEvent) => void>> = {
      ArrowUp: () => grid.moveTo(grid.at.row - 1, grid.at.column),
      ArrowDown: () => grid.moveTo(grid.at.row + 1, grid.at.column),
      ArrowLeft: () => grid.moveTo(grid.at.row, grid.at.column - 1),
      ArrowRight: () => grid.moveTo(grid.at.row, grid.at.column + 1),
      PageUp: () => grid.moveTo(grid.at.row - grid.page, grid.at.column),
      PageDown: () => grid.moveTo(grid.at.row + grid.page, grid.at.column),
      Home: ({ ctrlKey }) => grid.moveTo(ctrlKey ? 0 : grid.at.row, 0),
      End: ({ ctrlKey }) => grid.moveTo(ctrlKey ? grid.size.rows - 1 : grid.at.row, grid.size.columns - 1),
      n: () => grid.seek(1),
      p: () => grid.seek(-1),
      s: () => grid.swap(),
    };
    this.#holder.addEventListener('keydown', event => {
      const act = keys[event.key];
      if (!act || event.altKey || event.metaKey) return;
      event.preventDefault();
      act(event);
    });
  }

  #installPointer(): void {
    const [holder, grid] = [this.#holder, this.#grid];
    holder.addEventListener('click', event => {
      const cell = cellOf(event);
      if (cell) grid.moveTo(cell.row, cell.column);
    });
    holder.addEventListener('mouseover', event => {
      const cell = cellOf(event);
      if (cell) cell.element.title = grid.title(cell);
      grid.tell(cell);
    });
    holder.addEventListener('mouseleave', () => grid.tell());
    let isWaiting = false;
    const scrolled = (): void => {
      if (isWaiting) return;
      isWaiting = true;
      requestAnimationFrame(() => {
        isWaiting = false;
        grid.draw(false);
        grid.drawOverview();
      });
    };
    holder.addEventListener('scroll', scrolled, { passive: true });
  }

  #installSearches(): void {
    addEventListener('resize', () => {
      this.#filter();
      this.#grid.moveTo(this.#grid.at.row, this.#grid.at.column);
    });
    const form = this.#find<HTMLSelectElement>('show').form!;
    form.addEventListener('input', () => this.#filter());
    form.addEventListener('change', () => this.#filter());
    form.addEventListener('submit', event => event.preventDefault());
    form.addEventListener('keydown', event => {
      if (event.key !== 'Escape' && event.key !== 'Enter') return;
      event.preventDefault();
      this.#holder.focus();
    });
  }

  search(): void {
    const from = this.#find<HTMLInputElement>('from');
    from.focus();
    from.select();
  }
}
