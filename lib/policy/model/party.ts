/** The ends of a flow as policy sees them: whose policies count, which pod selectors see, which address blocks see. */
import { type Address, type Family, parseAddress } from '../../ip/address.ts';
import { type Cluster, isSameNode, type NodePlace, placeOfPod } from '../evaluate/cluster.ts';
import type { Endpoint, Pod } from './model.ts';

/** One end of a flow as policy sees it. */
export interface Party {
  readonly name: string;
  /** The pod that has the interface: the subject of policies. */
  readonly subject?: Pod;
  /** The pod that has the address as far as the other end can tell. */
  readonly peer?: Pod;
  readonly node?: NodePlace | 'own';
  readonly address?: Address;
}

/** The first address of the family, with its text; none for null, where ends are judged by their labels. */
function firstIn(family: Family | null, texts: readonly string[]): { text: string; address: Address } | undefined {
  if (family === null) return undefined;
  for (const text of texts) {
    // One of the other family is passed over unread: each flow that is judged asks.
    const address = text.includes(':') === (family === 6) ? parseAddress(text) : undefined;
    if (address) return { text, address };
  }
  return undefined;
}

/** The first address of the family; none for null, where ends are judged by their labels. */
export function addressIn(family: Family | null, texts: readonly string[]): { address?: Address } {
  const found = firstIn(family, texts);
  return found ? { address: found.address } : {};
}

function podParty(cluster: Cluster, pod: Pod, family: Family | null): Party {
  const first = firstIn(family, pod.addresses);
  const found = first ? { address: first.address } : {};
  const name = `${pod.namespace}/${pod.name}`;
  if (pod.finished) return { name: `${name}, which has finished`, ...found };
  if (pod.hostNetwork) return { name: `${name} on its node's network`, node: placeOfPod(pod), ...found };
  const owner = first && cluster.ownerOf(first.text);
  return { name, subject: pod, peer: owner ?? pod, ...found };
}

function addressParty(cluster: Cluster, text: string, family: Family | null): Party {
  const owner = cluster.ownerOf(text);
  if (owner) return { ...podParty(cluster, owner, family), ...addressIn(family, [text]) };
  const node = cluster.nodeWith(text);
  return { name: text, ...(node ? { node } : {}), ...addressIn(family, [text]) };
}

export function partyOf(cluster: Cluster, endpoint: Endpoint, family: Family | null): Party {
  if (endpoint.kind === 'pod') return podParty(cluster, endpoint.pod, family);
  if (endpoint.kind === 'address') return addressParty(cluster, endpoint.address, family);
  if (endpoint.name === undefined) return { name: 'its own node', node: 'own' };
  const addresses = cluster.node(endpoint.name)?.addresses ?? [];
  return { name: `node ${endpoint.name}`, node: { name: endpoint.name }, ...addressIn(family, addresses) };
}

export const isSamePod = (a: Pod | undefined, b: Pod | undefined): boolean =>
  a !== undefined &&
  (a === b || (a.namespace === b?.namespace && a.name === b.name && (a.uid ?? b.uid) === (b.uid ?? a.uid)));

export const isOwnNode = (subject: Pod, { node }: Party): boolean =>
  node === 'own' || (node !== undefined && isSameNode(placeOfPod(subject), node));
