/**
 * The sets of peers that are in the table, by what they select: a pod of an identity that is known already enters those that
 * it belongs to, and nobody need ask the policies what else there is.
 */
import { Cluster } from '../policy/cluster.ts';
import { filled } from '../policy/members.ts';
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

/** What policies ask for of these pods, as far as it changes with them; undefined where a manifest speaks of one of them. */
export function rulesetOfPeers(peers: Peers, { pods }: NodeState): Ruleset | undefined {
  const { sets } = peers;
  const { namespaces, named, addressed } = understand(peers);
  const local = Object.values(pods);
  if (local.some(pod => named.has(nameOf(pod)) || pod.addresses.some(address => addressed.has(address))))
    return undefined;
  const placed = local.filter(({ addresses }) => addresses.length > 0);
  const cluster = new Cluster({ namespaces, pods: placed.map(localPod), policies: [] });
  return { sets: new Map(sets.map(set => [set.name, filled(cluster, set)])), chains: new Map(), tags: new Map() };
}
