/**
 * The ruleset of a node, kept up to date change by change: what a pod, a namespace or a policy costs is what it touches,
 * however large the cluster is. What the whole comes to is `compile`'s word; this tells what of it has changed.
 */
import { type Identity, identityKey } from '../../tag/identity.ts';
import { Cluster } from '../evaluate/cluster.ts';
import type { Labels, NetworkPolicy, Node, Pod } from '../model/model.ts';
import {
  type CompileOptions,
  filledStructure,
  forgetGone,
  type Gates,
  gatesFor,
  type Structure,
  structureOf,
  type TaggedIdentity,
} from './compile.ts';
import { elementsFrom, filled, missingIn, type SetMember, withElements } from './members.ts';
import { Names } from './names.ts';
import type { PeerSet, PodSetSpec, Ruleset } from './ruleset.ts';
import { sameStructure } from './same-structure.ts';
import { SetIndex } from './set-index.ts';

/** Two rulesets that are parts of those before and after, and whose difference is the whole difference. */
export interface RulesetChange {
  readonly before: Ruleset;
  readonly after: Ruleset;
  /** Chains or tags differ: then all of them are in both. Otherwise nothing but elements of sets that stay. */
  readonly isStructural: boolean;
}

/** What goes from a set that stays, and what comes to it. */
interface Traffic {
  readonly gone: SetMember[];
  readonly come: SetMember[];
}

const nothing: Structure = { specs: new Map(), chains: new Map(), tags: new Map() };

/** @param ref `Kind/namespace/name` */
const namespaceOf = (ref: string): string => ref.split('/')[1]!;

export class LiveRules {
  /** As of now; for who judges single flows. Changes go through this class. */
  readonly cluster = new Cluster();
  readonly #names = new Names();
  readonly #index = new SetIndex();
  /** As of the last `take`. */
  #structure = nothing;
  #identities: readonly TaggedIdentity[] = [];
  #refused: ReadonlySet<string> = new Set();
  /** Gates by identity, by namespace: policies are of one, and of no other. */
  readonly #gates = new Map<string, Map<string, Gates>>();
  /** Namespaces whose gates are those of before their policies changed, in the order of the changes. */
  readonly #unsettled = new Set<string>();
  #isRestructured = false;
  /** Addresses that may be in other sets than at the last `take`, with who had them then. */
  readonly #moved = new Map<string, Pod | undefined>();
  /** Namespaces with the labels that they had at the last `take`. */
  readonly #relabelled = new Map<string, Labels>();
  readonly #options: Pick<CompileOptions, 'apart'>;
  /** How often a set was asked whether an address is in it. */
  asked = 0;

