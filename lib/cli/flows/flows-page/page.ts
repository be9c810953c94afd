import type { LiveMessage } from '../../../flows/model.ts';
import type { PolicyReport } from '../../../flows/policy-report.ts';
import type { FilterHints, FlowGraph } from '../../../flows/sums.ts';
import { element, find, withText } from '../../policy/matrix-page/elements.ts';
import { installTheme } from '../../policy/matrix-page/theme.ts';
import { Api, ApiRefusal, takeToken } from './api.ts';
import { BackOff } from './back-off.ts';
import { Detail } from './detail.ts';
import { drawMap } from './map.ts';
import { MatrixTab } from './matrix.ts';
import { PolicyTables } from './policies.ts';
import { MOST_ROWS, Rows } from './rows.ts';
import { FlowTable } from './table.ts';
import { clock } from './words.ts';

const views = ['flows', 'map', 'matrix', 'policies'] as const;
type View = (typeof views)[number];

/** Milliseconds: after a key, before the agent is asked; between two looks at what is not live; for which hints are of use. */
const TYPING = 300;
const LOOK = 5_000;
const HINT = 5_000;
const HOUR = 3600;

const api = new Api(takeToken(), why => page.status(`${why}. It is asked again and again.`, true));
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
  #looking: AbortController | undefined;
  /** Flows that came, or have changed, while the table was paused. */
  readonly #waiting = new Rows();
  #skipped = 0;
  #received = 0;
  /** The filter and the record that the table is of, and whether all that has been is in it. */
  #words: string | undefined;
  #record = 0;
  #isWhole = false;
  #isAnew = false;

  status(text: string, isWrong = false): void {
    const line = find('status');
    line.classList.toggle('wrong', isWrong);
    withText(line, text);
  }

  #told(): void {
    const parts = [
      `${this.#isPaused ? 'Paused' : 'Live'}: ${rows.size} shown, ${this.#received} received`,
      ...(this.#waiting.size > 0 ? [`, ${this.#waiting.size} more since the pause`] : []),
      ...(this.#skipped > 0 ? [`; ${this.#skipped} changes came too fast and were left out`] : []),
      ...(this.#isAnew ? [`; the agent has begun anew, what was before ${clock(this.#record)} is not here`] : []),
    ];
    this.status(parts.join(''));
  }

  /** Rows stay where the agent was only out of reach: what has been since comes to them. */
  #begin(words: string, record: number): void {
    const isOther = this.#record !== 0 && record !== this.#record;
    if (words === this.#words && !isOther) return;
    this.#isAnew ||= isOther;
    [this.#words, this.#record, this.#isWhole] = [words, record, false];
    rows.clear();
    this.#waiting.clear();
    this.#skipped = this.#received = 0;
    detail.of(record);
  }

  #take({ entries, skipped, since, isPast }: LiveMessage): void {
    this.#isWhole ||= since === undefined && !isPast;
    if (!isPast) this.#received += entries.length;
    this.#skipped += skipped;
    // Another filter is another table, paused or not.
    if (this.#isPaused && this.#isWhole)
      this.#waiting.take(isPast ? entries.filter(each => !rows.holds(each)) : entries);
    else rows.take(entries);
    table.draw();
    this.#told();
  }

  /** With the filter of now, until there is another one; after the agent's end with the next agent. */
  async follow(): Promise<void> {
    this.#following.abort();
    this.#following = new AbortController();
    const { signal } = this.#following;
    const words = filter.value;
    try {
      for (const backOff = new BackOff(); ; await backOff.rest(signal)) await this.#followOnce(words, signal);
    } catch (error) {
      if (!signal.aborted) this.status(error instanceof Error ? error.message : String(error), true);
    }
  }

  /** Until the answer ends. @throws ApiRefusal; the signal's reason */
  async #followOnce(words: string, signal: AbortSignal): Promise<void> {
    try {
      for await (const message of api.live(words, MOST_ROWS, signal)) {
        if (message.since !== undefined) this.#begin(words, message.since);
        this.#take(message);
      }
    } catch (error) {
      if (signal.aborted || error instanceof ApiRefusal) throw error;
    }
    this.status('Cut off from the agent. It is asked again and again.', true);
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
    this.#looking?.abort();
    const looking = new AbortController();
    this.#looking = looking;
    try {
      await this.#lookAt(this.#view, looking.signal);
    } catch (error) {
      if (!looking.signal.aborted) this.status(error instanceof Error ? error.message : String(error), true);
    }
    if (this.#looking === looking) this.#looking = undefined;
  }

  /** Unless a look is under way. */
  async lookAgain(): Promise<void> {
    if (!this.#looking) await this.look();
  }

  async #lookAt(view: View, signal: AbortSignal): Promise<void> {
    if (view === 'map') {
      const since = String(Date.now() / 1000 - HOUR);
      const isAsked = find<HTMLInputElement>('collapsed').checked;
      const query = new URLSearchParams({ filter: filter.value, since, ...(isAsked ? { collapsed: '1' } : {}) });
      drawMap(await api.json<FlowGraph>(`/flows/graph?${query}`, signal), isAsked);
    }
    if (view === 'matrix') await matrix.look(filter.value, signal);
    if (view === 'policies') policies.draw(await api.json<PolicyReport>('/flows/policies', signal));
  }

  /** Shows the flows that pass the filter. */
  filterBy(words: string): void {
    filter.value = words;
    void this.follow();
    this.show('flows');
  }

  async hint(): Promise<void> {
    const hints = await api.json<FilterHints>('/flows/hints', AbortSignal.timeout(HINT)).catch(() => undefined);
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
setInterval(() => void page.lookAgain(), LOOK);
find('grid').focus();
void page.follow();
