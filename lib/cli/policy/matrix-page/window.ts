/** A rectangle of the grid, in rows and columns; `bottom` and `right` are exclusive. */
export interface GridWindow {
  readonly top: number;
  readonly bottom: number;
  readonly left: number;
  readonly right: number;
}

export const isWithin = (a: GridWindow, b: GridWindow): boolean =>
  a.top >= b.top && a.bottom <= b.bottom && a.left >= b.left && a.right <= b.right;

/** The span with so many rows and columns more on each side, as far as there are any. */
export const widened = (
  { top, bottom, left, right }: GridWindow,
  by: number,
  rows: number,
  columns: number,
): GridWindow => ({
  top: Math.max(0, top - by),
  bottom: Math.min(rows, bottom + by),
  left: Math.max(0, left - by),
  right: Math.min(columns, right + by),
});

export const clamp = (value: number, most: number): number => Math.max(0, Math.min(most, value));
