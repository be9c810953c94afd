/**
 * What NetworkPolicy says of one connection, and why: the meaning itself, flow by flow, with no regard to how the kernel
 * is told. Egress of the one end and ingress of the other are judged apart, and both must allow.
 */
import { prefixContains } from '../../ip/address.ts';
import {
  type Direction,
  type DirectionVerdict,
  type Flow,
  formatRule,
  type NetworkPolicy,
  type Peer,
  type Pod,
  type PolicyRule,
  type Port,
  policyRef,
  type RuleRef,
  type Verdict,
  type World,
} from '../model/model.ts';
import { isOwnNode, isSamePod, type Party, partyOf } from '../model/party.ts';
import { numbersNamed } from '../model/port-names.ts';
import { selects, selectsPod } from '../model/selector.ts';
import { type Cluster, clusterOf } from './cluster.ts';

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
}

export function matchesPeer({ cluster, peer }: Question, asked: Peer): boolean {
  if (asked.kind === 'pods')
    return peer.peer !== undefined && selectsPod(asked, peer.peer, cluster.namespaceLabels(peer.peer.namespace));
  const { address } = peer;
  if (!address || asked.kind === 'domains') return false;
  if (asked.kind === 'nodes') return cluster.nodesAt(address).some(({ labels }) => selects(asked.nodes, labels));
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

const matchedRules = (question: Question, policy: NetworkPolicy): readonly RuleRef[] =>
  (policy[question.direction] ?? [])
    .filter(rule => matchesRule(question, rule))
    .map(({ index }) => ({ policy: policyRef(policy), direction: question.direction, index }));

const unique = (texts: readonly string[]): readonly string[] => [...new Set(texts)].sort();

/** `a`, `a and b`, `a, b and 3 more`. */
function enumerated(texts: readonly string[]): string {
  if (texts.length <= 1) return texts[0] ?? '';
  if (texts.length > 3) return `${texts.slice(0, 2).join(', ')} and ${texts.length - 2} more`;
  return `${texts.slice(0, -1).join(', ')} and ${texts.at(-1)}`;
}

/** A sentence about a flow whose ends are not named yet, so that it is one for all flows that fare alike. */
export type Sentence = readonly (string | typeof FROM | typeof TO)[];

export const FROM = { end: 'from' } as const;
export const TO = { end: 'to' } as const;

/** @param names of the two ends, as `partyOf` names them */
export const sentenceText = (sentence: Sentence, names: Readonly<Record<'from' | 'to', string>>): string =>
  sentence.map(part => (typeof part === 'string' ? part : names[part.end])).join('');

/** A verdict in one direction, whoever exactly the ends are. */
export interface Decision extends Omit<DirectionVerdict, 'why'> {
  readonly why: Sentence;
}

export const exempt = (why: Sentence): Decision => ({ allowed: true, isolated: false, by: [], rules: [], why });

/**
 * @param policies that isolate the subject in this direction
 * @param rules of theirs that match
 */
export function decide(
  direction: Direction,
  policies: readonly NetworkPolicy[],
  rules: readonly RuleRef[],
  { protocol, port }: Pick<Flow, 'protocol' | 'port'>,
): Decision {
  const [subject, peer] = direction === 'egress' ? [FROM, TO] : [TO, FROM];
  if (policies.length === 0) return exempt(['No policy isolates ', subject, ` for ${direction}`]);
  const what = protocol === 'other' ? 'traffic without ports' : `${protocol} ${port}`;
  const traffic = `${what} ${direction === 'egress' ? 'to' : 'from'} `;
  if (rules.length > 0) {
    const allow = `${enumerated(rules.map(formatRule))} ${rules.length === 1 ? 'allows' : 'allow'} ${traffic}`;
    return { allowed: true, isolated: true, by: unique(rules.map(({ policy }) => policy)), rules, why: [allow, peer] };
  }
  const by = unique(policies.map(policyRef));
  const isolate = `${enumerated(by)} ${by.length === 1 ? 'isolates' : 'isolate'} `;
  const why = [isolate, subject, ` for ${direction}, and no rule allows ${traffic}`, peer];
  return { allowed: false, isolated: true, by, rules, why };
}

/** The policies that isolate the subject in this direction. */
export const isolatingPolicies = ({ cluster, direction, subject }: Question): readonly NetworkPolicy[] =>
  [...cluster.policiesIn(subject.namespace)].filter(
    policy => policy[direction] !== undefined && selects(policy.subject, subject.labels),
  );

function judge(asked: Asked): Decision {
  if ('exempt' in asked) return exempt(asked.exempt);
  const policies = isolatingPolicies(asked);
  const rules = policies.flatMap(policy => matchedRules(asked, policy));
  return decide(asked.direction, policies, rules, asked.flow);
}

/** What policies are asked in one direction; or why they are not asked at all. */
export type Asked = Question | { readonly exempt: Sentence };

function askEgress(cluster: Cluster, from: Party, to: Party, flow: Flow, options: EvaluateOptions): Asked {
  const { subject } = from;
  if (!subject) return { exempt: [FROM, ' is no pod, and only pods are isolated'] };
  if (isOwnNode(subject, to) && !options.enforceEgressToNode)
    return { exempt: [FROM, ' may reach its own node: enforceEgressToNode is off'] };
  return { cluster, direction: 'egress', subject, peer: to, destination: to.peer, flow };
}

function askIngress(cluster: Cluster, from: Party, to: Party, flow: Flow): Asked {
  const { subject } = to;
  if (!subject) return { exempt: [TO, ' is no pod, and only pods are isolated'] };
  if (isOwnNode(subject, from)) return { exempt: [TO, ' is always reachable from its own node, which probes it'] };
  return { cluster, direction: 'ingress', subject, peer: from, destination: subject, flow };
}

/** What is asked of the policies for a flow between these two, in each direction. */
export function askBetween(
  cluster: Cluster,
  from: Party,
  to: Party,
  flow: Flow,
  options: EvaluateOptions,
): Readonly<Record<Direction, Asked>> {
  if (isSamePod(from.subject, to.subject)) {
    const itself = { exempt: [TO, ' always reaches itself'] } as const;
    return { egress: itself, ingress: itself };
  }
  return { egress: askEgress(cluster, from, to, flow, options), ingress: askIngress(cluster, from, to, flow) };
}

/** What is asked of the policies for this flow, in each direction. */
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
