/** The behaviour of a working node, as values: which end sends which request to which other end, and which answer is right. */
import type { Family } from '../../ip/address.ts';
import type { PodReply } from '../test-pod/pod-program.ts';

/** Namespace that the test makes for itself, so that policies of other namespaces do not select its pods. */
export const NAMESPACE = 'tollgate-connectivity';

export const PORT = 8080;
/** Milliseconds. An answer comes on a busy machine, too; silence is not proven by waiting longer. */
export const TIMEOUT = { answer: 15_000, silence: 2_000 } as const;
/** Bytes of a datagram that are IP's and UDP's. */
export const HEADERS = { 4: 28, 6: 48 } as const;

/** `far` ones are on another node than `client` and `stranger`. */
export type TestPodName = 'client' | 'stranger' | 'server' | 'open' | 'far-server' | 'far-open';
/** The node asks by its own network, from this process. */
export type Asker = TestPodName | 'node';

/** The end that a question goes to. */
export type Target =
  | { readonly kind: 'pod'; readonly pod: TestPodName /** PORT where absent. */; readonly port?: number }
  /** The warm process of a node. */
  | { readonly kind: 'agent' }
  /** A port of the node that is mapped to the pod `open`. */
  | { readonly kind: 'hostPort' }
  /** Beyond the node. */
  | { readonly kind: 'outside' }
  /** The cluster address of a Service before `open`. */
  | { readonly kind: 'service' }
  /** The same by its name. */
  | { readonly kind: 'name' };

export interface ConnectivityCheck {
  readonly name: string;
  readonly from: Asker;
  readonly to: Target;
  readonly family: Family;
  readonly expected: 'answer' | 'silence';
  /** Sends a datagram that fills the pod's MTU, and waits for its echo. */
  readonly isFull?: true;
}

/** @param trouble why the process does not do its work; absent where it does */
export const agentOutcome = (name: string, trouble: string | undefined): CheckOutcome => ({
  ...{ name, from: 'node', to: { kind: 'agent' }, expected: 'answer' },
  ...{ ok: trouble === undefined, got: trouble ?? 'answered' },
});

export function outcomeOf(check: ConnectivityCheck, reply: PodReply | undefined): CheckOutcome {
  const ok = (reply?.kind === 'answer') === (check.expected === 'answer');
  if (reply?.kind === 'answer') return { ...check, ok, got: `answered: ${reply.text}` };
  if (reply?.kind !== 'silence') return { ...check, ok, got: 'no reply' };
  if (reply.fits === undefined) return { ...check, ok, got: reply.why };
  const passes = reply.fits + HEADERS[check.family];
  return { ...check, ok, got: `${reply.why}; packets of ${passes} bytes pass`, passes };
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
  /** Families of the pods' addresses. */
  readonly families: readonly Family[];
  /** Families of the node's addresses at which a hostPort answers. */
  readonly hostPortFamilies: readonly Family[];
  readonly outside: { readonly family: Family } | undefined;
  /** The node's gate judges by policies. */
  readonly isEnforced: boolean;
}

/** What no check is made of here, and why. */
export function notTriedOnNode({ hostPortFamilies, outside, isEnforced }: NodeAbilities): readonly string[] {
  return [
    ...(isEnforced ? [] : ['policies: the conflist names another enforcer than "inline"']),
    ...(hostPortFamilies.length > 0
      ? []
      : ['hostPorts: the conflist has no capability "portMappings", or the node no address beside loopback']),
    ...(outside === undefined ? ['the way to the outside: --outside ADDRESS:PORT names a web server'] : []),
  ];
}

const pod = (name: TestPodName): Target => ({ kind: 'pod', pod: name });

/** Checks in the order in which a fault is best understood: simple ones come first. */
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

const isFar = ({ to }: CheckOutcome): boolean => to.kind === 'pod' && to.pod.startsWith('far-');

export interface ClusterAbilities {
  readonly families: readonly Family[];
  readonly serviceFamilies: readonly Family[];
  readonly hostPortFamilies: readonly Family[];
  /** Two nodes run tollgate. */
  readonly hasFar: boolean;
}

