/**
 * Random small worlds as manifests, for who wants to compare one telling of policy with another: labels from a tiny
 * alphabet, so that selectors meet; both families; ports whose numbers differ by pod; blocks with holes around the pods'
 * own addresses; pods on the node's network, on other nodes, and finished ones whose address another pod has.
 */
import fc from 'fast-check';
import { parsePrefix, prefixContains } from '../../lib/ip/address.ts';
import { type Document, readManifests } from '../../lib/policy/manifest/manifest.ts';
import type { Flow, Pod, World } from '../../lib/policy/model/model.ts';
import { type Identity, identityKey } from '../../lib/tag/identity.ts';
import { clusterPolicies } from './cluster-policies.ts';

/** A manifest as YAML would give it. */
export type Manifest = Readonly<Record<string, unknown>>;

/** The node whose gates are compiled; pods are on it or on `n2`. */
export const ownNode = 'n1';

/** Addresses that no pod ever has, in and out of the blocks that policies name. */
export const outside: readonly string[] = ['10.0.0.99', '192.0.2.7', 'fd00::63', '2001:db8::7'];

export const traffic: readonly Pick<Flow, 'protocol' | 'port'>[] = [
  { protocol: 'TCP', port: 80 },
  { protocol: 'TCP', port: 81 },
  { protocol: 'TCP', port: 8080 },
  { protocol: 'UDP', port: 53 },
  { protocol: 'UDP', port: 80 },
  { protocol: 'SCTP', port: 80 },
  { protocol: 'other', port: 0 },
];

const namespaces = ['a', 'a', 'b', 'default'];
const value = fc.constantFrom('x', 'x', 'y', '');
const labels = fc.record({ app: value, env: value }, { requiredKeys: [], noNullPrototype: true });

const expression = fc.oneof(
  fc.record({
    key: fc.constantFrom('app', 'env', 'kubernetes.io/metadata.name'),
    operator: fc.constantFrom('In', 'NotIn'),
    values: fc.uniqueArray(fc.constantFrom('x', 'y', '', 'a', 'b'), { minLength: 1, maxLength: 3 }),
  }),
  fc.record({ key: fc.constantFrom('app', 'env'), operator: fc.constantFrom('Exists', 'DoesNotExist') }),
);

/** Mostly simple selectors, since one of many parts selects no pod. */
const selector = fc.oneof(
  { weight: 3, arbitrary: fc.constant({}) },
  { weight: 3, arbitrary: fc.record({ matchLabels: labels }) },
  { weight: 3, arbitrary: expression.map(one => ({ matchExpressions: [one] })) },
  {
    weight: 1,
    arbitrary: fc.record({ matchLabels: labels, matchExpressions: fc.array(expression, { maxLength: 2 }) }),
  },
);

const prefixes = [
  '0.0.0.0/0',
  '10.0.0.0/24',
  '10.0.0.0/29',
  '10.0.0.4/30',
  '10.0.0.2/31',
  '10.0.0.3/32',
  '192.0.2.0/24',
];
const prefixes6 = ['::/0', 'fd00::/64', 'fd00::/125', 'fd00::4/126', 'fd00::2/127', 'fd00::3/128', '2001:db8::/32'];

const holesIn = (cidr: string): readonly string[] =>
  [...prefixes, ...prefixes6].filter(text => {
    const [outer, inner] = [parsePrefix(cidr)!, parsePrefix(text)!];
    return inner.length > outer.length && prefixContains(outer, inner);
  });

const block = fc
  .constantFrom(...prefixes, ...prefixes6)
  .chain(cidr => fc.record({ cidr: fc.constant(cidr), except: fc.subarray([...holesIn(cidr)]) }));

const peer = fc.oneof(
  fc.record({ podSelector: selector }),
  fc.record({ namespaceSelector: selector }),
  fc.record({ podSelector: selector, namespaceSelector: selector }),
  fc.record({ ipBlock: block }),
);

