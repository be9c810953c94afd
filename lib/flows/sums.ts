/** Adds up sums of flows by namespace, by workload and by policy; as a map, and as words to filter by. */
import type { Filter } from './filter.ts';
import type { SummedEnd, SummedFlows } from './minutes.ts';
import { OTHERS, policiesIn } from './model.ts';

export const sumKinds = ['ns', 'pod', 'policy'] as const;
export type SumKind = (typeof sumKinds)[number];

export interface SumRow {
  /** A namespace, a workload or a policy; `node`, `outside`; `none`: no policy decided; `others`: many policies together. */
  readonly from: string;
  /** Absent in sums by policy. */
  readonly to?: string;
  readonly port?: number | null;
  readonly protocol?: string;
  readonly allowed: number;
  readonly denied: number;
  /** Of those that were allowed: staged policies would deny them. In sums by policy: this one would. */
  readonly wouldDeny: number;
  /** Of those that were denied. */
  readonly wouldAllow: number;
  /** Both ways; 0 where conntrack does not count. */
  readonly bytes: number;
  /** Seconds since 1970: the first and the last minute. */
  readonly first: number;
  readonly last: number;
}

type Place = Pick<SumRow, 'from' | 'to' | 'port' | 'protocol'>;

const namespaceOf = ({ namespace, name }: SummedEnd): string => namespace ?? name;

/** Policies that decided: those that denied it, else those that allowed it. */
function deciding({ verdict, egress, ingress }: SummedFlows): readonly string[] {
  const words = [egress, ingress].filter(word => word !== null);
  const by = words.filter(({ allowed }) => verdict === 'allowed' || !allowed).flatMap(word => word.by);
  return by.length === 0 ? ['none'] : policiesIn(by);
}

type Count = 'allowed' | 'denied' | 'wouldDeny' | 'wouldAllow';

/** The rows that a sum adds to, and as what. */
type Counted = readonly (readonly [place: Place, counts: readonly Count[]])[];

const besides = ({ staged }: SummedFlows): readonly Count[] =>
  staged ? [staged.verdict === 'denied' ? 'wouldDeny' : 'wouldAllow'] : [];

const both = (sum: SummedFlows, place: Place): Counted => [[place, [sum.verdict, ...besides(sum)]]];

const countsOf: Readonly<Record<SumKind, (sum: SummedFlows) => Counted>> = {
  ns: sum => both(sum, { from: namespaceOf(sum.from), to: namespaceOf(sum.to) }),
  pod: sum => both(sum, { from: sum.from.name, to: sum.to.name, port: sum.port, protocol: sum.protocol }),
  policy: sum => [
    ...deciding(sum).map(from => [{ from }, [sum.verdict]] as const),
    ...policiesIn(sum.staged?.by ?? []).map(from => [{ from }, besides(sum)] as const),
  ],
};

/** Sorts sums: denied ones first, then those with most flows. */
const isBefore = <T extends Pick<SumRow, 'allowed' | 'denied'>>(a: T, b: T): number =>
  b.denied - a.denied || b.allowed - a.allowed;

const emptyRow = (place: Place, { first, last }: SummedFlows): SumRow => ({
  ...place,
  ...{ allowed: 0, denied: 0, wouldDeny: 0, wouldAllow: 0, bytes: 0, first, last },
});

function added(row: SumRow, sum: SummedFlows, counts: readonly Count[]): SumRow {
  const isDecided = counts.includes(sum.verdict);
  return {
    ...row,
    ...Object.fromEntries(counts.map(count => [count, row[count] + sum.flows])),
    bytes: row.bytes + (isDecided ? sum.bytes : 0),
    first: Math.min(row.first, sum.first),
    last: Math.max(row.last, sum.last),
  };
}

export function sumBy(kind: SumKind, sums: readonly SummedFlows[], filter: Filter = () => true): readonly SumRow[] {
  const rows = new Map<string, SumRow>();
  for (const sum of sums) {
    if (!filter(sum)) continue;
    for (const [place, counts] of countsOf[kind](sum)) {
      const key = JSON.stringify(place);
      rows.set(key, added(rows.get(key) ?? emptyRow(place, sum), sum, counts));
    }
  }
  return [...rows.values()].sort(isBefore);
}

export interface GraphNode {
  readonly name: string;
  readonly kind: SummedEnd['kind'] | 'namespace';
  readonly namespace?: string;
}

export interface GraphEdge {
  readonly from: string;
  readonly to: string;
  readonly allowed: number;
  readonly denied: number;
  readonly ports: readonly string[];
}

export interface FlowGraph {
  readonly nodes: readonly GraphNode[];
  readonly edges: readonly GraphEdge[];
  /** Too many workloads to be told apart on a map: each namespace is one node. */
  readonly isCollapsed: boolean;
  /** Edges that are not there, with fewer flows than those that are. */
  readonly leftOut: number;
}

