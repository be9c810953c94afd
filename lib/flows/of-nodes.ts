/**
 * Records of several nodes as one list. A flow between two nodes is recorded by both: each knows what its own policies say
 * of its own end, and together they know both.
 */
import type { Entry, FlowRecord } from './model.ts';

/** An entry, and the nodes that recorded it. */
export interface NodeEntry {
  readonly nodes: readonly string[];
  readonly entry: Entry;
}

/** Seconds by which two nodes' times of one flow may differ. */
const APART = 1;

/** Equal for records of one flow on two nodes, which conntrack of each numbers for itself. */
const keyOf = ({ from, to, protocol, sourcePort, port, verdict }: FlowRecord): string =>
  JSON.stringify([from.address, to.address, protocol, sourcePort, port, verdict]);

/** Each end as the node tells it that judges it. */
function joined(a: FlowRecord, b: FlowRecord): FlowRecord {
  const [of, to] = a.egress === null && b.egress !== null ? [b, a] : [a, b];
  return {
    ...of,
    to: to.ingress === null ? of.to : to.to,
    egress: of.egress ?? to.egress,
    ingress: of.ingress ?? to.ingress,
    sentTo: of.sentTo ?? to.sentTo,
    seenFrom: of.seenFrom ?? to.seenFrom,
  };
}

/** In the order of time, each flow once. @param lists by node */
export function entriesOfNodes(lists: ReadonlyMap<string, readonly Entry[]>): readonly NodeEntry[] {
  const all = [...lists].flatMap(([node, entries]) => entries.map(entry => ({ nodes: [node], entry })));
  all.sort((a, b) => a.entry.time - b.entry.time);
  const merged: NodeEntry[] = [];
  /** Places in `merged` of the last record of each flow. */
  const last = new Map<string, number>();
  for (const { nodes, entry } of all) {
    const key = entry.kind === 'flow' ? keyOf(entry) : undefined;
    const at = key === undefined ? undefined : last.get(key);
    const other = at === undefined ? undefined : merged[at]!;
    const isSame =
      entry.kind === 'flow' &&
      other?.entry.kind === 'flow' &&
      !other.nodes.includes(nodes[0]!) &&
      entry.time - other.entry.time <= APART;
    if (isSame) merged[at!] = { nodes: [...other.nodes, ...nodes], entry: joined(other.entry as FlowRecord, entry) };
    else if (key !== undefined) last.set(key, merged.push({ nodes, entry }) - 1);
    else merged.push({ nodes, entry });
  }
  return merged;
}
