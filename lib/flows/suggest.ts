/**
 * From flows to the least NetworkPolicy that allows them: pods by their labels, the rest by address, each port by number. What
 * NetworkPolicy cannot say, or need not, is left out and told.
 */
import type { FlowEnd, FlowRecord } from './model.ts';

/** Labels that a controller gives to some of its pods and not to others: a policy by these would end with the next rollout. */
const passing = new Set([
  ...['pod-template-hash', 'controller-revision-hash', 'pod-template-generation', 'controller-uid'],
  ...['batch.kubernetes.io/controller-uid', 'statefulset.kubernetes.io/pod-name', 'apps.kubernetes.io/pod-index'],
]);

/** Labels that all pods of a workload have. */
export const lastingLabels = (labels: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> =>
  Object.fromEntries(
    Object.entries(labels)
      .filter(([key]) => !passing.has(key))
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );

/** A flow as a rule is made of it. */
export type SeenFlow = Pick<FlowRecord, 'from' | 'to' | 'protocol' | 'port' | 'time'>;

export interface SuggestedPort {
  readonly protocol: string;
  readonly port: number;
}

export type SuggestedPeer =
  | { readonly podSelector: object; readonly namespaceSelector?: object }
  | { readonly ipBlock: { readonly cidr: string } };

/** Why a rule stands there. */
export interface Evidence {
  readonly direction: 'egress' | 'ingress';
  /** Its place in the list of the manifest. */
  readonly index: number;
  readonly flows: number;
  /** Names of the other ends: a few of them. */
  readonly peers: readonly string[];
  /** Seconds since 1970. */
  readonly last: number;
}

export interface Suggestion {
  /** A NetworkPolicy, as its manifest. */
  readonly manifest: object;
  readonly evidence: readonly Evidence[];
  /** Flows that were seen and stand in no rule, and why. */
  readonly leftOut: readonly string[];
}

const nameLabel = 'kubernetes.io/metadata.name';
const withPolicy = ['TCP', 'UDP', 'SCTP'];
const MOST_PEERS_TOLD = 3;

function peerOf(end: FlowEnd, namespace: string): SuggestedPeer {
  const labels = lastingLabels(end.labels);
  // A selector without labels selects all pods.
  if (end.kind !== 'pod' || end.namespace === undefined || Object.keys(labels).length === 0)
    return { ipBlock: { cidr: `${end.address}/${end.address.includes(':') ? 128 : 32}` } };
  const pods = { podSelector: { matchLabels: labels } };
  return end.namespace === namespace
    ? pods
    : { namespaceSelector: { matchLabels: { [nameLabel]: end.namespace } }, ...pods };
}

interface Seen {
  readonly peer: SuggestedPeer;
  readonly ports: Map<string, SuggestedPort>;
  readonly names: Set<string>;
  flows: number;
  last: number;
}

/** Peers that were seen with the same ports share a rule. */
function rulesOf(seen: Iterable<Seen>): readonly Seen[][] {
  const byPorts = Map.groupBy(seen, ({ ports }) => [...ports.keys()].sort().join(' '));
  return [...byPorts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, rule]) => rule);
}

const ruleManifest = (direction: Evidence['direction'], rule: readonly Seen[]): object => ({
  [direction === 'ingress' ? 'from' : 'to']: rule.map(({ peer }) => peer),
  ports: [...rule[0]!.ports.values()].sort((a, b) => a.port - b.port || (a.protocol < b.protocol ? -1 : 1)),
});

const evidenceOf = (direction: Evidence['direction'], index: number, rule: readonly Seen[]): Evidence => ({
  ...{ direction, index, flows: rule.reduce((sum, { flows }) => sum + flows, 0) },
  peers: [...new Set(rule.flatMap(({ names }) => [...names]))].sort().slice(0, MOST_PEERS_TOLD),
  last: Math.max(...rule.map(({ last }) => last)),
});

export interface SuggestOptions {
  readonly name: string;
  /** Directions that the policy isolates for; what was seen in others is left to what is in force. */
  readonly directions?: readonly Evidence['direction'][];
  readonly isStaged?: boolean;
}

