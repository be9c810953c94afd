/** Cluster policies from manifests: what is read, what is wrong, and what an invalid part comes to. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { formatAddress, rangeOf } from '../../../lib/ip/address.ts';
import { peerText, portText } from '../../../lib/policy/explain/mismatch.ts';
import { clusterPolicyManifest } from '../../../lib/policy/manifest/cluster-manifest-of.ts';
import { readManifests } from '../../../lib/policy/manifest/manifest.ts';
import { readYaml } from '../../../lib/policy/manifest/yaml.ts';
import { type ClusterPolicy, type ClusterRule, FIRST, LAST } from '../../../lib/policy/model/cluster-policy.ts';
import type { BlockPeer } from '../../../lib/policy/model/model.ts';
import type { Problem } from '../../../lib/policy/model/problem.ts';
import { podPeerText } from '../../../lib/policy/model/selector.ts';

interface Read {
  readonly policy: ClusterPolicy;
  readonly problems: readonly Problem[];
}

const head = {
  ClusterNetworkPolicy: 'policy.networking.k8s.io/v1alpha2',
  AdminNetworkPolicy: 'policy.networking.k8s.io/v1alpha1',
  BaselineAdminNetworkPolicy: 'policy.networking.k8s.io/v1alpha1',
} as const;

function read(
  spec: string,
  kind: ClusterPolicy['kind'] = 'ClusterNetworkPolicy',
  apiVersion: string = head[kind],
): Read {
  const text = `{ apiVersion: ${apiVersion}, kind: ${kind}, metadata: { name: x }${spec === '' ? '' : `, spec: ${spec}`} }`;
  const { documents, problems: syntax } = readYaml(text, 'x.yaml');
  assert.deepEqual(syntax, []);
  const { world, problems } = readManifests(documents);
  assert.equal(world.clusterPolicies?.length, 1, text);
  return { policy: world.clusterPolicies![0]!, problems };
}

/** `Deny pods app=web in all namespaces on TCP 80` */
const said = ({ action, peers, ports }: ClusterRule): string => {
  const whom = peers === 'any' ? 'everybody' : peers.length === 0 ? 'nobody' : peers.map(peerText).join(' or ');
  return `${action} ${whom}${ports === 'any' ? '' : ` on ${ports.map(portText).join(' or ') || 'nothing'}`}`;
};

const told = (problems: readonly Problem[]): readonly string[] =>
  problems.map(({ severity, field, message }) => `${severity} ${field}: ${message}`);

const spec = (rules: string): string =>
  `{ tier: Admin, priority: 10, subject: { namespaces: { matchLabels: { team: shop } } }, ${rules} }`;

const egress = (rule: string): string => spec(`egress: [{ ${rule} }]`);
const ingress = (rule: string): string => spec(`ingress: [{ ${rule} }]`);

