/**
 * Turns a policy's rule into lookups of the kernel: each draft is one rule of a chain, whose set of peers has no name yet.
 * A NetworkPolicy's rule with several peers and ports is as many drafts as it has pairs of them. Of a cluster policy's rule all
 * pods are looked up at once, since it has one verdict for them.
 */
import { type Family, formatAddress, type Range } from '../../ip/address.ts';
import type { Identity } from '../../tag/identity.ts';
import type { ClusterRule } from '../model/cluster-policy.ts';
import {
  type Direction,
  isNumbered,
  type LabelSelector,
  type NetworkPolicy,
  type NumberedPort,
  type PodPeer,
  type PolicyRule,
  type Port,
  type PortName,
  policyRef,
  protocols,
  type RuleRef,
} from '../model/model.ts';
import { numbersNamed } from '../model/port-names.ts';
import { podPeerText, selectorText } from '../model/selector.ts';
import { once } from './once.ts';
import { rangesOfBlocks, unionOfSpans } from './ranges.ts';
import type { Pair, PortMatch } from './ruleset.ts';

export interface Draft {
  readonly peers: DraftPeers;
  readonly ports: DraftPorts;
  /** The policy that counts what this allows. */
  readonly counter?: string;
  /** The rules that this carries out; ascending. */
  readonly origins: readonly RuleRef[];
}

export type DraftPeers =
  | { readonly kind: 'any' }
  | { readonly kind: 'pods'; readonly family: Family; readonly pods: readonly PodPeer[] }
  | { readonly kind: 'nodes'; readonly family: Family; readonly nodes: readonly LabelSelector[] }
  | { readonly kind: 'ranges'; readonly family: Family; readonly ranges: readonly Range[] }
  /** Each with ports of its own, which the draft then does not name. */
  | { readonly kind: 'pairs'; readonly family: Family; readonly pairs: readonly Pair[] };

export type DraftPorts =
  | { readonly kind: 'any' }
  | ({ readonly kind: 'numbers' } & PortMatch)
  /** Each pod's own numbers of any of these. */
  | { readonly kind: 'names'; readonly names: readonly PortName[] };

const families: readonly Family[] = [4, 6];

/** Each by itself, or all in one group where the rule has one verdict for them. */
const grouped = <T>(items: readonly T[], isUnited: boolean): readonly (readonly T[])[] =>
  isUnited && items.length > 0 ? [items] : items.map(item => [item]);

function peersOf({ peers }: PolicyRule, isUnited: boolean): readonly DraftPeers[] {
  if (peers === 'any') return [{ kind: 'any' }];
  const pods = grouped(
    peers.filter(peer => peer.kind === 'pods'),
    isUnited,
  );
  const nodes = peers.filter(peer => peer.kind === 'nodes').map(peer => peer.nodes);
  const blocks = peers.filter(peer => peer.kind === 'block');
  return families.flatMap((family): DraftPeers[] => {
    const ranges = rangesOfBlocks(blocks, family);
    return [
      ...pods.map(group => ({ kind: 'pods', family, pods: group }) as const),
      ...(nodes.length > 0 ? [{ kind: 'nodes', family, nodes } as const] : []),
      ...(ranges.length > 0 ? [{ kind: 'ranges', family, ranges } as const] : []),
    ];
  });
}

/** The numbers that the identity's own containers give to a port: none where no container has that name. */
function numbersOf(port: Port, { namedPorts }: Identity): readonly NumberedPort[] {
  if (isNumbered(port)) return [port];
  const numbers = numbersNamed(namedPorts, port.protocol, port.name);
  return [...numbers].map(number => ({ protocol: port.protocol, first: number, last: number }));
}

function matchesOf(numbers: readonly NumberedPort[]): readonly DraftPorts[] {
  return protocols.flatMap((protocol): DraftPorts[] => {
    const spans = unionOfSpans(numbers.filter(port => port.protocol === protocol));
    return spans.length > 0 ? [{ kind: 'numbers', protocol, spans }] : [];
  });
}

