/** Turns the model back into manifests, so that a process that keeps only the model can write it down for others. */
import { formatPrefix, type Prefix } from '../../ip/address.ts';
import {
  isNumbered,
  type LabelSelector,
  type Labels,
  type NetworkPolicy,
  type Node,
  type Peer,
  type Pod,
  type PolicyRule,
  type Port,
} from '../model/model.ts';

export type ManifestObject = { readonly [key: string]: unknown };

const object = (labels: Labels): ManifestObject => Object.fromEntries(labels);

/** A peer that selects no pod: the model keeps no more than that of an invalid one. */
const noPod: ManifestObject = {
  podSelector: {
    matchExpressions: [
      { key: 'none', operator: 'Exists' },
      { key: 'none', operator: 'DoesNotExist' },
    ],
  },
};

export const selectorManifest = ({ requirements }: LabelSelector): ManifestObject =>
  requirements.length === 0
    ? {}
    : {
        matchExpressions: requirements.map(({ key, operator, values }) => ({
          ...{ key, operator },
          ...(values.length > 0 ? { values } : {}),
        })),
      };

function peerOf(peer: Peer, own: string): ManifestObject {
  if (peer.kind === 'block') {
    const except = peer.except.map((prefix: Prefix) => formatPrefix(prefix));
    return { ipBlock: { cidr: formatPrefix(peer.cidr), ...(except.length > 0 ? { except } : {}) } };
  }
  if (peer.kind !== 'pods') return noPod;
  const pods = { podSelector: selectorManifest(peer.pods) };
  if (peer.namespace === own) return pods;
  const namespace =
    typeof peer.namespace === 'string'
      ? { matchLabels: { 'kubernetes.io/metadata.name': peer.namespace } }
      : selectorManifest(peer.namespace);
  return { ...pods, namespaceSelector: namespace };
}

function portOf(port: Port): ManifestObject {
  if (!isNumbered(port)) return { protocol: port.protocol, port: port.name };
  const { protocol, first, last } = port;
  if (first === 0 && last === 65535) return { protocol };
  return { protocol, port: first, ...(last === first ? {} : { endPort: last }) };
}

function ruleOf({ peers, ports }: PolicyRule, side: 'from' | 'to', own: string): ManifestObject {
  if (ports !== 'any' && ports.length === 0) return { [side]: [noPod] };
  const listed = peers === 'any' ? undefined : peers.map(peer => peerOf(peer, own));
  return {
    ...(listed ? { [side]: listed.length > 0 ? listed : [noPod] } : {}),
    ...(ports === 'any' ? {} : { ports: ports.map(portOf) }),
  };
}

/** Rules keep their places: a missing one in between becomes a rule whose peer selects no pod. */
function rulesOf(rules: readonly PolicyRule[], side: 'from' | 'to', own: string): readonly ManifestObject[] {
  const last = Math.max(-1, ...rules.map(({ index }) => index));
  return Array.from({ length: last + 1 }, (_, i) => {
    const rule = rules.find(({ index }) => index === i);
    return rule ? ruleOf(rule, side, own) : { [side]: [noPod] };
  });
}

export function policyManifest(policy: NetworkPolicy): ManifestObject {
  const { namespace, name, resourceVersion, subject, ingress, egress } = policy;
  const policyTypes = [...(ingress ? ['Ingress'] : []), ...(egress ? ['Egress'] : [])];
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace, name, ...(resourceVersion === undefined ? {} : { resourceVersion }) },
    spec: {
      ...{ podSelector: selectorManifest(subject), policyTypes },
      ...(ingress ? { ingress: rulesOf(ingress, 'from', namespace) } : {}),
      ...(egress ? { egress: rulesOf(egress, 'to', namespace) } : {}),
    },
  };
}

export const namespaceManifest = (name: string, labels: Labels): ManifestObject => ({
  ...{ apiVersion: 'v1', kind: 'Namespace' },
  metadata: { name, labels: object(labels) },
});

export function podManifest(pod: Pod): ManifestObject {
  const { namespace, name, uid, labels, namedPorts, addresses, nodeName } = pod;
  const ports = namedPorts.map(port => ({ name: port.name, containerPort: port.port, protocol: port.protocol }));
  return {
    ...{ apiVersion: 'v1', kind: 'Pod' },
    metadata: { namespace, name, ...(uid === undefined ? {} : { uid }), labels: object(labels) },
    spec: {
      ...(nodeName === undefined ? {} : { nodeName }),
      ...(pod.hostNetwork ? { hostNetwork: true } : {}),
      ...(ports.length > 0 ? { containers: [{ name: 'main', ports }] } : {}),
    },
    status: { phase: pod.finished ? 'Succeeded' : 'Running', podIPs: addresses.map(ip => ({ ip })) },
  };
}

export const nodeManifest = ({ name, labels, addresses }: Node): ManifestObject => ({
  ...{ apiVersion: 'v1', kind: 'Node' },
  metadata: { name, labels: object(labels) },
  status: { addresses: addresses.map(address => ({ type: 'InternalIP', address })) },
});
