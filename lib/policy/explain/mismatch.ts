/** The first thing about a selector, peer or port that does not fit, told so that a person sees what to change. */
import { formatAddress, formatPrefix, prefixContains } from '../../ip/address.ts';
import { matchesPeer, matchesPort, type Question } from '../evaluate/evaluate.ts';
import {
  type BlockPeer,
  type Flow,
  isNumbered,
  type LabelSelector,
  type Labels,
  type NodePeer,
  type Peer,
  type Pod,
  type PodPeer,
  type PolicyRule,
  type Port,
  type Requirement,
} from '../model/model.ts';
import { holds, podPeerText, requirementText, selectorText, selects } from '../model/selector.ts';

export type MisfitKind =
  | 'label'
  | 'namespace'
  | 'namespace label'
  | 'not a pod'
  | 'not a node'
  | 'domain'
  | 'no address'
  | 'family'
  | 'outside'
  | 'except'
  | 'protocol'
  | 'port'
  | 'port name'
  | 'invalid';

export interface Misfit {
  readonly kind: MisfitKind;
  /** The field of the rule that does not match: `from[0]`, `ports[1]`; of a policy `podSelector`. */
  readonly place: string;
  /** The peer or port that the rule asks for, in words: `pods app=web in namespace shop`, `TCP 80`. */
  readonly asked: string;
  /** One sentence that says what the flow has instead. */
  readonly says: string;
}

/** The first requirement that these labels do not meet. */
export const unmetRequirement = ({ requirements }: LabelSelector, labels: Labels): Requirement | undefined =>
  requirements.find(requirement => !holds(requirement, labels));

/** `a/q has app=db, and app=web is asked for` */
function labelSentence(whose: string, requirement: Requirement, labels: Labels): string {
  const { key, operator } = requirement;
  const value = labels.get(key);
  const asked = requirementText(requirement);
  if (operator === 'DoesNotExist') return `${whose} has ${key}=${value}, and only those without ${key} are meant`;
  if (value === undefined) return `${whose} has no label ${key}, and ${asked} is asked for`;
  return `${whose} has ${key}=${value}, and ${asked} is asked for`;
}

type Said = Pick<Misfit, 'kind' | 'says'>;

/** A rule of a cluster policy, which has other peers than a NetworkPolicy's. */
const isOrdered = (rule: PolicyRule): boolean => 'action' in rule;

/** The peers that can mean what is no pod. */
function otherPeers({ direction }: Question, rule: PolicyRule): string {
  if (!isOrdered(rule)) return 'only an ipBlock can mean it';
  return direction === 'ingress'
    ? 'no ingress rule of a cluster policy can mean it'
    : 'only networks and nodes can mean it';
}

function podMisfit(question: Question, { namespace, pods }: PodPeer, rule: PolicyRule): Said | undefined {
  const { cluster, peer } = question;
  const pod = peer.peer;
  if (!pod) return { kind: 'not a pod', says: `${peer.name} is no pod to selectors: ${otherPeers(question, rule)}` };
  const name = `${pod.namespace}/${pod.name}`;
  if (typeof namespace === 'string') {
    const says = `${name} is in namespace ${pod.namespace}, and without a namespaceSelector the policy's own, ${namespace}, is meant`;
    if (namespace !== pod.namespace) return { kind: 'namespace', says };
  } else {
    const labels = cluster.namespaceLabels(pod.namespace);
    const unmet = unmetRequirement(namespace, labels);
    if (unmet) return { kind: 'namespace label', says: labelSentence(`namespace ${pod.namespace}`, unmet, labels) };
  }
  const unmet = unmetRequirement(pods, pod.labels);
  return unmet && { kind: 'label', says: labelSentence(name, unmet, pod.labels) };
}

