import type { LiveMessage } from '../../../flows/model.ts';
import type { PolicyReport } from '../../../flows/policy-report.ts';
import type { FilterHints, FlowGraph } from '../../../flows/sums.ts';
import { element, find, withText } from '../../policy/matrix-page/elements.ts';
import { installTheme } from '../../policy/matrix-page/theme.ts';
import { Api, ApiRefusal, takeToken } from './api.ts';
import { Detail } from './detail.ts';
import { drawMap } from './map.ts';
import { MatrixTab } from './matrix.ts';
import { PolicyTables } from './policies.ts';
import { MOST_ROWS, Rows } from './rows.ts';
import { FlowTable } from './table.ts';

const views = ['flows', 'map', 'matrix', 'policies'] as const;
type View = (typeof views)[number];

/** Milliseconds: after a key, before the agent is asked; between two looks at what is not live; before a lost agent is asked again. */
const TYPING = 300;
const LOOK = 5_000;
const AGAIN = 2_000;
const HOUR = 3600;

const api = new Api(takeToken());
const rows = new Rows();
const detail = new Detail(api);
const table = new FlowTable(rows, entry => detail.show(entry));
const policies = new PolicyTables(words => page.filterBy(words));
const matrix = new MatrixTab(api);
const filter = find<HTMLInputElement>('filter');

class Page {
  #view: View = 'flows';
  #isPaused = false;
  #following = new AbortController();
  /** Flows that came, or have changed, while the table was paused. */
  readonly #waiting = new Rows();
  #skipped = 0;
  #received = 0;

  status(text: string, isWrong = false): void {
    const line = find('status');
    line.classList.toggle('wrong', isWrong);
    withText(line, text);
  }

  #told(): void {
    const waiting = this.#waiting.size > 0 ? `, ${this.#waiting.size} more since the pause` : '';
    const skipped = this.#skipped > 0 ? `; ${this.#skipped} changes came too fast and were left out` : '';
    this.status(
      `${this.#isPaused ? 'Paused' : 'Live'}: ${rows.size} shown, ${this.#received} received${waiting}${skipped}`,
    );
  }

  #take({ entries, skipped }: LiveMessage): void {
    this.#received += entries.length;
    this.#skipped += skipped;
    (this.#isPaused ? this.#waiting : rows).take(entries);
    table.draw();
    this.#told();
  }

  /** The table from its beginning: another filter is another table, paused or not. */
  async #list(words: string, signal: AbortSignal): Promise<void> {
    const query = new URLSearchParams({ filter: words, last: String(MOST_ROWS) });
    rows.clear();
    this.#waiting.clear();
    this.#skipped = this.#received = 0;
    for await (const entries of api.lines(`/flows?${query}`, signal)) rows.take(entries);
    // The newest come last: what is drawn before would not stay.
    table.draw();
    this.#told();
  }

  /** From the beginning, with the filter of now; after an end of the agent's, again. */
  async follow(): Promise<void> {
    this.#following.abort();
    const following = new AbortController();
    this.#following = following;
    const { signal } = following;
    const words = filter.value;
    try {
      // What changes while the list comes is told after it.
      const live = await api.live(words, signal);
      await this.#list(words, signal);
      for await (const message of live) this.#take(message);
      throw new Error('the agent has ended');
    } catch (error) {
      if (signal.aborted) return;
      following.abort();
      this.status(error instanceof Error ? error.message : String(error), true);
      if (error instanceof ApiRefusal) return;
      await new Promise(done => setTimeout(done, AGAIN));
      if (this.#following === following) void this.follow();
    }
  }

  pause(isPaused = !this.#isPaused): void {
    this.#isPaused = isPaused;
    find('pause').setAttribute('aria-pressed', String(isPaused));
    withText(find('pause'), isPaused ? 'Go on' : 'Pause');
    if (!isPaused) {
      rows.take(this.#waiting.entries);
      this.#waiting.clear();
    }
    table.draw();
    this.#told();
  }

  show(view: View): void {
    this.#view = view;
    for (const each of views) {
      find(each).hidden = each !== view;
      find(`tab-${each}`).setAttribute('aria-selected', String(each === view));
    }
    if (view === 'flows') {
      table.draw();
      find('grid').focus();
    }
    void this.look();
  }

  /** Loads the parts of the page that are not live, where they are in sight. */
  async look(): Promise<void> {
    const since = String(Date.now() / 1000 - HOUR);
    try {
      if (this.#view === 'map') {
        const isAsked = find<HTMLInputElement>('collapsed').checked;
        const query = new URLSearchParams({ filter: filter.value, since, ...(isAsked ? { collapsed: '1' } : {}) });
        drawMap(await api.json<FlowGraph>(`/flows/graph?${query}`), isAsked);
      }
      if (this.#view === 'matrix') await matrix.look(filter.value);
      if (this.#view === 'policies') policies.draw(await api.json<PolicyReport>('/flows/policies'));
    } catch (error) {
      this.status(error instanceof Error ? error.message : String(error), true);
    }
  }

  /** Shows the flows that pass the filter. */
  filterBy(words: string): void {
    filter.value = words;
    void this.follow();
    this.show('flows');
  }

  async hint(): Promise<void> {
    const hints = await api.json<FilterHints>('/flows/hints').catch(() => undefined);
    if (!hints) return;
    const words = Object.entries(hints).flatMap(([kind, values]) =>
      (values as readonly string[]).map(value => `${kind}:${value}`),
    );
    const options = ['verdict:denied', 'verdict:allowed', ...words];
    const offer = (list: string, values: readonly string[]): void =>
      find(list).replaceChildren(...values.map(value => element('option', '', { value })));
    offer('hints', options);
    offer('ports', hints.port);
  }
}

const page = new Page();
let typing: ReturnType<typeof setTimeout> | undefined;
filter.addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    void page.follow();
    void page.look();
  }, TYPING);
});
for (const input of [filter, find('matrix-port')]) input.addEventListener('focus', () => void page.hint());
find('search').addEventListener('submit', event => event.preventDefault());
find('pause').addEventListener('click', () => page.pause());
for (const id of ['collapsed', 'matrix-port']) find(id).addEventListener('change', () => void page.look());
find('denied-first').addEventListener('change', event => {
  rows.reorder((event.target as HTMLInputElement).checked);
  table.draw();
});
for (const view of views) find(`tab-${view}`).addEventListener('click', () => page.show(view));

document.addEventListener('keydown', event => {
  if (event.key === 'Escape') detail.close();
  const target = event.target as HTMLElement;
  if (['INPUT', 'BUTTON'].includes(target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
  const view = views[Number(event.key) - 1];
  if (event.key === '/') filter.focus();
  else if (event.key === ' ') page.pause();
  else if (view) page.show(view);
  else return;
  event.preventDefault();
});

installTheme(() => matrix.redraw());
setInterval(() => void page.look(), LOOK);
find('grid').focus();
void page.follow();