const protocol = fc.constantFrom('TCP', 'TCP', 'UDP', 'SCTP');
const port = fc.oneof(
  fc.record({ protocol }),
  fc.record({ protocol, port: fc.constantFrom(53, 80, 81, 8080) }, { requiredKeys: ['port'] }),
  fc.record({ protocol, port: fc.constantFrom(50, 80), endPort: fc.constantFrom(80, 81, 9000) }),
  fc.record({ protocol, port: fc.constantFrom('http', 'http', 'alt', 'dns') }, { requiredKeys: ['port'] }),
);

const rule = (peers: 'from' | 'to') =>
  fc.record(
    { [peers]: fc.array(peer, { maxLength: 3, size: 'max' }), ports: fc.array(port, { maxLength: 3, size: 'max' }) },
    { requiredKeys: [], noNullPrototype: true },
  );

const rulesOf = (peers: 'from' | 'to') =>
  fc.oneof(
    { weight: 1, arbitrary: fc.constant(null) },
    { weight: 7, arbitrary: fc.array(rule(peers), { maxLength: 3, size: 'max' }) },
  );

const spec = fc.record(
  {
    podSelector: selector,
    policyTypes: fc.subarray(['Ingress', 'Egress']),
    ingress: rulesOf('from'),
    egress: rulesOf('to'),
  },
  { requiredKeys: ['podSelector'], noNullPrototype: true },
);

const containerPorts = fc.uniqueArray(
  fc.record({
    name: fc.constantFrom('http', 'http', 'alt', 'dns'),
    containerPort: fc.constantFrom(53, 80, 81, 8080),
    protocol,
  }),
  { maxLength: 3, size: 'max', selector: ({ name, protocol: of }) => `${name} ${of}` },
);

const podShape = fc.record({
  namespace: fc.constantFrom(...namespaces),
  labels,
  ports: containerPorts,
  stack: fc.constantFrom('both', 'both', 'both', '4', '6', 'none'),
  kind: fc.constantFrom('plain', 'plain', 'plain', 'plain', 'hostNetwork', 'finished'),
  node: fc.constantFrom(ownNode, ownNode, ownNode, 'n2'),
});

type PodShape = typeof podShape extends fc.Arbitrary<infer T> ? T : never;

const nodeAddresses: Readonly<Record<string, readonly string[]>> = {
  [ownNode]: ['10.0.0.101', 'fd00::65'],
  n2: ['10.0.0.102', 'fd00::66'],
};

/** Pod i has the i-th address, but a finished pod has that of the pod after it, if there is one. */
function podManifest({ namespace, labels: own, ports, stack, kind, node }: PodShape, i: number): Manifest {
  const at = kind === 'finished' ? i + 2 : i + 1;
  const addresses = kind === 'hostNetwork' ? nodeAddresses[node]! : [`10.0.0.${at}`, `fd00::${at.toString(16)}`];
  const kept = { both: addresses, 4: addresses.slice(0, 1), 6: addresses.slice(1), none: [] }[stack]!;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace, name: `p${i}`, labels: own },
    spec: { nodeName: node, hostNetwork: kind === 'hostNetwork', containers: [{ name: 'main', ports }] },
    status: { phase: kind === 'finished' ? 'Succeeded' : 'Running', podIPs: kept.map(ip => ({ ip })) },
  };
}

const namespaceManifests = fc
  .uniqueArray(fc.record({ name: fc.constantFrom(...namespaces), labels }), { selector: ({ name }) => name })
  .map(list => list.map(metadata => ({ apiVersion: 'v1', kind: 'Namespace', metadata })));

const policyManifests = (most: number) =>
  fc
    .array(fc.record({ namespace: fc.constantFrom(...namespaces), spec }), {
      minLength: 1,
      maxLength: most,
      size: 'max',
    })
    .map(list =>
      list.map(({ namespace, spec: of }, i) => ({
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { namespace, name: `policy-${i}` },
        spec: of,
      })),
    );

const nodeManifests = fc
  .subarray(Object.keys(nodeAddresses))
  .chain(names => fc.tuple(...names.map(name => labels.map(own => ({ name, labels: own })))))
  .map(list => list.map(nodeManifest));