suite('a valid policy is read as it stands', () => {
  test('tier, priority, subject, rules in their order, names of rules', () => {
    const { policy, problems } = read(
      spec(`ingress: [
        { name: first, action: Accept, from: [{ namespaces: {} }], protocols: [{ tcp: { destinationPort: { number: 80 } } }] },
        { action: Pass, from: [{ pods: { podSelector: { matchLabels: { app: web } } } }] }
      ], egress: [
        { action: Deny, to: [{ networks: ["10.0.0.0/8", "fd00::/8"] }, { nodes: { matchLabels: { role: db } } }] }
      ]`),
    );
    assert.deepEqual(told(problems), []);
    assert.deepEqual(
      [policy.tier, policy.priority, podPeerText(policy.subject)],
      ['Admin', 10, 'all pods in namespaces team=shop'],
    );
    assert.deepEqual(policy.ingress.map(said), [
      'Accept all pods in all namespaces on TCP 80',
      'Pass pods app=web in all namespaces',
    ]);
    assert.deepEqual(
      policy.ingress.map(({ name }) => name),
      ['first', undefined],
    );
    assert.deepEqual(policy.egress.map(said), ['Deny 10.0.0.0/8 or fd00::/8 or nodes role=db']);
  });

  test('each protocol, number, range, and a port by name, whatever its protocol', () => {
    const { policy, problems } = read(
      egress(`action: Deny, to: [{ namespaces: {} }], protocols: [
        { tcp: { destinationPort: { number: 80 } } }, { udp: { destinationPort: { range: { start: 53, end: 54 } } } },
        { sctp: { destinationPort: { number: 9 } } }, { destinationNamedPort: http }]`),
    );
    assert.deepEqual(told(problems), []);
    assert.deepEqual(policy.egress.map(said), [
      'Deny all pods in all namespaces on TCP 80 or UDP 53-54 or SCTP 9 or TCP http or UDP http or SCTP http',
    ]);
  });

  test('a network with host bits means its network, and is told, since the API refuses it from v0.3.0 on', () => {
    const { policy, problems } = read(egress('action: Deny, to: [{ networks: ["10.1.2.3/8"] }]'));
    assert.match(told(problems).join(), /^warning spec\.egress\[0]\.to\[0]\.networks\[0]: .*: write 10\.0\.0\.0\/8$/);
    const [peer] = policy.egress[0]!.peers as readonly BlockPeer[];
    assert.equal(formatAddress({ ...rangeOf(peer!.cidr), value: rangeOf(peer!.cidr).first }), '10.0.0.0');
  });

  test('what stands in one list twice means what it means once, and is told, since the API refuses it', () => {
    const { policy, problems } = read(
      egress('action: Accept, to: [{ networks: [10.0.0.0/8, "::/0", 10.0.0.0/8] }, { networks: [10.0.0.0/8] }]'),
    );
    assert.deepEqual(told(problems), [
      'warning spec.egress[0].to[0].networks[2]: "10.0.0.0/8" stands here twice, which API servers refuse: take it out',
    ]);
    assert.deepEqual(policy.egress.map(said), ['Accept 10.0.0.0/8 or ::/0 or 10.0.0.0/8 or 10.0.0.0/8']);
    const { documents } = readYaml(JSON.stringify(clusterPolicyManifest(policy)), 'x.json');
    assert.deepEqual(told(readManifests(documents).problems), [], 'nor is it told again of what the API has');
  });

  test('all of a protocol is 1 to 65535, with a hint that the API wants it written so', () => {
    const { policy, problems } = read(egress('action: Deny, to: [{ namespaces: {} }], protocols: [{ tcp: {} }]'));
    assert.match(told(problems).join(), /^warning spec\.egress\[0]\.protocols\[0]\.tcp: Every port/);
    assert.deepEqual(policy.egress.map(said), ['Deny all pods in all namespaces on TCP 1-65535']);
  });

  test('a port by name beside networks is told, and stands', () => {
    const { policy, problems } = read(
      egress('action: Accept, to: [{ networks: ["10.0.0.0/8"] }], protocols: [{ destinationNamedPort: http }]'),
    );
    assert.match(
      told(problems).join(),
      /^warning spec\.egress\[0]\.protocols: A port by name beside peers that are no pods/,
    );
    assert.deepEqual(policy.egress.map(said), ['Accept 10.0.0.0/8 on TCP http or UDP http or SCTP http']);
  });

  test('domain names are lower case and without the last dot, and match nothing yet', () => {
    const { policy, problems } = read(
      egress('action: Accept, to: [{ domainNames: ["API.Example.com.", "*.example.org"] }]'),
    );
    assert.match(told(problems).join(), /^warning .*domainNames: Nothing is known of domain names/);
    assert.deepEqual(policy.egress.map(said), ['Accept api.example.com, *.example.org']);
  });

  test('domain names of a rule that denies close it, and that alone is said', () => {
    const { problems } = read(egress('action: Deny, to: [{ domainNames: ["example.com"] }]'));
    assert.equal(problems.length, 1);
    assert.match(told(problems).join(), /^error spec\.egress\[0]\.to: .* so the rule denies everything/);
  });

  test('a policy without rules does nothing', () => {
    const { policy, problems } = read(spec('ingress: []'));
    assert.deepEqual([told(problems), policy.ingress, policy.egress], [[], [], []]);
  });
});

