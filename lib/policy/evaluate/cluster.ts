/**
 * The world with its indexes: what stands where it can be found without looking at every pod or policy, and can change
 * one object at a time. Only pods that policy sees are peers here: alive, and not on their node's network.
 */
import { type Address, formatAddress } from '../../ip/address.ts';
import { withinBudget } from '../model/budget.ts';
import { type ClusterPolicy, inOrder, type Tier } from '../model/cluster-policy.ts';
import type { AnyPolicy, Labels, NetworkPolicy, Node, NodePeer, Pod, Protocol, Staged, World } from '../model/model.ts';
import { policyRef } from '../model/model.ts';
import { selects, selectsPod, withNameLabel } from '../model/selector.ts';
import { Buckets, Labelled, Namesakes, none, type Pods } from './pod-index.ts';

/** The node that has an address. */
export interface NodePlace {
  readonly name?: string;
  readonly local?: boolean;
}

const podKey = ({ namespace, name, uid }: Pod): string => `${namespace}/${name}/${uid ?? ''}`;
const portKey = (protocol: string, name: string): string => `${protocol}/${name}`;

/** A pod that policy sees, as subject and as selector peer. */
export const isSeen = ({ hostNetwork, finished }: Pod): boolean => !hostNetwork && !finished;

export class Cluster {
  #namespaces = new Map<string, Labels>();
  readonly #policies = new Map<string, Map<string, NetworkPolicy>>();
  /** Policies within the budget, by namespace; filled on demand. */
  readonly #counted = new Map<string, readonly NetworkPolicy[]>();
  readonly #clusterPolicies = new Map<string, ClusterPolicy>();
  /** Cluster policies of all tiers; sorted on demand. */
  #inOrder: readonly ClusterPolicy[] | undefined;
  /** Pods that policies can select, by namespace. */
  #members = new Map<string, Namesakes>();
  /** Those that it does not: few, since finished ones hardly ever come. */
  #others = new Map<string, Pod>();
  #byLabel = new Labelled();
  #byPort = new Buckets<Pod>();
  /** Pods that claim an address, in the order of their claims. */
  #claims = new Buckets<Pod>();
  #nodes = new Map<string, Node>();
  #nodesByAddress = new Buckets<Node>();
  #nodePlaces = new Buckets<NodePlace>();
  #placeOf = new Map<string, NodePlace>();

  constructor(world?: World) {
    for (const [name, labels] of world?.namespaces ?? []) this.setNamespace(name, labels);
    for (const node of world?.nodes ?? []) this.setNode(node);
    for (const pod of world?.pods ?? []) this.setPod(pod);
    for (const policy of world?.policies ?? []) this.setPolicy(policy);
    for (const policy of world?.clusterPolicies ?? []) this.setClusterPolicy(policy);
  }

