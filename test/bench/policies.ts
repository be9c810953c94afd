/** Policies of a kind that people have: by label, by namespace, by block, each with its ports. */

const meta = (namespace: string, name: string) => ({ namespace, name });
const policy = (namespace: string, name: string, spec: unknown) => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: meta(namespace, name),
  spec,
});
const list = (items: readonly unknown[]): string => JSON.stringify({ apiVersion: 'v1', kind: 'List', items });

/** For the pods of `makePods`: every app is isolated on its way in, and some on their way out. */
export function policiesOfABusyNode(number: number): string {
  return list(
    Array.from({ length: number }, (_, i) => {
      const peers = [
        { podSelector: { matchLabels: { app: `app${(i + 5) % 20}` } } },
        { namespaceSelector: {}, podSelector: { matchLabels: { tier: `tier${i % 3}` } } },
        { ipBlock: { cidr: `198.51.${i % 100}.0/24`, except: [`198.51.${i % 100}.128/25`] } },
      ];
      const ports = [
        { port: 8000 + i, protocol: 'TCP' },
        { port: 53, protocol: 'UDP' },
      ];
      const isEgress = i % 5 === 4;
      return policy(`ns${i % 5}`, `policy-${i}`, {
        podSelector: { matchLabels: { app: `app${i % 20}` } },
        policyTypes: isEgress ? ['Ingress', 'Egress'] : ['Ingress'],
        ingress: [{ from: peers.slice(0, 1 + (i % 3)), ports }],
        ...(isEgress ? { egress: [{ to: peers, ports }] } : {}),
      });
    }),
  );
}

/**
 * All of them select the server, in the order worst for the client: none but the last allows it, and peers stand in a chain
 * by name.
 * @param apart each has a port of its own, too, so that no two of them can become one rule
 */
export function policiesForTheServer(number: number, port: number, apart = false): string {
  return list(
    Array.from({ length: number }, (_, i) => {
      const isLast = i === number - 1;
      return policy('bench', `policy-${String(i).padStart(5, '0')}`, {
        podSelector: { matchLabels: { app: 'server' } },
        ingress: [
          {
            from: [{ podSelector: { matchLabels: { app: isLast ? 'client' : `before-${i}` } } }],
            ports: apart && !isLast ? [{ port: 10_000 + i }] : [{ port, endPort: port + 9 }],
          },
        ],
      });
    }),
  );
}

const RULES = 25;

/** What the rules of cluster policies ask for beside a label of the peer. */
export const shapes = {
  'a port each': n => ({ protocols: [{ tcp: { destinationPort: { number: 10_000 + n } } }] }),
  'no port': () => ({}),
  /** Of 25: 20 with a port, two without, a range of ports, a port of all pods, and a long list of them. */
  mixed: n => {
    if (n % RULES < 20) return { protocols: [{ tcp: { destinationPort: { number: 10_000 + n } } }] };
    if (n % RULES < 22) return {};
    if (n % RULES === 22)
      return { protocols: [{ tcp: { destinationPort: { range: { start: 30_000, end: 32_767 } } } }] };
    if (n % RULES === 23)
      return { from: [{ namespaces: {} }], protocols: [{ tcp: { destinationPort: { number: 23 } } }] };
    return { protocols: [1, 2, 3, 4].map(i => ({ udp: { destinationPort: { number: 20_000 + 10 * n + i } } })) };
  },
} as const satisfies Readonly<Record<string, (n: number) => object>>;

export interface ClusterPolicies {
  readonly number: number;
  /** Whether each selects every pod; otherwise the first selects those that are measured, and the others other teams'. */
  readonly isForAll: boolean;
  readonly shape?: keyof typeof shapes;
  /** The last rule of the last policy accepts the client; otherwise none matches what is measured. */
  readonly isAccepted?: boolean;
}

/** Cluster policies of 25 rules each, of which no two neighbours can become one. */
export function policiesOfTheCluster({ number, isForAll, shape, isAccepted }: ClusterPolicies): string {
  const named = (name: string) => ({ matchLabels: { 'kubernetes.io/metadata.name': name } });
  const peer = (app: string) => [{ pods: { namespaceSelector: {}, podSelector: { matchLabels: { app } } } }];
  const rule = (i: number, n: number) => ({
    action: ['Accept', 'Deny', 'Pass'][n % 3],
    from: peer(`before-${i}-${n}`),
    ...shapes[shape ?? 'a port each'](n),
  });
  return list(
    Array.from({ length: number }, (_, i) => {
      const rules = Array.from({ length: RULES }, (_, n) => rule(i, n));
      const last = { action: 'Accept', from: peer('client') };
      return {
        ...{ apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy' },
        metadata: { name: `cluster-${i}` },
        spec: {
          ...{ tier: 'Admin', priority: i },
          subject: { namespaces: isForAll ? {} : named(i === 0 ? 'bench' : `team-${i}`) },
          ingress: isAccepted && i === number - 1 ? [...rules.slice(1), last] : rules,
        },
      };
    }),
  );
}

/**
 * A cluster policy after those of `policiesOfTheCluster`, that accepts pods of the app on one port and denies them on another.
 */
export const policyThatTells = (app: string): string =>
  list([
    {
      ...{ apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy' },
      metadata: { name: `for-${app}` },
      spec: {
        ...{ tier: 'Admin', priority: 999, subject: { namespaces: {} } },
        ingress: ['Accept', 'Deny'].map((action, n) => ({
          action,
          from: [{ pods: { namespaceSelector: {}, podSelector: { matchLabels: { app } } } }],
          ...shapes['a port each'](n),
        })),
      },
    },
  ]);
