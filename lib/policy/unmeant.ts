/** What is legal in a policy and probably unmeant. Each check reports what is odd, what follows, and what to write instead. */
import type { Cluster } from './cluster.ts';
import type { Declared } from './manifest.ts';
import type { BlockPeer, Direction, NetworkPolicy, Peer, Pod, PodPeer, Port, Rule, World } from './model.ts';
import { selects, selectsPod } from './selector.ts';

/** One policy in its surroundings. */
export interface Case {
  readonly policy: NetworkPolicy;
  readonly world: World;
  readonly cluster: Cluster;
  /** Pods that it selects, as far as they are known. */
  readonly subjects: readonly Pod[];
  /** Pods that can be subject or peer. */
  readonly pods: readonly Pod[];
  /** What "no pod" means: only those of one node may be known. */
  readonly scope: Scope;
  /** @param field below the policy's own place: `spec.ingress[0]` */
  readonly report: (field: string, message: string) => void;
}

/** `node`: the pods are those of one node, since nobody tells it of others. */
export type Scope = 'cluster' | 'node';

export type Check = (it: Case) => void;

export interface DeclaredPolicy extends Declared {
  readonly object: { readonly kind: 'NetworkPolicy'; readonly policy: NetworkPolicy };
}

export const isPolicy = (declared: Declared): declared is DeclaredPolicy => declared.object.kind === 'NetworkPolicy';

export interface PlacedRule {
  readonly direction: Direction;
  readonly rule: Rule;
  /** `spec.ingress[0]` */
  readonly field: string;
}

export const rulesOf = (policy: NetworkPolicy): readonly PlacedRule[] =>
  (['ingress', 'egress'] as const).flatMap(direction =>
    (policy[direction] ?? []).map(rule => ({ direction, rule, field: `spec.${direction}[${rule.index}]` })),
  );

export interface PlacedPeer<P extends Peer = Peer> extends PlacedRule {
  readonly peer: P;
}

/** Each peer with its own place: `spec.ingress[0].from[1]`. */
export const peersOf = (policy: NetworkPolicy): readonly PlacedPeer[] =>
  rulesOf(policy).flatMap(placed => {
    const { peers } = placed.rule;
    const list = placed.direction === 'ingress' ? 'from' : 'to';
    return peers === 'any' ? [] : peers.map((peer, i) => ({ ...placed, peer, field: `${placed.field}.${list}[${i}]` }));
  });

export const isBlock = (placed: PlacedPeer): placed is PlacedPeer<BlockPeer> => placed.peer.kind === 'block';
const isPodPeer = (placed: PlacedPeer): placed is PlacedPeer<PodPeer> => placed.peer.kind === 'pods';

/** Each port with its place. */
const portsOf = (policy: NetworkPolicy): readonly (PlacedRule & { readonly port: Port })[] =>
  rulesOf(policy).flatMap(placed => {
    const { ports } = placed.rule;
    return ports === 'any' ? [] : ports.map((port, i) => ({ ...placed, port, field: `${placed.field}.ports[${i}]` }));
  });

export const nameOf = ({ namespace, name }: Pod): string => `${namespace}/${name}`;

/** `a/p, a/q and 3 more` */
export function namesText(pods: readonly Pod[]): string {
  const names = pods.slice(0, 2).map(nameOf).join(', ');
  return pods.length > 2 ? `${names} and ${pods.length - 2} more` : names;
}

const isMeant = ({ cluster }: Case, peer: PodPeer, pod: Pod): boolean =>
  selectsPod(peer, pod, cluster.namespaceLabels(pod.namespace));

const elsewhere =
  'without an agent a node knows its own pods and those that manifests of the folder declare: write an ipBlock for others';

export const selectsNobody: Check = it => {
  const { policy, pods, subjects, scope, report } = it;
  if (pods.length === 0) return;
  if (subjects.length === 0) {
    const advice =
      scope === 'node' ? 'it does nothing here' : 'it does nothing: write labels that pods of the namespace have';
    report('spec.podSelector', `Selects none of the ${pods.length} pods that are known, so ${advice}`);
  }
  for (const { peer, field } of peersOf(policy).filter(isPodPeer)) {
    if (pods.some(pod => isMeant(it, peer, pod))) continue;
    const hint =
      typeof peer.namespace === 'string' &&
      pods.some(pod => selects(peer.pods, pod.labels) && peer.pods.requirements.length > 0)
        ? `pods of other namespaces would match: add a namespaceSelector`
        : 'write labels that pods have, or take it out';
    report(field, `Matches none of the ${pods.length} pods that are known: ${scope === 'node' ? elsewhere : hint}`);
  }
};

/** Container ports by that name that could be meant: of the subjects on the way in, of the peers on the way out. */
function destinations(it: Case, { direction, rule }: PlacedRule): readonly Pod[] {
  if (direction === 'ingress') return it.subjects;
  const { peers } = rule;
  if (peers === 'any') return it.pods;
  return it.pods.filter(pod => peers.some(peer => peer.kind === 'pods' && isMeant(it, peer, pod)));
}

export const unknownPortName: Check = it => {
  for (const { port, field, ...placed } of portsOf(it.policy)) {
    if (!('name' in port)) continue;
    const pods = destinations(it, { ...placed, field });
    const has = ({ namedPorts }: Pod): boolean =>
      namedPorts.some(({ name, protocol }) => name === port.name && protocol === port.protocol);
    if (pods.length === 0 || pods.some(has)) continue;
    const others = [
      ...new Set(pods.flatMap(pod => pod.namedPorts.map(({ name, protocol }) => `${name} (${protocol})`))),
    ];
    const hint =
      others.length === 0
        ? 'they name none: write the number'
        : `write a number, or one of ${others.slice(0, 4).join(', ')}`;
    it.report(
      `${field}.port`,
      `No container of ${namesText(pods)} has a port named ${port.name} for ${port.protocol}, so it matches nothing: ${hint}`,
    );
  }
};
