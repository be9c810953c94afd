/** What lint tells of cluster policies that are valid: each row is something that it finds, or must not. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { evaluate } from '../../../lib/policy/evaluate/evaluate.ts';
import { withoutRule } from '../../../lib/policy/explain/cluster-remedy.ts';
import { lint } from '../../../lib/policy/lint/lint.ts';
import { readYaml } from '../../../lib/policy/manifest/yaml.ts';
import type { Flow } from '../../../lib/policy/model/model.ts';
import { clusterManifests, clusterPolicy, networkPolicy, type Written } from '../../support/cluster-world.ts';
import { documentsOf, manifests, outside, traffic, worldFrom } from '../../support/worlds.ts';

const warnings = (...policies: readonly (Written | string)[]): readonly string[] => {
  const text = clusterManifests(...policies.map(each => (typeof each === 'string' ? each : clusterPolicy(each))));
  const { documents, problems } = readYaml(text, 'case.yaml');
  assert.deepEqual(problems, []);
  const found = lint(documents, { least: 'warning' });
  assert.deepEqual(
    found.filter(({ severity }) => severity === 'error').map(({ message }) => message),
    [],
  );
  return found.map(({ object, field, message }) => `${object} ${field}: ${message}`);
};

interface Oddity {
  readonly says: string;
  readonly policies: readonly (Written | string)[];
  /** Each matches one warning, in their order; empty: there is none. */
  readonly warns: readonly RegExp[];
}

const ns = (team: string): string => `{ namespaces: { matchLabels: { team: ${team} } } }`;
const tcp = (...ports: readonly number[]): string =>
  `protocols: [${ports.map(port => `{ tcp: { destinationPort: { number: ${port} } } }`).join(', ')}]`;
const all = '{ namespaces: {} }';
const denied = networkPolicy('shop/deny', 'policyTypes: [Ingress, Egress]');
const kubeDns = `{ apiVersion: v1, kind: Pod, metadata: { namespace: kube-system, name: dns, labels: { k8s-app: kube-dns } }, status: { podIPs: [{ ip: 10.1.9.9 }] } }`;
const controlPlane = `{ apiVersion: v1, kind: Node, metadata: { name: cp, labels: { node-role.kubernetes.io/control-plane: "" } }, status: { addresses: [{ type: InternalIP, address: 192.0.2.10 }] } }`;
const acceptDns =
  'action: Accept, to: [{ namespaces: {} }], protocols: [{ udp: { destinationPort: { number: 53 } } }, { tcp: { destinationPort: { number: 53 } } }]';

const baselineAdmin = (name: string, from: string): string =>
  `{ apiVersion: policy.networking.k8s.io/v1alpha1, kind: BaselineAdminNetworkPolicy, metadata: { name: ${name} },
  spec: { subject: { namespaces: {} }, ingress: [{ action: Deny, from: [${from}] }] } }`;

