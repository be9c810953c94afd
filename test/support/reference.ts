/**
 * A second telling of what policies mean, straight from manifests and with no regard to what it costs: the judge of ours. It
 * shares no code with `lib/policy`, and knows valid manifests only.
 */
import { isIP } from 'node:net';
import type { Manifest } from './worlds.ts';

// biome-ignore lint/suspicious/noExplicitAny: a manifest is what it is
type Any = any;

export interface Side {
  readonly pod?: Manifest;
  /** Absent: its address is not known. */
  readonly address?: string;
  /** The peer is the other side's own node. */
  readonly isOwnNode?: boolean;
}

export interface Asked {
  readonly subject: Side;
  readonly peer: Side;
  readonly direction: 'ingress' | 'egress';
  /** `TCP`, `UDP`, `SCTP`, or whatever else has no ports. */
  readonly protocol: string;
  readonly port: number;
  readonly enforceEgressToNode?: boolean;
  readonly throughService?: boolean;
}

function bits(address: string): { readonly size: number; readonly value: bigint } {
  if (isIP(address) === 4)
    return { size: 32, value: address.split('.').reduce((sum, part) => (sum << 8n) | BigInt(part), 0n) };
  const [head = '', tail] = address.split('::');
  const groups = (text: string) => text.split(':').filter(Boolean);
  const [front, back] = [groups(head), groups(tail ?? '')];
  const middle = tail === undefined ? [] : Array.from({ length: 8 - front.length - back.length }, () => '0');
  const all = [...front, ...middle, ...back];
  return { size: 128, value: all.reduce((sum, part) => (sum << 16n) | BigInt(`0x${part}`), 0n) };
}

function isIn(address: string | undefined, cidr: string): boolean {
  if (address === undefined) return false;
  const [base, length] = cidr.split('/') as [string, string];
  const [a, b] = [bits(address), bits(base)];
  const shift = BigInt(a.size - Number(length));
  return a.size === b.size && a.value >> shift === b.value >> shift;
}

function selects(selector: Any, labels: Record<string, string>): boolean {
  for (const [key, value] of Object.entries(selector?.matchLabels ?? {})) if (labels[key] !== value) return false;
  return (selector?.matchExpressions ?? []).every(({ key, operator, values }: Any) => {
    const has = Object.hasOwn(labels, key);
    if (operator === 'Exists') return has;
    if (operator === 'DoesNotExist') return !has;
    const isListed = has && values.includes(labels[key]);
    return operator === 'In' ? isListed : !isListed;
  });
}

type Tier = 'Admin' | 'Baseline';

export class Reference {
  readonly #byKind: ReadonlyMap<string, readonly Any[]>;
  readonly #byTier: Readonly<Record<Tier, readonly Any[]>>;

  constructor(all: readonly Manifest[]) {
    this.#byKind = Map.groupBy(all as readonly Any[], ({ kind }) => kind);
    this.#byTier = { Admin: this.#inOrder('Admin'), Baseline: this.#inOrder('Baseline') };
  }

