/** Rules that take from pods what nearly all of them need: DNS, and for some the API server. */
import { ask, evaluate, matchesRule } from '../evaluate/evaluate.ts';
import type { ClusterRule } from '../model/cluster-policy.ts';
import { type Endpoint, type Flow, isNumbered, type Pod, policyRef, type RuleRef } from '../model/model.ts';
import { selectsPod } from '../model/selector.ts';
import {
  type ClusterCase,
  type ClusterCheck,
  coversSubject,
  fieldOf,
  neighbours,
  type peersOf,
  podsSelectedBy,
} from './cluster-rule.ts';

/** Traffic that pods need, and the ends that serve it. */
interface Need {
  readonly traffic: readonly Pick<Flow, 'protocol' | 'port'>[];
  /** The ends that serve it, as far as they are known. */
  readonly givers: (it: ClusterCase) => readonly Endpoint[];
  /** True for a rule whose peers include the ends that serve it, or those that usually do, though these are unknown. */
  readonly isForAll: (rule: ClusterRule, it: ClusterCase) => boolean;
  readonly message: (what: string) => string;
}

/** The number of subjects, and of givers, that are tried. */
const MOST_TRIED = 20;

const isDnsPod = ({ labels, namedPorts }: Pod): boolean =>
  ['kube-dns', 'coredns'].includes(labels.get('k8s-app') ?? '') ||
  namedPorts.some(({ name, port }) => port === 53 && name.startsWith('dns'));

const hasNoRequirement = ({ requirements }: { readonly requirements: readonly unknown[] }): boolean =>
  requirements.length === 0;

/** Where Kubernetes has its DNS, and the label that all kinds of it bear. */
const usualDns = { namespace: 'kube-system', labels: new Map([['k8s-app', 'kube-dns']]) };

const isEverywhere = (peer: ReturnType<typeof peersOf>[number]): boolean =>
  peer.kind === 'block' && peer.cidr.length === 0;

const dns: Need = {
  traffic: [
    { protocol: 'UDP', port: 53 },
    { protocol: 'TCP', port: 53 },
  ],
  givers: ({ pods }) => pods.filter(isDnsPod).map(pod => ({ kind: 'pod', pod })),
  isForAll: (rule, { cluster }) =>
    rule.peers === 'any' ||
    rule.peers.some(
      peer =>
        isEverywhere(peer) ||
        (peer.kind === 'pods' && selectsPod(peer, usualDns, cluster.namespaceLabels(usualDns.namespace))),
    ),
  message: what =>
    `Denies ${what} to DNS, so names cannot be looked up: put a rule before it that accepts or passes UDP and TCP 53 to the DNS pods`,
};

const controlPlane = ['node-role.kubernetes.io/control-plane', 'node-role.kubernetes.io/master'];

const apiServer: Need = {
  traffic: [{ protocol: 'TCP', port: 6443 }],
  givers: ({ world }) =>
    [
      ...(world.nodes ?? [])
        .filter(({ labels }) => controlPlane.some(key => labels.has(key)))
        .flatMap(({ addresses }) => addresses),
      ...world.pods
        .filter(({ labels }) => labels.get('component') === 'kube-apiserver')
        .flatMap(({ addresses }) => addresses),
    ].map(address => ({ kind: 'address', address })),
  isForAll: rule =>
    rule.peers === 'any' ||
    rule.peers.some(peer => isEverywhere(peer) || (peer.kind === 'nodes' && hasNoRequirement(peer.nodes))),
  message: what =>
    `Denies ${what} to the API server, which operators, and all that asks for a token's review, speak with: put a rule before it that accepts or passes its address, or know that none of these pods does`,
};

const matchesPort = ({ ports }: ClusterRule, { protocol, port }: Pick<Flow, 'protocol' | 'port'>): boolean =>
  ports === 'any' ||
  ports.some(each => each.protocol === protocol && isNumbered(each) && each.first <= port && port <= each.last);

/** Whether a rule of the policy denies the flow: asked first of the policy alone, since most say nothing of it. */
function denyingRule({ cluster, policy }: ClusterCase, flow: Flow): RuleRef | undefined {
  const asked = ask(cluster, flow).egress;
  if ('exempt' in asked) return undefined;
  if (!policy.egress.some(rule => rule.action === 'Deny' && matchesRule(asked, rule))) return undefined;
  const { allowed, rules } = evaluate(cluster, flow).egress;
  return allowed ? undefined : rules.find(rule => rule.policy === policyRef(policy));
}

/** The rules of the policy that deny it to those that are known. */
function deniedToKnown(it: ClusterCase, need: Need, givers: readonly Endpoint[]): ReadonlyMap<number, string> {
  const subjects = podsSelectedBy(it.cluster, it.pods, it.policy.subject).slice(0, MOST_TRIED);
  const found = new Map<number, string>();
  for (const pod of subjects)
    for (const to of givers.slice(0, MOST_TRIED))
      for (const { protocol, port } of need.traffic)
        for (const family of [4, 6] as const) {
          const rule = denyingRule(it, { from: { kind: 'pod', pod }, to, family, protocol, port });
          if (rule && !found.has(rule.index)) found.set(rule.index, `${protocol} ${port}`);
        }
  return found;
}

/**
 * Deny rules for all servers, by index, each with a port that no earlier rule accepts or passes. For servers that are unknown.
 */
function deniedToAll(it: ClusterCase, need: Need): ReadonlyMap<number, string> {
  const before = neighbours(it, 'before')
    .filter(policy => coversSubject(policy, it.policy))
    .flatMap(({ egress }) => egress);
  const found = new Map<number, string>();
  for (const [i, rule] of it.policy.egress.entries()) {
    if (rule.action !== 'Deny' || !need.isForAll(rule, it)) continue;
    const earlier = [...before, ...it.policy.egress.slice(0, i)].filter(
      ({ action, peers }) => action !== 'Deny' && peers.length > 0,
    );
    const missing = need.traffic.find(
      traffic => matchesPort(rule, traffic) && !earlier.some(each => matchesPort(each, traffic)),
    );
    if (missing) found.set(rule.index, `${missing.protocol} ${missing.port}`);
  }
  return found;
}

const cutsOff =
  (need: Need): ClusterCheck =>
  it => {
    const givers = need.givers(it);
    const found = givers.length > 0 ? deniedToKnown(it, need, givers) : deniedToAll(it, need);
    for (const rule of it.policy.egress) {
      const what = found.get(rule.index);
      if (what !== undefined) it.report(fieldOf('egress', rule), need.message(what));
    }
  };

export const deniesDns = cutsOff(dns);
export const deniesApiServer = cutsOff(apiServer);
