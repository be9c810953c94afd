/**
 * Which policies let a flow pass, or stopped it: asked of `evaluate` at the moment at which the flow is seen, once for all
 * flows with the same ends and port. Nothing here grows or takes long, whatever pods do: answers are forgotten when there
 * are too many, and beyond a share of the processor flows are recorded without an answer, which says so.
 */
import { type Address, addressBytes, addressFromBytes, formatAddress, parseAddress } from '../ip/address.ts';
import type { Cluster } from '../policy/evaluate/cluster.ts';
import { type Endpoint, type Pod, type Protocol, protocols } from '../policy/model/model.ts';
import { judge, keyedJudgements, passed } from './judgement.ts';
import { type FlowEnd, type Judgements, protocolName } from './model.ts';
import type { Keyed } from './ring.ts';
import { RuleUse } from './rule-use.ts';
import type { StagedScene } from './staged.ts';

/** By what flows are judged at a moment. */
export interface FlowScene {
  readonly cluster: Cluster;
  /** This node's pods by the canonical texts of their addresses. */
  readonly pods: ReadonlyMap<string, Pod>;
  /** Canonical texts of the node's own addresses. */
  readonly own: ReadonlySet<string>;
  readonly enforceEgressToNode: boolean;
  /** Absent where nothing is staged. */
  readonly staged?: StagedScene | undefined;
}

export interface Attributed {
  readonly from: Keyed<FlowEnd>;
  readonly to: Keyed<FlowEnd>;
  /** As policies say, and as they say where the kernel let the flow pass. */
  readonly judgements: Keyed<Judgements>;
  readonly passed: Keyed<Judgements>;
  /** The flow journal's memo: the key of these flows in its sums by the minute. */
  sumKey?: number;
}

/** Milliseconds from any start. */
export type Stopwatch = () => number;

export interface Stopwatches {
  readonly time: Stopwatch;
  /** Processor time of this thread: a process that waits for a processor spends none. */
  readonly work: Stopwatch;
}

/** Answers that are kept. */
const MOST_KNOWN = 8192;
/** Milliseconds of the processor for evaluation in each second. */
const BUDGET = 100;
const SECOND = 1000;
/** Milliseconds for which a pod that left is known: events wait for less to be read. */
const GRACE = 2000;

const keyedEnd = (value: FlowEnd): Keyed<FlowEnd> => ({ key: `e${JSON.stringify(value)}`, value });

/** A character for each byte of an address: what flows are looked up by, since it costs nothing to make. */
const keyOfText = (text: string): string => {
  const address = parseAddress(text);
  return address ? String.fromCharCode(...addressBytes(address)) : '';
};

/** The address of such a key. */
export const addressOfBytes = (key: string): Address =>
  addressFromBytes(Uint8Array.from(key, character => character.charCodeAt(0)));

const isKnown = (name: string): name is Protocol => (protocols as readonly string[]).includes(name);

export class Attribution {
  readonly #scene: () => FlowScene;
  readonly #clock: Stopwatches;
  readonly #budget: number;
  #known = new Map<string, Attributed>();
  #ends = new Map<string, Keyed<FlowEnd>>();
  #now: FlowScene | undefined;
  /** Pods that left a moment ago, by address: the kernel may be telling still what they did. */
  readonly #gone = new Map<string, { readonly pod: Pod; readonly until: number }>();
  #keys: ReadonlySet<string> = new Set();
  #before: FlowScene | undefined;
  #second = Number.NEGATIVE_INFINITY;
  #spent = 0;
  readonly rulesUsed = new RuleUse();
  /** Flows that were recorded without an answer. */
  unanswered = 0;

  /** @param budget milliseconds of the processor for evaluation in each second */
  constructor(scene: () => FlowScene, clock: Stopwatches, budget = BUDGET) {
    this.#scene = scene;
    this.#clock = clock;
    this.#budget = budget;
  }

  /** Pods or policies have changed: from now on flows are judged by those of now. */
  outdate(): void {
    this.#before = this.#now ?? this.#before;
    this.#now = undefined;
    this.#known.clear();
    this.#ends.clear();
  }