function blockMisfit({ peer, flow }: Question, { cidr, except }: BlockPeer, rule: PolicyRule): Said | undefined {
  const { address } = peer;
  if (!address) {
    const which = flow.family === null ? 'address yet' : `IPv${flow.family} address that is known`;
    const what = isOrdered(rule) ? 'network' : 'ipBlock';
    return { kind: 'no address', says: `${peer.name} has no ${which}, so no ${what} can mean it` };
  }
  const text = formatAddress(address);
  if (cidr.family !== address.family)
    return { kind: 'family', says: `${text} is IPv${address.family}, and the block is IPv${cidr.family}` };
  if (!prefixContains(cidr, address)) return { kind: 'outside', says: `${text} is not in ${formatPrefix(cidr)}` };
  const hole = except.find(each => prefixContains(each, address));
  return hole && { kind: 'except', says: `${text} is in ${formatPrefix(hole)}, which the block excepts` };
}

function nodeMisfit({ cluster, peer }: Question, { nodes }: NodePeer): Said | undefined {
  const { address } = peer;
  if (!address) return { kind: 'no address', says: `no address of ${peer.name} is known, so nodes cannot mean it` };
  const [first] = cluster.nodesAt(address);
  if (!first)
    return { kind: 'not a node', says: `${formatAddress(address)} is no address that a known node lists as its own` };
  const unmet = unmetRequirement(nodes, first.labels);
  return unmet && { kind: 'label', says: labelSentence(`node ${first.name}`, unmet, first.labels) };
}

const domainMisfit: Said = { kind: 'domain', says: 'nothing is known of domain names by this version' };

function peerMisfit(question: Question, peer: Peer, rule: PolicyRule): Said | undefined {
  switch (peer.kind) {
    case 'pods':
      return podMisfit(question, peer, rule);
    case 'block':
      return blockMisfit(question, peer, rule);
    case 'nodes':
      return nodeMisfit(question, peer);
    case 'domains':
      return domainMisfit;
  }
}

export function peerText(peer: Peer): string {
  if (peer.kind === 'pods') return podPeerText(peer);
  if (peer.kind === 'domains') return peer.names.join(', ');
  if (peer.kind === 'nodes') {
    const which = selectorText(peer.nodes);
    return which === '' ? 'all nodes' : `nodes ${which}`;
  }
  const holes = peer.except.map(formatPrefix);
  return `${formatPrefix(peer.cidr)}${holes.length === 0 ? '' : ` except ${holes.join(', ')}`}`;
}

export function portText(port: Port): string {
  if (!isNumbered(port)) return `${port.protocol} ${port.name}`;
  if (port.first === 0 && port.last === 65535) return `all of ${port.protocol}`;
  return `${port.protocol} ${port.first}${port.last === port.first ? '' : `-${port.last}`}`;
}

function portSaid({ flow, destination, peer, direction }: Question, port: Port): Said {
  const { protocol } = flow;
  const traffic = `${protocol} ${flow.port}`;
  if (protocol === 'other')
    return { kind: 'protocol', says: 'it has no port, and only a rule without ports allows such traffic' };
  if (protocol !== port.protocol) return { kind: 'protocol', says: `it is ${traffic}, and ${port.protocol} is meant` };
  if (isNumbered(port)) return { kind: 'port', says: `it is ${traffic}, and ${portText(port)} is meant` };
  if (!destination) {
    const whose = direction === 'egress' ? peer.name : 'the destination';
    return { kind: 'port name', says: `${port.name} is the name of a container port, and ${whose} is no pod` };
  }
  const name = `${destination.namespace}/${destination.name}`;
  const numbers = destination.namedPorts.filter(each => each.name === port.name && each.protocol === port.protocol);
  if (numbers.length === 0)
    return { kind: 'port name', says: `${name} has no container port named ${port.name} for ${port.protocol}` };
  const known = numbers.map(each => each.port).join(' and ');
  return { kind: 'port name', says: `${port.name} is ${known} on ${name}, not ${flow.port}` };
}

/** Why a flow does not match the rule: for each peer, or else for each port; none where it matches. */
export interface RuleFit {
  readonly peers: readonly Misfit[];
  /** Looked at even where no peer fits. */
  readonly ports: readonly Misfit[];
}

const invalid = (place: string): Misfit => ({
  kind: 'invalid',
  place,
  asked: 'nothing',
  says: `what its ${place} says is invalid, so it matches nothing`,
});

