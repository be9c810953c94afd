/**
 * What NetworkPolicy says of one connection, and why: the meaning itself, flow by flow, with no regard to how the kernel
 * is told. Egress of the one end and ingress of the other are judged apart, and both must allow.
 */
import { type Address, type Family, parseAddress, prefixContains } from '../ip/address.ts';
import { type Cluster, clusterOf, isSameNode, type NodePlace, placeOfPod } from './cluster.ts';
import {
  type Direction,
  type DirectionVerdict,
  type Endpoint,
  type Flow,
  formatRule,
  type NetworkPolicy,
  type Peer,
  type Pod,
  type Port,
  policyRef,
  type Rule,
  type RuleRef,
  type Verdict,
  type World,
} from './model.ts';
import { selects, selectsPod } from './selector.ts';

export interface EvaluateOptions {
  /** Whether a pod's egress to its own node is judged at all. */
  readonly enforceEgressToNode?: boolean;
}

/** One end of a flow as policy sees it. */
interface Party {
  readonly name: string;
  /** Whose interface it is: the subject of policies. */
  readonly subject?: Pod;
  /** Who has the address as far as the other end can tell. */
  readonly peer?: Pod;
  readonly node?: NodePlace | 'own';
  readonly address?: Address;
}

function addressIn(family: Family | null, texts: readonly string[]): { address?: Address } {
  if (family === null) return {};
  const address = texts.map(parseAddress).find(found => found?.family === family);
  return address ? { address } : {};
}

function podParty(cluster: Cluster, pod: Pod, family: Family | null): Party {
  const found = addressIn(family, pod.addresses);
  const name = `${pod.namespace}/${pod.name}`;
  if (pod.finished) return { name: `${name}, which has finished`, ...found };
  if (pod.hostNetwork) return { name: `${name} on its node's network`, node: placeOfPod(pod), ...found };
  const text = pod.addresses.find(each => parseAddress(each)?.family === family);
  const owner = text === undefined ? undefined : cluster.ownerOf(text);
  return { name, subject: pod, peer: owner?.pod ?? pod, ...found };
}

function addressParty(cluster: Cluster, text: string, family: Family | null): Party {
  const owner = cluster.ownerOf(text);
  if (owner) return { ...podParty(cluster, owner.pod, family), ...addressIn(family, [text]) };
  const node = cluster.nodeWith(text);
  return { name: text, ...(node ? { node } : {}), ...addressIn(family, [text]) };
}

function partyOf(cluster: Cluster, endpoint: Endpoint, family: Family | null): Party {
  if (endpoint.kind === 'pod') return podParty(cluster, endpoint.pod, family);
  if (endpoint.kind === 'address') return addressParty(cluster, endpoint.address, family);
  if (endpoint.name === undefined) return { name: 'its own node', node: 'own' };
  const addresses = cluster.node(endpoint.name)?.addresses ?? [];
  return { name: `node ${endpoint.name}`, node: { name: endpoint.name }, ...addressIn(family, addresses) };
}

const isSamePod = (a: Pod | undefined, b: Pod | undefined): boolean =>
  a !== undefined &&
  (a === b || (a.namespace === b?.namespace && a.name === b.name && (a.uid ?? b.uid) === (b.uid ?? a.uid)));

const isOwnNode = (subject: Pod, { node }: Party): boolean =>
  node === 'own' || (node !== undefined && isSameNode(placeOfPod(subject), node));

/** One direction of one flow, in the words of policies: `destination` is the pod whose ports have names. */
interface Question {
  readonly cluster: Cluster;
  readonly direction: Direction;
  readonly subject: Pod;
  readonly peer: Party;
  readonly destination: Pod | undefined;
  readonly flow: Flow;
}

function matchesPeer({ cluster, peer }: Question, asked: Peer): boolean {
  if (asked.kind === 'pods')
    return peer.peer !== undefined && selectsPod(asked, peer.peer, cluster.namespaceLabels(peer.peer.namespace));
  const { address } = peer;
  if (!address || !prefixContains(asked.cidr, address)) return false;
  return !asked.except.some(hole => prefixContains(hole, address));
}

