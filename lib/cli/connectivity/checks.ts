/** What a working node does, as values: who asks whom for what, and whether an answer is right. */
import type { Family } from '../../ip/address.ts';

/** Of the namespace that the test makes for itself; policies of others do not select its pods by name. */
export const NAMESPACE = 'tollgate-connectivity';

export type TestPodName = 'client' | 'stranger' | 'server' | 'open';
/** The node asks by its own network, from this process. */
export type Asker = TestPodName | 'node';

/** Where a question goes. */
export type Target =
  | { readonly kind: 'pod'; readonly pod: TestPodName }
  /** A port of the node that is mapped to the pod `open`. */
  | { readonly kind: 'hostPort' }
  /** Beyond the node. */
  | { readonly kind: 'outside' };

export interface ConnectivityCheck {
  readonly name: string;
  readonly from: Asker;
  readonly to: Target;
  readonly family: Family;
  readonly expected: 'answer' | 'silence';
  /** By a datagram that fills the pod's MTU, and its echo. */
  readonly isFull?: true;
}

/** Where `server` is, which only `client` may call, and `open`, which no policy selects. */
export const manifests = `apiVersion: v1
kind: Namespace
metadata: { name: ${NAMESPACE} }
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: only-client, namespace: ${NAMESPACE} }
spec:
  podSelector: { matchLabels: { app: server } }
  ingress:
    - from: [{ podSelector: { matchLabels: { app: client } } }]
`;

export interface NodeAbilities {
  /** Of the pods' addresses. */
  readonly families: readonly Family[];
  /** Of the node's addresses that a hostPort can be asked at. */
  readonly hostPortFamilies: readonly Family[];
  readonly outside: { readonly family: Family } | undefined;
  /** The node's gate judges by policies. */
  readonly isEnforced: boolean;
}

const pod = (name: TestPodName): Target => ({ kind: 'pod', pod: name });

/** In the order in which a fault is best understood: what is simple comes first. */
export function checksFor({
  families,
  hostPortFamilies,
  outside,
  isEnforced,
}: NodeAbilities): readonly ConnectivityCheck[] {
  const perFamily = families.flatMap((family): ConnectivityCheck[] => [
    { name: 'pod to pod', from: 'client', to: pod('open'), family, expected: 'answer' },
    {
      name: 'pod to pod, full packets both ways',
      from: 'client',
      to: pod('open'),
      family,
      expected: 'answer',
      isFull: true,
    },
    { name: 'node to pod', from: 'node', to: pod('open'), family, expected: 'answer' },
    {
      name: 'node to pod, full packets both ways',
      from: 'node',
      to: pod('open'),
      family,
      expected: 'answer',
      isFull: true,
    },
    ...(hostPortFamilies.includes(family)
      ? [
          {
            name: 'pod to a hostPort of the node',
            from: 'client',
            to: { kind: 'hostPort' },
            family,
            expected: 'answer',
          } as const,
          {
            name: 'node to its own hostPort',
            from: 'node',
            to: { kind: 'hostPort' },
            family,
            expected: 'answer',
          } as const,
        ]
      : []),
    ...(outside?.family === family
      ? [{ name: 'pod to the outside', from: 'client', to: { kind: 'outside' }, family, expected: 'answer' } as const]
      : []),
    ...(isEnforced
      ? [
          { name: 'what a policy allows', from: 'client', to: pod('server'), family, expected: 'answer' } as const,
          { name: 'what a policy denies', from: 'stranger', to: pod('server'), family, expected: 'silence' } as const,
        ]
      : []),
  ]);
  return perFamily;
}

export interface CheckOutcome extends ConnectivityCheck {
  readonly ok: boolean;
  /** The answer, or why there was none. */
  readonly got: string;
}

/** What is likely to be behind failures, of which the node's own examination knows nothing. */
export function likelyCauses(failed: readonly CheckOutcome[]): readonly string[] {
  const causes: string[] = [];
  const has = (test: (outcome: CheckOutcome) => boolean) => failed.some(test);
  if (has(({ expected }) => expected === 'silence'))
    causes.push(
      'A denied request was answered: the gate is not in force for these pods. See `tollgate verify`, and that no other program accepts pods’ packets before the gate (`nft list ruleset`).',
    );
  const isFull = (outcome: CheckOutcome) => outcome.isFull === true;
  if (has(isFull) && !has(outcome => !isFull(outcome) && outcome.expected === 'answer'))
    causes.push(
      'Small packets pass and full ones do not: an MTU on the way is less than the pods’. Compare `ip link` on the node and in the pod, and set "mtu" in the conflist to the least.',
    );
  const isTo = (kind: Target['kind']) => (outcome: CheckOutcome) => outcome.to.kind === kind;
  if (has(isTo('hostPort')) && !has(isTo('pod')))
    causes.push(
      'Only hostPorts fail: see that the conflist has "portMappings" among its capabilities, and that the node’s INPUT chain lets the port in.',
    );
  if (has(isTo('outside')) && !has(isTo('pod')))
    causes.push(
      'Only the outside fails: see "ipMasq" in the conflist, the node’s default route, and a firewall on the way.',
    );
  return causes;
}
