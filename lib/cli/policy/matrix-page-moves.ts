/** The second half of the page's script: the small map, keys, pointer, colours. */
export const moves = `
/** Everything at once, a dot for each pair, with a frame around what is in sight. */
let picture;
function drawMap() {
  const context = map.getContext('2d');
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const [high, wide] = [rows.length || 1, columns.length || 1];
  const scale = Math.min(map.width / wide, map.height / high);
  const key = [rows.join(), columns.join(), colour('--denied')].join(';');
  if (picture?.key !== key) {
    picture = { key, canvas: Object.assign(document.createElement('canvas'), { width: map.width, height: map.height }) };
    const dots = picture.canvas.getContext('2d');
    const colours = { allowed: colour('--allowed'), denied: colour('--denied'), partly: colour('--partly'), absent: colour('--line') };
    const gap = scale > 4 ? 1 : 0;
    for (let r = 0; r < rows.length; r++) for (let c = 0; c < columns.length; c++) {
      dots.fillStyle = colours[classOf(kinds[rows[r]][columns[c]])];
      const [x, y] = [Math.round(c * scale), Math.round(r * scale)];
      dots.fillRect(x, y, Math.max(1, Math.round((c + 1) * scale) - x - gap), Math.max(1, Math.round((r + 1) * scale) - y - gap));
    }
  }
  context.clearRect(0, 0, map.width, map.height);
  context.globalAlpha = 0.6;
  context.drawImage(picture.canvas, 0, 0);
  context.globalAlpha = 1;
  context.strokeStyle = colour('--focus');
  context.lineWidth = 2;
  context.strokeRect(
    (grid.scrollLeft / CELL) * scale + 1, (grid.scrollTop / CELL) * scale + 1,
    Math.min(wide, (grid.clientWidth - NAMES) / CELL) * scale - 2, Math.min(high, (grid.clientHeight - HEADS) / CELL) * scale - 2);
}

/** The next denial in reading order, in either sense, round the end. */
function seek(step) {
  const count = rows.length * columns.length;
  let place = at.row * columns.length + at.column;
  for (let i = 0; i < count; i++) {
    place = (place + step + count) % count;
    const row = Math.floor(place / columns.length), column = place % columns.length;
    if (kinds[rows[row]][columns[column]] === 'denied') return moveTo(row, column);
  }
}

/** The same two pods, the other way round. */
function swap() {
  const [row, column] = [rows.indexOf(columns[at.column]), columns.indexOf(rows[at.row])];
  if (row >= 0 && column >= 0) moveTo(row, column);
}

const page = () => Math.max(1, Math.floor((grid.clientHeight - HEADS) / CELL) - 1);
const keys = {
  ArrowUp: () => moveTo(at.row - 1, at.column),
  ArrowDown: () => moveTo(at.row + 1, at.column),
  ArrowLeft: () => moveTo(at.row, at.column - 1),
  ArrowRight: () => moveTo(at.row, at.column + 1),
  PageUp: () => moveTo(at.row - page(), at.column),
  PageDown: () => moveTo(at.row + page(), at.column),
  Home: event => moveTo(event.ctrlKey ? 0 : at.row, 0),
  End: event => moveTo(event.ctrlKey ? rows.length - 1 : at.row, columns.length - 1),
  n: () => seek(1),
  p: () => seek(-1),
  s: swap,
};
grid.addEventListener('keydown', event => {
  const act = keys[event.key];
  if (!act || event.altKey || event.metaKey) return;
  event.preventDefault();
  act(event);
});
document.addEventListener('keydown', event => {
  const isTyping = event.target.matches('input, select');
  if (event.key === '/' && !isTyping) {
    event.preventDefault();
    find('from').focus();
    find('from').select();
  } else if ((event.key === 'Escape' || event.key === 'Enter') && isTyping) {
    event.preventDefault();
    grid.focus();
  }
});

const cellAt = event => event.target.closest('.cell[data-row]');
grid.addEventListener('click', event => {
  const cell = cellAt(event);
  if (cell) moveTo(Number(cell.dataset.row), Number(cell.dataset.column));
});
grid.addEventListener('mouseover', event => {
  const cell = cellAt(event);
  if (!cell) return tell(rows[at.row], columns[at.column]);
  const [from, to] = [rows[cell.dataset.row], columns[cell.dataset.column]];
  cell.title = data.pods[from].name + ' → ' + data.pods[to].name + ': ' + said(from, to) + String.fromCharCode(10) + reason(from, to);
  tell(from, to);
});
grid.addEventListener('mouseleave', () => tell(rows[at.row], columns[at.column]));
map.addEventListener('click', event => {
  const scale = Math.min(180 / columns.length, 180 / rows.length);
  moveTo(Math.floor(event.offsetY / scale), Math.floor(event.offsetX / scale));
});

let isWaiting = false;
function soon() {
  if (isWaiting) return;
  isWaiting = true;
  requestAnimationFrame(() => {
    isWaiting = false;
    draw(false);
    drawMap();
  });
}
grid.addEventListener('scroll', soon, { passive: true });
addEventListener('resize', () => {
  filter();
  moveTo(at.row, at.column);
});
for (const id of ['from', 'to']) find(id).addEventListener('input', filter);
find('show').addEventListener('change', filter);
document.forms[0].addEventListener('submit', event => event.preventDefault());

const themes = { '': ['◐', 'as the system has them'], light: ['☀', 'light'], dark: ['☾', 'dark'] };
/** A file may not be allowed to remember anything. */
const remembered = { get: () => { try { return localStorage.getItem('theme') ?? ''; } catch { return ''; } }, set: value => { try { localStorage.setItem('theme', value); } catch {} } };
function dress(theme) {
  if (theme === '') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  find('theme').textContent = themes[theme][0];
  find('theme').setAttribute('aria-label', 'Colours: ' + themes[theme][1]);
  drawMap();
}
find('theme').addEventListener('click', () => {
  const order = Object.keys(themes);
  const next = order[(order.indexOf(document.documentElement.dataset.theme ?? '') + 1) % order.length];
  remembered.set(next);
  dress(next);
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawMap);

filter();
dress(Object.hasOwn(themes, remembered.get()) ? remembered.get() : '');
`;
