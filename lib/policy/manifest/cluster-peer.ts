/** Reads peers and subjects of cluster policies; undefined, and reported, where a field cannot be understood. */

import { formatPrefix, parsePrefix, prefixContains, rangeOf } from '../../ip/address.ts';
import type { BlockPeer, DomainPeer, NodePeer, Peer, PodPeer } from '../model/model.ts';
import { everything } from '../model/selector.ts';
import { complain, type Field, holdsOnly, isAbsent, isMapping, itemsOf, member, shown, warn } from './field.ts';
import { prefixOf } from './network-policy.ts';
import { selectorOf } from './selector.ts';

/** Networks or names in one peer. */
const MOST_LISTED = 25;

/** The key of an entry that stands for one that was invalid, where only that is still known of it (`cluster-manifest-of.ts`). */
export const CLOSED = 'tollgate.dev/closed';

/** The one member that a mapping has of those that are known. */
export function oneOf<K extends string>(
  field: Field,
  known: readonly K[],
  instead: string,
): { readonly key: K; readonly at: Field } | undefined {
  if (isMapping(field.value) && CLOSED in field.value)
    return complain(
      field,
      `Invalid as it stands in the API, so ${instead}: give it to tollgate policy lint -f - by kubectl get -o yaml, which says why`,
    );
  if (!isAbsent(field) && !holdsOnly(field, known, instead)) return undefined;
  const present = known.map(key => ({ key, at: member(field, key) })).filter(({ at }) => !isAbsent(at));
  const [only] = present;
  if (only && present.length === 1) return only;
  const what = only ? `${present.length} things in one entry` : 'An empty entry';
  return complain(field, `${what}, so ${instead}: write one of ${known.join(', ')}`);
}

/** v1alpha1's drafts wrote it so. */
const isWrapped = ({ value }: Field): boolean => isMapping(value) && 'namespaceSelector' in value;

function namespacesOf(field: Field, instead: string): PodPeer | undefined {
  if (isWrapped(field))
    return complain(field, `namespaceSelector is an old spelling, so ${instead}: write its selector right here`);
  const namespace = selectorOf(field, instead);
  return namespace && { kind: 'pods', namespace, pods: everything };
}

function podsOf(field: Field, instead: string): PodPeer | undefined {
  if (!holdsOnly(field, ['namespaceSelector', 'podSelector'], instead)) return undefined;
  const selector = member(field, 'podSelector');
  const pods = isAbsent(selector)
    ? complain(selector, `Missing, so ${instead}: write {} for all pods`)
    : selectorOf(selector, instead);
  const namespace = selectorOf(member(field, 'namespaceSelector'), instead);
  return pods && namespace && { kind: 'pods', namespace, pods };
}

/** The pods that the policy is for. */
export function subjectOf(field: Field, instead: string): PodPeer | undefined {
  const found = oneOf(field, ['namespaces', 'pods'], instead);
  if (!found) return undefined;
  return found.key === 'pods' ? podsOf(found.at, instead) : namespacesOf(found.at, instead);
}

/** Reads each item of a list, and reports an empty one; undefined where any is invalid. */
function listed<T>(field: Field, instead: string, read: (item: Field) => T | undefined): readonly T[] | undefined {
  const items = itemsOf(field);
  if (!items) return undefined;
  if (items.length === 0) return complain(field, `An empty list, so ${instead}: write at least one entry`);
  if (items.length > MOST_LISTED)
    complain(field, `${items.length} entries, and the API takes ${MOST_LISTED}: write more peers or rules of them`);
  const seen = new Set<unknown>();
  for (const item of items) {
    if (seen.has(item.value))
      warn(item, `${shown(item.value)} stands here twice, which API servers refuse: take it out`);
    seen.add(item.value);
  }
  const found = items.map(read).filter(item => item !== undefined);
  return found.length === items.length ? found : undefined;
}

const mapped = parsePrefix('::ffff:0:0/96')!;

function blockOf(field: Field, instead: string): BlockPeer | undefined {
  const cidr = prefixOf(field, instead, 'and API servers refuse them');
  if (!cidr) return undefined;
  if (prefixContains(mapped, cidr))
    return complain(field, `${shown(field.value)} is IPv4 written as IPv6, so ${instead}: write "10.0.0.0/8"`);
  const { first } = rangeOf(cidr);
  if (first !== cidr.value)
    warn(
      field,
      `An address within the network, which newer API servers refuse: write ${formatPrefix({ ...cidr, value: first })}`,
    );
  return { kind: 'block', cidr, except: [] };
}

/** NPEP-133: two labels at least; `*.` only in front. */
const domainName = /^(\*\.)?([a-z0-9]([-a-z0-9_]*[a-z0-9])?\.)+[a-z0-9]([-a-z0-9_]*[a-z0-9])?$/;

function domainOf(field: Field, instead: string): string | undefined {
  const name = typeof field.value === 'string' ? field.value.toLowerCase().replace(/\.$/, '') : '';
  if (domainName.test(name)) return name;
  return complain(
    field,
    `${shown(field.value)} is no domain name, so ${instead}: write "example.com" or "*.example.com"`,
  );
}

function domainsOf(field: Field, instead: string): DomainPeer | undefined {
  const names = listed(field, instead, item => domainOf(item, instead));
  return names && { kind: 'domains', names };
}

export type PeerKey = 'namespaces' | 'pods' | 'nodes' | 'networks' | 'domainNames';

/** The peers of one entry: an entry of `networks` is a peer for each network. */
export function peersOf(field: Field, known: readonly PeerKey[], instead: string): readonly Peer[] | undefined {
  const found = oneOf(field, known, instead);
  if (!found) return undefined;
  const { key, at } = found;
  if (key === 'networks') return listed(at, instead, item => blockOf(item, instead));
  const peer = peerReaders[key](at, instead);
  return peer && [peer];
}

function nodesOf(field: Field, instead: string): NodePeer | undefined {
  const nodes = selectorOf(field, instead);
  return nodes && { kind: 'nodes', nodes };
}

const peerReaders = { namespaces: namespacesOf, pods: podsOf, nodes: nodesOf, domainNames: domainsOf } as const;
