/** The matrix page: keys, pointer and searches act on the grid. */
import type { PageData } from './data.ts';
import { find } from './elements.ts';
import { Grid } from './grid.ts';
import { installTheme } from './theme.ts';
import { Verdicts } from './verdicts.ts';

const data = JSON.parse(find('data').textContent ?? '') as PageData;
const grid = new Grid(new Verdicts(data));
const holder = find('grid');

function installKeys(): void {
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
  holder.addEventListener('keydown', event => {
    const act = keys[event.key];
    if (!act || event.altKey || event.metaKey) return;
    event.preventDefault();
    act(event);
  });
  document.addEventListener('keydown', event => {
    const isTyping = event.target instanceof Element && event.target.matches('input, select');
    if (event.key === '/' && !isTyping) {
      event.preventDefault();
      find<HTMLInputElement>('from').focus();
      find<HTMLInputElement>('from').select();
    } else if ((event.key === 'Escape' || event.key === 'Enter') && isTyping) {
      event.preventDefault();
      holder.focus();
    }
  });
}

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

function installPointer(): void {
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
}

function filter(): void {
  const [from, to, show] = ['from', 'to', 'show'].map(id => find<HTMLInputElement | HTMLSelectElement>(id).value);
  grid.filter({ from: from!, to: to!, show: show! });
}

function installView(): void {
  let isWaiting = false;
  holder.addEventListener(
    'scroll',
    () => {
      if (isWaiting) return;
      isWaiting = true;
      requestAnimationFrame(() => {
        isWaiting = false;
        grid.draw(false);
        grid.drawOverview();
      });
    },
    { passive: true },
  );
  addEventListener('resize', () => {
    filter();
    grid.moveTo(grid.at.row, grid.at.column);
  });
  for (const id of ['from', 'to']) find(id).addEventListener('input', filter);
  find('show').addEventListener('change', filter);
  document.forms[0]!.addEventListener('submit', event => event.preventDefault());
}

const service = `${data.port}/${data.protocol}`;
document.title = `Who may open ${service} to whom`;
find('port').textContent = service;
if (data.families.every(({ staged }) => !staged)) document.querySelector('option[value=staged]')?.remove();
installKeys();
installPointer();
installView();
installTheme(() => grid.drawOverview());
filter();
