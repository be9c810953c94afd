/** API objects as policy and routes need them: what the manifest reader makes of them, and nothing besides. */
import { isDeepStrictEqual } from 'node:util';
import { type Prefix, parsePrefix } from '../ip/address.ts';
import { clusterPolicyOf } from '../policy/manifest/cluster-network-policy.ts';
import {
  complain,
  decimal,
  type Field,
  isMapping,
  itemsOf,
  member,
  type Report,
  shown,
} from '../policy/manifest/field.ts';
import { networkPolicyOf } from '../policy/manifest/network-policy.ts';
import { labelsOf, nodeOf, podOf } from '../policy/manifest/pod.ts';
import { isStaged } from '../policy/manifest/staged.ts';
import type { ClusterPolicy } from '../policy/model/cluster-policy.ts';
import type { Labels, NetworkPolicy, Node, Pod } from '../policy/model/model.ts';
import type { Problem } from '../policy/model/problem.ts';
import type { Intern } from './intern.ts';

export interface KubePod extends Pod {
  /** It has a deletionTimestamp: still subject and peer, until its sandbox is gone. */
  readonly terminating: boolean;
  /** For the mirror of a static pod: the uid by which its kubelet and its runtime know it. */
  readonly staticUid?: string;
}

export interface KubeNamespace {
  readonly name: string;
  readonly labels: Labels;
}

export interface KubeNode extends Node {
  readonly podCidrs: readonly Prefix[];
  /** RFC 3339, so that the older one comes first as a text; undefined where the server does not say. */
  readonly created?: string;
  /** Its condition NetworkUnavailable: `False` is what clouds wait for; undefined where no program has set it. */
  readonly networkUnavailable?: string;
}

/** An object in which the manifest reader found something wrong, in the place of a file's. */
export type ObjectProblem = Omit<Problem, 'file' | 'document'>;

export interface Reading {
  readonly intern: Intern;
  readonly report: (complaint: ObjectProblem) => void;
}

export interface ObjectName {
  /** Empty outside namespaces. */
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string;
}

/** One kind of object of the API. */
export interface Resource<T> {
  /** As the API writes it: `networkpolicies`. */
  readonly name: string;
  readonly path: string;
  readonly fieldSelector?: string;
  /** Made known by a CustomResourceDefinition, which may be absent, come or go. */
  readonly isCustom?: true;
  /** The same objects under other versions, for servers that have not this one. */
  readonly otherVersions?: readonly Resource<T>[];
  /** The object; undefined where it has no name, so that it is no object of the API. */
  readonly read: (value: unknown, reading: Reading) => T | undefined;
  /** It is there, but does not count any more. */
  readonly isOver: (object: T) => boolean;
  readonly id: (object: T) => ObjectName;
  /** Policy sees no difference between the two, though something else about the object may have changed. */
  readonly isSame?: (a: T, b: T) => boolean;
}

const textAt = (field: Field, key: string): string | undefined => {
  const { value } = member(field, key);
  return typeof value === 'string' && value !== '' ? value : undefined;
};

interface Root extends ObjectName {
  readonly field: Field;
}

function rootOf(kind: string, value: unknown, { report }: Reading): Root | undefined {
  if (!isMapping(value)) return undefined;
  const metadata = member({ value, path: '', report: () => undefined }, 'metadata');
  const name = textAt(metadata, 'name');
  if (name === undefined) return undefined;
  const namespace = textAt(metadata, 'namespace') ?? '';
  const object = namespace === '' ? `${kind}/${name}` : `${kind}/${namespace}/${name}`;
  const tell: Report = (severity, field, message) => report({ severity, object, field, message });
  return { namespace, name, field: { value, path: '', report: tell } };
}

/** `192.0.2.1` as the API wrote it where that is canonical already: the reader's own copy of it would take more memory. */
function asWritten(addresses: readonly string[], status: Field): readonly string[] {
  const written = (itemsOf(member(status, 'podIPs')) ?? []).map(item => member(item, 'ip').value);
  return addresses.map(address => written.find((ip): ip is string => ip === address) ?? address);
}

/** The pod of an API object; undefined where it is none. */
export function readPod(value: unknown, reading: Reading): KubePod | undefined {
  const root = rootOf('Pod', value, reading);
  if (!root) return undefined;
  const { intern } = reading;
  const pod = podOf(root.field, root);
  const metadata = member(root.field, 'metadata');
  const annotations = member(metadata, 'annotations');
  // Its presence tells; it has the same value as the other.
  const staticUid =
    textAt(annotations, 'kubernetes.io/config.mirror') && textAt(annotations, 'kubernetes.io/config.hash');
  return {
    namespace: intern.text(pod.namespace),
    name: pod.name,
    ...(pod.uid === undefined ? {} : { uid: pod.uid }),
    labels: intern.labels(pod.labels),
    addresses: asWritten(pod.addresses, member(root.field, 'status')),
    namedPorts: intern.ports(pod.namedPorts),
    hostNetwork: pod.hostNetwork,
    finished: pod.finished,
    ...(pod.nodeName === undefined ? {} : { nodeName: intern.text(pod.nodeName) }),
    terminating: textAt(metadata, 'deletionTimestamp') !== undefined,
    ...(staticUid === undefined ? {} : { staticUid }),
  };
}

/** Finished pods never come: the server sends them as deleted, and those of a server that does not are left out here. */
export const pods: Resource<KubePod> = {
  name: 'pods',
  path: '/api/v1/pods',
  fieldSelector: 'status.phase!=Succeeded,status.phase!=Failed',
  read: readPod,
  isOver: ({ finished }) => finished,
  id: pod => pod,
};

