/** The way back from cluster policies to manifests, as `manifest-of.ts` has it of all else. */
import { formatPrefix } from '../../ip/address.ts';
import type { ClusterPolicy, ClusterRule } from '../model/cluster-policy.ts';
import { isNumbered, type NumberedPort, type Peer, type PodPeer, type Port } from '../model/model.ts';
import { CLOSED } from './cluster-peer.ts';
import { type ManifestObject, selectorManifest } from './manifest-of.ts';

const podsOf = ({ namespace, pods }: PodPeer): ManifestObject => ({
  pods: {
    namespaceSelector: typeof namespace === 'string' ? {} : selectorManifest(namespace),
    podSelector: selectorManifest(pods),
  },
});

function peerOf(peer: Peer): ManifestObject {
  switch (peer.kind) {
    case 'pods':
      return podsOf(peer);
    case 'block':
      return { networks: [formatPrefix(peer.cidr)] };
    case 'nodes':
      return { nodes: selectorManifest(peer.nodes) };
    case 'domains':
      return { domainNames: peer.names };
  }
}

/** Networks that follow one another in one entry, as many as an entry may have, each once. */
function peersOf(peers: readonly Peer[]): readonly ManifestObject[] {
  const entries: ManifestObject[] = [];
  for (const peer of peers) {
    const last = entries.at(-1)?.['networks'];
    const text = peer.kind === 'block' ? formatPrefix(peer.cidr) : undefined;
    if (text !== undefined && Array.isArray(last) && last.length < 25 && !last.includes(text)) last.push(text);
    else entries.push(peerOf(peer));
  }
  return entries;
}

/** A name stands in the model once for each protocol, and in manifests once. */
const isFirstOfName = (port: Port, i: number, ports: readonly Port[]): boolean =>
  isNumbered(port) || !ports.slice(0, i).some(before => !isNumbered(before) && before.name === port.name);

function protocolOf(port: Port): ManifestObject {
  if (!isNumbered(port)) return { destinationNamedPort: port.name };
  const { protocol, first, last } = port;
  const destinationPort = first === last ? { number: first } : { range: { start: first, end: last } };
  return { [protocol.toLowerCase()]: { destinationPort } };
}

const numberedOf = ({ protocol, first, last }: NumberedPort): ManifestObject =>
  first === last ? { portNumber: { protocol, port: first } } : { portRange: { protocol, start: first, end: last } };

const alphaPortOf = (port: Port): ManifestObject => (isNumbered(port) ? numberedOf(port) : { namedPort: port.name });

/** A rule that is closed is written as what closes it: an entry that says no more than that. */
const closed: readonly ManifestObject[] = [{ [CLOSED]: true }];

function ruleOf({ name, action, peers, ports }: ClusterRule, side: 'from' | 'to', isToday: boolean): ManifestObject {
  const listed = peers === 'any' || peers.length === 0 ? closed : peersOf(peers);
  const written = ports === 'any' ? [] : ports.filter(isFirstOfName).map(isToday ? protocolOf : alphaPortOf);
  return {
    ...(name === undefined ? {} : { name }),
    action: action === 'Accept' && !isToday ? 'Allow' : action,
    [side]: listed,
    ...(written.length > 0 ? { [isToday ? 'protocols' : 'ports']: written } : {}),
  };
}

export function clusterPolicyManifest(policy: ClusterPolicy): ManifestObject {
  const { kind, name, resourceVersion, tier, priority, subject, ingress, egress } = policy;
  const isToday = kind === 'ClusterNetworkPolicy';
  return {
    apiVersion: `policy.networking.k8s.io/${isToday ? 'v1alpha2' : 'v1alpha1'}`,
    kind,
    metadata: { name, ...(resourceVersion === undefined ? {} : { resourceVersion }) },
    spec: {
      ...(isToday ? { tier } : {}),
      ...(kind === 'BaselineAdminNetworkPolicy' ? {} : { priority }),
      subject: podsOf(subject),
      ingress: ingress.map(rule => ruleOf(rule, 'from', isToday)),
      egress: egress.map(rule => ruleOf(rule, 'to', isToday)),
    },
  };
}