suite('the policies of v1alpha1 are the same model', () => {
  const rules = `ingress: [{ name: one, action: Allow, from: [{ pods: { namespaceSelector: {}, podSelector: {} } }], ports: [
      { portNumber: { port: 80 } }, { portRange: { protocol: UDP, start: 53, end: 53 } }, { namedPort: http }] }],
    egress: [{ action: Deny, to: [{ nodes: {} }, { networks: ["0.0.0.0/0"] }] }]`;
  const rulesSaid = [
    'Accept all pods in all namespaces on TCP 80 or UDP 53 or TCP http or UDP http or SCTP http',
    'Deny all nodes or 0.0.0.0/0',
  ];

  test('AdminNetworkPolicy is of tier Admin', () => {
    const { policy, problems } = read(`{ priority: 0, subject: { namespaces: {} }, ${rules} }`, 'AdminNetworkPolicy');
    assert.deepEqual(told(problems), []);
    assert.deepEqual([policy.tier, policy.priority], ['Admin', 0]);
    assert.deepEqual([...policy.ingress, ...policy.egress].map(said), rulesSaid);
  });

  test('BaselineAdminNetworkPolicy is of tier Baseline, after all others', () => {
    const { policy, problems } = read(`{ subject: { namespaces: {} }, ${rules} }`, 'BaselineAdminNetworkPolicy');
    assert.deepEqual(told(problems), []);
    assert.deepEqual([policy.tier, policy.priority], ['Baseline', LAST]);
    assert.deepEqual([...policy.ingress, ...policy.egress].map(said), rulesSaid);
  });

  const spellings: readonly (readonly [string, ClusterPolicy['kind'], string, RegExp])[] = [
    [
      'Accept',
      'AdminNetworkPolicy',
      'action: Accept, from: [{ namespaces: {} }]',
      /"Accept" is no action.*write Allow/,
    ],
    [
      'Allow',
      'ClusterNetworkPolicy',
      'action: Allow, from: [{ namespaces: {} }]',
      /"Allow" is no action.*write Accept/,
    ],
    [
      'Pass in the baseline',
      'BaselineAdminNetworkPolicy',
      'action: Pass, from: [{ namespaces: {} }]',
      /"Pass" is no action.*write Allow, Deny/,
    ],
    ['protocols', 'AdminNetworkPolicy', 'action: Deny, from: [{ namespaces: {} }], protocols: []', /write ports/],
    ['ports', 'ClusterNetworkPolicy', 'action: Deny, from: [{ namespaces: {} }], ports: []', /write protocols/],
    [
      'namedPort',
      'ClusterNetworkPolicy',
      'action: Deny, from: [{ namespaces: {} }], protocols: [{ namedPort: http }]',
      /write destinationNamedPort/,
    ],
    [
      'port',
      'ClusterNetworkPolicy',
      'action: Deny, from: [{ namespaces: {} }], protocols: [{ tcp: { port: 80 } }]',
      /write destinationPort: \{number: 80}/,
    ],
    [
      'namespaceSelector in namespaces',
      'ClusterNetworkPolicy',
      'action: Deny, from: [{ namespaces: { namespaceSelector: {} } }]',
      /namespaceSelector is an old spelling/,
    ],
  ];
  for (const [what, kind, rule, says] of spellings)
    test(`${what} in a ${kind} is another version's spelling, which is said`, () => {
      const place = kind === 'BaselineAdminNetworkPolicy' ? '' : 'priority: 1, ';
      const tier = kind === 'ClusterNetworkPolicy' ? 'tier: Admin, ' : '';
      const { policy, problems } = read(`{ ${tier}${place}subject: { namespaces: {} }, ingress: [{ ${rule} }] }`, kind);
      assert.match(told(problems).join('; '), says);
      assert.equal(policy.ingress[0]!.action, 'Deny');
    });
});