function nodeManifest(metadata: { readonly name: string; readonly labels: unknown }): Manifest {
  const addresses = nodeAddresses[metadata.name]!.map(address => ({ type: 'InternalIP', address }));
  return { apiVersion: 'v1', kind: 'Node', metadata, status: { addresses } };
}

export interface Size {
  /** NetworkPolicies at most; default 5. */
  readonly policies?: number;
  /** Cluster policies at most, of which there is at least one then, beside nodes that they may mean; default none. */
  readonly clusterPolicies?: number;
  /** A quarter of all policies is staged. */
  readonly isStaged?: boolean;
}

/** Each policy as it is, or annotated as one that is tried. */
function stagedSome(list: readonly Manifest[], isChosen: readonly boolean[]): readonly Manifest[] {
  return list.map((manifest, i) =>
    isChosen[i % isChosen.length] && String(manifest['kind']).endsWith('NetworkPolicy')
      ? {
          ...manifest,
          metadata: { ...(manifest['metadata'] as object), annotations: { 'tollgate.dev/staged': 'true' } },
        }
      : manifest,
  );
}

/** Manifests of a whole small world: some namespaces, up to six pods, and policies. */
export function manifests(size: Size = {}): fc.Arbitrary<readonly Manifest[]> {
  const { policies = 5, clusterPolicies: most = 0, isStaged = false } = size;
  const materials = { selector, prefixes: [...prefixes, ...prefixes6] };
  const all = fc
    .tuple(
      namespaceManifests,
      fc.array(podShape, { minLength: 2, maxLength: 6, size: 'max' }),
      policyManifests(policies),
      most === 0 ? fc.constant([]) : nodeManifests,
      most === 0 ? fc.constant([]) : clusterPolicies(materials, most),
    )
    .map(([declared, pods, ...rest]): readonly Manifest[] => [...declared, ...pods.map(podManifest), ...rest.flat()]);
  if (!isStaged) return all;
  const choice = fc.array(
    fc.nat(3).map(n => n === 0),
    { minLength: 16, maxLength: 16 },
  );
  return fc.tuple(all, choice).map(([list, isChosen]) => stagedSome(list, isChosen));
}

/** The same with the own node declared: otherwise nothing tells that its addresses are its own. */
export function withOwnNode(list: readonly Manifest[]): readonly Manifest[] {
  const isOwn = ({ kind, metadata }: Manifest) => kind === 'Node' && (metadata as { name: string }).name === ownNode;
  return list.some(isOwn) ? list : [...list, nodeManifest({ name: ownNode, labels: {} })];
}

export const documentsOf = (list: readonly Manifest[]): readonly Document[] =>
  list.map((value, document) => ({ file: 'world.yaml', document, value }));

/** The world that the manifests describe, seen from `ownNode`. @throws Error where they have problems, as they never should */
export function worldFrom(list: readonly Manifest[]): World {
  const { world, problems } = readManifests(documentsOf(list));
  const errors = problems.filter(({ severity }) => severity === 'error');
  if (errors.length > 0) throw new Error(`Cannot use the world: ${JSON.stringify(errors)}`);
  return { ...world, pods: world.pods.map(pod => ({ ...pod, local: pod.nodeName === ownNode })) };
}

/** Pods that have an interface of their own on `ownNode`. */
export const localPods = (world: World): readonly Pod[] =>
  world.pods.filter(({ local, hostNetwork, finished }) => local === true && !hostNetwork && !finished);

export interface Tagged {
  readonly identities: readonly { readonly tag: number; readonly identity: Identity }[];
  readonly tagOf: (pod: Identity) => number | undefined;
}

/** Pods that policy cannot tell apart get the same tag. */
export function tagged(pods: Iterable<Identity>, firstTag = 0x74670001): Tagged {
  const byKey = new Map<string, { tag: number; identity: Identity }>();
  for (const { namespace, labels: own, namedPorts } of pods) {
    const identity = { namespace, labels: own, namedPorts };
    const key = identityKey(identity);
    if (!byKey.has(key)) byKey.set(key, { tag: firstTag + byKey.size, identity });
  }
  return { identities: [...byKey.values()], tagOf: pod => byKey.get(identityKey(pod))?.tag };
}
