/** Members of sets: the elements of each pod, and the pods that may have any, found by label, namespace or port name. */
import { type Address, type Family, parseAddress, type Range } from '../../ip/address.ts';
import type { Cluster } from '../evaluate/cluster.ts';
import { PeerIndex } from '../evaluate/peer-index.ts';
import type { Pods } from '../evaluate/pod-index.ts';
import type { Labels, Pod, PodPeer } from '../model/model.ts';
import { numbersNamed } from '../model/port-names.ts';
import { selects, selectsPod } from '../model/selector.ts';
import { bringing, decisionsFor } from './decisions.ts';
import {
  type AddressSetSpec,
  type DecidedElement,
  type DecidedSetSpec,
  isOfPairs,
  type NamedPortSetSpec,
  type NodeSetSpec,
  type OrderedRule,
  type Pair,
  type PairSetSpec,
  type PeerSet,
  type PodSetSpec,
  type SetSpec,
  type Tuple,
  type TupleSetSpec,
} from './ruleset.ts';

type Candidates = readonly Pods[];

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
export function* membersOf(cluster: Cluster, peer: PodPeer): Iterable<Pod> {
  for (const candidates of candidatesFor(cluster, peer))
    for (const pod of candidates) if (selectsPod(peer, pod, cluster.namespaceLabels(pod.namespace))) yield pod;
}

/** The pod's addresses that are really its own, not those of a pod that came after it. */
const ownAddresses = (cluster: Cluster, pod: Pod): readonly string[] =>
  pod.addresses.filter(address => cluster.ownerOf(address) === pod);

/** @param ranges disjoint and ascending */
function isWithin(ranges: readonly Range[], { value }: Address): boolean {
  let [low, high] = [0, ranges.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ranges[middle]!.last < value) low = middle + 1;
    else high = middle;
  }
  return low < ranges.length && ranges[low]!.first <= value;
}

const indexes = new WeakMap<readonly (PodPeer | Pair)[], PeerIndex<Pair | undefined>>();

/** Made once for each list of selectors, and of pairs under theirs. */
function indexOf(list: readonly (PodPeer | Pair)[]): PeerIndex<Pair | undefined> {
  const known = indexes.get(list);
  if (known) return known;
  const index = new PeerIndex<Pair | undefined>();
  for (const each of list)
    if ('kind' in each) index.add(each, undefined);
    else for (const peer of each.pods) index.add(peer, each);
  indexes.set(list, index);
  return index;
}

/** Whether a pod is one of a set's, whichever address it has. */
function isIn(spec: AddressSetSpec | NamedPortSetSpec, pod: Pod, namespaceLabels: Labels): boolean {
  const pods = spec.kind === 'addresses' ? spec.pods : spec.whose.kind === 'pods' ? spec.whose.pods : undefined;
  if (pods === undefined) return true;
  const [only] = pods;
  if (only && pods.length === 1) return selectsPod(only, pod, namespaceLabels);
  for (const _ of indexOf(pods).of(pod, namespaceLabels)) return true;
  return false;
}

const parsed = (text: string, family: Family): readonly Address[] => {
  const address = parseAddress(text);
  return address?.family === family ? [address] : [];
};

/** Elements that one address of a pod brings into a set of addresses. */
const addressFrom = (spec: AddressSetSpec, pod: Pod, text: string, namespaceLabels: Labels): readonly Address[] =>
  isIn(spec, pod, namespaceLabels) ? parsed(text, spec.family) : [];

/** Each once, as a set has them. */
function unique(tuples: readonly Tuple[]): readonly Tuple[] {
  const byText = new Map(tuples.map(tuple => [`${tuple.address.value} ${tuple.protocol} ${tuple.port}`, tuple]));
  return [...byText.values()];
}

const tuplesOf = ({ protocol, ports }: Pair, addresses: readonly Address[]): readonly Tuple[] =>
  addresses.flatMap(address => ports.map(port => ({ address, protocol, port })));

function tuplesByPairs({ whose, family }: PairSetSpec, pod: Pod, text: string, labels: Labels): readonly Tuple[] {
  const addresses = parsed(text, family);
  if (addresses.length === 0) return [];
  const own = new Set(indexOf(whose.pairs).of(pod, labels));
  return unique([...own].flatMap(pair => (pair ? tuplesOf(pair, addresses) : [])));
}

/** Elements that one address of a pod brings into a set of tuples. */
function tuplesFrom(spec: TupleSetSpec, pod: Pod, text: string, namespaceLabels: Labels): readonly Tuple[] {
  if (isOfPairs(spec)) return tuplesByPairs(spec, pod, text, namespaceLabels);
  const { whose, names, family } = spec;
  const ports = names.flatMap(({ protocol, name }) =>
    [...numbersNamed(pod.namedPorts, protocol, name)].map(port => ({ protocol, port })),
  );
  if (ports.length === 0 || !isIn(spec, pod, namespaceLabels)) return [];
  const addresses = parsed(text, family).filter(address => whose.kind === 'pods' || isWithin(whose.ranges, address));
  const tuples = addresses.flatMap(address => ports.map(port => ({ address, ...port })));
  return names.length === 1 ? tuples : unique(tuples);
}

/** What an element says of the rule that decides it. */
function toldOf({ counter, number }: OrderedRule): Pick<DecidedElement, 'counter' | 'number'> {
  if (number !== undefined) return { number };
  return counter === undefined ? {} : { counter };
}

