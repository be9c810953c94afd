/**
 * `evaluate` for many flows at a time: what policy says of two ends is worked out once, whatever the number of flows between
 * them, and each flow is then a look at its port. It says yes or no, not why.
 */
import { type Family, type Range, rangeContains } from '../../ip/address.ts';
import { rangesOfBlocks } from '../compile/ranges.ts';
import type { Action, ClusterPolicy } from '../model/cluster-policy.ts';
import {
  type BlockPeer,
  type Direction,
  type Endpoint,
  type Flow,
  isNumbered,
  type Labels,
  type NetworkPolicy,
  type NodePeer,
  type Pod,
  type PodPeer,
  type PolicyRule,
  type Port,
  type Protocol,
} from '../model/model.ts';
import { selectsPod } from '../model/selector.ts';
import type { Cluster } from './cluster.ts';
import { type PoliciesByTier, policiesFor } from './decision.ts';
import { ask, type EvaluateOptions, type Question } from './evaluate.ts';

/** Whether a flow between two ends is allowed. */
export type PairVerdict = (protocol: Flow['protocol'], port: number) => boolean;

interface Span {
  readonly protocol: Protocol;
  readonly first: number;
  readonly last: number;
}

type Spans = 'any' | readonly Span[];

/** The last range that begins at or before the address, if the address is in it. */
function isIn(ranges: readonly Range[], address: { readonly family: Family; readonly value: bigint }): boolean {
  let [low, high] = [0, ranges.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ranges[middle]!.first <= address.value) low = middle + 1;
    else high = middle;
  }
  return low > 0 && rangeContains(ranges[low - 1]!, address);
}

/** The peers of a rule, so that ten thousand blocks are a few comparisons, and pods of equal labels one look. */
class RulePeers {
  readonly #pods: readonly PodPeer[];
  readonly #nodes: readonly NodePeer[];
  readonly #blocks: Readonly<Record<Family, readonly Range[]>>;
  readonly #byLabels = new WeakMap<Labels, Map<string, boolean>>();

  constructor(peers: Exclude<PolicyRule['peers'], 'any'>) {
    this.#pods = peers.filter(peer => peer.kind === 'pods');
    this.#nodes = peers.filter(peer => peer.kind === 'nodes');
    const blocks = peers.filter((peer): peer is BlockPeer => peer.kind === 'block');
    this.#blocks = { 4: rangesOfBlocks(blocks, 4), 6: rangesOfBlocks(blocks, 6) };
  }

  has({ peer: { peer, address }, cluster }: Question): boolean {
    if (peer !== undefined && this.#hasPod(peer, cluster)) return true;
    if (address === undefined) return false;
    return isIn(this.#blocks[address.family], address) || cluster.isNodeOf(this.#nodes, address);
  }

  #hasPod(pod: Pod, cluster: Cluster): boolean {
    if (this.#pods.length === 0) return false;
    const byNamespace = this.#byLabels.get(pod.labels) ?? new Map<string, boolean>();
    this.#byLabels.set(pod.labels, byNamespace);
    const known = byNamespace.get(pod.namespace);
    if (known !== undefined) return known;
    const labels = cluster.namespaceLabels(pod.namespace);
    const found = this.#pods.some(peer => selectsPod(peer, pod, labels));
    byNamespace.set(pod.namespace, found);
    return found;
  }
}

/** Judges single flows, and remembers policies and rules of the cluster: a caller whose cluster changes makes a new judge. */
export class FlowJudge {
  readonly #cluster: Cluster;
  readonly #options: EvaluateOptions;
  readonly #rules = new Map<PolicyRule, RulePeers>();
  /** The policies that judge a pod. */
  readonly #gates = new Map<Pod, Partial<Record<Direction, PoliciesByTier>>>();

  constructor(cluster: Cluster, options: EvaluateOptions = {}) {
    this.#cluster = cluster;
    this.#options = options;
  }

  /** Verdicts of policy on all flows from the one end to the other. */
  between(from: Endpoint, to: Endpoint, family: Family | null): PairVerdict {
    const { egress, ingress } = ask(this.#cluster, { from, to, family, protocol: 'other', port: 0 }, this.#options);
    const directions = [egress, ingress].flatMap(asked => ('exempt' in asked ? [] : [this.#verdictOn(asked)]));
    return (protocol, port) => directions.every(allows => allows(protocol, port));
  }

  #gateOf({ subject, direction }: Question): PoliciesByTier {
    const gates = this.#gates.get(subject) ?? {};
    this.#gates.set(subject, gates);
    gates[direction] ??= policiesFor(this.#cluster, direction, subject);
    return gates[direction];
  }

  /** The verdict that `decide` gives for one direction. */
  #verdictOn(question: Question): PairVerdict {
    const { admin, isolating, baseline } = this.#gateOf(question);
    const [first, last] = [this.#inOrder(question, admin), this.#inOrder(question, baseline)];
    const own = question.unjudged ? 'any' : this.#allowed(question, isolating);
    return (protocol, port) => {
      const action = first(protocol, port);
      if (action === 'Accept' || action === 'Deny') return action === 'Accept';
      if (isolating.length > 0) return isWithin(own, protocol, port);
      return last(protocol, port) !== 'Deny';
    };
  }

  /** The action of the first rule that matches; undefined where none does. */
  #inOrder(
    question: Question,
    policies: readonly ClusterPolicy[],
  ): (protocol: Flow['protocol'], port: number) => Action | undefined {
    const rules = policies
      .flatMap(policy => policy[question.direction])
      .filter(rule => this.#matches(question, rule))
      .map(({ action, ports }) => ({ action, spans: spansOf(ports, question.destination) }));
    return (protocol, port) => rules.find(({ spans }) => isWithin(spans, protocol, port))?.action;
  }

  #allowed(question: Question, isolating: readonly NetworkPolicy[]): Spans {
    const spans: Span[] = [];
    for (const rule of isolating.flatMap(policy => policy[question.direction] ?? [])) {
      if (!this.#matches(question, rule)) continue;
      const allowed = spansOf(rule.ports, question.destination);
      if (allowed === 'any') return 'any';
      spans.push(...allowed);
    }
    return spans;
  }

  #matches(question: Question, rule: PolicyRule): boolean {
    if (rule.peers === 'any') return true;
    const peers = this.#rules.get(rule) ?? new RulePeers(rule.peers);
    this.#rules.set(rule, peers);
    return peers.has(question);
  }
}

function spansOf(ports: PolicyRule['ports'], destination: Pod | undefined): Spans {
  return ports === 'any' ? 'any' : ports.flatMap(port => spansOfPort(port, destination));
}

/** A named port is whatever the destination has under that name. */
function spansOfPort(port: Port, destination: Pod | undefined): readonly Span[] {
  if (isNumbered(port)) return [port];
  return (destination?.namedPorts ?? [])
    .filter(({ name, protocol }) => name === port.name && protocol === port.protocol)
    .map(named => ({ protocol: port.protocol, first: named.port, last: named.port }));
}

const isWithin = (spans: Spans, protocol: Flow['protocol'], port: number): boolean =>
  spans === 'any' || spans.some(span => span.protocol === protocol && span.first <= port && port <= span.last);