suite('a rule of which a part is invalid fails closed', () => {
  const peers = 'namespaces: {}';
  const broken: readonly (readonly [string, (action: string) => string, string])[] = [
    ['a peer that says nothing', a => ingress(`action: ${a}, from: [{ ${peers} }, {}]`), 'spec.ingress[0].from[1]'],
    [
      'a peer of an unknown kind',
      a => ingress(`action: ${a}, from: [{ serviceAccounts: {} }]`),
      'spec.ingress[0].from[0].serviceAccounts',
    ],
    [
      'two kinds in one peer',
      a => ingress(`action: ${a}, from: [{ ${peers}, pods: { podSelector: {} } }]`),
      'spec.ingress[0].from[0]',
    ],
    ['no peers', a => ingress(`action: ${a}, from: []`), 'spec.ingress[0].from'],
    ['no list of peers', a => ingress(`action: ${a}`), 'spec.ingress[0].from'],
    [
      'networks on the way in',
      a => ingress(`action: ${a}, from: [{ networks: ["10.0.0.0/8"] }]`),
      'spec.ingress[0].from[0].networks',
    ],
    [
      'an invalid network',
      a => egress(`action: ${a}, to: [{ networks: ["10.0.0.0/33"] }]`),
      'spec.egress[0].to[0].networks[0]',
    ],
    [
      'an invalid operator',
      a =>
        ingress(`action: ${a}, from: [{ namespaces: { matchExpressions: [{ key: a, operator: in, values: [b] }] } }]`),
      'spec.ingress[0].from[0].namespaces.matchExpressions[0].operator',
    ],
    [
      'pods without a podSelector',
      a => ingress(`action: ${a}, from: [{ pods: { namespaceSelector: {} } }]`),
      'spec.ingress[0].from[0].pods.podSelector',
    ],
    [
      'a protocol that says nothing',
      a => ingress(`action: ${a}, from: [{ ${peers} }], protocols: [{}]`),
      'spec.ingress[0].protocols[0]',
    ],
    [
      'an unknown protocol',
      a => ingress(`action: ${a}, from: [{ ${peers} }], protocols: [{ icmp: {} }]`),
      'spec.ingress[0].protocols[0].icmp',
    ],
    [
      'an empty list of protocols',
      a => ingress(`action: ${a}, from: [{ ${peers} }], protocols: []`),
      'spec.ingress[0].protocols',
    ],
    [
      'a range whose ends are equal',
      a =>
        ingress(
          `action: ${a}, from: [{ ${peers} }], protocols: [{ tcp: { destinationPort: { range: { start: 8, end: 8 } } } }]`,
        ),
      'spec.ingress[0].protocols[0].tcp.destinationPort.range',
    ],
    [
      'a range that ends before it starts',
      a =>
        ingress(
          `action: ${a}, from: [{ ${peers} }], protocols: [{ tcp: { destinationPort: { range: { start: 9, end: 8 } } } }]`,
        ),
      'spec.ingress[0].protocols[0].tcp.destinationPort.range',
    ],
    [
      'port 0',
      a => ingress(`action: ${a}, from: [{ ${peers} }], protocols: [{ udp: { destinationPort: { number: 0 } } }]`),
      'spec.ingress[0].protocols[0].udp.destinationPort.number',
    ],
    [
      'a misspelt field',
      a => ingress(`action: ${a}, from: [{ ${peers} }], protocol: [{ tcp: {} }]`),
      'spec.ingress[0].protocol',
    ],
    [
      'a domain of one label',
      a => egress(`action: ${a}, to: [{ domainNames: ["localhost"] }]`),
      'spec.egress[0].to[0].domainNames[0]',
    ],
  ];
  for (const [what, specOf, field] of broken) {
    for (const action of ['Deny', 'Pass'])
      test(`${what}: ${action} denies everything`, () => {
        const { policy, problems } = read(specOf(action));
        assert.deepEqual(
          problems.filter(({ severity }) => severity === 'error').map(each => each.field),
          [field],
        );
        assert.deepEqual([...policy.ingress, ...policy.egress].map(said), ['Deny everybody']);
      });
    test(`${what}: Accept matches nothing`, () => {
      const { policy, problems } = read(specOf('Accept'));
      assert.deepEqual(
        problems.filter(({ severity }) => severity === 'error').map(each => each.field),
        [field],
      );
      assert.deepEqual([...policy.ingress, ...policy.egress].map(said), ['Accept nobody on nothing']);
    });
  }

  test('domainNames are for Accept alone', () => {
    const { policy, problems } = read(egress('action: Deny, to: [{ domainNames: ["example.com"] }]'));
    assert.match(told(problems).join(), /error spec\.egress\[0]\.to: domainNames are for rules that accept/);
    assert.deepEqual(policy.egress.map(said), ['Deny everybody']);
  });

  for (const action of ['Drop', 'accept', '""'])
    test(`an unknown action, ${action}, denies what its rule matches`, () => {
      const { policy, problems } = read(ingress(`action: ${action}, from: [{ namespaces: {} }]`));
      assert.match(told(problems).join(), /error spec\.ingress\[0]\.action: .* is no action, so the rule denies/);
      assert.deepEqual(policy.ingress.map(said), ['Deny all pods in all namespaces']);
    });
});

