/**
 * Finds changes under which a denied connection would be allowed in one direction. Each remedy is tried: only those under
 * which `evaluate` allows the connection are returned.
 */
import type { PoliciesByTier } from '../evaluate/decision.ts';
import { type EvaluateOptions, evaluate, type Question } from '../evaluate/evaluate.ts';
import {
  type DirectionVerdict,
  formatRule,
  heedsRules,
  type Labels,
  type NetworkPolicy,
  type Peer,
  type Pod,
  type PodPeer,
  type PolicyRule,
  policyRef,
  type World,
} from '../model/model.ts';
import { acceptRemedy } from './cluster-remedy.ts';
import { ruleFit, unmetRequirement } from './mismatch.ts';
import { type ManifestValue, portOf, writtenPeer } from './written-peer.ts';

export interface Remedy {
  readonly kind: 'port' | 'label' | 'rule';
  /** One sentence: `Add TCP 8080 to the ports of NetworkPolicy/shop/db ingress[0]`. */
  readonly says: string;
  /** The value to add, as the manifest has it. */
  readonly add?: ManifestValue;
  /** The world in which that has been done. */
  readonly world: World;
}

const withPolicy = (world: World, old: NetworkPolicy, policy: NetworkPolicy): World => ({
  ...world,
  policies: world.policies.map(each => (each === old ? policy : each)),
});

const withRule = (policy: NetworkPolicy, { direction }: Question, rule: PolicyRule): NetworkPolicy => ({
  ...policy,
  [direction]: [...(policy[direction] ?? []).filter(({ index }) => index !== rule.index), rule],
});

function portRemedy(world: World, question: Question, policy: NetworkPolicy, rule: PolicyRule): Remedy | undefined {
  const { peers, ports } = ruleFit(question, rule);
  const port = portOf(question);
  if (peers.length > 0 || ports.length === 0 || rule.ports === 'any' || !port) return undefined;
  const { direction, flow } = question;
  const where = formatRule({ policy: policyRef(policy), direction, index: rule.index });
  return {
    kind: 'port',
    says: `Add ${flow.protocol} ${flow.port} to the ports of ${where}`,
    add: { protocol: String(flow.protocol), port: flow.port },
    world: withPolicy(world, policy, withRule(policy, question, { ...rule, ports: [...rule.ports, port] })),
  };
}

const isPod =
  (a: Pod) =>
  (b: Pod): boolean =>
    a.namespace === b.namespace && a.name === b.name && a.uid === b.uid;

/** The labels with the one change that meets the first requirement that they do not, and how to say it. */
function relabelled(
  name: string,
  { pods }: PodPeer,
  labels: Labels,
): { readonly labels: Labels; readonly says: string } | undefined {
  const unmet = unmetRequirement(pods, labels);
  if (!unmet) return undefined;
  const { key, operator, values } = unmet;
  const changed = new Map(labels);
  if (operator === 'In' || operator === 'Exists') {
    const value = operator === 'In' ? values[0]! : 'true';
    return { labels: changed.set(key, value), says: `Label ${name} ${key}=${value}` };
  }
  changed.delete(key);
  return { labels: changed, says: `Take the label ${key} off ${name}` };
}

/** A label for the peer that makes a rule match whose ports fit already. */
function labelRemedy(
  world: World,
  question: Question,
  policy: NetworkPolicy,
  rule: PolicyRule,
  peer: Peer,
): Remedy | undefined {
  const pod = question.peer.peer;
  if (!pod || peer.kind !== 'pods') return undefined;
  const change = relabelled(`${pod.namespace}/${pod.name}`, peer, pod.labels);
  if (!change) return undefined;
  const { direction } = question;
  const by = formatRule({ policy: policyRef(policy), direction, index: rule.index });
  const others = world.pods.filter(each => !isPod(pod)(each));
  return {
    kind: 'label',
    says: `${change.says}: then ${by} allows it`,
    world: { ...world, pods: [...others, { ...pod, labels: change.labels }] },
  };
}