  get scene(): FlowScene {
    if (this.#now) return this.#now;
    const scene = this.#scene();
    const now = this.#clock.time();
    for (const [address, { until }] of this.#gone)
      if (until < now || scene.pods.has(address)) this.#gone.delete(address);
    for (const [address, pod] of this.#before?.pods ?? [])
      if (!scene.pods.has(address)) this.#gone.set(address, { pod, until: now + GRACE });
    if (this.#before) this.#carryRuleUse(this.#before, scene);
    this.#before = undefined;
    this.#keys = new Set([...scene.pods.keys(), ...this.#gone.keys()].map(keyOfText));
    this.#now = scene;
    return scene;
  }

  #carryRuleUse(before: FlowScene, { cluster, staged }: FlowScene): void {
    if (before.cluster !== cluster) this.rulesUsed.carry(before.cluster.policies(), ref => cluster.policy(ref));
    this.rulesUsed.carry(before.staged?.policies.values() ?? [], ref => staged?.policies.get(ref));
  }

  /** Whether either is an address of a pod of this node, or was a moment ago. @param from, to as `addressKey` has them */
  concerns(from: string, to: string): boolean {
    if (!this.#now) void this.scene;
    return this.#keys.has(from) || this.#keys.has(to);
  }

  /**
   * @param key equal for flows of the same ends, protocol and port
   * @param ends of the flow, read only where the key is new
   * @param protocol IPPROTO_*
   */
  of(
    key: string,
    ends: () => { readonly from: Address; readonly to: Address },
    protocol: number,
    port: number,
  ): Attributed {
    const known = this.#known.get(key);
    if (known) return known;
    const { from, to } = ends();
    const texts = { from: formatAddress(from), to: formatAddress(to), family: from.family };
    const [fromEnd, toEnd] = [this.#end(texts.from), this.#end(texts.to)];
    const isBusy = !this.#mayStart(this.#clock.time());
    const start = this.#clock.work();
    const judgements: Judgements = isBusy
      ? { egress: null, ingress: null, doubt: 'busy' }
      : this.#judge({ ...texts, protocol: protocolName(protocol), port });
    const keyed = keyedJudgements(judgements);
    const asPassed = passed(judgements);
    const attributed: Attributed = {
      ...{ from: fromEnd, to: toEnd, judgements: keyed },
      passed: asPassed === judgements ? keyed : keyedJudgements(asPassed),
    };
    if (isBusy) {
      this.unanswered++;
      return attributed;
    }
    this.#spent += this.#clock.work() - start;
    if (this.#known.size >= MOST_KNOWN) this.#known.clear();
    this.#known.set(key, attributed);
    return attributed;
  }

  #mayStart(now: number): boolean {
    if (now - this.#second >= SECOND) {
      this.#second = now;
      this.#spent = 0;
    }
    return this.#spent < this.#budget;
  }

  #end(address: string): Keyed<FlowEnd> {
    const known = this.#ends.get(address);
    if (known) return known;
    const end = keyedEnd(this.#endOf(address));
    if (this.#ends.size >= MOST_KNOWN) this.#ends.clear();
    this.#ends.set(address, end);
    return end;
  }

  #endOf(address: string): FlowEnd {
    const { cluster, own, pods } = this.scene;
    if (own.has(address)) return { kind: 'node', name: 'node', address };
    const pod = pods.get(address) ?? cluster.ownerOf(address) ?? this.#gone.get(address)?.pod;
    if (pod) {
      const { namespace, name, labels } = pod;
      const known = { kind: 'pod', name: `${namespace}/${name}`, address, namespace, pod: name } as const;
      return labels.size === 0 ? known : { ...known, labels: Object.fromEntries(labels) };
    }
    const node = cluster.nodeWith(address);
    return node?.name === undefined
      ? { kind: 'outside', name: address, address }
      : { kind: 'outside', name: `node ${node.name}`, address };
  }

  /** Asked where the end is a pod of this node: policies of others are enforced elsewhere, if at all. */
  #judge(asked: Question): Judgements {
    const { pods, own } = this.scene;
    const endpoint = (address: string): Endpoint =>
      own.has(address) ? { kind: 'node' } : { kind: 'address', address };
    const { from, to, family, protocol, port } = asked;
    const flow = {
      ...{ from: endpoint(from), to: endpoint(to), family, port },
      protocol: isKnown(protocol) ? protocol : ('other' as const),
      // What a pod sends to its own address never leaves it.
      ...(pods.has(from) && pods.get(from) === pods.get(to) ? { throughService: true } : {}),
    };
    // A pod of this flow has left since, so this scene no longer tells how the kernel judged it.
    if ([from, to].some(address => !pods.has(address) && this.#gone.has(address)))
      return { egress: null, ingress: null, doubt: 'changed' };
    return judge(this.scene, flow, { egress: pods.has(from), ingress: pods.has(to) }, this.rulesUsed);
  }
}

interface Question {
  readonly from: string;
  readonly to: string;
  readonly family: Address['family'];
  readonly protocol: string;
  readonly port: number;
}
