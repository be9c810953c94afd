/** The small map: a dot for each pair, and a frame around what the grid shows. */
import { classOf, type Verdicts } from './verdicts.ts';

/** The pods that the map shows; the frame is in columns and rows. */
export interface MapView {
  readonly verdicts: Verdicts;
  readonly rows: readonly number[];
  readonly columns: readonly number[];
  readonly frame: { readonly x: number; readonly y: number; readonly width: number; readonly height: number };
}

export class Overview {
  readonly #map: HTMLCanvasElement;
  /** The dots, which are painted anew only for other pods or other colours. */
  readonly #dots = document.createElement('canvas');
  #painted = '';
  #paintedOf: Verdicts | undefined;

  constructor(map: HTMLCanvasElement) {
    this.#map = map;
    this.#dots.width = this.#map.width;
    this.#dots.height = this.#map.height;
  }

  /** A canvas takes no variables of the style sheet, and computed ones are text: `light-dark(…)` is resolved as a colour only. */
  #colour(name: string): string {
    this.#map.style.color = `var(${name})`;
    return getComputedStyle(this.#map).color;
  }

  #scale({ rows, columns }: MapView): number {
    return Math.min(this.#map.width / (columns.length || 1), this.#map.height / (rows.length || 1));
  }

  #paint(scene: MapView): void {
    const { verdicts, rows, columns } = scene;
    const key = [rows.join(), columns.join(), this.#colour('--denied')].join(';');
    if (key === this.#painted && verdicts === this.#paintedOf) return;
    [this.#painted, this.#paintedOf] = [key, verdicts];
    const context = this.#dots.getContext('2d')!;
    context.clearRect(0, 0, this.#dots.width, this.#dots.height);
    const names = { allowed: '--allowed', denied: '--denied', partly: '--partly', absent: '--line' };
    const colours = new Map(Object.entries(names).map(([kind, name]) => [kind, this.#colour(name)]));
    const scale = this.#scale(scene);
    const gap = scale > 4 ? 1 : 0;
    const start = (i: number): number => Math.round(i * scale);
    const size = (i: number): number => Math.max(1, start(i + 1) - start(i) - gap);
    for (const [r, from] of rows.entries())
      for (const [c, to] of columns.entries()) {
        context.fillStyle = colours.get(classOf(verdicts.kind(from, to)))!;
        context.fillRect(start(c), start(r), size(c), size(r));
      }
  }

  draw(scene: MapView): void {
    this.#paint(scene);
    const { frame, rows, columns } = scene;
    const scale = this.#scale(scene);
    const context = this.#map.getContext('2d')!;
    context.clearRect(0, 0, this.#map.width, this.#map.height);
    context.globalAlpha = 0.6;
    context.drawImage(this.#dots, 0, 0);
    context.globalAlpha = 1;
    context.strokeStyle = this.#colour('--focus');
    context.lineWidth = 2;
    const width = Math.min(columns.length || 1, frame.width) * scale;
    const height = Math.min(rows.length || 1, frame.height) * scale;
    context.strokeRect(frame.x * scale + 1, frame.y * scale + 1, width - 2, height - 2);
  }

  /** Calls back with the row and column of a click. */
  onClick(scene: () => MapView, chosen: (row: number, column: number) => void): void {
    this.#map.addEventListener('click', ({ offsetX, offsetY }) => {
      const scale = this.#scale(scene());
      chosen(Math.floor(offsetY / scale), Math.floor(offsetX / scale));
    });
  }
}