const oddities: readonly Oddity[] = [
  {
    says: 'a rule after one that matches more never matches',
    policies: [{ at: 'A10', in: [`action: Deny, from: [${all}]`, `action: Accept, from: [${ns('mon')}], ${tcp(80)}`] }],
    warns: [
      /c.*\/a10 spec\.ingress\[1]: Never matches, since ClusterNetworkPolicy\/a10 ingress\[0] matches all that it does/,
    ],
  },
  {
    says: 'a rule after several that match it together never matches',
    policies: [
      {
        at: 'A10',
        in: [
          `action: Deny, from: [${ns('mon')}]`,
          `action: Accept, from: [${ns('bank')}]`,
          `action: Deny, from: [${ns('mon')}, ${ns('bank')}]`,
        ],
      },
    ],
    warns: [/spec\.ingress\[2]: Never matches, since the rules before it together match/],
  },
  {
    says: 'a policy with a lower number comes before, where its subject is as wide',
    policies: [
      { at: 'A10', of: all, in: [`action: Accept, from: [${ns('mon')}]`] },
      { at: 'A20', in: [`action: Deny, from: [${ns('mon')}], ${tcp(80)}`] },
    ],
    warns: [/a20 spec\.ingress\[0]: Never matches, since ClusterNetworkPolicy\/a10 ingress\[0] matches/],
  },
  {
    says: 'not where its subject is narrower, its tier another, or its port another',
    policies: [
      { at: 'A10', in: [`action: Accept, from: [${ns('mon')}]`] },
      { at: 'A20', of: all, in: [`action: Deny, from: [${ns('mon')}]`] },
      {
        at: 'B10',
        in: [`action: Deny, from: [${ns('mon')}], ${tcp(80)}`, `action: Deny, from: [${ns('mon')}], ${tcp(81)}`],
      },
    ],
    warns: [],
  },
  {
    says: 'networks within networks, nodes of the same words, and not nodes of others',
    policies: [
      {
        at: 'A10',
        out: [
          'action: Accept, to: [{ networks: ["198.51.100.0/24"] }, { nodes: { matchLabels: { role: db } } }]',
          'action: Deny, to: [{ networks: ["198.51.100.7/32"] }, { nodes: { matchLabels: { role: db } } }]',
          'action: Deny, to: [{ networks: ["198.51.100.7/32"] }, { nodes: { matchLabels: { role: web } } }]',
        ],
      },
    ],
    warns: [
      /spec\.egress\[2]\.to: Matches no node with role=web, of 2 that are known$/,
      /spec\.egress\[1]: Never matches/,
    ],
  },
  {
    says: 'a Pass with nothing after it in its tier',
    policies: [
      { at: 'A10', in: [`action: Deny, from: [${ns('bank')}]`, `action: Pass, from: [${ns('mon')}]`] },
      denied,
    ],
    warns: [/spec\.ingress\[1]\.action: Nothing after it in the tier decides what it passes on/],
  },
  {
    says: 'a Pass with something after it, and no tier behind',
    policies: [{ at: 'A10', in: [`action: Pass, from: [${ns('mon')}]`, `action: Deny, from: [${all}]`] }],
    warns: [/spec\.ingress\[0]\.action: Passes it on to nothing: no NetworkPolicy isolates for ingress/],
  },
  {
    says: 'a Pass with something after it in another policy, and a NetworkPolicy behind',
    policies: [
      { at: 'A10', in: [`action: Pass, from: [${ns('mon')}]`] },
      { at: 'A20', in: [`action: Deny, from: [${all}]`] },
      denied,
    ],
    warns: [],
  },
  {
    says: 'equal priorities of policies that select the same pods',
    policies: [
      { at: 'A10 a', of: all, in: [`action: Deny, from: [${ns('bank')}], ${tcp(80)}`] },
      { at: 'A10 b', in: [`action: Accept, from: [${ns('mon')}], ${tcp(81)}`] },
    ],
    warns: [
      /a10-a spec\.priority: The priority of ClusterNetworkPolicy\/a10-b, too/,
      /a10-b spec\.priority: The priority of ClusterNetworkPolicy\/a10-a, too/,
    ],
  },
  {
    says: 'not of policies for other pods, other directions, or of other tiers',
    policies: [
      { at: 'A10 a', of: ns('bank'), in: [`action: Deny, from: [${ns('mon')}]`] },
      { at: 'A10 b', in: [`action: Accept, from: [${ns('mon')}]`] },
      { at: 'A10 c', of: ns('mon'), out: [`action: Deny, to: [${ns('bank')}], ${tcp(80)}`] },
      { at: 'B10', in: [`action: Deny, from: [${ns('bank')}]`] },
    ],
    warns: [],
  },
  {
    says: 'not of BaselineAdminNetworkPolicies, which have none: the API has one of them, by its name',
    policies: [baselineAdmin('default', ns('bank')), baselineAdmin('second', ns('mon'))],
    warns: [
      /AdminNetworkPolicy\/second metadata\.name: The API takes the name default alone, since a cluster has one .*: write a ClusterNetworkPolicy/,
    ],
  },
  {
    says: 'all of IPv4 and nothing of IPv6',
    policies: [{ at: 'A10', out: [acceptDns, `action: Deny, to: [{ networks: ["0.0.0.0/0"] }], ${tcp(25)}`] }],
    warns: [/spec\.egress\[1]\.to: 0\.0\.0\.0\/0 says nothing of IPv6, so all of that passes it: add "::\/0"/],
  },
  {
    says: 'not where another rule has the other family',
    policies: [
      {
        at: 'A10',
        out: [
          `action: Deny, to: [{ networks: ["0.0.0.0/0"] }], ${tcp(25)}`,
          `action: Deny, to: [{ networks: ["::/0"] }], ${tcp(25)}`,
        ],
      },
    ],
    warns: [],
  },
  {
    says: 'nor where another policy for the same pods has it',
    policies: [
      { at: 'A10', out: [`action: Deny, to: [{ networks: ["0.0.0.0/0"] }], ${tcp(25)}`] },
      { at: 'A20', out: [`action: Deny, to: [{ networks: ["::/0"] }], ${tcp(25)}`] },
    ],
    warns: [],
  },
  {
    says: 'but where that is for other pods',
    policies: [
      { at: 'A10', out: [`action: Deny, to: [{ networks: ["0.0.0.0/0"] }], ${tcp(25)}`] },
      { at: 'A20', of: ns('bank'), out: [`action: Deny, to: [{ networks: ["::/0"] }], ${tcp(25)}`] },
    ],
    warns: [
      /a10 spec\.egress\[0]\.to: 0\.0\.0\.0\/0 says nothing of IPv6/,
      /a20 spec\.egress\[0]\.to: ::\/0 says nothing of IPv4/,
    ],
  },
  {
    says: 'a network of Services, usual or known',
    policies: [
      {
        at: 'A10',
        out: [
          `action: Deny, to: [{ networks: ["10.96.0.0/12"] }], ${tcp(80)}`,
          `action: Deny, to: [{ networks: ["10.200.0.0/16"] }], ${tcp(80)}`,
        ],
      },
      '{ apiVersion: v1, kind: Service, metadata: { namespace: shop, name: s }, spec: { clusterIP: 10.200.3.4 } }',
    ],
    warns: [
      /spec\.egress\[0]\.to: 10\.96\.0\.0\/12 is a network of Services in many clusters/,
      /spec\.egress\[1]\.to: 10\.200\.0\.0\/16 is a network of Services:/,
    ],
  },
  {
    says: 'not a network in which pods are',
    policies: [
      { at: 'A10', out: [`action: Deny, to: [{ networks: ["10.0.0.0/8"] }], ${tcp(80)}`] },
      '{ apiVersion: v1, kind: Service, metadata: { namespace: shop, name: s }, spec: { clusterIP: 10.200.3.4 } }',
    ],
    warns: [],
  },
  {
    says: 'a Deny of DNS, where its pods are known',
    policies: [
      {
        at: 'A10',
        out: [`action: Deny, to: [{ namespaces: { matchLabels: { kubernetes.io/metadata.name: kube-system } } }]`],
      },
      kubeDns,
    ],
    warns: [/spec\.egress\[0]: Denies UDP 53 to DNS/],
  },
  {
    says: 'not where a rule before it accepts both protocols to them',
    policies: [{ at: 'A10', out: [acceptDns, `action: Deny, to: [${all}]`] }, kubeDns],
    warns: [],
  },
  {
    says: 'a Deny of DNS over TCP alone',
    policies: [
      {
        at: 'A10',
        out: [
          'action: Accept, to: [{ namespaces: {} }], protocols: [{ udp: { destinationPort: { number: 53 } } }]',
          `action: Deny, to: [${all}]`,
        ],
      },
      kubeDns,
    ],
    warns: [/spec\.egress\[1]: Denies TCP 53 to DNS/],
  },
  {
    says: 'a Deny of all pods, where nobody knows the DNS pods',
    policies: [{ at: 'A10', out: [`action: Deny, to: [${all}]`] }],
    warns: [/spec\.egress\[0]: Denies UDP 53 to DNS/],
  },
  {
    says: 'a Deny of the namespace that has the DNS pods wherever Kubernetes runs, where nobody knows these',
    policies: [
      {
        at: 'A10',
        out: [`action: Deny, to: [{ namespaces: { matchLabels: { kubernetes.io/metadata.name: kube-system } } }]`],
      },
    ],
    warns: [/spec\.egress\[0]: Denies UDP 53 to DNS/],
  },
  {
    says: 'not of other pods there',
    policies: [
      {
        at: 'A10',
        out: [
          `action: Deny, to: [{ pods: { namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: kube-system } }, podSelector: { matchLabels: { k8s-app: metrics-server } } } }]`,
        ],
      },
    ],
    warns: [],
  },
  {
    says: 'a Deny of all addresses: of DNS, and of the API server',
    policies: [{ at: 'A10', out: ['action: Deny, to: [{ networks: ["0.0.0.0/0", "::/0"] }]'] }],
    warns: [/spec\.egress\[0]: Denies UDP 53 to DNS/, /spec\.egress\[0]: Denies TCP 6443 to the API server/],
  },
  {
    says: 'a Deny of the node on which the API server is',
    policies: [{ at: 'A10', out: ['action: Deny, to: [{ networks: ["192.0.2.8/29"] }]'] }, controlPlane],
    warns: [/spec\.egress\[0]: Denies TCP 6443 to the API server/],
  },
  {
    says: 'not of other nodes',
    policies: [{ at: 'A10', out: ['action: Deny, to: [{ nodes: { matchLabels: { role: db } } }]'] }, controlPlane],
    warns: [],
  },
  {
    says: 'a subject that selects none of the known pods',
    policies: [{ at: 'A10', of: ns('nobody'), in: [`action: Deny, from: [${ns('mon')}]`] }],
    warns: [/spec\.subject: Selects none of the 4 pods that are known/],
  },
  {
    says: 'a domain, since nothing is known of names',
    policies: [{ at: 'A10', out: [`action: Accept, to: [{ domainNames: ["example.com"] }], ${tcp(443)}`] }],
    warns: [/spec\.egress\[0]\.to\[0]\.domainNames: Nothing is known of domain names/],
  },
];