export const namespaces: Resource<KubeNamespace> = {
  name: 'namespaces',
  path: '/api/v1/namespaces',
  read(value, reading) {
    const root = rootOf('Namespace', value, reading);
    return root && { name: root.name, labels: reading.intern.labels(labelsOf(root.field)) };
  },
  isOver: () => false,
  id: ({ name }) => ({ namespace: '', name }),
};

/**
 * Whether an object is the other one or a later state of it. Versions of one object are decimal numbers that grow.
 * @see KEP-5504, Comparable Resource Version
 */
export function isNoOlder({ resourceVersion: a = '' }: Versioned, { resourceVersion: b = '' }: Versioned): boolean {
  const areNumbers = [a, b].every(version => /^[1-9]\d*$/.test(version));
  return a === b || (areNumbers && BigInt(a) >= BigInt(b));
}

interface Versioned {
  readonly resourceVersion?: string;
}

export interface KubeNetworkPolicy extends NetworkPolicy {
  /** Judged, and never enforced. */
  readonly isStaged?: true;
}

export const networkPolicies: Resource<KubeNetworkPolicy> = {
  name: 'networkpolicies',
  path: '/apis/networking.k8s.io/v1/networkpolicies',
  read(value, reading) {
    const root = rootOf('NetworkPolicy', value, reading);
    if (!root) return undefined;
    const resourceVersion = textAt(member(root.field, 'metadata'), 'resourceVersion');
    const policy = networkPolicyOf(root.field, {
      ...{ kind: 'NetworkPolicy', namespace: root.namespace, name: root.name },
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    });
    return isStaged(root.field) ? { ...policy, isStaged: true } : policy;
  },
  isOver: () => false,
  id: policy => policy,
  isSame: ({ resourceVersion: _, ...a }, { resourceVersion: __, ...b }) => isDeepStrictEqual(a, b),
};

export interface KubeClusterPolicy {
  readonly policy: ClusterPolicy;
  /** Judged, and never enforced. */
  readonly isStaged: boolean;
}

const ofCluster = (kind: ClusterPolicy['kind'], version: string, name: string): Resource<KubeClusterPolicy> => ({
  name,
  path: `/apis/${version}/${name}`,
  isCustom: true,
  read(value, reading) {
    const root = rootOf(kind, value, reading);
    if (!root) return undefined;
    const resourceVersion = textAt(member(root.field, 'metadata'), 'resourceVersion');
    const named = { kind, name: root.name, ...(resourceVersion === undefined ? {} : { resourceVersion }) };
    return { policy: clusterPolicyOf(root.field, version, named), isStaged: isStaged(root.field) };
  },
  isOver: () => false,
  id: ({ policy }) => ({ namespace: '', name: policy.name }),
  isSame: ({ policy: { resourceVersion: _, ...a }, ...ofA }, { policy: { resourceVersion: __, ...b }, ...ofB }) =>
    isDeepStrictEqual([a, ofA], [b, ofB]),
});

const group = 'policy.networking.k8s.io';

export const clusterPolicies: readonly Resource<KubeClusterPolicy>[] = [
  {
    ...ofCluster('ClusterNetworkPolicy', `${group}/v1alpha2`, 'clusternetworkpolicies'),
    otherVersions: [ofCluster('ClusterNetworkPolicy', `${group}/v1beta1`, 'clusternetworkpolicies')],
  },
  ofCluster('AdminNetworkPolicy', `${group}/v1alpha1`, 'adminnetworkpolicies'),
  ofCluster('BaselineAdminNetworkPolicy', `${group}/v1alpha1`, 'baselineadminnetworkpolicies'),
];

function podCidrsOf(spec: Field): readonly Prefix[] {
  const fields = [...(itemsOf(member(spec, 'podCIDRs')) ?? []), member(spec, 'podCIDR')];
  const byText = new Map<string, Field>();
  for (const field of fields)
    if (typeof field.value === 'string' && field.value !== '' && !byText.has(field.value))
      byText.set(field.value, field);
  return [...byText].flatMap(
    ([text, field]) =>
      decimal(field, text, parsePrefix) ?? complain(field, `${shown(text)} is no CIDR, and not heeded`) ?? [],
  );
}

function conditionOf(status: Field, type: string): string | undefined {
  const conditions = itemsOf(member(status, 'conditions')) ?? [];
  const found = conditions.find(condition => member(condition, 'type').value === type);
  return found && textAt(found, 'status');
}

export const nodes: Resource<KubeNode> = {
  name: 'nodes',
  path: '/api/v1/nodes',
  read(value, reading) {
    const root = rootOf('Node', value, reading);
    if (!root) return undefined;
    const node = nodeOf(root.field, root);
    const networkUnavailable = conditionOf(member(root.field, 'status'), 'NetworkUnavailable');
    const created = textAt(member(root.field, 'metadata'), 'creationTimestamp');
    return {
      name: reading.intern.text(node.name),
      labels: reading.intern.labels(node.labels),
      addresses: node.addresses,
      podCidrs: podCidrsOf(member(root.field, 'spec')),
      ...(created === undefined ? {} : { created }),
      ...(networkUnavailable === undefined ? {} : { networkUnavailable }),
    };
  },
  isOver: () => false,
  id: ({ name }) => ({ namespace: '', name }),
};
