/**
 * Connections that were allowed when they were made, and are no longer: `established: cut` ends them. The gate lets
 * established connections pass unjudged, so their conntrack entries are judged here, by the same policies, and deleted;
 * the gate's mid-stream rule then keeps them from coming back, whichever end goes on sending.
 */
import { type Address, formatAddress } from '../ip/address.ts';
import { type Flow as Connection, deleteFlows, IPPROTO, listFlows } from '../kernel/conntrack.ts';
import { NetlinkSocket } from '../kernel/netlink.ts';
import { Cluster } from '../policy/cluster.ts';
import { evaluate } from '../policy/evaluate.ts';
import type { Endpoint, Flow, Protocol } from '../policy/model.ts';
import { manifestsOf } from './folder.ts';
import type { Goal } from './table.ts';
import { worldOfNode } from './world.ts';

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

/** Those that no policy of the goal's allows. The node's own connections are never judged: probes must go on. */
export function forbidden(
  connections: readonly Connection[],
  goal: Goal,
  isNode: (address: Address) => boolean,
): Connection[] {
  const cluster = new Cluster(worldOfNode(manifestsOf(goal.kept).world, goal.state));
  const pods = new Set(Object.values(goal.state.pods).flatMap(pod => pod.addresses));
  const options = { enforceEgressToNode: goal.state.settings.enforceEgressToNode };
  return connections.filter(connection => {
    if (isNode(connection.original.source)) return false;
    const flow = flowOf(connection, address => pods.has(address));
    if (!flow) return false;
    const judged = isNode(connection.reply.source) ? { ...flow, to: { kind: 'node' } as const } : flow;
    return !evaluate(cluster, judged, options).allowed;
  });
}

/** To be called under the node's lock, after the commit. @param local canonical texts of the node's own addresses */
export async function cutForbidden(goal: Goal, local: () => ReadonlySet<string>): Promise<void> {
  const { judge } = goal.state.settings;
  if (judge !== 'inline' && judge !== 'agent') return;
  using netfilter = NetlinkSocket.open('netfilter');
  const own = local();
  const cut = () => {
    const connections = listFlows(netfilter.exchange);
    deleteFlows(
      netfilter.exchange,
      forbidden(connections, goal, address => own.has(formatAddress(address))),
    );
  };
  cut();
  await new Promise(resolve => setTimeout(resolve, SECOND_LOOK));
  cut();
}
