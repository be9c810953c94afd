/**
 * The world with its indexes: what stands where it can be found without looking at every pod or policy, and can change
 * one object at a time. Only pods that policy sees are peers here: alive, and not on their node's network.
 */
import { type Address, parseAddress } from '../ip/address.ts';
import type { Labels, NetworkPolicy, Node, Pod, Protocol, World } from './model.ts';
import { policyRef } from './model.ts';
import { withNameLabel } from './selector.ts';

/** A pod that can be a peer, its addresses parsed. */
export interface Member {
  readonly pod: Pod;
  readonly addresses: readonly { readonly text: string; readonly address: Address }[];
}

/** The node that has an address. */
export interface NodePlace {
  readonly name?: string;
  readonly local?: boolean;
}

const none: ReadonlySet<never> = new Set();

class Buckets<T> {
  readonly #byKey = new Map<string, Set<T>>();

  get(key: string): ReadonlySet<T> {
    return this.#byKey.get(key) ?? none;
  }

  add(key: string, item: T): void {
    const bucket = this.#byKey.get(key);
    if (bucket) bucket.add(item);
    else this.#byKey.set(key, new Set([item]));
  }

  delete(key: string, item: T): void {
    const bucket = this.#byKey.get(key);
    if (bucket?.delete(item) && bucket.size === 0) this.#byKey.delete(key);
  }

  keys(): Iterable<string> {
    return this.#byKey.keys();
  }
}

const podKey = ({ namespace, name, uid }: Pod): string => `${namespace}/${name}/${uid ?? ''}`;
const labelKey = (key: string, value: string): string => `${key}=${value}`;
const portKey = (protocol: string, name: string): string => `${protocol}/${name}`;

/** A pod that policy sees, as subject and as selector peer. */
export const isSeen = ({ hostNetwork, finished }: Pod): boolean => !hostNetwork && !finished;

export class Cluster {
  readonly #namespaces = new Map<string, Labels>();
  readonly #policies = new Map<string, Map<string, NetworkPolicy>>();
  readonly #pods = new Map<string, Pod>();
  readonly #members = new Map<string, Member>();
  readonly #byNamespace = new Buckets<Member>();
  readonly #byLabel = new Buckets<Member>();
  readonly #byPort = new Buckets<Member>();
  /** Who says to have an address, in the order of saying so. */
  readonly #claims = new Buckets<Member>();
  readonly #nodes = new Map<string, Node>();
  readonly #nodePlaces = new Buckets<NodePlace>();
  readonly #placeOf = new Map<string, NodePlace>();

  constructor(world?: World) {
    for (const [name, labels] of world?.namespaces ?? []) this.setNamespace(name, labels);
    for (const node of world?.nodes ?? []) this.setNode(node);
    for (const pod of world?.pods ?? []) this.setPod(pod);
    for (const policy of world?.policies ?? []) this.setPolicy(policy);
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
  }

  deletePolicy(policy: NetworkPolicy): void {
    const own = this.#policies.get(policy.namespace);
    if (own?.delete(policyRef(policy)) && own.size === 0) this.#policies.delete(policy.namespace);
  }

  /** Adds the pod, or replaces the one of the same namespace, name and uid. */
  setPod(pod: Pod): void {
    this.deletePod(pod);
    const key = podKey(pod);
    this.#pods.set(key, pod);
    if (isSeen(pod)) this.#addMember(key, pod);
    else if (pod.hostNetwork && !pod.finished) this.#addPlace(key, pod.addresses, placeOfPod(pod));
  }

  deletePod(pod: Pod): void {
    const key = podKey(pod);
    const member = this.#members.get(key);
    if (member) this.#deleteMember(key, member);
    const before = this.#pods.get(key);
    if (before) this.#deletePlace(key, before.addresses);
    this.#pods.delete(key);
  }

  setNode(node: Node): void {
    this.deleteNode(node.name);
    this.#nodes.set(node.name, node);
    this.#addPlace(`node ${node.name}`, node.addresses, { name: node.name });
  }

  deleteNode(name: string): void {
    this.#deletePlace(`node ${name}`, this.#nodes.get(name)?.addresses ?? []);
    this.#nodes.delete(name);
  }

  /** With the name label; of a namespace that nobody declared, that alone. */
  namespaceLabels(name: string): Labels {
    return this.#namespaces.get(name) ?? withNameLabel(name, undefined);
  }

  policiesIn(namespace: string): Iterable<NetworkPolicy> {
    return this.#policies.get(namespace)?.values() ?? [];
  }

  pods(): Iterable<Pod> {
    return this.#pods.values();
  }

  members(): Iterable<Member> {
    return this.#members.values();
  }

  memberCount(): number {
    return this.#members.size;
  }

  /** Namespaces that have members, declared or not. */
  populatedNamespaces(): Iterable<string> {
    return this.#byNamespace.keys();
  }

  inNamespace(name: string): ReadonlySet<Member> {
    return this.#byNamespace.get(name);
  }

  withLabel(key: string, value: string): ReadonlySet<Member> {
    return this.#byLabel.get(labelKey(key, value));
  }

  withPort(protocol: Protocol, name: string): ReadonlySet<Member> {
    return this.#byPort.get(portKey(protocol, name));
  }

  /** Of several pods that say to have the address: one that runs here, else the one that said so last. */
  ownerOf(address: string): Member | undefined {
    let owner: Member | undefined;
    for (const claimant of this.#claims.get(address)) if (claimant.pod.local || !owner?.pod.local) owner = claimant;
    return owner;
  }

  node(name: string): Node | undefined {
    return this.#nodes.get(name);
  }

  /** The node that has the address, known by itself or by a pod on its network. */
  nodeWith(address: string): NodePlace | undefined {
    const places = [...this.#nodePlaces.get(address)];
    return places.find(({ local }) => local) ?? places.find(({ name }) => name !== undefined) ?? places[0];
  }

  #addMember(key: string, pod: Pod): void {
    const addresses = pod.addresses.flatMap(text => {
      const address = parseAddress(text);
      return address ? [{ text, address }] : [];
    });
    const member = { pod, addresses };
    this.#members.set(key, member);
    this.#byNamespace.add(pod.namespace, member);
    for (const [label, value] of pod.labels) this.#byLabel.add(labelKey(label, value), member);
    for (const { protocol, name } of pod.namedPorts) this.#byPort.add(portKey(protocol, name), member);
    for (const { text } of addresses) this.#claims.add(text, member);
  }

  #deleteMember(key: string, member: Member): void {
    const { pod, addresses } = member;
    this.#members.delete(key);
    this.#byNamespace.delete(pod.namespace, member);
    for (const [label, value] of pod.labels) this.#byLabel.delete(labelKey(label, value), member);
    for (const { protocol, name } of pod.namedPorts) this.#byPort.delete(portKey(protocol, name), member);
    for (const { text } of addresses) this.#claims.delete(text, member);
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