suite('a policy of which a part is invalid fails closed', () => {
  const rules = `ingress: [
    { action: Accept, from: [{ namespaces: {} }] },
    { action: Pass, from: [{ namespaces: { matchLabels: { a: b } } }] },
    { action: Deny, from: [{ namespaces: { matchLabels: { c: d } } }] }]`;
  const onlyDenied = ['Accept nobody on nothing', 'Deny all pods in namespaces a=b', 'Deny all pods in namespaces c=d'];
  const subject = 'subject: { namespaces: { matchLabels: { team: shop } } }';
  const misplaced: readonly (readonly [string, string, string, readonly [string, number, string]])[] = [
    [
      'an unknown tier',
      `{ tier: Middle, priority: 5, ${subject}, ${rules} }`,
      'spec.tier',
      ['Admin', FIRST, 'all pods in namespaces team=shop'],
    ],
    [
      'no tier',
      `{ priority: 5, ${subject}, ${rules} }`,
      'spec.tier',
      ['Admin', FIRST, 'all pods in namespaces team=shop'],
    ],
    [
      'a priority beyond 1000',
      `{ tier: Baseline, priority: 1001, ${subject}, ${rules} }`,
      'spec.priority',
      ['Baseline', FIRST, 'all pods in namespaces team=shop'],
    ],
    [
      'a priority in quotes',
      `{ tier: Baseline, priority: "5", ${subject}, ${rules} }`,
      'spec.priority',
      ['Baseline', FIRST, 'all pods in namespaces team=shop'],
    ],
    [
      'no subject',
      `{ tier: Baseline, priority: 5, ${rules} }`,
      'spec.subject',
      ['Baseline', 5, 'all pods in all namespaces'],
    ],
    [
      'a subject that says nothing',
      `{ tier: Admin, priority: 5, subject: {}, ${rules} }`,
      'spec.subject',
      ['Admin', 5, 'all pods in all namespaces'],
    ],
  ];
  for (const [what, text, field, place] of misplaced)
    test(`${what}: it accepts nothing, and denies what it matches, for whomever it may be meant`, () => {
      const { policy, problems } = read(text);
      assert.deepEqual(
        problems.map(each => each.field),
        [field],
      );
      assert.deepEqual([policy.tier, policy.priority, podPeerText(policy.subject)], place);
      assert.deepEqual(policy.ingress.map(said), onlyDenied);
      assert.deepEqual(policy.egress, []);
    });

  test('a version that is not known: its Accept rules match nothing', () => {
    const { policy, problems } = read(spec(rules), 'ClusterNetworkPolicy', 'policy.networking.k8s.io/v1');
    assert.deepEqual(
      problems.map(each => each.field),
      ['apiVersion'],
    );
    assert.deepEqual(policy.ingress.map(said), onlyDenied);
  });

  const closing: readonly (readonly [string, string, string])[] = [
    ['a misspelt list of rules', spec('ingres: [{ action: Deny, from: [{ namespaces: {} }] }]'), 'spec.ingres'],
    ['rules that are no list', spec('ingress: { action: Deny }'), 'spec.ingress'],
    ['no spec', '', 'spec'],
  ];
  for (const [what, text, field] of closing)
    test(`${what}: its subject is denied everything, both ways`, () => {
      const { policy, problems } = read(text);
      assert.deepEqual(
        problems.map(each => each.field),
        [field],
      );
      assert.deepEqual(
        [policy.ingress, policy.egress].map(list => list.map(said)),
        [['Deny everybody'], ['Deny everybody']],
      );
    });

  test('more entries than a policy may have: its subject is denied everything, both ways', () => {
    const rule = {
      action: 'Deny',
      to: Array.from({ length: 2_001 }, () => ({ networks: Array.from({ length: 25 }, () => '10.0.0.0/8') })),
    };
    const { policy, problems } = read(spec(`egress: [${JSON.stringify(rule)}]`));
    assert.match(told(problems).join(), /^error spec: More than 50000 entries/);
    assert.equal(policy.isBeyondBudget, true);
    assert.deepEqual(policy.ingress.map(said), ['Deny everybody']);
  });

  test('the largest policy that the API takes is within what a policy may be', () => {
    const network = Array.from({ length: 25 }, () => ({
      networks: Array.from({ length: 25 }, (_, i) => `10.${i}.0.0/16`),
    }));
    const ports = Array.from({ length: 25 }, (_, i) => ({ tcp: { destinationPort: { number: i + 1 } } }));
    const pods = Array.from({ length: 25 }, () => ({
      pods: { namespaceSelector: { matchLabels: { a: 'b' } }, podSelector: {} },
    }));
    const rules = {
      egress: Array.from({ length: 25 }, () => ({ action: 'Deny', to: network, protocols: ports })),
      ingress: Array.from({ length: 25 }, () => ({ action: 'Deny', from: pods, protocols: ports })),
    };
    const { policy, problems } = read(spec(JSON.stringify(rules).slice(1, -1)));
    assert.deepEqual(told(problems), []);
    assert.equal(policy.isBeyondBudget, undefined);
    assert.deepEqual([policy.ingress.length, policy.egress.length], [25, 25]);
  });

  test('more rules or peers than the API takes are told, and count', () => {
    const rule = '{ action: Deny, from: [{ namespaces: {} }] }';
    const { policy, problems } = read(spec(`ingress: [${Array.from({ length: 26 }, () => rule).join()}]`));
    assert.match(told(problems).join(), /^error spec\.ingress: 26 rules, and the API takes 25/);
    assert.equal(policy.ingress.length, 26);
  });
});

