/** Draws the flow graph: ends that only open flows stand on the left, ends that only answer on the right, all others between. */
import type { FlowGraph, GraphEdge, GraphNode } from '../../../flows/sums.ts';
import { find, withText } from '../../policy/matrix-page/elements.ts';

const SVG = 'http://www.w3.org/2000/svg';
const [BOX, HEIGHT, GAP, COLUMN] = [210, 26, 14, 380];

function shape(tag: string, attributes: Readonly<Record<string, string | number>>): SVGElement {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}

interface Placed {
  readonly node: GraphNode;
  readonly x: number;
  readonly y: number;
}

const shortened = (text: string): string => (text.length > 30 ? `${text.slice(0, 29)}…` : text);

function placed({ nodes, edges }: FlowGraph): ReadonlyMap<string, Placed> {
  const asks = new Set(edges.filter(({ from, to }) => from !== to).map(({ from }) => from));
  const answers = new Set(edges.filter(({ from, to }) => from !== to).map(({ to }) => to));
  const columnOf = ({ name }: GraphNode): number => (answers.has(name) ? (asks.has(name) ? 1 : 2) : 0);
  const columns = Map.groupBy(
    [...nodes].sort((a, b) => (a.name < b.name ? -1 : 1)),
    columnOf,
  );
  const used = [0, 1, 2].filter(column => columns.has(column));
  return new Map(
    used.flatMap((column, at) =>
      columns.get(column)!.map((node, i) => [node.name, { node, x: at * COLUMN, y: i * (HEIGHT + GAP) }] as const),
    ),
  );
}

function pathOf({ from, to, allowed, denied, ports }: GraphEdge, places: ReadonlyMap<string, Placed>): SVGElement {
  const [a, b] = [places.get(from)!, places.get(to)!];
  const isForward = a.x < b.x;
  const [x1, y1] = [a.x + (isForward || a.x === b.x ? BOX : 0), a.y + HEIGHT / 2];
  const [x2, y2] = [b.x + (isForward ? 0 : BOX), b.y + HEIGHT / 2];
  const bend = a.x === b.x ? 60 : (x2 - x1) / 2;
  const path = shape('path', {
    d: `M${x1} ${y1} C${x1 + bend} ${y1} ${a.x === b.x ? x2 + bend : x2 - bend} ${y2} ${x2} ${y2}`,
    'stroke-width': (1 + Math.log10(1 + allowed + denied)).toFixed(1),
    ...(denied > 0 ? { class: 'denied' } : {}),
  });
  const title = shape('title', {});
  title.textContent = `${from} → ${to}: ${allowed} allowed, ${denied} denied (${ports.join(', ')})`;
  path.append(title);
  return path;
}

function boxOf({ node, x, y }: Placed): SVGElement {
  const group = shape('g', { transform: `translate(${x} ${y})` });
  const text = shape('text', { x: 8, y: 17 });
  text.textContent = shortened(node.name);
  const title = shape('title', {});
  title.textContent = node.name;
  group.append(shape('rect', { width: BOX, height: HEIGHT, rx: 5, class: node.kind }), text, title);
  return group;
}

export function drawMap(graph: FlowGraph, isAsked: boolean): void {
  const places = placed(graph);
  const all = [...places.values()];
  const width = Math.max(0, ...all.map(({ x }) => x)) + BOX + 80;
  const height = Math.max(0, ...all.map(({ y }) => y)) + HEIGHT + 4;
  const picture = shape('svg', { width, height, viewBox: `0 -2 ${width} ${height}`, role: 'img' });
  const denied = graph.edges.filter(edge => edge.denied > 0);
  // Denied edges are drawn last, above all others.
  const edges = [...graph.edges.filter(edge => edge.denied === 0), ...denied];
  picture.setAttribute(
    'aria-label',
    `${graph.nodes.length} ends, ${graph.edges.length} connections, ${denied.length} with denials`,
  );
  picture.append(...edges.map(edge => pathOf(edge, places)), ...all.map(boxOf));
  find('canvas').replaceChildren(picture);
  const why =
    graph.isCollapsed && !isAsked ? 'Too many workloads or pairs to be told apart: one box for each namespace. ' : '';
  const rest = graph.leftOut > 0 ? `; ${graph.leftOut} pairs with fewer flows are not drawn: narrow the filter` : '';
  withText(
    find('map-note'),
    `${why}${graph.edges.length} pairs of the last hour, ${denied.length} with denials${rest}`,
  );
}
