/**
 * The ruleset of a node, kept up to date change by change: what a pod, a namespace or a policy costs is what it touches,
 * however large the cluster is. What the whole comes to is `compile`'s word; this tells what of it has changed.
 */
import { Cluster } from '../evaluate/cluster.ts';
import { type ClusterPolicy, tiers } from '../model/cluster-policy.ts';
import type { Labels, NetworkPolicy, Node, Pod } from '../model/model.ts';
import { selects } from '../model/selector.ts';
import {
  type CompileOptions,
  emptyStructure,
  filledStructure,
  type Structure,
  structureOf,
  type TaggedIdentity,
} from './compile.ts';
import { type GateSources, LiveGates } from './live-gates.ts';
import { elementsFrom, missingIn } from './members.ts';
import { Names } from './names.ts';
import { NodeSets, type SetMoves } from './node-sets.ts';
import { type Effects, effectsOf } from './one-way.ts';
import { type GatesIndex, gatesIndexOf, type RulesIndex, type SetsIndex, withoutBlocks } from './rules-index.ts';
import { comesWithPods, type PodSetSpec, type Ruleset, type SetSpec } from './ruleset.ts';
import { changeBetween, type Moves, type RulesetChange } from './ruleset-change.ts';
import { SetIndex } from './set-index.ts';

/** Sources of policies and pods that the rules may need while they follow a change, and were not told. */
export interface LiveSources extends GateSources {
  /** Called before a new set is filled: pods that were not told are to be set in `cluster` now. */
  readonly complete?: () => void;
}

/** Sets whose members come and go with pods, of which the other has none of that name. */
const onlyIn = ({ specs }: Structure, other: Structure): readonly PodSetSpec[] =>
  [...specs.values()].filter((spec): spec is PodSetSpec => comesWithPods(spec) && !other.specs.has(spec.name));

export class LiveRules {
  /** The cluster of now, for judges of single flows. Only this class changes it. */
  readonly cluster = new Cluster();
  readonly #names: Names;
  readonly #complete: (() => void) | undefined;
  readonly #index = new SetIndex();
  /** The structure of the last `take`. */
  #structure = emptyStructure;
  #known: Effects | undefined;
  #identities: readonly TaggedIdentity[] = [];
  readonly #gates: LiveGates;
  readonly #nodeSets = new NodeSets();
  #isRestructured = false;
  /** Addresses that may be in other sets than at the last `take`, with who had them then. */
  readonly #moved = new Map<string, Pod | undefined>();
  /** Namespaces with the labels that they had at the last `take`. */
  readonly #relabelled = new Map<string, Labels>();
  /** The number of times that a set was asked whether it holds an address. */
  asked = 0;

  constructor(options: Pick<CompileOptions, 'apart'> = {}, { complete, ...sources }: LiveSources = {}) {
    this.#names = new Names(undefined, sources.known?.gates.names);
    this.#complete = complete;
    this.#gates = new LiveGates(this.cluster, { ...options, names: this.#names }, sources);
  }

  /** Index by which a new process goes on from the last `take`, without a look at the policies. */
  index(): RulesIndex {
    const { specs, isOrdered } = this.#structure;
    const gates = () => this.#gatesIndex();
    const ordered = isOrdered ? { isOrdered, effects: this.#effects() } : {};
    return { specs: [...specs.values()].map(withoutBlocks), ...ordered, gates };
  }

  /** What the sets do, as of the last `take`; worked out when it is asked for. */
  #effects(): Effects {
    this.#known ??= effectsOf(this.#structure.chains);
    return this.#known;
  }

