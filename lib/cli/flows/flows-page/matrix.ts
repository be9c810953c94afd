/** The tab with the reachability matrix of now: which pod may open a port to which other. */
import type { ShownMatrix } from '../../../policy/evaluate/matrix-packed.ts';
import { find, findIn, withText } from '../../policy/matrix-page/elements.ts';
import { MatrixView } from '../../policy/matrix-page/view.ts';
import type { Api } from './api.ts';

export class MatrixTab {
  readonly #api: Api;
  #view: MatrixView | undefined;
  /** Of the matrix that is shown, and what it was asked by. */
  #version = 0;
  #asked = '';

  constructor(api: Api) {
    this.#api = api;
  }

  /** Shows what has changed since the last look. @throws ApiRefusal; the signal's reason */
  async look(filter: string, signal: AbortSignal): Promise<void> {
    const port = find<HTMLInputElement>('matrix-port').value;
    const asked = new URLSearchParams({ port, filter }).toString();
    if (asked !== this.#asked) this.#version = 0;
    this.#asked = asked;
    const shown = await this.#api.json<ShownMatrix | Pick<ShownMatrix, 'version'>>(
      `/flows/matrix?${asked}&known=${this.#version}`,
      signal,
    );
    if (!('matrix' in shown) || asked !== this.#asked) return;
    const { count, matrix, version } = shown;
    this.#version = version;
    if (this.#view) this.#view.show(matrix);
    else this.#view = new MatrixView(findIn('matrix-'), matrix);
    const { length } = matrix.pods;
    const text = length < count ? `${length} of ${count} pods: narrow the filter by ns: or pod: for others.` : '';
    withText(find('matrix-note'), text);
  }

  /** For other colours. */
  redraw(): void {
    this.#view?.redraw();
  }
}
