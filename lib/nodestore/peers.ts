/**
 * The sets of peers that are in the table, by what they select: a pod of an identity that is known already enters those that
 * it belongs to, and nobody need ask the policies what else there is.
 */

import type { NodeState } from '../gate/node-state.ts';
import { localPod } from '../gate/node-world.ts';
import type { Range } from '../ip/address.ts';
import { elementsOf, withElements } from '../policy/compile/members.ts';
import type {
  AddressSetSpec,
  NamedPortSetSpec,
  Pair,
  PairSetSpec,
  PeerSet,
  Ruleset,
  TupleSetSpec,
} from '../policy/compile/ruleset.ts';
import { Cluster } from '../policy/evaluate/cluster.ts';
import type { LabelSelector, PodPeer, PortName, Protocol, Requirement, World } from '../policy/model/model.ts';
import { parseJson } from '../state/atomic.ts';
import { either, isCount, isText, listOf, objectOf, oneOf, pairOf, type Shape } from '../state/shape.ts';
import { isMarker } from './shapes.ts';

export interface Peers {
  /** The marker of the first table that had these. */
  readonly marker: number;
  readonly sets: readonly (AddressSetSpec | TupleSetSpec)[];
  /** As the manifests say. */
  readonly namespaces: readonly (readonly [name: string, labels: readonly (readonly [string, string])[]])[];
  /** Pods that manifests speak of: where one of them is plugged in, its manifest no longer counts. */
  readonly named: readonly string[];
  readonly addressed: readonly string[];
}

const nameOf = ({ namespace, name }: { readonly namespace: string; readonly name: string }): string =>
  `${namespace}/${name}`;

/** What the set holds comes and goes with pods. */
const specOf = ({ elements: _, ...set }: PeerSet): Peers['sets'] =>
  set.kind === 'ranges' || set.kind === 'nodes' ? [] : [set as AddressSetSpec | TupleSetSpec];

export const peersOf = (marker: number, { sets }: Ruleset, { namespaces, pods }: World): Peers => ({
  marker,
  sets: [...sets.values()].flatMap(specOf),
  namespaces: [...namespaces].map(([name, labels]) => [name, [...labels]]),
  named: pods.map(nameOf),
  addressed: pods.flatMap(({ addresses }) => addresses),
});

/** JSON knows no large numbers. */
const toText = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? { bigint: String(value) } : value);
const fromText = (_: string, value: unknown): unknown =>
  value !== null && typeof value === 'object' && 'bigint' in value ? BigInt(value.bigint as string) : value;

export const peersText = (peers: Peers): string => JSON.stringify(peers, toText);

const isSelector = objectOf<LabelSelector>({
  requirements: listOf(
    objectOf<Requirement>({
      key: isText,
      operator: oneOf('In', 'NotIn', 'Exists', 'DoesNotExist'),
      values: listOf(isText),
    }),
  ),
});
const isPodPeers = listOf(
  objectOf<PodPeer>({ kind: oneOf('pods'), namespace: either(isText, isSelector), pods: isSelector }),
);
const isProtocol = oneOf<Protocol>('TCP', 'UDP', 'SCTP');
const isBig: Shape<bigint> = value => typeof value === 'bigint';
const named = { name: isText, family: oneOf(4, 6), comment: isText };
const isAddressSet = objectOf<AddressSetSpec>({ ...named, kind: oneOf('addresses'), pods: isPodPeers });
const isNamedPortSet = objectOf<NamedPortSetSpec>({
  ...named,
  kind: oneOf('tuples'),
  whose: either(
    objectOf<{ kind: 'pods'; pods: readonly PodPeer[] }>({ kind: oneOf('pods'), pods: isPodPeers }),
    objectOf<{ kind: 'ranges'; ranges: readonly Range[] }>({
      kind: oneOf('ranges'),
      ranges: listOf(objectOf<Range>({ family: oneOf(4, 6), first: isBig, last: isBig })),
    }),
  ),
  names: listOf(objectOf<PortName>({ protocol: isProtocol, name: isText })),
});
const isPairSet = objectOf<PairSetSpec>({
  ...named,
  kind: oneOf('tuples'),
  whose: objectOf<PairSetSpec['whose']>({
    kind: oneOf('pairs'),
    pairs: listOf(objectOf<Pair>({ pods: isPodPeers, protocol: isProtocol, ports: listOf(isCount) })),
  }),
});
const isPeers = objectOf<Peers>({
  marker: isMarker,
  sets: listOf(either(isAddressSet, either(isNamedPortSet, isPairSet))),
  namespaces: listOf(pairOf(isText, listOf(pairOf(isText, isText)))),
  named: listOf(isText),
  addressed: listOf(isText),
});

/** What the file's text says; undefined where it is none of ours. */
export function peersIn(text: string | undefined): Peers | undefined {
  const found = parseJson(text, text?.includes('"bigint":') ? fromText : undefined);
  return found.kind === 'value' && isPeers(found.value) ? found.value : undefined;
}

interface Understood {
  readonly namespaces: World['namespaces'];
  readonly named: ReadonlySet<string>;
  readonly addressed: ReadonlySet<string>;
}

/** Asked for twice in a call, and of the same peers call after call. */
const understood = new WeakMap<Peers, Understood>();

function understand(peers: Peers): Understood {
  const known = understood.get(peers);
  if (known) return known;
  const namespaces = new Map(peers.namespaces.map(([name, labels]) => [name, new Map(labels)]));
  const made = { namespaces, named: new Set(peers.named), addressed: new Set(peers.addressed) };
  understood.set(peers, made);
  return made;
}

/** The state's pods that have an address; undefined where a manifest speaks of one of them. */
function clusterOf({ namespaces, named, addressed }: Understood, { pods }: NodeState): Cluster | undefined {
  const local = Object.values(pods);
  if (local.some(pod => named.has(nameOf(pod)) || pod.addresses.some(address => addressed.has(address))))
    return undefined;
  const placed = local.filter(({ addresses }) => addresses.length > 0);
  return new Cluster({ namespaces, pods: placed.map(localPod), policies: [] });
}

const rulesetOf = (sets: readonly PeerSet[]): Ruleset => ({
  sets: new Map(sets.map(set => [set.name, set])),
  chains: new Map(),
  tags: new Map(),
});

/**
 * What policies ask for of two states' pods, as far as it can differ: the sets that one of them is in. Undefined where a
 * manifest speaks of one of them.
 */
export function rulesetsOfPeers(
  peers: Peers,
  before: NodeState,
  after: NodeState,
): readonly [Ruleset, Ruleset] | undefined {
  const known = understand(peers);
  const [was, is] = [clusterOf(known, before), clusterOf(known, after)];
  if (!was || !is) return undefined;
  const [left, joined] = [[...was.members()], [...is.members()]];
  const touched = peers.sets.flatMap(set => {
    const [held, holds] = [elementsOf(was, set, left), elementsOf(is, set, joined)];
    return held.length + holds.length === 0 ? [] : [[withElements(set, held), withElements(set, holds)] as const];
  });
  return [rulesetOf(touched.map(([set]) => set)), rulesetOf(touched.map(([, set]) => set))];
}
