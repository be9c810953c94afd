/**
 * The number of entries that policies may come to. Gates are compiled while pods of other tenants wait for theirs, so the work
 * that one policy, or those of one namespace together, can ask for has a bound. Policies beyond it isolate the pods that they
 * select, and allow nothing.
 *
 * An entry is what stands in a list of the policy: a peer's selector or block, each except, each label or value that a
 * selector lists, each port. The entries of a rule's peers count once for each port that the rule gives by name, since the
 * kernel looks the two up together.
 */
import { isMapping } from '../manifest/field.ts';
import { isNumbered, type LabelSelector, type NetworkPolicy, type Peer, type PolicyRule, policyRef } from './model.ts';

/** Entries of one policy: some 0.1 s of one processor (see `npm run bench -- load policies`). */
export const MOST_OF_POLICY = 20_000;
/** Entries of one cluster policy: more than what the API's own limits come to with a label or two in each selector. */
export const MOST_OF_CLUSTER_POLICY = 50_000;
/** Entries of all policies of one namespace together. */
export const MOST_OF_NAMESPACE = 60_000;

const sum = <T>(items: readonly T[], of: (item: T) => number): number =>
  items.reduce((total, item) => total + of(item), 0);

/** Values at the ends of what a manifest says; `{}`, which is everything, is one. */
function leavesIn(value: unknown): number {
  if (Array.isArray(value)) return sum(value, leavesIn);
  return isMapping(value) ? Math.max(1, sum(Object.values(value), leavesIn)) : 1;
}

const listIn = (value: unknown, key: string): readonly unknown[] => {
  const found = isMapping(value) ? value[key] : undefined;
  return Array.isArray(found) ? found : [];
};

const isNamed = (port: unknown): boolean =>
  isMapping(port) && (typeof port['port'] === 'string' || 'destinationNamedPort' in port || 'namedPort' in port);

function leavesOfRule(rule: unknown): number {
  const ports = [...listIn(rule, 'ports'), ...listIn(rule, 'protocols')];
  const peers = [...listIn(rule, 'from'), ...listIn(rule, 'to')];
  return sum(peers, leavesIn) * Math.max(1, ports.filter(isNamed).length) + leavesIn(ports);
}

const leavesOfSpec = (spec: unknown): number =>
  sum([...listIn(spec, 'ingress'), ...listIn(spec, 'egress')], leavesOfRule);

/** Whether the `spec` of a manifest has more entries than one policy may have, counted without reading it any further. */
export const isBeyondBudget = (spec: unknown): boolean => leavesOfSpec(spec) > MOST_OF_POLICY;

/** Like `isBeyondBudget`, for one cluster policy. All of them together have no bound: only the cluster's admin creates them. */
export const isBeyondClusterBudget = (spec: unknown): boolean => leavesOfSpec(spec) > MOST_OF_CLUSTER_POLICY;

const entriesOfSelector = ({ requirements }: LabelSelector): number =>
  sum(requirements, ({ values }) => Math.max(1, values.length));

function entriesOfPeer(peer: Peer): number {
  if (peer.kind === 'block') return 1 + peer.except.length;
  if (peer.kind === 'domains') return peer.names.length;
  if (peer.kind === 'nodes') return Math.max(1, entriesOfSelector(peer.nodes));
  const namespaces = typeof peer.namespace === 'string' ? 0 : entriesOfSelector(peer.namespace);
  return Math.max(1, namespaces + entriesOfSelector(peer.pods));
}

function entriesOfRule({ peers, ports }: PolicyRule): number {
  const named = ports === 'any' ? 0 : ports.filter(port => !isNumbered(port)).length;
  const ofPeers = peers === 'any' ? 1 : sum(peers, entriesOfPeer);
  return ofPeers * Math.max(1, named) + (ports === 'any' ? 0 : ports.length);
}

export const entriesOf = ({ ingress = [], egress = [] }: NetworkPolicy): number =>
  sum([...ingress, ...egress], entriesOfRule);

/** Isolates as the policy does, and allows nothing. */
export const closed = (policy: NetworkPolicy): NetworkPolicy => ({
  ...policy,
  ...(policy.ingress ? { ingress: [] } : {}),
  ...(policy.egress ? { egress: [] } : {}),
  isBeyondBudget: true,
});

/** The policies of one namespace as they count: those that come last by name are closed where all are too many together. */
export function withinBudget(policies: readonly NetworkPolicy[]): readonly NetworkPolicy[] {
  const entries = policies.map(entriesOf);
  if (sum(entries, each => each) <= MOST_OF_NAMESPACE) return policies;
  const byName = policies.map((policy, i) => ({ ref: policyRef(policy), i })).sort((a, b) => (a.ref < b.ref ? -1 : 1));
  const beyond = new Set<number>();
  let total = 0;
  for (const { i } of byName)
    if (total + entries[i]! > MOST_OF_NAMESPACE) beyond.add(i);
    else total += entries[i]!;
  return policies.map((policy, i) => (beyond.has(i) ? closed(policy) : policy));
}
