/**
 * Policies of a whole cluster as values: ClusterNetworkPolicy, and the AdminNetworkPolicy and BaselineAdminNetworkPolicy that
 * it took the place of. Unlike NetworkPolicies they have an order, and isolate no pod: the first rule that matches decides.
 * @see https://network-policy-api.sigs.k8s.io/api-overview/
 */
import type { PodPeer, PolicyRule, Source } from './model.ts';

/** `Admin` is asked before the NetworkPolicies of a pod's namespace, `Baseline` where none of these isolates the pod. */
export type Tier = 'Admin' | 'Baseline';

export const tiers: readonly Tier[] = ['Admin', 'Baseline'];

/** `Pass` leaves the tier without a verdict. */
export type Action = 'Accept' | 'Deny' | 'Pass';

export const clusterKinds = ['ClusterNetworkPolicy', 'AdminNetworkPolicy', 'BaselineAdminNetworkPolicy'] as const;

export interface ClusterPolicy {
  /** The kind that the manifest says, which people search for. */
  readonly kind: (typeof clusterKinds)[number];
  readonly name: string;
  readonly source?: Source;
  /** `metadata.resourceVersion` of the API server. */
  readonly resourceVersion?: string;
  readonly tier: Tier;
  /** 0 to 1000, the lowest is asked first; `FIRST` and `LAST` lie outside. */
  readonly priority: number;
  /** Pods of the namespaces that its selector matches. */
  readonly subject: PodPeer;
  /** Rules in the manifest's order; an empty list says nothing of this direction. */
  readonly ingress: readonly ClusterRule[];
  readonly egress: readonly ClusterRule[];
  /** What it says as a whole is invalid: it denies what it may mean, and no rule that is added to it is heeded. */
  readonly isInvalid?: true;
  /** The policy denies everything because it exceeds the budget. */
  readonly isBeyondBudget?: true;
}

/** Asked before all others: of a policy whose place could not be read, and which then only denies. */
export const FIRST = -1;
/** Asked after all others: of BaselineAdminNetworkPolicy, of which a cluster has one and which has no priority. */
export const LAST = 1001;

/** Rules of a direction, and peers and ports of a rule, that the API takes. */
export const mostRules = (kind: ClusterPolicy['kind']): number => (kind === 'ClusterNetworkPolicy' ? 25 : 100);

/** Where the policy stands among those of its tier: `10`, or in words where it has no priority. */
export const placeText = (priority: number): string =>
  priority === FIRST ? 'first' : priority === LAST ? 'last' : String(priority);

/** Matches where one of its peers and one of its ports do. Without peers it matches nothing: what it said was invalid. */
export interface ClusterRule extends PolicyRule {
  /** The rule's `name` in the manifest, for messages. */
  readonly name?: string;
  readonly action: Action;
}

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** The order in which policies of one tier are asked. Of equal priorities upstream lets any come first; here the name decides. */
export const inOrder = (a: ClusterPolicy, b: ClusterPolicy): number =>
  a.priority - b.priority || byText(a.name, b.name) || byText(a.kind, b.kind);

/** `Kind/name` */
export const clusterPolicyRef = ({ kind, name }: Pick<ClusterPolicy, 'kind' | 'name'>): string => `${kind}/${name}`;

const denyAll = (index: number): ClusterRule => ({ index, action: 'Deny', peers: 'any', ports: 'any' });

/** A rule of which it is not known what it matches: it accepts nothing, and where it did not accept it denies everything. */
export const failClosed = (rule: ClusterRule): ClusterRule =>
  rule.action === 'Accept' ? { ...rule, peers: [], ports: [] } : { ...rule, ...denyAll(rule.index) };

const withoutGrace = (rule: ClusterRule): ClusterRule =>
  rule.action === 'Accept' ? failClosed(rule) : { ...rule, action: 'Deny' };

/** A policy whose subject or order is unknown: it accepts nothing, and denies whatever it matched without accepting. */
export const onlyDenying = (policy: ClusterPolicy): ClusterPolicy => ({
  ...policy,
  ingress: policy.ingress.map(withoutGrace),
  egress: policy.egress.map(withoutGrace),
});

/** A policy of which it is not known what it says: it denies its subject everything, in both directions. */
export const closedCluster = (policy: ClusterPolicy): ClusterPolicy => ({
  ...policy,
  ingress: [denyAll(0)],
  egress: [denyAll(0)],
});