/** Elements that one address of a pod brings into a set of what is decided. */
function decidedFrom(spec: DecidedSetSpec, pod: Pod, text: string, labels: Labels): readonly DecidedElement[] {
  const [address] = parsed(text, spec.family);
  if (!address) return [];
  const { ports, rest } = decisionsFor(spec.rules, pod, labels);
  if (spec.key === 'address') return rest?.action === spec.action ? [{ address, ...toldOf(rest) }] : [];
  return ports
    .filter(({ rule }) => rule.action === spec.action)
    .map(({ protocol, port, rule }) => ({ address, protocol, port, ...toldOf(rule) }));
}

export type SetMember = Address | Tuple | DecidedElement;

/** Tells elements of one address apart. */
function elementKey(element: SetMember): string {
  if (!('address' in element)) return '';
  const { protocol, port, counter, number } = element as DecidedElement;
  return `${protocol} ${port} ${counter ?? number ?? ''}`;
}

/** Members of `from` that are not in the list. */
export function missingIn(list: readonly SetMember[], from: readonly SetMember[]): readonly SetMember[] {
  if (from.length === 0 || list.length === 0) return from;
  const keys = new Set(list.map(elementKey));
  return from.filter(element => !keys.has(elementKey(element)));
}

/** Elements that one address of a pod brings into a set. */
export const elementsFrom = (
  spec: PodSetSpec,
  pod: Pod,
  text: string,
  namespaceLabels: Labels,
): readonly SetMember[] => {
  switch (spec.kind) {
    case 'addresses':
      return addressFrom(spec, pod, text, namespaceLabels);
    case 'tuples':
      return tuplesFrom(spec, pod, text, namespaceLabels);
    case 'decided':
      return decidedFrom(spec, pod, text, namespaceLabels);
  }
};

/** Elements that these pods bring into a set: for a caller that knows that no other pod matters. */
export const elementsOf = (cluster: Cluster, spec: PodSetSpec, pods: readonly Pod[]): readonly SetMember[] =>
  pods.flatMap(pod =>
    ownAddresses(cluster, pod).flatMap(text => elementsFrom(spec, pod, text, cluster.namespaceLabels(pod.namespace))),
  );

const ascending = (a: Address, b: Address): number => (a.value < b.value ? -1 : a.value > b.value ? 1 : 0);
const ascendingTuples = (a: DecidedElement, b: DecidedElement): number =>
  ascending(a.address, b.address) ||
  (a.port ?? 0) - (b.port ?? 0) ||
  ((a.protocol ?? '') < (b.protocol ?? '') ? -1 : (a.protocol ?? '') > (b.protocol ?? '') ? 1 : 0);

const podsOf = (cluster: Cluster, peers: readonly PodPeer[]): readonly Pod[] => [
  ...new Set(peers.flatMap(peer => [...membersOf(cluster, peer)])),
];

const addressElements = (cluster: Cluster, spec: AddressSetSpec): readonly Address[] =>
  podsOf(cluster, spec.pods).flatMap(pod => ownAddresses(cluster, pod).flatMap(text => parsed(text, spec.family)));

const decidedElements = (cluster: Cluster, spec: DecidedSetSpec): readonly SetMember[] =>
  elementsOf(
    cluster,
    spec,
    podsOf(
      cluster,
      bringing(spec).flatMap(({ pods }) => pods),
    ),
  );

/** Addresses of the selected nodes; an address that several nodes claim comes once. */
function nodeElements(cluster: Cluster, { nodes, family }: NodeSetSpec): readonly Address[] {
  const texts = [...cluster.nodes()]
    .filter(({ labels }) => nodes.some(selector => selects(selector, labels)))
    .flatMap(({ addresses }) => addresses);
  return [...new Set(texts)].flatMap(text => parsed(text, family)).toSorted(ascending);
}

/** Pair by pair, since the cluster finds the pods that a selector matches without a look at all the others. */
function pairElements(cluster: Cluster, { whose, family }: PairSetSpec): readonly Tuple[] {
  const tuples = whose.pairs.flatMap(pair =>
    pair.pods.flatMap(peer =>
      [...membersOf(cluster, peer)].flatMap(pod =>
        tuplesOf(
          pair,
          ownAddresses(cluster, pod).flatMap(text => parsed(text, family)),
        ),
      ),
    ),
  );
  return unique(tuples);
}

function tupleElements(cluster: Cluster, spec: TupleSetSpec): readonly SetMember[] {
  if (isOfPairs(spec)) return pairElements(cluster, spec);
  const pods = new Set(spec.names.flatMap(({ protocol, name }) => [...cluster.withPort(protocol, name)]));
  return elementsOf(cluster, spec, [...pods]);
}

/** The set with these of its elements alone. */
export function withElements(spec: PodSetSpec | NodeSetSpec, elements: readonly SetMember[]): PeerSet {
  if (spec.kind === 'tuples') return { ...spec, elements: (elements as readonly Tuple[]).toSorted(ascendingTuples) };
  if (spec.kind === 'decided')
    return { ...spec, elements: (elements as readonly DecidedElement[]).toSorted(ascendingTuples) };
  return { ...spec, elements: (elements as readonly Address[]).toSorted(ascending) };
}

/** The set with what is in it now. */
export function filled(cluster: Cluster, spec: SetSpec): PeerSet {
  switch (spec.kind) {
    case 'ranges':
      return { ...spec, elements: spec.ranges };
    case 'nodes':
      return { ...spec, elements: nodeElements(cluster, spec) };
    case 'addresses':
      return withElements(spec, addressElements(cluster, spec));
    case 'tuples':
      return withElements(spec, tupleElements(cluster, spec));
    case 'decided':
      return withElements(spec, decidedElements(cluster, spec));
  }
}