suite('oddities of cluster policies', () => {
  for (const { says, policies, warns } of oddities)
    test(says, () => {
      const found = warnings(...policies);
      assert.equal(found.length, warns.length, found.join('\n'));
      for (const [i, warn] of warns.entries()) assert.match(found[i]!, warn);
    });
});

const elsewhere: readonly (readonly [string, string, RegExp | undefined])[] = [
  [
    'nodes, of which it knows none',
    '{ nodes: {} }',
    /spec\.egress\[0]\.to: Matches no node with any labels, of 0 that are known: without an agent a node knows the Nodes that manifests of the folder declare/,
  ],
  [
    'namespaces by labels that no Namespace tells of',
    ns('shop'),
    /spec\.egress\[0]\.to: .* all pods in namespaces team=shop: without an agent a node knows the labels that Namespaces of the folder declare/,
  ],
  [
    'pods by labels that none of its own has',
    '{ pods: { namespaceSelector: {}, podSelector: { matchLabels: { app: db } } } }',
    /spec\.egress\[0]\.to: Matches none of the 1 pods that are known, with pods app=db .*: without an agent a node knows its own pods/,
  ],
  ['its own pods', all, undefined],
  ['networks', '{ networks: ["198.51.100.0/24"] }', undefined],
];
for (const [what, peer, warning] of elsewhere)
  test(`of a node without an agent, lint ${warning ? 'tells of' : 'has nothing to say of'} ${what}`, () => {
    const written = clusterPolicy({ at: 'A10', of: all, out: [`action: Deny, to: [${peer}], ${tcp(80)}`] });
    const { documents } = readYaml(written, 'case.yaml');
    const { pods } = worldFrom([{ apiVersion: 'v1', kind: 'Pod', metadata: { namespace: 'shop', name: 'p' } }]);
    const found = lint(documents, { least: 'warning', node: { pods } }).map(
      ({ field, message }) => `${field}: ${message}`,
    );
    assert.equal(found.length, warning ? 1 : 0, found.join('\n'));
    if (warning) assert.match(found[0]!, warning);
  });

