/** A cluster of any size as its API server would tell of it; each object with what a real one has besides what policy needs. */
import type { ApiObject } from '../support/fake-api.ts';

export interface Size {
  readonly nodes: number;
  readonly namespaces: number;
  readonly pods: number;
  readonly policies: number;
}

/** What the agent is to be measured in, and a tenth of it. */
export const sizes = {
  full: { nodes: 1_000, namespaces: 2_000, pods: 50_000, policies: 5_000 },
  tenth: { nodes: 100, namespaces: 200, pods: 5_000, policies: 500 },
} as const satisfies Readonly<Record<string, Size>>;

/** The node whose agent is measured, and how many pods it has: each in a namespace of its own, `n0` to `n99`. */
export const ownNode = 'node-0';
export const ownPods = 100;

/** A namespace with a thousand pods, whatever the size of the cluster. */
export const crowd = { name: 'crowd', pods: 1_000 };

/** Namespaces of this team are let in by each policy of the node's own pods. */
export const welcomeTeam = 'team-3';

const managedFields = (manager: string) => ({
  manager,
  operation: 'Update',
  apiVersion: 'v1',
  time: '2026-01-01T00:00:00Z',
  fieldsType: 'FieldsV1',
  fieldsV1: {
    'f:metadata': { 'f:labels': { '.': {}, 'f:app': {}, 'f:pod-template-hash': {} }, 'f:ownerReferences': { '.': {} } },
    'f:spec': { 'f:containers': { 'k:{"name":"main"}': { '.': {}, 'f:image': {}, 'f:ports': {}, 'f:resources': {} } } },
    'f:status': { 'f:conditions': { 'k:{"type":"Ready"}': { '.': {}, 'f:status': {}, 'f:type': {} } }, 'f:podIPs': {} },
  },
});

const container = {
  name: 'main',
  image: 'registry.example/team/service:1.2.3',
  ports: [{ name: 'http', containerPort: 8080, protocol: 'TCP' }],
  env: Array.from({ length: 12 }, (_, i) => ({ name: `SETTING_${i}`, value: `https://service-${i}.example/path` })),
  resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { memory: '256Mi' } },
  livenessProbe: { httpGet: { path: '/live', port: 'http' }, periodSeconds: 10, failureThreshold: 3 },
  volumeMounts: [{ name: 'token', mountPath: '/var/run/secrets/kubernetes.io/serviceaccount', readOnly: true }],
};

const conditions = ['Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map(type => ({
  type,
  status: 'True',
  lastTransitionTime: '2026-01-01T00:00:00Z',
}));

const uidOf = (i: number): string =>
  `4f1d2c3b-${(i >> 16).toString(16).padStart(4, '0')}-4000-8000-${String(i).padStart(12, '0')}`;

export interface PodFields {
  readonly namespace: string;
  readonly name: string;
  readonly app: string;
  readonly node: string;
  readonly ip: string;
}

export const podObject = (i: number, { namespace, name, app, node, ip }: PodFields): ApiObject => ({
  metadata: {
    name,
    namespace,
    uid: uidOf(i),
    resourceVersion: String(1000 + i),
    labels: { app, tier: `tier-${i % 3}`, 'pod-template-hash': `7d9f8b6c${i % 5}` },
    annotations: { 'example/checksum': 'b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c' },
    ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: `${app}-7d9f8b6c`, uid: uidOf(i + 1) }],
    managedFields: [managedFields('kube-controller-manager'), managedFields('kubelet')],
  },
  spec: { nodeName: node, containers: [container], serviceAccountName: 'default', tolerations: conditions },
  status: { phase: 'Running', conditions, podIP: ip, podIPs: [{ ip }], hostIP: '192.0.2.1' },
});

const addressOf = (i: number): string => `10.${100 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`;

/** Pod i: this node's own come first, then the crowd, then everybody else by turns. */
export function pod(i: number, { nodes, namespaces }: Size, app?: string): ApiObject {
  const isOwn = i < ownPods;
  const isCrowd = !isOwn && i < ownPods + crowd.pods;
  const namespace = isCrowd ? crowd.name : `n${i % namespaces}`;
  const node = isOwn ? ownNode : `node-${1 + (i % (nodes - 1))}`;
  const own = isOwn ? 'web' : (app ?? `app-${Math.floor(i / namespaces) % 5}`);
  return podObject(i, {
    namespace,
    name: isOwn ? `own-${i}` : `${own}-7d9f8b6c-${i}`,
    app: own,
    node,
    ip: addressOf(i),
  });
}

export const namespace = (name: string, team: string): ApiObject => ({
  metadata: { name, uid: `namespace-${name}`, labels: { team, 'kubernetes.io/metadata.name': name } },
  status: { phase: 'Active' },
});

const node = (i: number): ApiObject => ({
  metadata: { name: `node-${i}`, labels: { 'kubernetes.io/hostname': `node-${i}` } },
  spec: { podCIDR: `10.${i >> 8}.${i & 255}.0/24`, podCIDRs: [`10.${i >> 8}.${i & 255}.0/24`] },
  status: {
    addresses: [{ type: 'InternalIP', address: `172.${16 + (i >> 8)}.${i & 255}.1` }],
    conditions: [{ type: 'NetworkUnavailable', status: 'False' }],
    images: Array.from({ length: 30 }, (_, n) => ({ names: [`registry.example/image-${n}:1`], sizeBytes: 1e8 })),
  },
});

const peers = [
  { podSelector: { matchLabels: { app: 'app-1' } } },
  { namespaceSelector: { matchLabels: { team: welcomeTeam } } },
  { ipBlock: { cidr: '198.51.100.0/24', except: ['198.51.100.128/25'] } },
];

/** Each namespace denies, lets some in, and lets some out, by turns. */
function policy(i: number, { namespaces }: Size): ApiObject {
  const kind = Math.floor(i / namespaces) % 3;
  const specs = [
    { podSelector: {}, policyTypes: ['Ingress'], ingress: [{ from: peers, ports: [{ port: 8080 }] }] },
    { podSelector: { matchLabels: { app: 'web' } }, policyTypes: ['Egress'], egress: [{ to: peers }] },
    { podSelector: { matchLabels: { app: 'app-2' } }, policyTypes: ['Ingress'] },
  ];
  const metadata = { name: `policy-${i}`, namespace: `n${i % namespaces}`, uid: `policy-${i}` };
  return { metadata, spec: specs[kind]! };
}

export type Listed = 'pods' | 'namespaces' | 'networkpolicies' | 'nodes';

/** Every object of a kind, made as it is asked for. */
export function* objects(kind: Listed, size: Size): Generator<ApiObject> {
  if (kind === 'pods') for (let i = 0; i < size.pods; i++) yield pod(i, size);
  if (kind === 'networkpolicies') for (let i = 0; i < size.policies; i++) yield policy(i, size);
  if (kind === 'nodes') for (let i = 0; i < size.nodes; i++) yield node(i);
  if (kind !== 'namespaces') return;
  yield namespace(crowd.name, 'team-none');
  for (let i = 0; i < size.namespaces - 1; i++) yield namespace(`n${i}`, `team-${i % 20}`);
}