  #gatesIndex(): GatesIndex {
    const { specs, chains, tags } = this.#structure;
    const gates = [...tags.values()].map(
      ({ identity }) => [this.#gates.keyOf(identity), this.#gates.of(identity)] as const,
    );
    return gatesIndexOf(this.#names.entries(new Set([...specs.keys(), ...chains.keys()])), gates);
  }

  /**
   * Takes what was set so far for the result of the last `take`, so that the next `take` tells what is new.
   * @param sets the sets of that result, for a caller that sets no identities, neither before nor after
   */
  resume(sets?: SetsIndex): void {
    this.#structure = sets
      ? { ...emptyStructure, ...sets, specs: new Map(sets.specs.map(spec => [spec.name, spec])) }
      : this.#structureNow();
    this.#known = sets?.effects;
    this.#isRestructured = false;
    for (const spec of this.#structure.specs.values()) if (comesWithPods(spec)) this.#index.add(spec);
    this.#nodeSets.take(this.cluster, this.#structure.specs);
    this.#relabelled.clear();
  }

  /** Policies may be others than those that were asked for: they are asked for again. */
  forgetPolicies(): void {
    this.#gates.forgetPolicies();
    this.#isRestructured = true;
  }

  setPod(pod: Pod): void {
    this.#note(this.cluster.find(pod)?.addresses ?? []);
    this.#note(pod.addresses);
    this.cluster.setPod(pod);
  }

  /** The one of the same namespace, name and uid. */
  deletePod(pod: Pod): void {
    this.#note(this.cluster.find(pod)?.addresses ?? []);
    this.cluster.deletePod(pod);
  }

  /** Notes which pods owned the addresses before this change; without sets in the index there is no set whose members change. */
  #note(addresses: readonly string[]): void {
    if (this.#index.isEmpty) return;
    for (const address of addresses)
      if (!this.#moved.has(address)) this.#moved.set(address, this.cluster.ownerOf(address));
  }

  setNamespace(name: string, labels: Labels): void {
    this.#noteNamespace(name, () => this.cluster.setNamespace(name, labels));
  }

  deleteNamespace(name: string): void {
    this.#noteNamespace(name, () => this.cluster.deleteNamespace(name));
  }

  #noteNamespace(name: string, change: () => void): void {
    const before = this.cluster.namespaceLabels(name);
    if (!this.#relabelled.has(name)) this.#relabelled.set(name, before);
    change();
    if (this.#isSubjectOfOthers(before, this.cluster.namespaceLabels(name))) this.#gates.hurry([name]);
  }

  /** Whether the subject of some cluster policy selects the namespace by only one of these two sets of labels. */
  #isSubjectOfOthers(before: Labels, after: Labels): boolean {
    return tiers.some(tier =>
      this.cluster.clusterPolicies(tier).some(({ subject: { namespace } }) => {
        return typeof namespace !== 'string' && selects(namespace, before) !== selects(namespace, after);
      }),
    );
  }

  setPolicy(policy: NetworkPolicy): void {
    this.cluster.setPolicy(policy);
    this.#gates.unsettle(policy.namespace);
  }

  deletePolicy(policy: NetworkPolicy): void {
    this.cluster.deletePolicy(policy);
    this.#gates.unsettle(policy.namespace);
  }

  setClusterPolicy(policy: ClusterPolicy): void {
    this.cluster.setClusterPolicy(policy);
    this.#gates.hurry();
  }

  deleteClusterPolicy(policy: ClusterPolicy): void {
    this.cluster.deleteClusterPolicy(policy);
    this.#gates.hurry();
  }

  /** Namespaces whose policies have changed and are not in force, the one that has waited longest first. */
  get unsettled(): readonly string[] {
    return this.#gates.unsettled;
  }

  #settle(namespaces: Iterable<string>): void {
    if (this.#gates.settle(namespaces)) this.#isRestructured = true;
  }

  setNode(node: Node): void {
    this.cluster.setNode(node);
    this.#nodeSets.outdate();
  }

  deleteNode(name: string): void {
    this.cluster.deleteNode(name);
    this.#nodeSets.outdate();
  }

  /** Sets the identities of this node's pods. */
  setIdentities(identities: readonly TaggedIdentity[]): void {
    this.#identities = identities;
    this.#isRestructured = true;
  }

  /** `Kind/namespace/name` of policies that the kernel refused: they isolate the pods that they select, and allow nothing. */
  setRefused(policies: ReadonlySet<string>): void {
    this.#gates.setRefused(policies);
  }

  #structureNow(): Structure {
    if (!this.#isRestructured) return this.#structure;
    const before = this.#structure;
    const structure = structureOf(this.#identities, identity => this.#gates.of(identity), before);
    const { specs, chains } = structure;
    this.#gates.keep(this.#identities);
    const isOfOthers = specs !== before.specs;
    if (isOfOthers && this.#names.keep(new Set([...specs.keys(), ...chains.keys()]))) this.#gates.forgetNames();
    return structure;
  }

  /** The chains of the last `take`. */
  get chains(): Ruleset['chains'] {
    return this.#structure.chains;
  }

  /** The whole with the policies of the last `take`, and the pods of now. */
  taken(): Ruleset {
    return filledStructure(this.cluster, this.#structure);
  }

  /** The whole, as of now. */
  ruleset(): Ruleset {
    this.#settle(this.unsettled);
    return filledStructure(this.cluster, this.#structureNow());
  }

  /**
   * The change since the last call; undefined where nothing has changed.
   * @param namespaces those whose policies are to be in force. The gates of others stay as they are, while changes of pods and
   * of namespaces' labels count for all. Absent: all namespaces whose policies have changed.
   */
  take(namespaces: Iterable<string> = this.unsettled): RulesetChange | undefined {
    this.#settle(namespaces);
    if (this.#gates.settleNewcomers(this.#identities)) this.#isRestructured = true;
    const before = this.#structure;
    const after = this.#structureNow();
    const isOfOthers = before.specs !== after.specs;
    const [gone, come] = isOfOthers ? [onlyIn(before, after), onlyIn(after, before)] : [[], []];
    for (const spec of gone) this.#index.delete(spec);
    const moves: Moves = new Map<SetSpec, SetMoves>([
      ...this.#traffic(),
      ...this.#nodeSets.take(this.cluster, after.specs),
    ]);
    for (const spec of come) this.#index.add(spec);
    this.#structure = after;
    if (before.chains !== after.chains) this.#known = undefined;
    this.#isRestructured = false;
    if (come.length > 0) this.#complete?.();
    return changeBetween(this.cluster, before, after, moves, () => this.#effects());
  }

  #traffic(): ReadonlyMap<PodSetSpec, SetMoves> {
    const traffic = new Map<PodSetSpec, SetMoves>();
    for (const [address, was] of this.#moved) {
      const is = this.cluster.ownerOf(address);
      const sets = new Set([...(was ? this.#index.of(was) : []), ...(is ? this.#index.of(is) : [])]);
      for (const spec of sets) this.#compare(traffic, spec, address, was, is);
    }
    for (const [name, labels] of this.#relabelled) {
      const sets = [...this.#index.tellingApart(labels, this.cluster.namespaceLabels(name))];
      if (sets.length > 0) this.#compareNamespace(traffic, sets, name);
    }
    this.#moved.clear();
    this.#relabelled.clear();
    return traffic;
  }

  #compareNamespace(traffic: Map<PodSetSpec, SetMoves>, sets: readonly PodSetSpec[], name: string): void {
    for (const pod of this.cluster.inNamespace(name))
      for (const address of pod.addresses) {
        if (this.#moved.has(address) || this.cluster.ownerOf(address) !== pod) continue;
        for (const spec of sets) this.#compare(traffic, spec, address, pod, pod);
      }
  }

  #compare(
    traffic: Map<PodSetSpec, SetMoves>,
    spec: PodSetSpec,
    address: string,
    was: Pod | undefined,
    is: Pod | undefined,
  ): void {
    this.asked++;
    const held = was ? elementsFrom(spec, was, address, this.#labelsThen(was.namespace)) : [];
    const holds = is ? elementsFrom(spec, is, address, this.cluster.namespaceLabels(is.namespace)) : [];
    const [gone, come] = [missingIn(holds, held), missingIn(held, holds)];
    if (gone.length + come.length === 0) return;
    const found = traffic.get(spec) ?? { gone: [], come: [] };
    found.gone.push(...gone);
    found.come.push(...come);
    traffic.set(spec, found);
  }

  #labelsThen(namespace: string): Labels {
    return this.#relabelled.get(namespace) ?? this.cluster.namespaceLabels(namespace);
  }
}