test('a rule that is said never to match, or to pass on in vain, changes no verdict when it is taken out', () => {
  const seen = new Map<string, number>();
  fc.assert(
    fc.property(manifests({ policies: 2, clusterPolicies: 6 }), list => {
      const world = worldFrom(list);
      const ends = [
        ...world.pods.map(pod => ({ kind: 'pod', pod }) as const),
        ...outside.map(address => ({ kind: 'address', address }) as const),
      ];
      const found = lint(documentsOf(list), { least: 'warning' }).flatMap(({ object, field, message }) => {
        const [, direction, index] = /^spec\.(ingress|egress)\[(\d+)]/.exec(field) ?? [];
        const what = /^(Never matches|Nothing after it in the tier)/.exec(message)?.[1];
        return what
          ? [{ what, object: object!, direction: direction as 'ingress' | 'egress', index: Number(index) }]
          : [];
      });
      for (const { what, object, direction, index } of found) {
        seen.set(what, (seen.get(what) ?? 0) + 1);
        const other = withoutRule(world, { policy: object, direction, index });
        for (const from of ends)
          for (const to of ends)
            for (const family of [4, 6] as const)
              for (const { protocol, port } of traffic) {
                const flow: Flow = { from, to, family, protocol, port };
                assert.equal(
                  evaluate(other, flow).allowed,
                  evaluate(world, flow).allowed,
                  `${object} ${direction}[${index}]: ${what}`,
                );
              }
      }
    }),
    { numRuns: 60 },
  );
  for (const what of ['Never matches', 'Nothing after it in the tier'])
    assert.ok((seen.get(what) ?? 0) >= 5, `${what}: ${seen.get(what)}`);
});