suite('staged policies stand apart', () => {
  const worldFor = (metadata: string) => {
    const meta = (name: string) => `metadata: { name: ${name}, ${metadata} }`;
    const text = `{ apiVersion: ${head.ClusterNetworkPolicy}, kind: ClusterNetworkPolicy, ${meta('x')}, spec: ${spec('ingress: []')} }
---
{ apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, ${meta('z')}, spec: { podSelector: {} } }`;
    return readManifests(readYaml(text, 'x.yaml').documents);
  };
  const worldOf = (annotation: string) => worldFor(`annotations: { tollgate.dev/staged: ${annotation} }`);

  test('they are none of the policies in force', () => {
    const { world, problems } = worldOf('"true"');
    assert.deepEqual([told(problems), world.policies, world.clusterPolicies], [[], [], []]);
    assert.deepEqual(
      world.staged?.policies.map(({ name }) => name),
      ['z'],
    );
    assert.deepEqual(
      world.staged?.clusterPolicies.map(({ name }) => name),
      ['x'],
    );
  });

  test('"false" stages nothing', () => {
    const { world, problems } = worldOf('"false"');
    assert.deepEqual([told(problems), world.staged], [[], undefined]);
    assert.deepEqual([world.policies.length, world.clusterPolicies?.length], [1, 1]);
  });

  test('what is neither is an error, and the policy in force', () => {
    const { world, problems } = worldOf('"yes"');
    const messages = problems.flatMap(({ field, message }) =>
      field === 'metadata.annotations.tollgate.dev/staged' ? [message] : [],
    );
    const said = '"yes" is neither "true" nor "false", so the policy is enforced: write "true" or "false", in quotes';
    assert.deepEqual(messages, [said, said]);
    assert.deepEqual([world.policies.length, world.clusterPolicies?.length], [1, 1]);
  });

  for (const metadata of [
    'annotations: { tollgate.dev/stagd: "true" }',
    'annotations: { tollgate/staged: "true" }',
    'labels: { tollgate.dev/staged: "true" }',
  ])
    test(`${metadata} is a warning, and the policy in force`, () => {
      const { world, problems } = worldFor(metadata);
      assert.deepEqual(
        problems.map(({ severity, message }) => [severity, message.includes('tollgate.dev/staged: "true" stages it')]),
        [
          ['warning', true],
          ['warning', true],
        ],
      );
      assert.deepEqual([world.policies.length, world.clusterPolicies?.length], [1, 1]);
    });

  test('true without quotes is an error, and staged', () => {
    const { world, problems } = worldOf('true');
    assert.equal(problems.length, 2);
    assert.deepEqual([world.policies, world.clusterPolicies], [[], []]);
  });
});