function peersFit(question: Question, rule: PolicyRule): readonly Misfit[] {
  const { peers } = rule;
  const list = question.direction === 'ingress' ? 'from' : 'to';
  if (peers === 'any' || peers.some(peer => matchesPeer(question, peer))) return [];
  if (peers.length === 0) return [invalid(list)];
  return peers.map((peer, i) => {
    const place = isAsWritten(rule) ? `${list}[${i}]` : list;
    return { ...peerMisfit(question, peer, rule)!, place, asked: peerText(peer) };
  });
}

/** Whether each peer is an entry of the manifest: one of `networks` becomes a peer for each network. */
const isAsWritten = (rule: PolicyRule): boolean =>
  !isOrdered(rule) || rule.peers === 'any' || !rule.peers.some(({ kind }) => kind === 'block');

const isName = (name: string) => (port: Port) => !isNumbered(port) && port.name === name;

/**
 * The ports as entries of the manifest: a cluster policy's name says no protocol, and stands in the rule once for each.
 * @param protocol by which of them such a name is represented
 */
function writtenPorts(rule: PolicyRule, protocol: Flow['protocol']): readonly Port[] {
  const ports = rule.ports === 'any' ? [] : rule.ports;
  if (!isOrdered(rule)) return ports;
  return ports.flatMap((port, i) => {
    if (isNumbered(port)) return [port];
    const isSame = isName(port.name);
    if (ports.findIndex(isSame) !== i) return [];
    return [ports.find(each => isSame(each) && each.protocol === protocol) ?? port];
  });
}

const writtenText = (port: Port, rule: PolicyRule): string =>
  isOrdered(rule) && !isNumbered(port) ? `port ${port.name}` : portText(port);

function portsFit(question: Question, rule: PolicyRule): readonly Misfit[] {
  const { ports } = rule;
  if (ports === 'any' || ports.some(port => matchesPort(question, port))) return [];
  if (ports.length === 0) return [invalid('ports')];
  return writtenPorts(rule, question.flow.protocol).map((port, i) => ({
    ...portSaid(question, port),
    place: `ports[${i}]`,
    asked: writtenText(port, rule),
  }));
}

export const ruleFit = (question: Question, rule: PolicyRule): RuleFit => ({
  peers: peersFit(question, rule),
  ports: portsFit(question, rule),
});

/** `from pods app=web in namespace shop or 10.0.0.0/8, to TCP 80 or TCP 443` */
export function ruleText(rule: PolicyRule, direction: Question['direction']): string {
  const { peers, ports } = rule;
  const written = writtenPorts(rule, 'TCP').map(port => writtenText(port, rule));
  const [from, whom] = direction === 'ingress' ? ['from', 'anybody'] : ['to', 'anybody'];
  const who = peers === 'any' ? whom : peers.length === 0 ? 'nobody' : peers.map(peerText).join(' or ');
  const which = ports === 'any' ? 'any port' : ports.length === 0 ? 'no port' : written.join(' or ');
  return `${from} ${who}, ${which}`;
}

/** Why a policy does not select these labels; undefined where it does. */
export function subjectMisfit(subject: LabelSelector, name: string, labels: Labels): Misfit | undefined {
  if (selects(subject, labels)) return undefined;
  const unmet = unmetRequirement(subject, labels)!;
  const asked = subject.requirements.map(requirementText).join(',');
  return { kind: 'label', place: 'podSelector', asked, says: labelSentence(name, unmet, labels) };
}

/** Why a cluster policy's subject is not this pod; undefined where it is. */
export function clusterSubjectMisfit(
  { namespace, pods }: PodPeer,
  pod: Pick<Pod, 'namespace' | 'name' | 'labels'>,
  namespaceLabels: Labels,
): Misfit | undefined {
  const unmet = typeof namespace === 'string' ? undefined : unmetRequirement(namespace, namespaceLabels);
  if (!unmet) return subjectMisfit(pods, `${pod.namespace}/${pod.name}`, pod.labels);
  const says = labelSentence(`namespace ${pod.namespace}`, unmet, namespaceLabels);
  return { kind: 'namespace label', place: 'subject', asked: requirementText(unmet), says };
}
