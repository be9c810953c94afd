/**
 * Connections that were allowed when they were made, and are no longer: `established: cut` ends them. The gate lets
 * established connections pass unjudged, so their conntrack entries are judged here, by the same policies, and deleted;
 * the gate's mid-stream rule then keeps them from coming back, whichever end goes on sending.
 */
import { type Address, formatAddress } from '../ip/address.ts';
import { type Flow as Connection, deleteFlows, findFlows, IPPROTO, listFlows } from '../kernel/conntrack.ts';
import type { Exchange } from '../kernel/message.ts';
import type { Cluster } from '../policy/cluster.ts';
import { evaluate } from '../policy/evaluate.ts';
import type { Endpoint, Flow, Protocol } from '../policy/model.ts';
import type { Goal } from './table.ts';

const protocols: Readonly<Record<number, Protocol>> = {
  [IPPROTO.TCP]: 'TCP',
  [IPPROTO.UDP]: 'UDP',
  [IPPROTO.SCTP]: 'SCTP',
};

/** A packet that passed the gate before the commit may confirm its entry after we looked; by then it has. */
const SECOND_LOOK = 100;

/** Who opened it to whom, as the gate saw its first packet: after destination NAT, before source NAT. */
export function flowOf({ original, reply }: Connection, isPod: (address: string) => boolean): Flow | undefined {
  const [from, to] = [formatAddress(original.source), formatAddress(reply.source)];
  if (!isPod(from) && !isPod(to)) return undefined;
  const protocol = protocols[original.protocol] ?? 'other';
  const endpoint = (address: string): Endpoint => ({ kind: 'address', address });
  return {
    from: endpoint(from),
    to: endpoint(to),
    family: original.source.family,
    protocol,
    port: reply.sourcePort ?? 0,
  };
}

/** By what connections are judged. */
export interface Judgement {
  readonly cluster: Cluster;
  /** Canonical texts of the addresses of this node's pods. */
  readonly pods: ReadonlySet<string>;
  readonly enforceEgressToNode: boolean;
}

export function judgementOf({ state }: Pick<Goal, 'state'>, cluster: Cluster): Judgement {
  const pods = new Set(Object.values(state.pods).flatMap(pod => pod.addresses));
  return { cluster, pods, enforceEgressToNode: state.settings.enforceEgressToNode };
}

/** Those that no policy allows any more. The node's own connections are never judged: probes must go on. */
export function forbidden(
  connections: readonly Connection[],
  { cluster, pods, enforceEgressToNode }: Judgement,
  isNode: (address: Address) => boolean,
): Connection[] {
  return connections.filter(connection => {
    if (isNode(connection.original.source)) return false;
    const flow = flowOf(connection, address => pods.has(address));
    if (!flow) return false;
    const judged = isNode(connection.reply.source) ? { ...flow, to: { kind: 'node' } as const } : flow;
    return !evaluate(cluster, judged, { enforceEgressToNode }).allowed;
  });
}

/** Where to look for connections to cut: those of some addresses, or everywhere. */
export type CutScope = readonly Address[] | 'everywhere';

/** Beyond these one look at all connections costs less than a look for each. */
const MOST_ADDRESSES = 8;

function connectionsIn(netfilter: Exchange, scope: CutScope): Connection[] {
  if (scope === 'everywhere' || scope.length > MOST_ADDRESSES) return listFlows(netfilter);
  return scope.flatMap(address =>
    findFlows(netfilter, address.family, [
      { direction: 'original', source: address },
      { direction: 'reply', source: address },
    ]),
  );
}

/** @param own canonical texts of the node's own addresses @returns how many were cut */
function cutOnce(judgement: Judgement, own: ReadonlySet<string>, netfilter: Exchange, scope: CutScope): number {
  const isNode = (address: Address): boolean => own.has(formatAddress(address));
  const connections = connectionsIn(netfilter, scope);
  return deleteFlows(netfilter, forbidden(connections, judgement, isNode));
}

/**
 * To be called after the commit.
 * @param local canonical texts of the node's own addresses
 * @returns how many connections were cut
 */
export async function cutForbidden(
  judgement: Judgement,
  local: () => ReadonlySet<string>,
  netfilter: Exchange,
  scope: CutScope = 'everywhere',
): Promise<number> {
  const own = local();
  const first = cutOnce(judgement, own, netfilter, scope);
  await new Promise(resolve => setTimeout(resolve, SECOND_LOOK));
  return first + cutOnce(judgement, own, netfilter, scope);
}
