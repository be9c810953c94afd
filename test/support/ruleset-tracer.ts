/** Traces a packet through a compiled ruleset alone: tag, chain, rules, sets. The tracer knows no policy. */
import { type Address, rangeContains } from '../../lib/ip/address.ts';
import {
  type ChainRule,
  type DecidedElement,
  type DecidedSet,
  type Denier,
  type DenyingRule,
  denierOf,
  type Gate,
  isAmong,
  type PeerSet,
  type PortMatch,
  type Ruleset,
} from '../../lib/policy/compile/ruleset.ts';
import type { Flow } from '../../lib/policy/model/model.ts';

/** The fields of a packet that a gate judges: the other end's address (source in, destination out), and the destination port. */
export interface Packet extends Pick<Flow, 'protocol' | 'port'> {
  readonly peer: Address;
}

const isSame = (a: Address, b: Address): boolean => a.family === b.family && a.value === b.value;

/** With the number that a set of what is denied has given it. */
interface NumberedPacket extends Packet {
  readonly number?: number | undefined;
}

function isOf(element: DecidedElement, set: DecidedSet, { peer, protocol, port }: Packet): boolean {
  const isOnPort = set.key === 'address' || (element.protocol === protocol && element.port === port);
  return isSame(element.address, peer) && isOnPort;
}

function holds(set: PeerSet, packet: Packet): boolean {
  const { peer, protocol, port } = packet;
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
      return set.elements.some(element => isOf(element, set, packet));
  }
}

const fits = ({ protocol, spans }: PortMatch, packet: Packet): boolean =>
  protocol === packet.protocol && spans.some(({ first, last }) => first <= packet.port && packet.port <= last);

function matches(ruleset: Ruleset, { peers, ports, numbers }: ChainRule, packet: NumberedPacket): boolean {
  if (ports !== 'any' && !fits(ports, packet)) return false;
  if (numbers && !(packet.number !== undefined && isAmong(numbers, packet.number))) return false;
  if (peers === 'any') return true;
  const set = ruleset.sets.get(peers.name);
  if (!set || set.kind !== peers.kind || set.family !== peers.family)
    throw new Error(`Cannot look into ${peers.name}: the ruleset has no such set of ${peers.kind}`);
  return set.family === packet.peer.family && holds(set, packet);
}

/** What becomes of a packet: it passes, or is denied, where that can be told in whose name, and by which number of a rule. */
type Outcome = 'passes' | (Denier & Partial<Pick<DenyingRule, 'number'>>) | undefined;

/** Where the gate leads the packet; a tag that the ruleset does not know is closed. */
export function outcomeAt(ruleset: Ruleset, tag: number, direction: 'egress' | 'ingress', packet: Packet): Outcome {
  const gate = ruleset.tags.get(tag)?.[direction];
  return gate === undefined ? undefined : throughGate(ruleset, gate, direction, packet);
}

/** Whether the packet passes the tag's gate. */
export const passes = (ruleset: Ruleset, tag: number, direction: 'egress' | 'ingress', packet: Packet): boolean =>
  outcomeAt(ruleset, tag, direction, packet) === 'passes';

/** The same where NetworkPolicies have no say: to the pod's own node, and to itself through a Service. */
export function passesCluster(ruleset: Ruleset, tag: number, direction: 'egress' | 'ingress', packet: Packet): boolean {
  const gate = ruleset.tags.get(tag)?.byCluster?.[direction] ?? 'open';
  return throughGate(ruleset, gate, direction, packet) === 'passes';
}

/** The number that it has after this rule, whose set may give it one. */
function numberBy(ruleset: Ruleset, { peers }: ChainRule, packet: NumberedPacket): number | undefined {
  const set = peers === 'any' ? undefined : ruleset.sets.get(peers.name);
  const found = set?.kind === 'decided' ? set.elements.find(element => isOf(element, set, packet)) : undefined;
  return found?.number ?? packet.number;
}

function throughGate(ruleset: Ruleset, gate: Gate, direction: 'egress' | 'ingress', packet: NumberedPacket): Outcome {
  if (gate === 'open') return 'passes';
  const chain = ruleset.chains.get(gate);
  if (chain?.direction !== direction)
    throw new Error(`Cannot go to ${gate}: the ruleset has no such ${direction} chain`);
  const rule = chain.rules.find(each => matches(ruleset, each, packet));
  if (rule?.numbers && rule.to === undefined) {
    const number = packet.number!;
    return { ...denierOf(ruleset.chains, { chain: gate, number })!, number };
  }
  if (rule)
    return throughGate(ruleset, rule.to ?? 'open', direction, { ...packet, number: numberBy(ruleset, rule, packet) });
  if (chain.otherwise !== undefined) return throughGate(ruleset, chain.otherwise, direction, packet);
  return denierOf(ruleset.chains, { chain: gate });
}