/** As for a node, and between nodes, by Service and by name. That kubelet's probes reach pods is seen by their readiness. */
export function clusterChecksFor(abilities: ClusterAbilities): readonly ConnectivityCheck[] {
  const { families, serviceFamilies, hostPortFamilies, hasFar } = abilities;
  const of = (family: Family, open: TestPodName, server: TestPodName, where: string): readonly ConnectivityCheck[] => [
    { name: `pod to pod ${where}`, from: 'client', to: pod(open), family, expected: 'answer' },
    { name: `full packets ${where}`, from: 'client', to: pod(open), family, expected: 'answer', isFull: true },
    { name: `what a policy allows ${where}`, from: 'client', to: pod(server), family, expected: 'answer' },
    { name: `what a policy denies ${where}`, from: 'stranger', to: pod(server), family, expected: 'silence' },
  ];
  const only = (list: readonly Family[], family: Family, check: Omit<ConnectivityCheck, 'family'>) =>
    list.includes(family) ? [{ ...check, family }] : [];
  return families.flatMap(family => [
    ...of(family, 'open', 'server', 'on one node'),
    ...(hasFar ? of(family, 'far-open', 'far-server', 'between nodes') : []),
    ...only(serviceFamilies, family, {
      name: 'a Service',
      from: 'client',
      to: { kind: 'service' },
      expected: 'answer',
    }),
    ...only(serviceFamilies.slice(0, 1), family, {
      name: 'a name of DNS',
      from: 'client',
      to: { kind: 'name' },
      expected: 'answer',
    }),
    ...only(hostPortFamilies, family, {
      name: 'a hostPort',
      from: 'client',
      to: { kind: 'hostPort' },
      expected: 'answer',
    }),
  ]);
}

const isToTier = ({ to }: CheckOutcome): boolean => to.kind === 'pod' && to.port !== undefined;

export interface CheckOutcome extends Omit<ConnectivityCheck, 'family'> {
  /** Absent where packets play no part. */
  readonly family?: Family;
  readonly ok: boolean;
  /** The answer, or why there was none. */
  readonly got: string;
  /** Bytes of the largest packet that passed, where a full one did not. */
  readonly passes?: number;
}

/** How the MTU of pods is set: in the conflist, which on a node of a cluster its agent writes. */
const mtuAdvice = {
  node: 'Compare `ip link` on the node and in the pod, and set "mtu" in the conflist to the least',
  cluster:
    'Compare `ip link` on the nodes, and set the least: the chart’s value `mtu`, or `--mtu` of `tollgate install --kubernetes`; pods get it when they are made anew',
} as const;

function mtuCause(failed: readonly CheckOutcome[], where: keyof typeof mtuAdvice): string {
  const passing = failed.flatMap(({ passes }) => passes ?? []);
  const known = passing.length === 0 ? '' : ` (${Math.min(...passing)} bytes pass)`;
  return `Small packets pass and full ones do not${known}: an MTU on the way is less than the pods’. ${mtuAdvice[where]}.`;
}

/** Likely causes of failures that the node's own examination cannot find. */
export function likelyCauses(failed: readonly CheckOutcome[], where: keyof typeof mtuAdvice): readonly string[] {
  const causes: string[] = [];
  const has = (test: (outcome: CheckOutcome) => boolean) => failed.some(test);
  if (has(({ expected }) => expected === 'silence'))
    causes.push(
      'A denied request was answered: the gate is not in force for these pods. See `tollgate verify`, and that no other program accepts pods’ packets before the gate (`nft list ruleset`).',
    );
  const isFull = (outcome: CheckOutcome) => outcome.isFull === true;
  if (has(isFull) && !has(outcome => !isFull(outcome) && outcome.expected === 'answer'))
    causes.push(mtuCause(failed, where));
  const isTo = (kind: Target['kind']) => (outcome: CheckOutcome) => outcome.to.kind === kind;
  if (has(isTo('hostPort')) && !has(isTo('pod')))
    causes.push(
      'Only hostPorts fail: see that the conflist has "portMappings" among its capabilities, and that the node’s INPUT chain lets the port in.',
    );
  if (has(isTo('outside')) && !has(isTo('pod')))
    causes.push(
      'Only the outside fails: see "ipMasq" in the conflist, the node’s default route, and a firewall on the way.',
    );
  if (has(isToTier) && !has(outcome => isTo('pod')(outcome) && !isToTier(outcome)))
    causes.push(
      'NetworkPolicies hold and tiers do not: see that the agents hear of ClusterNetworkPolicies (`tollgate status`), and by `tollgate policy list` that none of your own selects these pods.',
    );
  const pods = failed.filter(isTo('pod'));
  if (pods.length > 0 && pods.every(isFar))
    causes.push(
      'Only pods of other nodes fail: see that nodes have routes to each other’s pod CIDRs (`ip route show proto 116`; `tollgate status` names what keeps one away), and that nothing between them drops pods’ addresses.',
    );
  if (pods.length === 0 && has(isTo('service')))
    causes.push(
      'Pods are reached and Services are not: see that kube-proxy, or what serves Services here, is running.',
    );
  else if (pods.length === 0 && has(isTo('name')))
    causes.push(
      'Services are reached and names are not: see that the cluster’s DNS is running, and what its pods log.',
    );
  return causes;
}