/**
 * @param subject the pod; all pods of its namespace with its lasting labels are meant
 * @param flows of the namespace: those that a pod that is meant opened, and those that lead to one, count
 * @throws RangeError where the subject has no labels to be selected by
 */
export function suggest(
  subject: FlowEnd,
  flows: readonly SeenFlow[],
  { name, directions = ['ingress', 'egress'], isStaged = false }: SuggestOptions,
): Suggestion {
  const labels = lastingLabels(subject.labels);
  const namespace = subject.namespace ?? 'default';
  if (Object.keys(labels).length === 0)
    throw new RangeError(
      `Cannot suggest a policy for ${subject.name}: it has no labels by which a policy could select it`,
    );
  const leftOut = new Map<string, number>();
  const leave = (why: string): void => void leftOut.set(why, (leftOut.get(why) ?? 0) + 1);
  const seen = { ingress: new Map<string, Seen>(), egress: new Map<string, Seen>() };
  const isSubject = ({ kind, namespace: of, labels: own }: FlowEnd): boolean =>
    kind === 'pod' && of === namespace && Object.entries(labels).every(([key, value]) => own?.[key] === value);
  const add = (direction: Evidence['direction'], { protocol, port, time }: SeenFlow, other: FlowEnd): void => {
    if (direction === 'ingress' && other.kind === 'node') leave('from its own node, which is always allowed');
    else if (!withPolicy.includes(protocol) || port === null) leave(`${protocol}, which has no ports to allow`);
    else {
      const peer = peerOf(other, namespace);
      const key = JSON.stringify(peer);
      const known = seen[direction].get(key) ?? { peer, ports: new Map(), names: new Set(), flows: 0, last: 0 };
      seen[direction].set(key, known);
      known.ports.set(`${protocol}/${port}`, { protocol, port });
      if (known.names.size < MOST_PEERS_TOLD) known.names.add(other.name);
      known.flows++;
      known.last = Math.max(known.last, time);
    }
  };
  for (const flow of flows)
    if (isSame(flow.from, flow.to)) leave('to itself, which is always allowed');
    else {
      if (directions.includes('ingress') && isSubject(flow.to)) add('ingress', flow, flow.from);
      if (directions.includes('egress') && isSubject(flow.from)) add('egress', flow, flow.to);
    }
  const rules = { ingress: rulesOf(seen.ingress.values()), egress: rulesOf(seen.egress.values()) };
  return {
    manifest: {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { namespace, name, ...(isStaged ? { annotations: { 'tollgate.dev/staged': 'true' } } : {}) },
      spec: {
        podSelector: { matchLabels: labels },
        policyTypes: directions.map(direction => (direction === 'ingress' ? 'Ingress' : 'Egress')),
        ...Object.fromEntries(
          directions.map(direction => [direction, rules[direction].map(rule => ruleManifest(direction, rule))]),
        ),
      },
    },
    evidence: directions.flatMap(direction => rules[direction].map((rule, i) => evidenceOf(direction, i, rule))),
    leftOut: [...leftOut].map(([why, count]) => `${count} ${count === 1 ? 'flow' : 'flows'} ${why}`),
  };
}

const isSame = (a: FlowEnd, b: FlowEnd): boolean =>
  a.kind === 'pod' && b.kind === 'pod' && a.namespace === b.namespace && a.pod === b.pod;

/** Policies that would allow a flow that was denied: one for each end that a policy of this node closed. */
export function remediesFor(flow: FlowRecord): readonly object[] {
  const name = (end: FlowEnd): string => `allow-${end.pod ?? 'pod'}`.slice(0, 253);
  const closed = [
    ...(flow.egress?.allowed === false ? [{ end: flow.from, direction: 'egress' as const }] : []),
    ...(flow.ingress?.allowed === false ? [{ end: flow.to, direction: 'ingress' as const }] : []),
  ];
  return closed
    .filter(({ end }) => Object.keys(lastingLabels(end.labels)).length > 0)
    .map(({ end, direction }) => suggest(end, [flow], { name: name(end), directions: [direction] }).manifest);
}
