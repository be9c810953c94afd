/** ClusterNetworkPolicies of the test's own: each action of each tier, where a NetworkPolicy or its absence says the opposite. */
import type { Family } from '../../ip/address.ts';
import { type ConnectivityCheck, NAMESPACE, type TestPodName } from './checks.ts';

/** A port of `server` and `open` for each rule that is tried. */
const ports = { denied: 8081, accepted: 8082, passed: 8083, baseline: 8084 } as const;
export const TIER_PORTS: readonly number[] = Object.values(ports);

export const CLUSTER_POLICY_API = 'policy.networking.k8s.io/v1alpha2';
export const CLUSTER_POLICIES = 'clusternetworkpolicies.policy.networking.k8s.io';
export const TIER_POLICIES = [`${NAMESPACE}-admin`, `${NAMESPACE}-baseline`] as const;

const inNamespace = { matchLabels: { 'kubernetes.io/metadata.name': NAMESPACE } };
const podsNamed = (app: string) => ({
  pods: { namespaceSelector: inNamespace, podSelector: { matchLabels: { app } } },
});
const rule = (action: 'Accept' | 'Deny' | 'Pass', from: object, number: number) => ({
  action,
  from: [from],
  protocols: [{ tcp: { destinationPort: { number } } }],
});
const all = { namespaces: inNamespace };

const clusterPolicy = (index: 0 | 1, tier: string, subject: object, ingress: readonly object[]): object => ({
  apiVersion: CLUSTER_POLICY_API,
  kind: 'ClusterNetworkPolicy',
  metadata: { name: TIER_POLICIES[index] },
  // The first of all: what a cluster has of its own decides nothing here.
  spec: { tier, priority: 0, subject, ingress },
});

/** They select pods of the test's namespace alone. */
export const tierPolicies: readonly object[] = [
  clusterPolicy(0, 'Admin', podsNamed('server'), [
    rule('Deny', podsNamed('client'), ports.denied),
    rule('Accept', podsNamed('stranger'), ports.accepted),
    rule('Pass', podsNamed('client'), ports.passed),
    rule('Deny', all, ports.passed),
  ]),
  clusterPolicy(1, 'Baseline', all, [rule('Deny', all, ports.baseline)]),
];

/** `server` may be called by `client` alone, as a NetworkPolicy says; none selects `open`. */
const tried: readonly (readonly [
  name: string,
  from: TestPodName,
  to: TestPodName,
  port: number,
  expected: ConnectivityCheck['expected'],
])[] = [
  ['Admin denies what a policy allows', 'client', 'server', ports.denied, 'silence'],
  ['Admin accepts what a policy denies', 'stranger', 'server', ports.accepted, 'answer'],
  ['Admin passes to what a policy allows', 'client', 'server', ports.passed, 'answer'],
  ['Baseline denies where no policy is', 'client', 'open', ports.baseline, 'silence'],
  ['Baseline comes after a policy', 'client', 'server', ports.baseline, 'answer'],
];

export const tierChecksFor = (families: readonly Family[]): readonly ConnectivityCheck[] =>
  families.flatMap(family =>
    tried.map(([name, from, to, port, expected]) => ({
      ...{ name, from, family, expected },
      to: { kind: 'pod', pod: to, port },
    })),
  );