/** A name means the destination's port: our own pod's on the way in, each peer's on the way out. */
function portsOf(
  { ports }: PolicyRule,
  direction: Direction,
  identity: Identity,
  isUnited: boolean,
): readonly DraftPorts[] {
  if (ports === 'any') return [{ kind: 'any' }];
  if (direction === 'ingress') return matchesOf(ports.flatMap(port => numbersOf(port, identity)));
  return [
    ...matchesOf(ports.filter(isNumbered)),
    ...grouped(namesIn(ports), isUnited).map(names => ({ kind: 'names', names }) as const),
  ];
}

const namesIn = (ports: readonly Port[]): readonly PortName[] =>
  ports.filter((port): port is PortName => !isNumbered(port)).map(({ protocol, name }) => ({ protocol, name }));

/** A named port of a rule for any peer can only be a pod's: such peers become all pods, family by family. */
const perFamily = (peers: DraftPeers, ports: DraftPorts): readonly DraftPeers[] =>
  peers.kind === 'any' && ports.kind === 'names' ? families.map(family => allPods(family)) : [peers];

const allPods = (family: Family): DraftPeers => ({
  kind: 'pods',
  family,
  pods: [{ kind: 'pods', namespace: { requirements: [] }, pods: { requirements: [] } }],
});

/** Every allow rule that the policy comes to for pods of this identity. */
export function draftsOf(policy: NetworkPolicy, direction: Direction, identity: Identity): readonly Draft[] {
  return (policy[direction] ?? []).flatMap(rule => {
    const counter = policyRef(policy);
    const origins = [{ policy: counter, direction, index: rule.index }];
    const peers = peersOf(rule, false);
    return portsOf(rule, direction, identity, false).flatMap(ports =>
      peers.flatMap(each => perFamily(each, ports)).map(each => ({ peers: each, ports, counter, origins })),
    );
  });
}

/** The drafts of a cluster policy's rule for pods of this identity. A port by name is never one of a node. */
export function draftsOfClusterRule(rule: ClusterRule, origin: RuleRef, identity: Identity): readonly Draft[] {
  const peers = peersOf(rule, true);
  return portsOf(rule, origin.direction, identity, true).flatMap(ports =>
    peers
      .filter(({ kind }) => kind !== 'nodes' || ports.kind !== 'names')
      .flatMap(each => perFamily(each, ports))
      .map(each => ({ peers: each, ports, origins: [origin] })),
  );
}

const rangeText = ({ family, first, last }: Range): string =>
  `${formatAddress({ family, value: first })}-${formatAddress({ family, value: last })}`;

const pairText = ({ pods, protocol, ports }: Pair): string =>
  `${pods.map(podPeerText).sort().join(' or ')} on ${protocol} ${ports.join(',')}`;

function nodesText(selector: LabelSelector): string {
  const which = selectorText(selector);
  return which === '' ? 'all nodes' : `nodes ${which}`;
}

const nameText = ({ protocol, name }: PortName): string => `${protocol} port ${name}`;

/** A text for each peer, ascending and without duplicates; the family is not part of it. */
export function peerTexts(peers: DraftPeers): readonly string[] {
  if (peers.kind === 'any') return ['anybody'];
  if (peers.kind === 'ranges') return peers.ranges.map(rangeText);
  if (peers.kind === 'pairs') return [...new Set(peers.pairs.map(pairText))].sort();
  if (peers.kind === 'nodes') return [...new Set(peers.nodes.map(nodesText))].sort();
  return [...new Set(peers.pods.map(podPeerText))].sort();
}

/** One text for equal peers. */
export const peersText = once((peers: DraftPeers): string => peerTexts(peers).join(' or '));

export function portsText(ports: DraftPorts): string {
  if (ports.kind === 'any') return 'any port';
  if (ports.kind === 'names') return [...new Set(ports.names.map(nameText))].sort().join(' or ');
  return `${ports.protocol} ${ports.spans.map(({ first, last }) => `${first}-${last}`).join(',')}`;
}

export const familyOf = (peers: DraftPeers): Family | undefined => (peers.kind === 'any' ? undefined : peers.family);