  #of(kind: string): readonly Any[] {
    return this.#byKind.get(kind) ?? [];
  }

  /** The policies of a tier, the one that is asked first before the others. */
  #inOrder(tier: Tier): readonly Any[] {
    const placed = [
      ...this.#of('ClusterNetworkPolicy').map(each => ({ each, tier: each.spec.tier, at: each.spec.priority })),
      ...this.#of('AdminNetworkPolicy').map(each => ({ each, tier: 'Admin', at: each.spec.priority })),
      ...this.#of('BaselineAdminNetworkPolicy').map(each => ({ each, tier: 'Baseline', at: 5000 })),
    ].filter(policy => policy.tier === tier);
    placed.sort((a, b) => a.at - b.at || (a.each.metadata.name < b.each.metadata.name ? -1 : 1));
    return placed.map(({ each }) => each);
  }

  #namespaceLabels(name: string): Record<string, string> {
    const found = this.#of('Namespace').find(({ metadata }) => metadata.name === name);
    return { ...found?.metadata.labels, 'kubernetes.io/metadata.name': name };
  }

  #isPod(pod: Any, namespaces: Any, pods: Any): boolean {
    return (
      pod !== undefined &&
      pod.spec.hostNetwork !== true &&
      selects(namespaces, this.#namespaceLabels(pod.metadata.namespace)) &&
      selects(pods, pod.metadata.labels ?? {})
    );
  }

  #isClusterPeer({ peer }: Asked, { namespaces, pods, networks, nodes }: Any): boolean {
    if (namespaces) return this.#isPod(peer.pod, namespaces, {});
    if (pods) return this.#isPod(peer.pod, pods.namespaceSelector, pods.podSelector);
    if (networks) return networks.some((cidr: string) => isIn(peer.address, cidr));
    return this.#of('Node').some(
      ({ metadata, status }) =>
        selects(nodes, metadata.labels ?? {}) && status.addresses.some(({ address }: Any) => address === peer.address),
    );
  }

  #hasNamedPort({ subject, peer, direction, protocol, port }: Asked, name: string): boolean {
    const pod: Any = direction === 'ingress' ? subject.pod : peer.pod;
    const containers: readonly Any[] = pod?.spec.hostNetwork ? [] : (pod?.spec.containers ?? []);
    return containers
      .flatMap(({ ports }) => ports ?? [])
      .some(each => each.name === name && (each.protocol ?? 'TCP') === protocol && each.containerPort === port);
  }

  #isClusterPort(asked: Asked, entry: Any): boolean {
    const name = entry.destinationNamedPort ?? entry.namedPort;
    if (name) return this.#hasNamedPort(asked, name);
    const old = entry.portNumber ?? entry.portRange;
    const of = old ? (old.protocol ?? 'TCP') : Object.keys(entry)[0]!.toUpperCase();
    if (of !== asked.protocol) return false;
    const { number, range } = old
      ? { number: entry.portNumber?.port, range: entry.portRange }
      : (Object.values(entry)[0] as Any).destinationPort;
    return number === undefined ? range.start <= asked.port && asked.port <= range.end : number === asked.port;
  }

  /** The action of the first rule of a tier that matches. */
  #actionOf(asked: Asked, tier: Tier): string | undefined {
    for (const { spec } of this.#byTier[tier]) {
      const { namespaces, pods } = spec.subject;
      const isSubject = namespaces
        ? this.#isPod(asked.subject.pod, namespaces, {})
        : this.#isPod(asked.subject.pod, pods.namespaceSelector, pods.podSelector);
      if (!isSubject) continue;
      for (const rule of spec[asked.direction] ?? []) {
        const ports = rule.protocols ?? rule.ports;
        if (!(rule.from ?? rule.to).some((peer: Any) => this.#isClusterPeer(asked, peer))) continue;
        if (ports && !ports.some((port: Any) => this.#isClusterPort(asked, port))) continue;
        return rule.action.replace('Allow', 'Accept');
      }
    }
    return undefined;
  }

  #isNetworkPeer({ peer }: Asked, own: string, { podSelector, namespaceSelector, ipBlock }: Any): boolean {
    if (ipBlock)
      return (
        isIn(peer.address, ipBlock.cidr) && !(ipBlock.except ?? []).some((cidr: string) => isIn(peer.address, cidr))
      );
    const isThere = namespaceSelector || (peer.pod as Any)?.metadata.namespace === own;
    return isThere && this.#isPod(peer.pod, namespaceSelector ?? {}, podSelector ?? {});
  }

  #isNetworkPort(asked: Asked, { protocol = 'TCP', port, endPort }: Any): boolean {
    if (protocol !== asked.protocol) return false;
    if (typeof port === 'string') return this.#hasNamedPort(asked, port);
    return port === undefined || (port <= asked.port && asked.port <= (endPort ?? port));
  }

  /** undefined: no NetworkPolicy isolates. */
  #networkPolicies(asked: Asked): boolean | undefined {
    const own = (asked.subject.pod as Any).metadata.namespace;
    const type = asked.direction === 'ingress' ? 'Ingress' : 'Egress';
    const isolating = this.#of('NetworkPolicy').filter(({ metadata, spec }) => {
      const types = spec.policyTypes?.length
        ? spec.policyTypes
        : ['Ingress', ...(spec.egress?.length ? ['Egress'] : [])];
      return (
        metadata.namespace === own &&
        types.includes(type) &&
        selects(spec.podSelector, (asked.subject.pod as Any).metadata.labels)
      );
    });
    if (isolating.length === 0) return undefined;
    return isolating.some(({ spec }) =>
      (spec[asked.direction] ?? []).some((rule: Any) => {
        const [peers, ports] = [rule.from ?? rule.to ?? [], rule.ports ?? []];
        return (
          (peers.length === 0 || peers.some((peer: Any) => this.#isNetworkPeer(asked, own, peer))) &&
          (ports.length === 0 || ports.some((port: Any) => this.#isNetworkPort(asked, port)))
        );
      }),
    );
  }

  allows(asked: Asked): boolean {
    const { subject, peer, direction, enforceEgressToNode = false, throughService = false } = asked;
    const isItself = subject.pod === peer.pod;
    if (isItself && !throughService) return true;
    if (direction === 'ingress' && peer.isOwnNode) return true;
    const admin = this.#actionOf(asked, 'Admin');
    if (admin === 'Accept' || admin === 'Deny') return admin === 'Accept';
    const own = this.#networkPolicies(asked);
    if (own !== undefined) return own || isItself || (peer.isOwnNode === true && !enforceEgressToNode);
    return this.#actionOf(asked, 'Baseline') !== 'Deny';
  }
}
