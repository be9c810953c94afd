/** Traces a packet through a compiled ruleset alone: tag, chain, rules, sets. The tracer knows no policy. */
import { type Address, rangeContains } from '../../lib/ip/address.ts';
import type { ChainRule, Gate, PeerSet, PortMatch, Ruleset } from '../../lib/policy/compile/ruleset.ts';
import type { Flow } from '../../lib/policy/model/model.ts';

/** The fields of a packet that a gate judges: the other end's address (source in, destination out), and the destination port. */
export interface Packet extends Pick<Flow, 'protocol' | 'port'> {
  readonly peer: Address;
}

const isSame = (a: Address, b: Address): boolean => a.family === b.family && a.value === b.value;

function holds(set: PeerSet, { peer, protocol, port }: Packet): boolean {
  switch (set.kind) {
    case 'addresses':
    case 'nodes':
      return set.elements.some(address => isSame(address, peer));
    case 'ranges':
      return set.elements.some(range => rangeContains(range, peer));
    case 'tuples':
      return set.elements.some(
        tuple => isSame(tuple.address, peer) && tuple.protocol === protocol && tuple.port === port,
      );
    case 'decided':
      return set.elements.some(element => {
        const isOnPort = set.key === 'address' || (element.protocol === protocol && element.port === port);
        return isSame(element.address, peer) && isOnPort;
      });
  }
}

const fits = ({ protocol, spans }: PortMatch, packet: Packet): boolean =>
  protocol === packet.protocol && spans.some(({ first, last }) => first <= packet.port && packet.port <= last);

function matches(ruleset: Ruleset, { peers, ports }: ChainRule, packet: Packet): boolean {
  if (ports !== 'any' && !fits(ports, packet)) return false;
  if (peers === 'any') return true;
  const set = ruleset.sets.get(peers.name);
  if (!set || set.kind !== peers.kind || set.family !== peers.family)
    throw new Error(`Cannot look into ${peers.name}: the ruleset has no such set of ${peers.kind}`);
  return set.family === packet.peer.family && holds(set, packet);
}

/** Whether the packet passes the tag's gate; a tag that the ruleset does not know is closed. */
export function passes(ruleset: Ruleset, tag: number, direction: 'egress' | 'ingress', packet: Packet): boolean {
  const gate = ruleset.tags.get(tag)?.[direction];
  return gate !== undefined && passesGate(ruleset, gate, direction, packet);
}

/** The same where NetworkPolicies have no say: to the pod's own node, and to itself through a Service. */
export function passesCluster(ruleset: Ruleset, tag: number, direction: 'egress' | 'ingress', packet: Packet): boolean {
  const gate = ruleset.tags.get(tag)?.byCluster?.[direction] ?? 'open';
  return passesGate(ruleset, gate, direction, packet);
}

function passesGate(ruleset: Ruleset, gate: Gate, direction: 'egress' | 'ingress', packet: Packet): boolean {
  if (gate === 'open') return true;
  const chain = ruleset.chains.get(gate);
  if (chain?.direction !== direction)
    throw new Error(`Cannot go to ${gate}: the ruleset has no such ${direction} chain`);
  const rule = chain.rules.find(each => matches(ruleset, each, packet));
  if (rule) return passesGate(ruleset, rule.to ?? 'open', direction, packet);
  return chain.otherwise !== undefined && passesGate(ruleset, chain.otherwise, direction, packet);
}
