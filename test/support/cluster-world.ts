/** The small cluster of which cluster policies are asked in tests: three tenants, a host-networked pod, two nodes. */
import assert from 'node:assert/strict';
import { type EvaluateOptions, evaluate } from '../../lib/policy/evaluate/evaluate.ts';
import { parseEndpoint } from '../../lib/policy/evaluate/matrix.ts';
import { readManifests } from '../../lib/policy/manifest/manifest.ts';
import { readYaml } from '../../lib/policy/manifest/yaml.ts';
import type { Endpoint, Flow, Verdict, World } from '../../lib/policy/model/model.ts';
import type { Problem } from '../../lib/policy/model/problem.ts';

const pod = (name: string, address: string, node: string, port = '', more = ''): string => {
  const [namespace, own] = name.split('/');
  return `{ apiVersion: v1, kind: Pod, metadata: { namespace: ${namespace}, name: ${own}, labels: { app: ${own} } },
  spec: { nodeName: ${node}, containers: [{ name: main, ports: [${port}] }] ${more} }, status: { podIPs: [${address}] } }`;
};

const namespace = (name: string, labels: string): string =>
  `{ apiVersion: v1, kind: Namespace, metadata: { name: ${name}, labels: { ${labels} } } }`;

const node = (name: string, address: string, labels: string): string =>
  `{ apiVersion: v1, kind: Node, metadata: { name: ${name}, labels: { ${labels} } }, status: { addresses: [{ type: InternalIP, address: ${address} }] } }`;

const cast = [
  namespace('shop', 'team: shop'),
  namespace('bank', 'team: bank, tier: prod'),
  namespace('mon', 'team: mon'),
  pod('shop/web', '{ ip: 10.1.0.1 }, { ip: "fd00:1::1" }', 'n1', '{ name: http, containerPort: 8080 }'),
  pod('shop/db', '{ ip: 10.1.0.2 }', 'n1', '{ name: pg, containerPort: 5432 }'),
  pod('bank/api', '{ ip: 10.1.1.1 }', 'n1', '{ name: http, containerPort: 9090 }'),
  pod('bank/hostd', '{ ip: 192.0.2.12 }', 'n2', '', ', hostNetwork: true'),
  pod('mon/prom', '{ ip: 10.1.2.1 }', 'n2'),
  node('n1', '192.0.2.11', ''),
  node('n2', '192.0.2.12', 'role: db'),
];

/** `A10` … in what tests say stands for tier Admin, priority 10; `B10` for Baseline. */
export interface Written {
  /** `A10`, `A10 second` */
  readonly at: string;
  /** Subject; default: the pods of namespaces of team shop. */
  readonly of?: string;
  /** Entries of `ingress` and `egress`, in YAML's flow style. */
  readonly in?: readonly string[];
  readonly out?: readonly string[];
}

const shop = '{ namespaces: { matchLabels: { team: shop } } }';

/** The manifest of a ClusterNetworkPolicy. */
export function clusterPolicy({ at, of = shop, in: ingress = [], out: egress = [] }: Written): string {
  const [, letter, priority] = /^([AB])(\d+)/.exec(at)!;
  return `{ apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy,
  metadata: { name: ${at.toLowerCase().replaceAll(' ', '-')} },
  spec: { tier: ${letter === 'A' ? 'Admin' : 'Baseline'}, priority: ${priority}, subject: ${of},
    ingress: [${ingress.map(rule => `{ ${rule} }`).join(', ')}], egress: [${egress.map(rule => `{ ${rule} }`).join(', ')}] } }`;
}

export const networkPolicy = (place: string, spec: string): string => {
  const [own, name] = place.split('/');
  return `{ apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: { namespace: ${own}, name: ${name} }, spec: { podSelector: {}, ${spec} } }`;
};

export interface ClusterCase {
  readonly world: World;
  readonly problems: readonly Problem[];
}

/** The cast with these manifests, as one file. */
export const clusterManifests = (...manifests: readonly string[]): string => [...cast, ...manifests].join('\n---\n');

/** The cast with these manifests; pods of n1 are local. */
export function clusterWorld(...manifests: readonly string[]): ClusterCase {
  const { documents, problems } = readYaml(clusterManifests(...manifests), 'case.yaml');
  assert.deepEqual(problems, []);
  const read = readManifests(documents);
  const pods = read.world.pods.map(each => ({ ...each, local: each.nodeName === 'n1' }));
  return { world: { ...read.world, pods }, problems: read.problems };
}

const endpointOf = (world: World, text: string): Endpoint => {
  const found = text.startsWith('node ')
    ? ({ kind: 'node', name: text.slice(5) } as const)
    : parseEndpoint(world, text);
  assert.ok(found, `nobody is ${text}`);
  return found;
};

/** `mon/prom > shop/web TCP 8080`, with `via service` behind it where the client spoke to a Service's address. */
export function flowOf(world: World, text: string): Flow {
  const [, from, to, protocol, port, service] = /^(.+) > (.+?) (TCP|UDP|SCTP|other)(?: (\d+))?( via service)?$/.exec(
    text,
  )!;
  const isV6 = [from!, to!].some(end => end.includes(':'));
  return {
    ...{ from: endpointOf(world, from!), to: endpointOf(world, to!), family: isV6 ? 6 : 4 },
    ...{ protocol: protocol as Flow['protocol'], port: Number(port ?? 0) },
    ...(service ? { throughService: true } : {}),
  };
}

export const judged = ({ world }: ClusterCase, text: string, options: EvaluateOptions = {}): Verdict =>
  evaluate(world, flowOf(world, text), options);

/** `deny A10 ingress[0]`, `accept NP`, `deny NP (egress)`, `accept`: who decides, where it is denied, else in, else out. */
export function verdictText(verdict: Verdict): string {
  const { allowed, egress, ingress } = verdict;
  const word = allowed ? 'accept' : 'deny';
  const [side, decided] =
    allowed === false
      ? egress.allowed
        ? (['ingress', ingress] as const)
        : (['egress', egress] as const)
      : ingress.tier
        ? (['ingress', ingress] as const)
        : (['egress', egress] as const);
  if (!decided.tier) return word;
  if (decided.tier === 'NetworkPolicy') return `${word} NP ${side}`;
  const { policy, index } = decided.rules[0]!;
  return `${word} ${policy.split('/')[1]!.toUpperCase()} ${side}[${index}]`;
}