function ruleRemedy(world: World, question: Question, policy: NetworkPolicy): Remedy | undefined {
  const written = writtenPeer(question);
  if (!written) return undefined;
  const { direction, flow } = question;
  const port = portOf(question);
  const rules = policy[direction] ?? [];
  const index = 1 + Math.max(-1, ...rules.map(each => each.index));
  const rule: PolicyRule = { index, peers: [written.peer], ports: port ? [port] : 'any' };
  const ports = port ? { ports: [{ protocol: String(flow.protocol), port: flow.port }] } : {};
  return {
    kind: 'rule',
    says: `Add to the ${direction} rules of ${policyRef(policy)}`,
    add: { [direction === 'ingress' ? 'from' : 'to']: [written.text], ...ports },
    world: withPolicy(world, policy, withRule(policy, question, rule)),
  };
}

/** The policy that a rule for this subject belongs into: the one that asks for most of its labels. */
const mostParticular = (policies: readonly NetworkPolicy[]): readonly NetworkPolicy[] =>
  policies.toSorted((a, b) => b.subject.requirements.length - a.subject.requirements.length).slice(0, 1);

/**
 * At most so many ports, and so many labels, are tried: those of the first rules. Each is tried in a world of its own, and a
 * thousand remedies help no reader.
 */
const MOST_TRIED = 32;

/** The first of them that say different things. */
function distinct(remedies: Iterable<Remedy | undefined>): readonly Remedy[] {
  const bySentence = new Map<string, Remedy>();
  for (const remedy of remedies) {
    if (remedy && !bySentence.has(remedy.says)) bySentence.set(remedy.says, remedy);
    if (bySentence.size === MOST_TRIED) break;
  }
  return [...bySentence.values()];
}

interface RuleOfPolicy {
  readonly policy: NetworkPolicy;
  readonly rule: PolicyRule;
}

function* portRemedies(
  world: World,
  question: Question,
  rules: readonly RuleOfPolicy[],
): Generator<Remedy | undefined> {
  for (const { policy, rule } of rules) yield portRemedy(world, question, policy, rule);
}

function* labelRemedies(
  world: World,
  question: Question,
  rules: readonly RuleOfPolicy[],
): Generator<Remedy | undefined> {
  for (const { policy, rule } of rules) {
    if (rule.peers === 'any' || ruleFit(question, rule).ports.length > 0) continue;
    for (const peer of rule.peers) yield labelRemedy(world, question, policy, rule, peer);
  }
}

function candidates(world: World, question: Question, policies: readonly NetworkPolicy[]): readonly Remedy[] {
  const written = policies.filter(policy => policy.kind === 'NetworkPolicy' && heedsRules(policy));
  const rules = written.flatMap(policy => (policy[question.direction] ?? []).map(rule => ({ policy, rule })));
  return [
    ...distinct(portRemedies(world, question, rules)),
    ...distinct(labelRemedies(world, question, rules)),
    ...distinct(mostParticular(written).map(policy => ruleRemedy(world, question, policy))),
  ];
}

/** The flow with its pods as they are in another world. */
function flowIn(world: World, { flow }: Question): Question['flow'] {
  const moved = (end: Question['flow']['from']): Question['flow']['from'] =>
    end.kind === 'pod' ? { kind: 'pod', pod: world.pods.find(isPod(end.pod)) ?? end.pod } : end;
  return { ...flow, from: moved(flow.from), to: moved(flow.to) };
}

/**
 * Nearest first: ports that are missing, labels, a rule of its own; where a cluster policy denies, a rule before the one that
 * does. Of a policy with very many rules or peers the first are tried.
 */
export function remediesFor(
  world: World,
  question: Question,
  { tier, rules }: DirectionVerdict,
  { isolating }: PoliciesByTier,
  options: EvaluateOptions = {},
): readonly Remedy[] {
  const { direction } = question;
  const helps = (remedy: Remedy) => evaluate(remedy.world, flowIn(remedy.world, question), options)[direction].allowed;
  const found =
    tier === 'NetworkPolicy'
      ? candidates(world, question, isolating)
      : rules.flatMap(rule => acceptRemedy(world, question, rule) ?? []);
  return found.filter(helps);
}
