/** The ends that two worlds have in common, in groups that no policy of either can tell apart. */
import { parseAddress, type Range } from '../../ip/address.ts';
import type { Cluster } from '../evaluate/cluster.ts';
import { policiesFor } from '../evaluate/decision.ts';
import type { EvaluateOptions } from '../evaluate/evaluate.ts';
import { type AnyPolicy, type Direction, type Endpoint, type Pod, policyRef, type World } from '../model/model.ts';
import { type AddressClasses, type Outside, outsideOf, rangeText } from './classes.ts';
import type { Distinctions } from './distinctions.ts';

/** An end that both worlds have. */
export interface End {
  readonly name: string;
  readonly before: Endpoint;
  readonly after: Endpoint;
  readonly outside?: Range;
}

/** Ends that no policy of either world can tell apart. */
export interface Group {
  readonly ends: readonly End[];
  /** The world says the same of these ends before and after. */
  readonly isSame: boolean;
  /** True for pods that the same policies select before and after. */
  readonly isSameIn: Readonly<Record<Direction, boolean>>;
}

const nameOf = ({ namespace, name }: Pod): string => `${namespace}/${name}`;
const bigints = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);

/** Everything about a pod that a verdict may rest on. */
function podText(cluster: Cluster, { classes, distinctions }: Sides, pod: Pod): string {
  const places = ([4, 6] as const).map(family => {
    const text = pod.addresses.find(each => parseAddress(each)?.family === family);
    if (text === undefined) return -1;
    // Where two pods claim one address only one owns it, so no other pod fares like either of them.
    const owner = cluster.ownerOf(text);
    if (owner && owner !== pod) return [nameOf(pod), distinctions.of(cluster, owner)];
    const address = parseAddress(text)!;
    return [classes.indexOf(address), cluster.nodesAt(address).map(({ labels }) => [...labels].sort())];
  });
  const { hostNetwork, nodeName, local } = pod;
  return JSON.stringify([distinctions.of(cluster, pod), hostNetwork, nodeName, local, places]);
}

/** One text for the policies that select the pod, in one direction; cluster policies in their order. */
function selectingText(cluster: Cluster, pod: Pod, direction: Direction): string {
  const { admin, isolating, baseline } = policiesFor(cluster, direction, pod);
  const said = (policy: AnyPolicy): unknown => [policyRef(policy), policy[direction]];
  const own = isolating.map(policy => JSON.stringify(said(policy), bigints)).sort();
  return JSON.stringify([admin.map(said), own, baseline.map(said)], bigints);
}

export interface Sides {
  readonly before: World;
  readonly after: World;
  readonly clusters: readonly [Cluster, Cluster];
  readonly classes: AddressClasses;
  readonly distinctions: Distinctions;
  readonly options: EvaluateOptions;
}

export const alive = ({ pods }: World): ReadonlyMap<string, Pod> =>
  new Map(pods.filter(({ finished }) => !finished).map(pod => [nameOf(pod), pod]));

function podGroups(sides: Sides): readonly Group[] {
  const { before, after, clusters } = sides;
  const later = alive(after);
  const groups = new Map<
    string,
    { readonly ends: End[]; readonly isSame: boolean; readonly pods: readonly [Pod, Pod] }
  >();
  for (const [name, pod] of alive(before)) {
    const now = later.get(name);
    if (!now) continue;
    const texts = [podText(clusters[0], sides, pod), podText(clusters[1], sides, now)];
    const key = texts.join(' ');
    const group = groups.get(key) ?? { ends: [], isSame: texts[0] === texts[1], pods: [pod, now] };
    group.ends.push({ name, before: { kind: 'pod', pod }, after: { kind: 'pod', pod: now } });
    groups.set(key, group);
  }
  return [...groups.values()].map(({ ends, isSame, pods: [pod, now] }) => {
    const isSameIn = (direction: Direction) =>
      selectingText(clusters[0], pod, direction) === selectingText(clusters[1], now, direction);
    return { ends, isSame, isSameIn: { egress: isSameIn('egress'), ingress: isSameIn('ingress') } };
  });
}

const isolatesNothing = { isSame: true, isSameIn: { egress: true, ingress: true } };
const both = (end: Endpoint): Pick<End, 'before' | 'after'> => ({ before: end, after: end });

const outsideGroup = ({ range, address }: Outside): Group => ({
  ends: [{ name: rangeText(range), ...both({ kind: 'address', address }), outside: range }],
  ...isolatesNothing,
});

function nodeGroups({ before, after }: Sides): readonly Group[] {
  const known = (after.nodes ?? []).filter(({ name }) => before.nodes?.some(each => each.name === name));
  const named = known.map(({ name }): End => ({ name: `node ${name}`, ...both({ kind: 'node', name }) }));
  const ends: readonly End[] = [...named, { name: 'node', ...both({ kind: 'node' }) }];
  // A node's addresses may differ from world to world, so it is always looked at.
  return ends.map(end => ({ ends: [end], ...isolatesNothing, isSame: false }));
}

/** Pods that are in both worlds and have not finished, nodes, and what is outside. */
export const groupsOf = (sides: Sides): readonly Group[] => [
  ...podGroups(sides),
  ...nodeGroups(sides),
  ...outsideOf([sides.before, sides.after], sides.classes).map(outsideGroup),
];
