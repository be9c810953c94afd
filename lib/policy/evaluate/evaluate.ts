/**
 * Judges one connection by the policies, and says why: the meaning itself, flow by flow, with no regard to the kernel's rules.
 * Egress of the one end and ingress of the other are judged apart, and both must allow.
 */
import { type Family, prefixContains } from '../../ip/address.ts';
import type { Direction, DirectionVerdict, Flow, Peer, Pod, PolicyRule, Port, Verdict, World } from '../model/model.ts';
import { addressIn, isOwnNode, isSamePod, type Party, partyOf } from '../model/party.ts';
import { numbersNamed } from '../model/port-names.ts';
import { selectsPod } from '../model/selector.ts';
import { type Cluster, clusterOf } from './cluster.ts';
import { type Decision, decide, exempt, FROM, policiesFor, type Sentence, sentenceText, TO } from './decision.ts';

export interface EvaluateOptions {
  /** Whether a pod's egress to its own node is judged at all. */
  readonly enforceEgressToNode?: boolean;
}

/** One direction of one flow, in the words of policies: `destination` is the pod whose ports have names. */
export interface Question {
  readonly cluster: Cluster;
  readonly direction: Direction;
  readonly subject: Pod;
  readonly peer: Party;
  readonly destination: Pod | undefined;
  readonly flow: Flow;
  /** Why NetworkPolicies let it pass where they isolate the subject: it is for cluster policies alone to deny. */
  readonly unjudged?: Sentence;
}

export function matchesPeer({ cluster, peer }: Question, asked: Peer): boolean {
  if (asked.kind === 'pods')
    return peer.peer !== undefined && selectsPod(asked, peer.peer, cluster.namespaceLabels(peer.peer.namespace));
  const { address } = peer;
  if (!address || asked.kind === 'domains') return false;
  if (asked.kind === 'nodes') return cluster.isNodeOf([asked], address);
  if (!prefixContains(asked.cidr, address)) return false;
  return !asked.except.some(hole => prefixContains(hole, address));
}

export function matchesPort({ destination, flow }: Question, asked: Port): boolean {
  if (asked.protocol !== flow.protocol) return false;
  if ('first' in asked) return asked.first <= flow.port && flow.port <= asked.last;
  return destination !== undefined && numbersNamed(destination.namedPorts, asked.protocol, asked.name).has(flow.port);
}

export const matchesRule = (question: Question, { peers, ports }: PolicyRule): boolean =>
  (peers === 'any' || peers.some(peer => matchesPeer(question, peer))) &&
  (ports === 'any' || ports.some(port => matchesPort(question, port)));

function judge(asked: Asked): Decision {
  if ('exempt' in asked) return exempt(asked.exempt);
  const { cluster, direction, subject } = asked;
  return decide(asked, policiesFor(cluster, direction, subject), rule => matchesRule(asked, rule));
}

/** The question that policies are asked in one direction; or why they are not asked at all. */
export type Asked = Question | { readonly exempt: Sentence };

/** The subject's own node with an address: where the flow gives none, the node's own of this family. */
function withAddress(cluster: Cluster, subject: Pod, node: Party, family: Family | null): Party {
  if (node.address || subject.nodeName === undefined) return node;
  return { ...node, ...addressIn(family, cluster.node(subject.nodeName)?.addresses ?? []) };
}

function askEgress(cluster: Cluster, from: Party, to: Party, flow: Flow, options: EvaluateOptions): Asked {
  const { subject } = from;
  if (!subject) return { exempt: [FROM, ' is no pod, and only pods are isolated'] };
  const isOwn = isOwnNode(subject, to);
  const peer = isOwn ? withAddress(cluster, subject, to, flow.family) : to;
  const unjudged = [FROM, ' may reach its own node: enforceEgressToNode is off'] as const;
  return {
    ...{ cluster, direction: 'egress', subject, peer, destination: to.peer, flow },
    ...(isOwn && !options.enforceEgressToNode ? { unjudged } : {}),
  };
}

function askIngress(cluster: Cluster, from: Party, to: Party, flow: Flow): Asked {
  const { subject } = to;
  if (!subject) return { exempt: [TO, ' is no pod, and only pods are isolated'] };
  if (isOwnNode(subject, from)) return { exempt: [TO, ' is always reachable from its own node, which probes it'] };
  return { cluster, direction: 'ingress', subject, peer: from, destination: subject, flow };
}

/** The questions to the policies about a flow between these two, one for each direction. */
export function askBetween(
  cluster: Cluster,
  from: Party,
  to: Party,
  flow: Flow,
  options: EvaluateOptions,
): Readonly<Record<Direction, Asked>> {
  const asked = {
    egress: askEgress(cluster, from, to, flow, options),
    ingress: askIngress(cluster, from, to, flow),
  };
  if (!isSamePod(from.subject, to.subject)) return asked;
  const itself: Sentence = [TO, ' always reaches itself'];
  if (!flow.throughService) return { egress: { exempt: itself }, ingress: { exempt: itself } };
  return { egress: { ...asked.egress, unjudged: itself }, ingress: { ...asked.ingress, unjudged: itself } };
}

/** The questions to the policies about this flow, one for each direction. */
export function ask(
  world: World | Cluster,
  flow: Flow,
  options: EvaluateOptions = {},
): Readonly<Record<Direction, Asked>> {
  const cluster = clusterOf(world);
  const [from, to] = [partyOf(cluster, flow.from, flow.family), partyOf(cluster, flow.to, flow.family)];
  return askBetween(cluster, from, to, flow, options);
}

/**
 * Whether policy allows the connection, in each direction, by which policies and why.
 * A pod that has no address of the flow's family is judged by its labels. Who asks often keeps a cluster at hand.
 */
export function evaluate(world: World | Cluster, flow: Flow, options: EvaluateOptions = {}): Verdict {
  const cluster = clusterOf(world);
  const [from, to] = [partyOf(cluster, flow.from, flow.family), partyOf(cluster, flow.to, flow.family)];
  const asked = askBetween(cluster, from, to, flow, options);
  const names = { from: from.name, to: to.name };
  const verdict = (each: Asked): DirectionVerdict => {
    const { why, ...decision } = judge(each);
    return { ...decision, why: sentenceText(why, names) };
  };
  const [egress, ingress] = [verdict(asked.egress), verdict(asked.ingress)];
  return { allowed: egress.allowed && ingress.allowed, egress, ingress };
}
