/**
 * `evaluate` for many flows at a time: what policy says of two ends is worked out once, whatever the number of flows between
 * them, and each flow is then a look at its port. It says yes or no, not why.
 */
import { type Family, type Range, rangeContains } from '../../ip/address.ts';
import { rangesOfBlocks } from '../compile/ranges.ts';
import type { Flow, PolicyRule, Port, Protocol } from '../model/model.ts';
import {
  type BlockPeer,
  type Direction,
  type Endpoint,
  isNumbered,
  type Labels,
  type Pod,
  type PodPeer,
} from '../model/model.ts';
import { selectsPod } from '../model/selector.ts';
import type { Cluster } from './cluster.ts';
import { ask, type EvaluateOptions, isolatingPolicies, type Question } from './evaluate.ts';

/** Whether a flow between two ends is allowed. */
export type PairVerdict = (protocol: Flow['protocol'], port: number) => boolean;

interface Span {
  readonly protocol: Protocol;
  readonly first: number;
  readonly last: number;
}

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
  readonly #blocks: Readonly<Record<Family, readonly Range[]>>;
  readonly #byLabels = new WeakMap<Labels, Map<string, boolean>>();

  constructor(peers: Exclude<PolicyRule['peers'], 'any'>) {
    this.#pods = peers.filter(peer => peer.kind === 'pods');
    const blocks = peers.filter((peer): peer is BlockPeer => peer.kind === 'block');
    this.#blocks = { 4: rangesOfBlocks(blocks, 4), 6: rangesOfBlocks(blocks, 6) };
  }

  has({ peer: { peer, address }, cluster }: Question): boolean {
    if (peer !== undefined && this.#hasPod(peer, cluster)) return true;
    return address !== undefined && isIn(this.#blocks[address.family], address);
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

/** As of the cluster when it is asked first: to be made anew where that has changed. */
export class FlowJudge {
  readonly #cluster: Cluster;
  readonly #options: EvaluateOptions;
  readonly #rules = new Map<PolicyRule, RulePeers>();
  /** Rules of the policies that isolate a pod; undefined where none does. */
  readonly #gates = new Map<Pod, Partial<Record<Direction, { readonly rules: readonly PolicyRule[] | undefined }>>>();

  constructor(cluster: Cluster, options: EvaluateOptions = {}) {
    this.#cluster = cluster;
    this.#options = options;
  }

  /** What policy says of all flows from the one end to the other. */
  between(from: Endpoint, to: Endpoint, family: Family | null): PairVerdict {
    const { egress, ingress } = ask(this.#cluster, { from, to, family, protocol: 'other', port: 0 }, this.#options);
    const directions = [egress, ingress].flatMap(asked => {
      const spans = 'exempt' in asked ? 'any' : this.#allowed(asked);
      return spans === 'any' ? [] : [spans];
    });
    return (protocol, port) =>
      directions.every(spans =>
        spans.some(span => span.protocol === protocol && span.first <= port && port <= span.last),
      );
  }

  #rulesFor(question: Question): readonly PolicyRule[] | undefined {
    const { subject, direction } = question;
    const gates = this.#gates.get(subject) ?? {};
    this.#gates.set(subject, gates);
    gates[direction] ??= this.#gateFor(question);
    return gates[direction].rules;
  }

  #gateFor(question: Question): { readonly rules: readonly PolicyRule[] | undefined } {
    const policies = isolatingPolicies(question);
    if (policies.length === 0) return { rules: undefined };
    return { rules: policies.flatMap(policy => policy[question.direction] ?? []) };
  }

  #allowed(question: Question): 'any' | readonly Span[] {
    const rules = this.#rulesFor(question);
    if (!rules) return 'any';
    const spans: Span[] = [];
    for (const rule of rules) {
      if (!this.#matches(question, rule)) continue;
      if (rule.ports === 'any') return 'any';
      spans.push(...rule.ports.flatMap(port => spansOf(port, question.destination)));
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

/** A named port is whatever the destination has under that name. */
function spansOf(port: Port, destination: Pod | undefined): readonly Span[] {
  if (isNumbered(port)) return [port];
  return (destination?.namedPorts ?? [])
    .filter(({ name, protocol }) => name === port.name && protocol === port.protocol)
    .map(named => ({ protocol: port.protocol, first: named.port, last: named.port }));
}