/** A person cannot follow the lines of a map with more nodes or edges than this. */
const MOST_NODES = 150;
const MOST_EDGES = 400;
const MOST_PORTS = 8;

/** The end of a sum as a node of the map. */
type NodeOf = (end: SummedEnd) => GraphNode;

const workloadNode: NodeOf = ({ name, kind, namespace }) => ({
  ...{ name, kind },
  ...(namespace === undefined ? {} : { namespace }),
});

const namespaceNode: NodeOf = end =>
  end.namespace === undefined ? workloadNode(end) : { name: end.namespace, kind: 'namespace' };

/** Those with most flows as they are, denied ones before all others; the rest as one node. */
function busiest(sums: readonly SummedFlows[], nodeOf: NodeOf): NodeOf {
  const flows = new Map<string, { denied: number; allowed: number }>();
  for (const sum of sums)
    for (const { name } of [nodeOf(sum.from), nodeOf(sum.to)]) {
      const count = flows.get(name) ?? { denied: 0, allowed: 0 };
      count[sum.verdict] += sum.flows;
      flows.set(name, count);
    }
  const order = [...flows].sort(([, a], [, b]) => isBefore(a, b)).map(([name]) => name);
  const kept = new Set(order.slice(0, MOST_NODES - 1));
  const rest: GraphNode = { name: `${order.length - kept.size} other namespaces`, kind: 'namespace' };
  return end => {
    const node = nodeOf(end);
    return kept.has(node.name) ? node : rest;
  };
}

function graphBy(sums: readonly SummedFlows[], nodeOf: NodeOf, isCollapsed: boolean): Omit<FlowGraph, 'leftOut'> {
  const nodes = new Map<string, GraphNode>();
  const edges = new Map<string, GraphEdge & { ports: string[] }>();
  for (const sum of sums) {
    const [from, to] = [nodeOf(sum.from), nodeOf(sum.to)];
    for (const node of [from, to]) nodes.set(node.name, node);
    const key = `${from.name} ${to.name}`;
    const edge = edges.get(key) ?? { from: from.name, to: to.name, allowed: 0, denied: 0, ports: [] };
    const port = `${sum.port ?? ''}/${sum.protocol}`;
    if (edge.ports.length < MOST_PORTS && !edge.ports.includes(port)) edge.ports.push(port);
    edges.set(key, { ...edge, [sum.verdict]: edge[sum.verdict] + sum.flows });
  }
  return { nodes: [...nodes.values()], edges: [...edges.values()], isCollapsed };
}

const fits = ({ nodes, edges }: Omit<FlowGraph, 'leftOut'>): boolean =>
  nodes.length <= MOST_NODES && edges.length <= MOST_EDGES;

/** @param isCollapsed one node for each namespace; else only where there are too many workloads, or pairs of them */
export function graphOf(sums: readonly SummedFlows[], filter: Filter = () => true, isCollapsed = false): FlowGraph {
  const wanted = sums.filter(filter);
  const workloads = isCollapsed ? undefined : graphBy(wanted, workloadNode, false);
  if (workloads && fits(workloads)) return { ...workloads, leftOut: 0 };
  const namespaces = graphBy(wanted, namespaceNode, true);
  if (fits(namespaces)) return { ...namespaces, leftOut: 0 };
  const { nodes, edges } =
    namespaces.nodes.length <= MOST_NODES ? namespaces : graphBy(wanted, busiest(wanted, namespaceNode), true);
  const kept = [...edges].sort(isBefore).slice(0, MOST_EDGES);
  return { nodes, edges: kept, isCollapsed: true, leftOut: edges.length - kept.length };
}

/** Words to filter by, for a person who types. */
export interface FilterHints {
  readonly ns: readonly string[];
  readonly pod: readonly string[];
  readonly port: readonly string[];
  readonly policy: readonly string[];
  readonly staged: readonly string[];
}

const MOST_HINTS = 200;

/** Policies to filter by: their names without their kinds. */
const policyWords = (by: readonly string[] = []): readonly string[] =>
  policiesIn(by)
    .filter(ref => ref !== OTHERS)
    .map(ref => ref.split('/').slice(1).join('/'));

export function hintsOf(sums: readonly SummedFlows[]): FilterHints {
  const all = (of: (sum: SummedFlows) => readonly (string | undefined)[]): readonly string[] =>
    [...new Set(sums.flatMap(of).filter(text => text !== undefined))].sort().slice(0, MOST_HINTS);
  return {
    ns: all(({ from, to }) => [from.namespace, to.namespace]),
    pod: all(({ from, to }) => [from, to].map(({ pod }) => pod && `${pod}*`)),
    port: all(({ port, protocol }) => [`${port ?? ''}/${protocol}`]),
    policy: all(({ egress, ingress }) => [...policyWords(egress?.by), ...policyWords(ingress?.by)]),
    staged: all(({ staged }) => (staged ? [staged.verdict, ...policyWords(staged.by)] : [])),
  };
}
