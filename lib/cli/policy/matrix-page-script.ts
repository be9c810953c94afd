/**
 * What the matrix page does. Only the cells in sight are in the document: 40,000 would make it stutter. It runs in a browser,
 * so it is a text here; neither backtick nor backslash may stand in it.
 */
import { moves } from './matrix-page-moves.ts';

/** What a pair is, and how it is drawn and told. */
const cells = `
'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const find = id => document.getElementById(id);
const [grid, space, detail, map] = ['grid', 'space', 'detail', 'map'].map(find);
const total = data.pods.length;
const size = name => parseFloat(getComputedStyle(document.documentElement).getPropertyValue(name));
const CELL = size('--cell'), HEADS = size('--heads');
/** The names' width, which is less on a narrow screen. */
let NAMES = size('--names');

/** What there is to say of one pair: a verdict for each family in which there is one. */
function pair(from, to) {
  const found = [];
  for (const { family, cells } of data.families) {
    const place = cells[from * total + to];
    if (place < 0) continue;
    const [egress, ingress] = data.verdicts[place].map(each => data.directions[each]);
    found.push({ family, egress, ingress, allowed: egress.allowed && ingress.allowed });
  }
  return found;
}

/** absent, allowed, denied, or the one family that is allowed. */
function kind(from, to) {
  const found = pair(from, to);
  if (found.length === 0) return 'absent';
  const allowed = found.filter(each => each.allowed);
  if (allowed.length === found.length) return 'allowed';
  return allowed.length === 0 ? 'denied' : String(allowed[0].family);
}

const kinds = data.pods.map((_, from) => data.pods.map((_, to) => kind(from, to)));
const classOf = which => (which === '4' || which === '6' ? 'partly' : which);

const sentence = (why, from, to) => why.replaceAll(String.fromCharCode(1), data.pods[from].name).replaceAll(String.fromCharCode(2), data.pods[to].name);

function said(from, to) {
  const which = kinds[from][to];
  if (from === to) return 'itself';
  if (which === 'absent') return 'no address family in common';
  if (which === 'allowed' || which === 'denied') return which;
  return 'allowed over IPv' + which + ' only';
}

function reason(from, to) {
  const found = pair(from, to);
  const refused = found.find(each => !each.allowed) ?? found[0];
  if (!refused) return '';
  const side = refused.egress.allowed ? refused.ingress : refused.egress;
  return sentence(side.why, from, to);
}

/** Pods in sight, and where the choice is: places in these lists. */
let rows = [], columns = [];
let at = { row: 0, column: 0 };

const texts = data.pods.map(({ name, labels, addresses }) =>
  [name, ...Object.entries(labels).map(([key, value]) => key + '=' + value), ...addresses].join(' ').toLowerCase());
const matching = query => {
  const words = query.toLowerCase().split(' ').filter(word => word !== '');
  return data.pods.map((_, i) => i).filter(i => words.every(word => texts[i].includes(word)));
};

function filter() {
  NAMES = size('--names');
  const keep = { from: rows[at.row], to: columns[at.column] };
  rows = matching(find('from').value);
  columns = matching(find('to').value);
  const show = find('show').value;
  if (show !== 'all') {
    const wanted = show === 'denied' ? which => which === 'denied' || which === '4' || which === '6' : which => which !== 'denied' && which !== 'absent';
    const [allRows, allColumns] = [rows, columns];
    rows = allRows.filter(from => allColumns.some(to => wanted(kinds[from][to])));
    columns = allColumns.filter(to => allRows.some(from => wanted(kinds[from][to])));
  }
  at = { row: Math.max(0, rows.indexOf(keep.from)), column: Math.max(0, columns.indexOf(keep.to)) };
  let allowed = 0, denied = 0;
  for (const from of rows) for (const to of columns) {
    const which = kinds[from][to];
    if (which === 'denied') denied++;
    else if (which !== 'absent') allowed++;
  }
  find('count').textContent = rows.length === 0 || columns.length === 0
    ? 'Nobody matches.'
    : rows.length + ' × ' + columns.length + ' pods: ' + allowed + ' pairs allowed, ' + denied + ' denied';
  grid.setAttribute('aria-rowcount', rows.length + 1);
  grid.setAttribute('aria-colcount', columns.length + 1);
  space.style.height = HEADS + rows.length * CELL + 'px';
  space.style.width = NAMES + columns.length * CELL + 90 + 'px';
  draw(true);
  tell(rows[at.row], columns[at.column]);
}

const element = (tag, className, attributes = {}) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

/** namespace/pod with its namespace fainter. */
function named(holder, name) {
  const slash = name.indexOf('/') + 1;
  const space = element('span', 'namespace');
  space.textContent = name.slice(0, slash);
  holder.append(space, name.slice(slash));
  return holder;
}

/** What is drawn: from the first to the last row and column in sight, and some around them, so that not every step draws. */
let drawn = { top: 0, bottom: 0, left: 0, right: 0 };
const AROUND = 12;

function inSight() {
  const clamp = (value, most) => Math.max(0, Math.min(most, value));
  return {
    top: clamp(Math.floor(grid.scrollTop / CELL), rows.length),
    bottom: clamp(Math.ceil((grid.scrollTop + grid.clientHeight - HEADS) / CELL), rows.length),
    left: clamp(Math.floor(grid.scrollLeft / CELL), columns.length),
    right: clamp(Math.ceil((grid.scrollLeft + grid.clientWidth - NAMES) / CELL), columns.length),
  };
}

const isWithin = (a, b) => a.top >= b.top && a.bottom <= b.bottom && a.left >= b.left && a.right <= b.right;

const withAround = ({ top, bottom, left, right }) => ({
  top: Math.max(0, top - AROUND), bottom: Math.min(rows.length, bottom + AROUND),
  left: Math.max(0, left - AROUND), right: Math.min(columns.length, right + AROUND),
});

function header({ left, right }) {
  const row = element('div', 'row head', { role: 'row', 'aria-rowindex': 1 });
  const corner = element('div', 'corner', { role: 'columnheader', 'aria-colindex': 1 });
  corner.append(Object.assign(element('span'), { textContent: 'from ↓' }), Object.assign(element('span'), { textContent: 'to →' }));
  row.append(corner);
  for (let c = left; c < right; c++) {
    const column = element('div', c === at.column ? 'column at' : 'column', { role: 'columnheader', 'aria-colindex': c + 2, 'data-column': c });
    column.style.left = NAMES + c * CELL + 'px';
    const { name } = data.pods[columns[c]];
    column.title = name;
    column.append(named(element('span'), name));
    row.append(column);
  }
  return row;
}

function line(r, { left, right }) {
  const from = rows[r];
  const row = element('div', 'row', { role: 'row', 'aria-rowindex': r + 2 });
  row.style.top = HEADS + r * CELL + 'px';
  const name = named(element('div', r === at.row ? 'name at' : 'name', { role: 'rowheader', 'aria-colindex': 1, 'data-row': r }), data.pods[from].name);
  name.title = data.pods[from].name;
  row.append(name);
  for (let c = left; c < right; c++) {
    const to = columns[c], which = kinds[from][to];
    const cell = element('div', 'cell ' + classOf(which), {
      role: 'gridcell', id: 'cell-' + r + '-' + c, 'aria-colindex': c + 2, 'data-row': r, 'data-column': c,
      'aria-label': data.pods[from].name + ' to ' + data.pods[to].name + ': ' + said(from, to),
    });
    if (classOf(which) === 'partly') cell.dataset.sign = which;
    cell.style.left = NAMES + c * CELL + 1 + 'px';
    if (r === at.row && c === at.column) cell.classList.add('active');
    row.append(cell);
  }
  return row;
}

/** Rows that are drawn already, by number: they stay as long as the same columns are in sight. */
let lines = new Map();

function draw(always) {
  const sight = inSight();
  if (!always && isWithin(sight, drawn)) return;
  const next = withAround(sight);
  const isKept = !always && next.left === drawn.left && next.right === drawn.right;
  const before = isKept ? lines : new Map();
  const head = isKept ? space.firstChild : header(next);
  drawn = next;
  lines = new Map();
  for (let r = next.top; r < next.bottom; r++) lines.set(r, before.get(r) ?? line(r, next));
  space.replaceChildren(head, ...lines.values());
  announce();
  drawMap();
}

/** The chosen cell, to whoever cannot see it: with its reason. */
function announce() {
  const cell = find('cell-' + at.row + '-' + at.column);
  if (!cell) return grid.removeAttribute('aria-activedescendant');
  const [from, to] = [rows[at.row], columns[at.column]];
  cell.setAttribute('aria-label', data.pods[from].name + ' to ' + data.pods[to].name + ': ' + said(from, to) + '. ' + reason(from, to));
  cell.setAttribute('aria-selected', 'true');
  grid.setAttribute('aria-activedescendant', cell.id);
}

function mark(isOn) {
  find('cell-' + at.row + '-' + at.column)?.classList.toggle('active', isOn);
  find('cell-' + at.row + '-' + at.column)?.removeAttribute('aria-selected');
  space.querySelector('.name[data-row="' + at.row + '"]')?.classList.toggle('at', isOn);
  space.querySelector('.column[data-column="' + at.column + '"]')?.classList.toggle('at', isOn);
}

function moveTo(row, column) {
  if (rows.length === 0 || columns.length === 0) return;
  mark(false);
  at = { row: Math.max(0, Math.min(rows.length - 1, row)), column: Math.max(0, Math.min(columns.length - 1, column)) };
  const x = at.column * CELL, y = at.row * CELL;
  const wide = grid.clientWidth - NAMES - 4 * CELL, high = grid.clientHeight - HEADS - CELL;
  if (x < grid.scrollLeft) grid.scrollLeft = x;
  else if (x > grid.scrollLeft + wide) grid.scrollLeft = x - wide;
  if (y < grid.scrollTop) grid.scrollTop = y;
  else if (y > grid.scrollTop + high) grid.scrollTop = y - high;
  draw(false);
  mark(true);
  announce();
  drawMap();
  tell(rows[at.row], columns[at.column]);
}

const labelsText = ({ labels, addresses }) => [...Object.entries(labels).map(([key, value]) => key + '=' + value), ...addresses].join(' · ');

/** The chosen pair in full. */
function tell(from, to) {
  if (from === undefined || to === undefined) return detail.replaceChildren();
  const title = element('h2');
  title.append(named(element('span'), data.pods[from].name), ' → ', named(element('span'), data.pods[to].name));
  const parts = [title];
  for (const who of from === to ? [from] : [from, to]) parts.push(Object.assign(element('p', 'labels'), { textContent: labelsText(data.pods[who]) }));
  const found = pair(from, to);
  if (found.length === 0) parts.push(Object.assign(element('p'), { textContent: said(from, to) }));
  const isAlike = found.length === 2 && JSON.stringify([found[0].egress, found[0].ingress]) === JSON.stringify([found[1].egress, found[1].ingress]);
  for (const each of isAlike ? found.slice(0, 1) : found) {
    const head = element('h3');
    const family = each.family === null ? 'By labels, for want of addresses' : isAlike ? 'IPv4 and IPv6' : 'IPv' + each.family;
    head.append(element('span', 'cell ' + (each.allowed ? 'allowed' : 'denied')), family + ': ' + (each.allowed ? 'allowed' : 'denied'));
    parts.push(head);
    for (const side of ['egress', 'ingress']) {
      const text = element('p');
      const word = Object.assign(element('b', each[side].allowed ? 'yes' : 'no'), { textContent: (side === 'egress' ? 'Out: ' : 'In: ') });
      text.append(word, sentence(each[side].why, from, to) + '.');
      parts.push(text);
    }
  }
  detail.replaceChildren(...parts);
}
`;

export const script = `${cells}${moves}`;