  constructor(options: Pick<CompileOptions, 'apart'> = {}) {
    this.#options = options;
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

  /** Of sets that are yet to come nobody needs to know what was in them before. */
  #note(addresses: readonly string[]): void {
    if (this.#index.isEmpty) return;
    for (const address of addresses)
      if (!this.#moved.has(address)) this.#moved.set(address, this.cluster.ownerOf(address));
  }

  setNamespace(name: string, labels: Labels): void {
    this.#noteNamespace(name);
    this.cluster.setNamespace(name, labels);
  }

  deleteNamespace(name: string): void {
    this.#noteNamespace(name);
    this.cluster.deleteNamespace(name);
  }

  #noteNamespace(name: string): void {
    if (!this.#relabelled.has(name)) this.#relabelled.set(name, this.cluster.namespaceLabels(name));
  }

  setPolicy(policy: NetworkPolicy): void {
    this.cluster.setPolicy(policy);
    this.#unsettle(policy.namespace);
  }

  deletePolicy(policy: NetworkPolicy): void {
    this.cluster.deletePolicy(policy);
    this.#unsettle(policy.namespace);
  }

  #unsettle(namespace: string): void {
    if (this.#gates.has(namespace)) this.#unsettled.add(namespace);
  }

  /** Namespaces whose policies have changed and are not in force, the one that has waited longest first. */
  get unsettled(): readonly string[] {
    return [...this.#unsettled];
  }

  #settle(namespaces: Iterable<string>): void {
    for (const namespace of namespaces)
      if (this.#unsettled.delete(namespace) && this.#gates.delete(namespace)) this.#isRestructured = true;
  }

  /** An identity that has no gates yet gets them by the policies of now, and so must the others of its namespace. */
  #settleNewcomers(): void {
    if (this.#unsettled.size === 0) return;
    const isNew = ({ identity }: TaggedIdentity): boolean =>
      this.#unsettled.has(identity.namespace) && !this.#gates.get(identity.namespace)?.has(identityKey(identity));
    this.#settle(new Set(this.#identities.filter(isNew).map(({ identity }) => identity.namespace)));
  }

  setNode(node: Node): void {
    this.cluster.setNode(node);
  }

  deleteNode(name: string): void {
    this.cluster.deleteNode(name);
  }

  /** Those of this node's pods. */
  setIdentities(identities: readonly TaggedIdentity[]): void {
    this.#identities = identities;
    this.#isRestructured = true;
  }

  /** `Kind/namespace/name` of policies that the kernel refused: they isolate whom they select, and allow nothing. */
  setRefused(policies: ReadonlySet<string>): void {
    for (const policy of [...policies, ...this.#refused])
      if (policies.has(policy) !== this.#refused.has(policy)) this.#unsettle(namespaceOf(policy));
    this.#refused = policies;
  }

  #gatesOf(identity: Identity): Gates {
    const known = this.#gates.get(identity.namespace) ?? new Map<string, Gates>();
    this.#gates.set(identity.namespace, known);
    const key = identityKey(identity);
    const options = { ...this.#options, names: this.#names, refused: this.#refused, gates: known };
    const gates = known.get(key) ?? gatesFor(this.cluster, identity, options);
    known.set(key, gates);
    return gates;
  }

  #forgetGone(): void {
    const present = Map.groupBy(this.#identities, ({ identity }) => identity.namespace);
    for (const [namespace, known] of this.#gates) {
      const here = present.get(namespace);
      if (here)
        forgetGone(
          known,
          here.map(({ identity }) => identity),
        );
      else {
        this.#gates.delete(namespace);
        this.#unsettled.delete(namespace);
      }
    }
  }

  #structureNow(): Structure {
    if (!this.#isRestructured) return this.#structure;
    const { specs, chains, tags } = structureOf(this.#identities, identity => this.#gatesOf(identity));
    this.#forgetGone();
    this.#names.keep(new Set([...specs.keys(), ...chains.keys()]));
    // The index knows sets by these very values.
    const kept = [...specs].map(([name, spec]) => [name, this.#structure.specs.get(name) ?? spec] as const);
    return { specs: new Map(kept), chains, tags };
  }

  /** As of the last `take`. */
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
   * What has changed since this was asked last; undefined where nothing has.
   * @param namespaces those whose policies are to be in force; the gates of others stay as they are, while what pods and
   * namespaces have become counts for all. Absent: everybody's.
   */
  take(namespaces: Iterable<string> = this.unsettled): RulesetChange | undefined {
    this.#settle(namespaces);
    this.#settleNewcomers();
    const before = this.#structure;
    const after = this.#structureNow();
    const isStructural = !sameStructure(before, after);
    for (const [name, spec] of before.specs)
      if (!after.specs.has(name) && spec.kind !== 'ranges') this.#index.delete(spec);
    const traffic = this.#traffic();
    for (const [name, spec] of after.specs)
      if (!before.specs.has(name) && spec.kind !== 'ranges') this.#index.add(spec);
    this.#structure = after;
    this.#isRestructured = false;
    if (isStructural) return this.#wholeChange(before, after, traffic);
    return traffic.size === 0 ? undefined : elementChange(traffic);
  }

  #wholeChange(before: Structure, after: Structure, traffic: ReadonlyMap<PodSetSpec, Traffic>): RulesetChange {
    const part = ({ specs, chains, tags }: Structure, side: keyof Traffic, other: Structure): Ruleset => ({
      sets: new Map(
        [...specs].map(([name, spec]): [string, PeerSet] => {
          const isNew = side === 'come' && !other.specs.has(name);
          if (isNew) return [name, filled(this.cluster, spec)];
          if (spec.kind === 'ranges') return [name, { ...spec, elements: [] }];
          return [name, withElements(spec, traffic.get(spec)?.[side] ?? [])];
        }),
      ),
      chains,
      tags,
    });
    return { before: part(before, 'gone', after), after: part(after, 'come', before), isStructural: true };
  }

  /** By set, for those that stay and do not hold what they held. */
  #traffic(): ReadonlyMap<PodSetSpec, Traffic> {
    const traffic = new Map<PodSetSpec, Traffic>();
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

  #compareNamespace(traffic: Map<PodSetSpec, Traffic>, sets: readonly PodSetSpec[], name: string): void {
    for (const pod of this.cluster.inNamespace(name))
      for (const address of pod.addresses) {
        if (this.#moved.has(address) || this.cluster.ownerOf(address) !== pod) continue;
        for (const spec of sets) this.#compare(traffic, spec, address, pod, pod);
      }
  }

  #compare(
    traffic: Map<PodSetSpec, Traffic>,
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

function elementChange(traffic: ReadonlyMap<PodSetSpec, Traffic>): RulesetChange {
  const part = (side: keyof Traffic): Ruleset => ({
    sets: new Map([...traffic].map(([spec, found]) => [spec.name, withElements(spec, found[side])])),
    chains: new Map(),
    tags: new Map(),
  });
  return { before: part('gone'), after: part('come'), isStructural: false };
}