function matchesPort({ destination, flow }: Question, asked: Port): boolean {
  if (asked.protocol !== flow.protocol) return false;
  if ('first' in asked) return asked.first <= flow.port && flow.port <= asked.last;
  const ports = destination?.namedPorts ?? [];
  return ports.some(
    ({ name, protocol, port }) => name === asked.name && protocol === asked.protocol && port === flow.port,
  );
}

const matchesRule = (question: Question, { peers, ports }: Rule): boolean =>
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

function trafficText({ direction, peer, flow }: Question): string {
  const what = flow.protocol === 'other' ? 'traffic without ports' : `${flow.protocol} ${flow.port}`;
  return `${what} ${direction === 'egress' ? 'to' : 'from'} ${peer.name}`;
}

const exempt = (why: string): DirectionVerdict => ({ allowed: true, isolated: false, by: [], rules: [], why });

function judgeIsolated(question: Question, policies: readonly NetworkPolicy[]): DirectionVerdict {
  const rules = policies.flatMap(policy => matchedRules(question, policy));
  const traffic = trafficText(question);
  if (rules.length > 0) {
    const why = `${enumerated(rules.map(formatRule))} ${rules.length === 1 ? 'allows' : 'allow'} ${traffic}`;
    return { allowed: true, isolated: true, by: unique(rules.map(({ policy }) => policy)), rules, why };
  }
  const by = unique(policies.map(policyRef));
  const { namespace, name } = question.subject;
  const verb = by.length === 1 ? 'isolates' : 'isolate';
  const why = `${enumerated(by)} ${verb} ${namespace}/${name} for ${question.direction}, and no rule allows ${traffic}`;
  return { allowed: false, isolated: true, by, rules, why };
}

function judgeDirection(question: Question): DirectionVerdict {
  const { cluster, direction, subject } = question;
  const policies = [...cluster.policiesIn(subject.namespace)].filter(
    policy => policy[direction] !== undefined && selects(policy.subject, subject.labels),
  );
  if (policies.length > 0) return judgeIsolated(question, policies);
  return exempt(`No policy isolates ${subject.namespace}/${subject.name} for ${direction}`);
}

function judgeEgress(cluster: Cluster, from: Party, to: Party, flow: Flow, options: EvaluateOptions): DirectionVerdict {
  const { subject } = from;
  if (!subject) return exempt(`${from.name} is no pod, and only pods are isolated`);
  if (isOwnNode(subject, to) && !options.enforceEgressToNode)
    return exempt(`${from.name} may reach its own node: enforceEgressToNode is off`);
  return judgeDirection({ cluster, direction: 'egress', subject, peer: to, destination: to.peer, flow });
}

function judgeIngress(cluster: Cluster, from: Party, to: Party, flow: Flow): DirectionVerdict {
  const { subject } = to;
  if (!subject) return exempt(`${to.name} is no pod, and only pods are isolated`);
  if (isOwnNode(subject, from)) return exempt(`${to.name} is always reachable from its own node, which probes it`);
  return judgeDirection({ cluster, direction: 'ingress', subject, peer: from, destination: subject, flow });
}

/**
 * Whether policy allows the connection, in each direction, by which policies and why.
 * A pod that has no address of the flow's family is judged by its labels. Who asks often keeps a cluster at hand.
 */
export function evaluate(world: World | Cluster, flow: Flow, options: EvaluateOptions = {}): Verdict {
  const cluster = clusterOf(world);
  const [from, to] = [partyOf(cluster, flow.from, flow.family), partyOf(cluster, flow.to, flow.family)];
  if (isSamePod(from.subject, to.subject)) {
    const verdict = exempt(`${to.name} always reaches itself`);
    return { allowed: true, egress: verdict, ingress: verdict };
  }
  const egress = judgeEgress(cluster, from, to, flow, options);
  const ingress = judgeIngress(cluster, from, to, flow);
  return { allowed: egress.allowed && ingress.allowed, egress, ingress };
}