  /**
   * This cluster with the staged policies in force, each in place of the policy of its name; valid until a policy changes.
   * Pods, namespaces and nodes are shared, so that it costs no more than a list of policies.
   */
  promoted({ policies, clusterPolicies }: Staged): Cluster {
    const after = new Cluster();
    [after.#namespaces, after.#members, after.#others] = [this.#namespaces, this.#members, this.#others];
    [after.#byLabel, after.#byPort, after.#claims] = [this.#byLabel, this.#byPort, this.#claims];
    [after.#nodes, after.#nodesByAddress] = [this.#nodes, this.#nodesByAddress];
    [after.#nodePlaces, after.#placeOf] = [this.#nodePlaces, this.#placeOf];
    for (const [namespace, own] of this.#policies) after.#policies.set(namespace, own);
    for (const [namespace, counted] of this.#counted) after.#counted.set(namespace, counted);
    for (const [ref, policy] of this.#clusterPolicies) after.#clusterPolicies.set(ref, policy);
    for (const namespace of new Set(policies.map(policy => policy.namespace)))
      after.#policies.set(namespace, new Map(this.#policies.get(namespace)));
    for (const policy of policies) after.setPolicy(policy);
    for (const policy of clusterPolicies) after.setClusterPolicy(policy);
    return after;
  }

  setNamespace(name: string, labels: Labels): void {
    this.#namespaces.set(name, withNameLabel(name, labels));
  }

  deleteNamespace(name: string): void {
    this.#namespaces.delete(name);
  }

  /** Adds the policy, or replaces the one of the same kind, namespace and name. */
  setPolicy(policy: NetworkPolicy): void {
    const own = this.#policies.get(policy.namespace) ?? new Map<string, NetworkPolicy>();
    this.#policies.set(policy.namespace, own.set(policyRef(policy), policy));
    this.#counted.delete(policy.namespace);
  }

  deletePolicy(policy: NetworkPolicy): void {
    const own = this.#policies.get(policy.namespace);
    this.#counted.delete(policy.namespace);
    if (own?.delete(policyRef(policy)) && own.size === 0) this.#policies.delete(policy.namespace);
  }

  /** Adds the policy, or replaces the one of the same kind and name. */
  setClusterPolicy(policy: ClusterPolicy): void {
    this.#clusterPolicies.set(policyRef(policy), policy);
    this.#inOrder = undefined;
  }

  deleteClusterPolicy(policy: ClusterPolicy): void {
    this.#clusterPolicies.delete(policyRef(policy));
    this.#inOrder = undefined;
  }

  /** Adds the pod, or replaces the one of the same namespace, name and uid. */
  setPod(pod: Pod): void {
    this.deletePod(pod);
    if (isSeen(pod)) {
      this.#addMember(pod);
      return;
    }
    const key = podKey(pod);
    this.#others.set(key, pod);
    if (!pod.finished) this.#addPlace(key, pod.addresses, placeOfPod(pod));
  }

  deletePod(pod: Pod): void {
    this.#deleteMember(pod);
    const key = podKey(pod);
    const before = this.#others.get(key);
    if (!before) return;
    this.#deletePlace(key, before.addresses);
    this.#others.delete(key);
  }

  /** The one of the same namespace, name and uid. */
  find(pod: Pod): Pod | undefined {
    return this.#members.get(pod.namespace)?.get(pod.name, pod.uid) ?? this.#others.get(podKey(pod));
  }

  setNode(node: Node): void {
    this.deleteNode(node.name);
    this.#nodes.set(node.name, node);
    for (const address of node.addresses) this.#nodesByAddress.add(address, node);
    this.#addPlace(`node ${node.name}`, node.addresses, { name: node.name });
  }

  deleteNode(name: string): void {
    const node = this.#nodes.get(name);
    this.#deletePlace(`node ${name}`, node?.addresses ?? []);
    if (node) for (const address of node.addresses) this.#nodesByAddress.delete(address, node);
    this.#nodes.delete(name);
  }

  /** The namespace's labels with the name label, which a namespace that no manifest declares has alone. */
  namespaceLabels(name: string): Labels {
    return this.#namespaces.get(name) ?? withNameLabel(name, undefined);
  }

  /** The namespace's policies as they count: beyond the namespace's budget a policy allows nothing. */
  policiesIn(namespace: string): Iterable<NetworkPolicy> {
    const known = this.#counted.get(namespace) ?? withinBudget([...(this.#policies.get(namespace)?.values() ?? [])]);
    this.#counted.set(namespace, known);
    return known;
  }

  /** The policy as it was declared, whether or not it exceeds the budget. */
  policy(ref: string): AnyPolicy | undefined {
    const [, namespace = ''] = ref.split('/');
    return this.#clusterPolicies.get(ref) ?? this.#policies.get(namespace)?.get(ref);
  }

  /** All policies as they were declared. */
  *policies(): Generator<AnyPolicy> {
    yield* this.#clusterPolicies.values();
    for (const own of this.#policies.values()) yield* own.values();
  }

  /** Cluster policies of one tier, in the order in which they are asked. */
  clusterPolicies(tier: Tier): readonly ClusterPolicy[] {
    this.#inOrder ??= [...this.#clusterPolicies.values()].sort(inOrder);
    return this.#inOrder.filter(policy => policy.tier === tier);
  }

  /** Cluster policies of the tier whose subject selects this pod, in the order in which they are asked. */
  clusterPoliciesFor(tier: Tier, pod: Pick<Pod, 'namespace' | 'labels'>): readonly ClusterPolicy[] {
    const labels = this.namespaceLabels(pod.namespace);
    return this.clusterPolicies(tier).filter(({ subject }) => selectsPod(subject, pod, labels));
  }

  /** Policies that allow nothing because they, or all of their namespace together, exceed the budget. */
  *policiesBeyondBudget(): Generator<AnyPolicy> {
    for (const policy of this.#clusterPolicies.values()) if (policy.isBeyondBudget) yield policy;
    for (const namespace of this.#policies.keys())
      for (const policy of this.policiesIn(namespace)) if (policy.isBeyondBudget) yield policy;
  }

  *pods(): Generator<Pod> {
    yield* this.members();
    yield* this.#others.values();
  }

  *members(): Generator<Pod> {
    for (const own of this.#members.values()) yield* own;
  }

  /** Namespaces that have members, declared or not. */
  populatedNamespaces(): Iterable<string> {
    return this.#members.keys();
  }

  inNamespace(name: string): Pods {
    return this.#members.get(name) ?? none;
  }

  withLabel(key: string, value: string): Pods {
    return this.#byLabel.with(key, value);
  }

  withPort(protocol: Protocol, name: string): Pods {
    return this.#byPort.get(portKey(protocol, name));
  }

  /** The pod that has the address; of several that claim it one that runs here, else the last to claim it. */
  ownerOf(address: string): Pod | undefined {
    return this.#claims.best(address, (pod, than) => pod.local === true || than.local !== true);
  }

  node(name: string): Node | undefined {
    return this.#nodes.get(name);
  }

  nodes(): Iterable<Node> {
    return this.#nodes.values();
  }

  /** Nodes that list the address among their own. */
  nodesAt(address: Address): readonly Node[] {
    return [...this.#nodesByAddress.get(formatAddress(address))];
  }

  /** Whether a node that lists the address as its own is one of those that the peers select. */
  isNodeOf(peers: readonly NodePeer[], address: Address): boolean {
    return (
      peers.length > 0 && this.nodesAt(address).some(({ labels }) => peers.some(({ nodes }) => selects(nodes, labels)))
    );
  }

  /** The node that has the address, known by itself or by a pod on its network. */
  nodeWith(address: string): NodePlace | undefined {
    const places = [...this.#nodePlaces.get(address)];
    return places.find(({ local }) => local) ?? places.find(({ name }) => name !== undefined) ?? places[0];
  }

  #addMember(pod: Pod): void {
    const own = this.#members.get(pod.namespace) ?? new Namesakes();
    own.set(pod);
    this.#members.set(pod.namespace, own);
    this.#byLabel.add(pod);
    for (const { protocol, name } of pod.namedPorts) this.#byPort.add(portKey(protocol, name), pod);
    for (const address of pod.addresses) this.#claims.add(address, pod);
  }

  #deleteMember({ namespace, name, uid }: Pod): void {
    const own = this.#members.get(namespace);
    const pod = own?.get(name, uid);
    if (!own || !pod) return;
    own.delete(pod);
    if (own.size === 0) this.#members.delete(namespace);
    this.#byLabel.delete(pod);
    for (const { protocol, name: port } of pod.namedPorts) this.#byPort.delete(portKey(protocol, port), pod);
    for (const address of pod.addresses) this.#claims.delete(address, pod);
  }

  #addPlace(key: string, addresses: readonly string[], place: NodePlace): void {
    this.#placeOf.set(key, place);
    for (const address of addresses) this.#nodePlaces.add(address, place);
  }

  #deletePlace(key: string, addresses: readonly string[]): void {
    const place = this.#placeOf.get(key);
    if (place) for (const address of addresses) this.#nodePlaces.delete(address, place);
    this.#placeOf.delete(key);
  }
}

const clusters = new WeakMap<World, Cluster>();

/** The world's index, made once for each world value. */
export function clusterOf(world: World | Cluster): Cluster {
  if (world instanceof Cluster) return world;
  const known = clusters.get(world);
  if (known) return known;
  const cluster = new Cluster(world);
  clusters.set(world, cluster);
  return cluster;
}

export const placeOfPod = ({ nodeName, local }: Pod): NodePlace => ({
  ...(nodeName === undefined ? {} : { name: nodeName }),
  ...(local === undefined ? {} : { local }),
});

/** Whether both are known to be the same node. */
export const isSameNode = (a: NodePlace, b: NodePlace): boolean =>
  (a.local === true && b.local === true) || (a.name !== undefined && a.name === b.name);