suite('the way back to manifests', () => {
  const policies: readonly (readonly [string, ClusterPolicy['kind'], string])[] = [
    [
      'all of v1alpha2',
      'ClusterNetworkPolicy',
      spec(`ingress: [
      { name: n, action: Accept, from: [{ namespaces: { matchLabels: { a: b } } }, { pods: { podSelector: {} } }], protocols: [
        { tcp: { destinationPort: { range: { start: 1, end: 9 } } } }, { destinationNamedPort: http }] },
      { action: Deny, from: [{}] }, { action: Accept, from: [{}] }],
      egress: [{ action: Accept, to: [{ networks: ["10.0.0.0/8", "fd00::/8"] }, { nodes: {} }, { domainNames: ["*.example.com"] }] }]`),
    ],
    [
      'all of v1alpha1',
      'AdminNetworkPolicy',
      `{ priority: 3, subject: { pods: { namespaceSelector: {}, podSelector: { matchLabels: { app: web } } } }, ingress: [
      { action: Allow, from: [{ namespaces: {} }], ports: [{ portNumber: { port: 80 } }, { namedPort: http }, { portRange: { protocol: UDP, start: 1, end: 2 } }] }] }`,
    ],
    [
      'the baseline',
      'BaselineAdminNetworkPolicy',
      '{ subject: { namespaces: {} }, egress: [{ action: Deny, to: [{ networks: ["0.0.0.0/0"] }] }] }',
    ],
    [
      'one whose tier is unknown',
      'ClusterNetworkPolicy',
      '{ tier: X, priority: 1, subject: { namespaces: {} }, ingress: [{ action: Pass, from: [{ namespaces: {} }] }, { action: Accept, from: [{ namespaces: {} }] }] }',
    ],
  ];
  for (const [what, kind, text] of policies)
    test(`${what} is read as the same policy`, () => {
      const { policy } = read(text, kind);
      const again = readManifests([{ file: 'x.yaml', document: 0, value: clusterPolicyManifest(policy) }]);
      assert.deepEqual(again.world.clusterPolicies, [policy]);
    });
});
