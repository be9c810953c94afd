/** Checks for what is legal in a policy and hardly meant. Each reports what is odd, what follows, and what to write instead. */
import type { Declared } from '../manifest/manifest.ts';
import {
  type BlockPeer,
  type Direction,
  isNumbered,
  type NetworkPolicy,
  type Peer,
  type Pod,
  type PodPeer,
  type PolicyRule,
  type PortName,
} from '../model/model.ts';
import { everything } from '../model/selector.ts';
import type { Surroundings } from './surroundings.ts';

/** One policy in its surroundings. */
export interface Case {
  readonly policy: NetworkPolicy;
  readonly around: Surroundings;
  /** Pods that it selects, as far as they are known. */
  readonly subjects: readonly Pod[];
  /** @param field below the policy's own place: `spec.ingress[0]` */
  readonly report: (field: string, message: string) => void;
}

/** A check may remember things from one policy of a world to the next: each run over a world makes its checks anew. */
export type Check = (it: Case) => void;

export interface DeclaredPolicy extends Declared {
  readonly object: { readonly kind: 'NetworkPolicy'; readonly policy: NetworkPolicy };
}

export const isPolicy = (declared: Declared): declared is DeclaredPolicy => declared.object.kind === 'NetworkPolicy';

export interface PlacedRule {
  readonly direction: Direction;
  readonly rule: PolicyRule;
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

export const nameOf = ({ namespace, name }: Pod): string => `${namespace}/${name}`;

/** `a/p, a/q and 3 more` */
export function namesText(pods: readonly Pod[]): string {
  const names = pods.slice(0, 2).map(nameOf).join(', ');
  return pods.length > 2 ? `${names} and ${pods.length - 2} more` : names;
}

const elsewhere =
  'without an agent a node knows its own pods and those that manifests of the folder declare: write an ipBlock for others';

/** Says what to write instead of a peer that selects no pod. */
function hintFor({ around }: Case, { namespace, pods }: PodPeer): string {
  if (around.scope === 'node') return elsewhere;
  const isElsewhere =
    typeof namespace === 'string' &&
    pods.requirements.length > 0 &&
    around.isAnybody({ kind: 'pods', namespace: everything, pods });
  return isElsewhere
    ? 'pods of other namespaces would match: add a namespaceSelector'
    : 'write labels that pods have, or take it out';
}

export const selectsNobody: Check = it => {
  const { policy, subjects, around, report } = it;
  const { pods, scope } = around;
  if (pods.length === 0) return;
  if (subjects.length === 0) {
    const advice =
      scope === 'node' ? 'it does nothing here' : 'it does nothing: write labels that pods of the namespace have';
    report('spec.podSelector', `Selects none of the ${pods.length} pods that are known, so ${advice}`);
  }
  for (const { peer, field } of peersOf(policy).filter(isPodPeer))
    if (!around.isAnybody(peer))
      report(field, `Matches none of the ${pods.length} pods that are known: ${hintFor(it, peer)}`);
};

/** Pods whose container ports by that name could be meant: the subjects on the way in, the peers on the way out. */
function destinations({ subjects, around }: Case, { direction, rule }: PlacedRule): readonly Pod[] {
  if (direction === 'ingress') return subjects;
  const { peers } = rule;
  return peers === 'any' ? around.pods : around.selectedBy(peers.filter(peer => peer.kind === 'pods'));
}

const portText = ({ name, protocol }: { readonly name: string; readonly protocol: string }): string =>
  `${name} (${protocol})`;

export const unknownPortName: Check = it => {
  for (const placed of rulesOf(it.policy)) {
    const { ports } = placed.rule;
    const named = ports === 'any' ? [] : [...ports.entries()].filter(([, port]) => !isNumbered(port));
    if (named.length === 0) continue;
    const pods = destinations(it, placed);
    if (pods.length === 0) continue;
    const known = new Set(pods.flatMap(({ namedPorts }) => namedPorts.map(portText)));
    const hint =
      known.size === 0
        ? 'they name none: write the number'
        : `write a number, or one of ${[...known].slice(0, 4).join(', ')}`;
    for (const [i, port] of named as readonly (readonly [number, PortName])[])
      if (!known.has(portText(port)))
        it.report(
          `${placed.field}.ports[${i}].port`,
          `No container of ${namesText(pods)} has a port named ${port.name} for ${port.protocol}, so it matches nothing: ${hint}`,
        );
  }
};
