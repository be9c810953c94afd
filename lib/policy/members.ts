/** Who is in a set: what each pod contributes, and the pods worth asking, found by label, namespace or port name. */
import { type Address, type Family, type Range, rangeContains } from '../ip/address.ts';
import type { Cluster, Member } from './cluster.ts';
import type { PodPeer } from './model.ts';
import type { AddressSetSpec, PeerSet, SetSpec, Tuple, TupleSetSpec } from './ruleset.ts';
import { selects, selectsPod } from './selector.ts';

type Candidates = readonly ReadonlySet<Member>[];

const sizeOf = (candidates: Candidates): number => candidates.reduce((sum, { size }) => sum + size, 0);

/** Pods that have what the selector wants for one key: for each key whose values it lists. */
const labelled = (cluster: Cluster, { pods }: PodPeer): readonly Candidates[] =>
  pods.requirements
    .filter(({ operator }) => operator === 'In')
    .map(({ key, values }) => [...new Set(values)].map(value => cluster.withLabel(key, value)));

function inNamespaces(cluster: Cluster, { namespace }: PodPeer): Candidates {
  if (typeof namespace === 'string') return [cluster.inNamespace(namespace)];
  const names = [...cluster.populatedNamespaces()];
  return names.filter(name => selects(namespace, cluster.namespaceLabels(name))).map(name => cluster.inNamespace(name));
}

/** From whichever index has the fewest to ask; the namespaces are asked for last, where there may be thousands. */
function candidatesFor(cluster: Cluster, peer: PodPeer): Candidates {
  const byLabel = labelled(cluster, peer);
  const all =
    byLabel.length > 0 && typeof peer.namespace !== 'string' ? byLabel : [...byLabel, inNamespaces(cluster, peer)];
  return all.reduce((a, b) => (sizeOf(b) < sizeOf(a) ? b : a));
}

/** The pods that the peer selects. */
export function* membersOf(cluster: Cluster, peer: PodPeer): Iterable<Member> {
  for (const candidates of candidatesFor(cluster, peer))
    for (const member of candidates)
      if (selectsPod(peer, member.pod, cluster.namespaceLabels(member.pod.namespace))) yield member;
}

/** The pod's addresses that are really its own, not those of a pod that came after it. */
const ownAddresses = (cluster: Cluster, member: Member, family: Family): readonly Address[] =>
  member.addresses
    .filter(({ text, address }) => address.family === family && cluster.ownerOf(text) === member)
    .map(({ address }) => address);

const isSelected = (cluster: Cluster, peers: readonly PodPeer[], { pod }: Member): boolean =>
  peers.some(peer => selectsPod(peer, pod, cluster.namespaceLabels(pod.namespace)));

const isWithin = (ranges: readonly Range[], address: Address): boolean =>
  ranges.some(range => rangeContains(range, address));

/** What one pod contributes to a set of addresses. */
export const addressesFrom = (cluster: Cluster, spec: AddressSetSpec, member: Member): readonly Address[] =>
  isSelected(cluster, spec.pods, member) ? ownAddresses(cluster, member, spec.family) : [];

/** What one pod contributes to a set of tuples. */
export function tuplesFrom(cluster: Cluster, { whose, port, family }: TupleSetSpec, member: Member): readonly Tuple[] {
  const { protocol, name } = port;
  const ports = member.pod.namedPorts.filter(each => each.name === name && each.protocol === protocol);
  if (ports.length === 0 || (whose.kind === 'pods' && !isSelected(cluster, whose.pods, member))) return [];
  return ownAddresses(cluster, member, family)
    .filter(address => whose.kind === 'pods' || isWithin(whose.ranges, address))
    .flatMap(address => ports.map(({ port: number }) => ({ address, protocol, port: number })));
}

const ascending = (a: Address, b: Address): number => (a.value < b.value ? -1 : a.value > b.value ? 1 : 0);

function addressElements(cluster: Cluster, spec: AddressSetSpec): readonly Address[] {
  const members = new Set(spec.pods.flatMap(peer => [...membersOf(cluster, peer)]));
  return [...members].flatMap(member => ownAddresses(cluster, member, spec.family)).sort(ascending);
}

function tupleElements(cluster: Cluster, spec: TupleSetSpec): readonly Tuple[] {
  const candidates = cluster.withPort(spec.port.protocol, spec.port.name);
  const tuples = [...candidates].flatMap(member => tuplesFrom(cluster, spec, member));
  return tuples.sort((a, b) => ascending(a.address, b.address) || a.port - b.port);
}

/** The set with what is in it now. */
export function filled(cluster: Cluster, spec: SetSpec): PeerSet {
  if (spec.kind === 'ranges') return { ...spec, elements: spec.ranges };
  if (spec.kind === 'tuples') return { ...spec, elements: tupleElements(cluster, spec) };
  return { ...spec, elements: addressElements(cluster, spec) };
}
