/**
 * The sets of peers that are in the table, by what they select: a pod of an identity that is known already enters those that
 * it belongs to, and nobody need ask the policies what else there is.
 */
import { Cluster } from '../policy/cluster.ts';
import { elementsOf, withElements } from '../policy/members.ts';
import type { World } from '../policy/model.ts';
import type { AddressSetSpec, PeerSet, Ruleset, TupleSetSpec } from '../policy/ruleset.ts';
import { FileMemory, parseJson, replaceFile } from '../state/atomic.ts';
import type { NodeState } from './node.ts';
import { localPod } from './world.ts';

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
  set.kind === 'ranges' ? [] : [set as AddressSetSpec | TupleSetSpec];

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

const memory = new FileMemory((text): Peers | undefined => {
  const found = parseJson(text, text?.includes('"bigint":') ? fromText : undefined);
  const peers = found.kind === 'value' ? (found.value as Partial<Peers> | null) : undefined;
  return Array.isArray(peers?.sets) ? (peers as Peers) : undefined;
});

/** Those of this marker; undefined where the file says nothing of them. @throws StateError */
export function readPeers(path: string, marker: number): Peers | undefined {
  const peers = memory.read(path);
  return peers?.marker === marker ? peers : undefined;
}

/** @throws StateError */
export function writePeers(path: string, peers: Peers): void {
  replaceFile(path, peersText(peers));
  memory.learn(path, peers);
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
