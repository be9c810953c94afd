/** The walk through all tiers: at which rule it ended, what would be without it, and what would let the connection pass. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { walkthroughsText, walkthroughText } from '../../../lib/cli/policy/explain-text.ts';
import { evaluate } from '../../../lib/policy/evaluate/evaluate.ts';
import { type DirectionWalk, walk } from '../../../lib/policy/explain/explain.ts';
import { clusterPolicyManifest } from '../../../lib/policy/manifest/cluster-manifest-of.ts';
import { readManifests } from '../../../lib/policy/manifest/manifest.ts';
import type { ClusterPolicy, ClusterRule } from '../../../lib/policy/model/cluster-policy.ts';
import type { Endpoint, Flow } from '../../../lib/policy/model/model.ts';
import { clusterPolicy, clusterWorld, flowOf, networkPolicy } from '../../support/cluster-world.ts';
import { documentsOf, manifests, outside, traffic, worldFrom } from '../../support/worlds.ts';

const ns = (team: string): string => `{ namespaces: { matchLabels: { team: ${team} } } }`;

test('a walk has the verdict of evaluate, ends where that says, and each remedy helps', () => {
  const seen = new Map<string, number>();
  const count = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1);
  const check = ({ direction, verdict, admin, policies, baseline, remedies }: DirectionWalk, flow: Flow): void => {
    const last = (tier: DirectionWalk['admin']) => tier.at(-1)?.rules.at(-1);
    const ended = [last(admin), last(baseline)].filter(rule => rule?.matches);
    const named = verdict.tier === 'NetworkPolicy' ? verdict.passed : [...verdict.passed, ...verdict.rules];
    assert.deepEqual(
      ended.map(rule => rule!.rule),
      named,
      verdict.why,
    );
    for (const { rules } of [...admin, ...baseline])
      for (const [i, { matches, misfits }] of rules.entries()) {
        assert.equal(matches, misfits.length === 0);
        assert.ok(!matches || i === rules.length - 1, 'nothing is asked after the rule that matches');
      }
    if (verdict.tier === 'Admin') assert.deepEqual([policies, baseline], [[], []]);
    if (policies.length > 0) assert.deepEqual(baseline, []);
    count(`${verdict.tier} ${verdict.allowed}`);
    for (const { world, kind } of remedies) {
      const pods = new Map(world.pods.map(pod => [`${pod.namespace}/${pod.name}`, pod]));
      const moved = (end: Endpoint): Endpoint =>
        end.kind === 'pod' ? { kind: 'pod', pod: pods.get(`${end.pod.namespace}/${end.pod.name}`)! } : end;
      const then = evaluate(world, { ...flow, from: moved(flow.from), to: moved(flow.to) })[direction];
      assert.equal(then.allowed, true, then.why);
      count(`remedy ${verdict.tier} ${kind}`);
    }
  };
  fc.assert(
    fc.property(manifests({ policies: 2, clusterPolicies: 5 }), fc.nat(100), (list, turn) => {
      const world = worldFrom(list);
      const ends: readonly Endpoint[] = [
        ...world.pods.map(pod => ({ kind: 'pod', pod }) as const),
        ...outside.map(address => ({ kind: 'address', address }) as const),
        { kind: 'node' },
      ];
      let n = turn;
      for (const from of ends)
        for (const to of ends) {
          const { protocol, port } = traffic[n++ % traffic.length]!;
          const flow: Flow = { from, to, family: n % 2 === 0 ? 4 : 6, protocol, port };
          const way = walk(world, flow);
          assert.deepEqual(way.verdict, evaluate(world, flow));
          check(way.egress, flow);
          check(way.ingress, flow);
          assert.ok(walkthroughText(way).length > 0);
        }
    }),
    { numRuns: 120 },
  );
  for (const what of [
    'Admin true',
    'Admin false',
    'Baseline true',
    'Baseline false',
    'NetworkPolicy true',
    'NetworkPolicy false',
  ])
    assert.ok((seen.get(what) ?? 0) > 5, `${what}: ${seen.get(what)}`);
  for (const tier of ['Admin', 'Baseline'])
    assert.ok((seen.get(`remedy ${tier} rule`) ?? 0) > 5, JSON.stringify([...seen]));
});

suite('as a colleague tells it', () => {
  const told = (text: string, ...policies: readonly string[]): string => {
    const { world } = clusterWorld(...policies);
    return walkthroughText(walk(world, flowOf(world, text)));
  };

  test('each tier in its order, the rule at which it ended, what would be without it, and what would let it pass', () => {
    const text = told(
      'bank/api > shop/web TCP 8080',
      clusterPolicy({
        at: 'A10',
        in: [
          `action: Pass, from: [${ns('mon')}]`,
          `name: no bank, action: Deny, from: [${ns('bank')}]`,
          `action: Accept, from: [${ns('shop')}]`,
        ],
      }),
      networkPolicy('shop/all', 'ingress: [{}]'),
    );
    const ingress = text.slice(text.indexOf('Ingress'));
    assert.equal(
      ingress.trimEnd(),
      `Ingress, into shop/web: denied
  Tier Admin:
    ClusterNetworkPolicy/a10, priority 10  (case.yaml, document 11)
      - ingress[0]  Pass from all pods in namespaces team=mon, any port
          from[0]: namespace bank has team=bank, and team=mon is asked for
      + ingress[1] "no bank"  Deny from all pods in namespaces team=bank, any port: this rule denies it, and it ends here
  ClusterNetworkPolicy/a10 ingress[1] "no bank" denies TCP 8080 from bank/api (tier Admin).
  Without ClusterNetworkPolicy/a10 ingress[1] "no bank" it would be allowed: NetworkPolicy/shop/all ingress[0] allows TCP 8080 from bank/api.
  What would let it pass, any one of:
    * Add before ClusterNetworkPolicy/a10 ingress[1] "no bank":
        - action: Accept
          from:
            - pods:
                namespaceSelector:
                  matchLabels:
                    kubernetes.io/metadata.name: bank
                podSelector:
                  matchLabels:
                    app: api
          protocols:
            - tcp:
                destinationPort:
                  number: 8080`,
    );
  });

  test('what is passed on, and decided by NetworkPolicies', () => {
    const text = told(
      'mon/prom > shop/web TCP 80',
      clusterPolicy({ at: 'A10', in: [`action: Pass, from: [${ns('mon')}]`] }),
      networkPolicy('shop/deny', 'policyTypes: [Ingress]'),
    );
    assert.match(
      text,
      /\+ ingress\[0\] {2}Pass from all pods in namespaces team=mon, any port: this rule passes it on/,
    );
    assert.match(text, /One policy isolates shop\/web for ingress/);
    assert.match(
      text,
      /ClusterNetworkPolicy\/a10 ingress\[0\] passes it on; NetworkPolicy\/shop\/deny isolates shop\/web/,
    );
  });

  test('Baseline, which no rule matches', () => {
    const text = told(
      'mon/prom > shop/web TCP 80',
      clusterPolicy({ at: 'B10', in: [`action: Deny, from: [${ns('bank')}]`] }),
    );
    assert.match(text, /Tier Baseline, none of whose rules matches:/);
    assert.match(text, /No policy isolates shop\/web for ingress\./);
  });

  test('policies for others have no say, and why', () => {
    const text = told(
      'mon/prom > shop/web TCP 80',
      clusterPolicy({ at: 'A10', of: ns('bank'), in: [`action: Deny, from: [${ns('mon')}]`] }),
    );
    assert.match(text, /ClusterNetworkPolicy\/a10: namespace shop has team=shop, and team=bank is asked for/);
  });

  test('an older kind is spelt as it is written', () => {
    const text = told(
      'bank/api > shop/web TCP 80',
      `{ apiVersion: policy.networking.k8s.io/v1alpha1, kind: AdminNetworkPolicy, metadata: { name: old }, spec: { priority: 1, subject: { namespaces: {} }, ingress: [{ action: Deny, from: [{ namespaces: {} }] }] } }`,
    );
    assert.match(text, /- action: Allow\n[\s\S]*ports:\n +- portNumber:\n +protocol: TCP\n +port: 80/);
  });

  test('nodes: whose label does not fit, and what is no node', () => {
    const policy = clusterPolicy({ at: 'A10', out: ['action: Deny, to: [{ nodes: { matchLabels: { role: web } } }]'] });
    assert.match(told('shop/web > 192.0.2.12 TCP 80', policy), /node n2 has role=db, and role=web is asked for/);
    assert.match(
      told('shop/web > 198.51.100.7 TCP 80', policy),
      /198\.51\.100\.7 is no address that a known node lists as its own/,
    );
    const forAll = clusterPolicy({ at: 'A10', of: '{ namespaces: {} }', out: ['action: Deny, to: [{ nodes: {} }]'] });
    assert.match(told('mon/prom > node n9 TCP 80', forAll), /no address of node n9 is known, so nodes cannot mean it/);
    assert.match(told('shop/web > mon/prom TCP 80', forAll), /10\.1\.2\.1 is no address that a known node lists/);
  });

  test('a misfit names the manifest’s own entry, or none where a list of networks became many peers', () => {
    const rule =
      'action: Deny, to: [{ networks: [192.0.2.0/25, 198.51.100.0/24] }, { namespaces: { matchLabels: { team: mon } } }]';
    const blocks = told('shop/web > bank/api TCP 80', clusterPolicy({ at: 'A10', out: [rule] }));
    assert.match(blocks, /^ +10\.1\.1\.1 is not in 198\.51\.100\.0\/24$/m);
    assert.match(blocks, /^ +namespace bank has team=bank, and team=mon is asked for$/m);
    assert.doesNotMatch(blocks, /to\[\d]/);
    const ports =
      'action: Deny, from: [{ namespaces: {} }], protocols: [{ destinationNamedPort: pg }, { udp: { destinationPort: { number: 53 } } }]';
    const names = told('bank/api > shop/web TCP 80', clusterPolicy({ at: 'A10', in: [ports] }));
    assert.match(names, /Deny from all pods in all namespaces, port pg or UDP 53$/m);
    assert.match(names, /^ +protocols\[0]: shop\/web has no container port named pg for TCP$/m);
    assert.match(names, /^ +protocols\[1]: it is TCP 80, and UDP is meant$/m);
    assert.doesNotMatch(names, /SCTP/);
  });

  test('what is no pod is told in the words of cluster policies', () => {
    const [into, out] = [
      told('192.0.2.7 > shop/web TCP 80', clusterPolicy({ at: 'A10', in: [`action: Deny, from: [${ns('mon')}]`] })),
      told('shop/web > 192.0.2.7 TCP 80', clusterPolicy({ at: 'A10', out: [`action: Deny, to: [${ns('mon')}]`] })),
    ];
    assert.match(into, /192\.0\.2\.7 is no pod to selectors: no ingress rule of a cluster policy can mean it/);
    assert.match(out, /192\.0\.2\.7 is no pod to selectors: only networks and nodes can mean it/);
  });

  test('a policy without a priority is asked last, or first where its place is unknown', () => {
    const text = told(
      'bank/api > shop/web TCP 80',
      '{ apiVersion: policy.networking.k8s.io/v1alpha1, kind: BaselineAdminNetworkPolicy, metadata: { name: default }, spec: { subject: { namespaces: {} }, ingress: [{ action: Deny, from: [{ namespaces: {} }] }] } }',
      '{ apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: { name: nowhere }, spec: { tier: admin, priority: 7, subject: { namespaces: {} }, ingress: [{ action: Accept, from: [{ namespaces: {} }] }] } }',
    );
    assert.match(text, /BaselineAdminNetworkPolicy\/default, asked last {2}\(/);
    assert.match(text, /ClusterNetworkPolicy\/nowhere, asked first {2}\(/);
  });

  for (const { says, policy, reason } of [
    {
      says: 'a field that is unknown',
      policy: clusterPolicy({ at: 'A10' }).replace('subject:', 'bogus: 1, subject:'),
      reason: /a10, priority 10 .*\n +is invalid, so it accepts nothing, whatever is added to it: tollgate policy lint/,
    },
    {
      says: 'a tier that is unknown',
      policy: clusterPolicy({ at: 'A10', in: [`action: Deny, from: [${ns('bank')}]`] }).replace('Admin', 'Middle'),
      reason: /a10, asked first .*\n +is invalid, so it accepts nothing, whatever is added to it: tollgate policy lint/,
    },
    {
      says: 'a NetworkPolicy, whose selector is none',
      policy: networkPolicy('shop/all', 'ingress: [{}]').replace('podSelector: {}', 'podSelector: { matchLabels: 4 }'),
      reason: /shop\/all .*\n +is invalid, so it allows nothing, whatever is added to it: tollgate policy lint/,
    },
  ])
    test(`no rule is advised for a policy that heeds none: ${says}`, () => {
      const text = told('bank/api > shop/web TCP 8080', policy);
      assert.match(text, reason);
      assert.doesNotMatch(text, /What would let it pass/);
    });

  test('a rule that denies everything because it is invalid', () => {
    const text = told(
      'bank/api > shop/web TCP 8080',
      clusterPolicy({ at: 'A10', in: ['action: Deny, from: [{ wat: {} }]'] }),
    );
    assert.match(
      text,
      /Deny from anybody, any port: what it says is invalid, so this rule denies everything, and it ends/,
    );
    assert.match(text, /\* Add before ClusterNetworkPolicy\/a10 ingress\[0]:/);
  });

  const full = [
    ...Array(24).fill('action: Accept, from: [{ namespaces: { matchLabels: { no: one } } }]'),
    `action: Deny, from: [${ns('bank')}]`,
  ];
  for (const [what, more, says] of [
    [
      'a policy with all the rules that the API takes',
      [clusterPolicy({ at: 'A10', in: full })],
      /\* Add to a ClusterNetworkPolicy of tier Admin for the same pods, of a priority below 10, since the API takes no more than 25 rules of ClusterNetworkPolicy\/a10:\n +- action: Accept/,
    ],
    [
      'one that has room for another',
      [clusterPolicy({ at: 'A10', in: full.slice(1) })],
      /\* Add before ClusterNetworkPolicy\/a10/,
    ],
    [
      'one that is full, and before which none can be',
      [clusterPolicy({ at: 'A0', in: full })],
      /^(?![\s\S]*What would let it pass)/,
    ],
  ] as const)
    test(`what would let pass what is denied by ${what}`, () => {
      assert.match(told('bank/api > shop/web TCP 8080', ...more), says);
    });

  test('both families at once: what lets both pass names the addresses of both', () => {
    const { world } = clusterWorld(
      '{ apiVersion: v1, kind: Pod, metadata: { namespace: bank, name: dual }, spec: { nodeName: n2, hostNetwork: true, containers: [] }, status: { podIPs: [{ ip: 192.0.2.12 }, { ip: "2001:db8::12" }] } }',
      clusterPolicy({ at: 'A10', out: ['action: Deny, to: [{ networks: [0.0.0.0/0, "::/0"] }]'] }),
    );
    const flow = flowOf(world, 'shop/web > bank/dual TCP 80');
    const text = walkthroughsText(([4, 6] as const).map(family => walk(world, { ...flow, family })));
    assert.match(text, /IPv4 and IPv6: denied/);
    const rule = (network: string) => `- action: Accept\n +to:\n +- networks:\n +- ${network}\n(?: .*\n)*? +number: 80`;
    assert.match(text, new RegExp(`egress\\[0]:\n +${rule('192.0.2.12/32')}\n +${rule('2001:db8::12/128')}`));
  });
});

test('cluster policies that are written as manifests are read as the same', () => {
  fc.assert(
    fc.property(manifests({ clusterPolicies: 6 }), list => {
      const policies = worldFrom(list).clusterPolicies!;
      const { world } = readManifests(documentsOf(policies.map(clusterPolicyManifest)));
      const once = ({ ports, ...rule }: ClusterRule) => ({
        ...rule,
        ports: ports === 'any' ? ports : [...new Set(ports.map(port => JSON.stringify(port)))],
      });
      // A name that stands twice in a list means what it means once.
      const plain = ({ source: _, ingress, egress, ...policy }: ClusterPolicy) => ({
        ...policy,
        ingress: ingress.map(once),
        egress: egress.map(once),
      });
      assert.deepEqual(world.clusterPolicies!.map(plain), policies.map(plain));
    }),
    { numRuns: 300 },
  );
});
