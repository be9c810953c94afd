import assert from 'node:assert/strict';
import test from 'node:test';
import { formatProblem, lint } from '../lib/policy/lint.ts';
import { readManifests } from '../lib/policy/manifest.ts';
import { readYaml } from '../lib/policy/yaml.ts';
import { caseOf, holds, passesIn, worldOfYaml } from './policy-cases.ts';

const external = '203.0.113.9';
const good = 'podSelector: { matchLabels: { app: q } }';

interface Fault {
  readonly says: string;
  readonly text: string;
  /** Path below the peer, port or rule; empty for itself. */
  readonly field?: string;
}

const peerFaults: readonly Fault[] = [
  { says: 'no field', text: '{}' },
  { says: 'nothing', text: 'null' },
  { says: 'null selectors', text: '{ podSelector: null }' },
  { says: 'a text', text: '"everybody"' },
  { says: 'an unknown field', text: '{ podSelectors: {} }', field: '.podSelectors' },
  { says: 'an unknown field beside a good one', text: '{ podSelector: {}, namespaces: {} }', field: '.namespaces' },
  { says: 'ipBlock beside a selector', text: '{ ipBlock: { cidr: 0.0.0.0/0 }, podSelector: {} }' },
  { says: 'a block without cidr', text: '{ ipBlock: {} }', field: '.ipBlock.cidr' },
  { says: 'a cidr that is an address', text: '{ ipBlock: { cidr: 10.0.0.2 } }', field: '.ipBlock.cidr' },
  { says: 'a cidr with leading zeros', text: '{ ipBlock: { cidr: 010.0.0.0/8 } }', field: '.ipBlock.cidr' },
  { says: 'a cidr that is too long', text: '{ ipBlock: { cidr: 10.0.0.0/33 } }', field: '.ipBlock.cidr' },
  {
    says: 'a hole that is no cidr',
    text: '{ ipBlock: { cidr: 0.0.0.0/0, except: [x] } }',
    field: '.ipBlock.except[0]',
  },
  {
    says: 'a hole outside',
    text: '{ ipBlock: { cidr: 10.0.0.0/8, except: [11.0.0.0/16] } }',
    field: '.ipBlock.except[0]',
  },
  {
    says: 'a hole as large',
    text: '{ ipBlock: { cidr: 10.0.0.0/8, except: [10.0.0.0/8] } }',
    field: '.ipBlock.except[0]',
  },
  {
    says: 'a hole of the other family',
    text: '{ ipBlock: { cidr: 0.0.0.0/0, except: ["fd00::/8"] } }',
    field: '.ipBlock.except[0]',
  },
  {
    says: 'holes that are no list',
    text: '{ ipBlock: { cidr: 0.0.0.0/0, except: 10.0.0.0/8 } }',
    field: '.ipBlock.except',
  },
  { says: 'a misspelt hole', text: '{ ipBlock: { cidr: 0.0.0.0/0, exept: [10.0.0.0/8] } }', field: '.ipBlock.exept' },
  { says: 'labels in place of a selector', text: '{ podSelector: { app: q } }', field: '.podSelector' },
  {
    says: 'a misspelt selector',
    text: '{ podSelector: { matchLabel: { app: q } } }',
    field: '.podSelector.matchLabel',
  },
  { says: 'a selector that is a list', text: '{ podSelector: [] }', field: '.podSelector' },
  {
    says: 'matchLabels that are a list',
    text: '{ podSelector: { matchLabels: [app] } }',
    field: '.podSelector.matchLabels',
  },
  {
    says: 'a label that is a number',
    text: '{ podSelector: { matchLabels: { app: 1 } } }',
    field: '.podSelector.matchLabels.app',
  },
  {
    says: 'a label that YAML reads as a flag',
    text: '{ podSelector: { matchLabels: { app: no } } }',
    field: '.podSelector.matchLabels.app',
  },
  {
    says: 'a label value with a space',
    text: '{ podSelector: { matchLabels: { app: "a b" } } }',
    field: '.podSelector.matchLabels.app',
  },
  {
    says: 'a label key with a space',
    text: '{ podSelector: { matchLabels: { "a b": c } } }',
    field: '.podSelector.matchLabels.a b',
  },
  {
    says: 'an unknown operator',
    text: '{ podSelector: { matchExpressions: [{ key: app, operator: Equals, values: [q] }] } }',
    field: '.podSelector.matchExpressions[0].operator',
  },
  {
    says: 'In without values',
    text: '{ podSelector: { matchExpressions: [{ key: app, operator: In, values: [] }] } }',
    field: '.podSelector.matchExpressions[0].values',
  },
  {
    says: 'NotIn without values',
    text: '{ podSelector: { matchExpressions: [{ key: app, operator: NotIn }] } }',
    field: '.podSelector.matchExpressions[0].values',
  },
  {
    says: 'Exists with values',
    text: '{ podSelector: { matchExpressions: [{ key: app, operator: Exists, values: [q] }] } }',
    field: '.podSelector.matchExpressions[0].values',
  },
  {
    says: 'an expression without key',
    text: '{ podSelector: { matchExpressions: [{ operator: Exists }] } }',
    field: '.podSelector.matchExpressions[0].key',
  },
  {
    says: 'an invalid namespaceSelector beside a good podSelector',
    text: '{ podSelector: {}, namespaceSelector: { matchLabels: { team: 1 } } }',
    field: '.namespaceSelector.matchLabels.team',
  },
];

holds(
  'an invalid peer matches nothing',
  peerFaults.map(({ says, text, field = '' }) => ({
    says,
    policies: `ingress:\n- from:\n  - ${text}\n- from: [{ ${good} }]\n  ports: [{ port: 80 }]`,
    reports: [`spec.ingress[0].from[0]${field}`],
    allow: ['a/q > a/p TCP 80'],
    deny: [
      'a/q > a/p TCP 81',
      'a/r > a/p TCP 80',
      `${external} > a/p TCP 80`,
      'b/one > a/p TCP 80',
      'a/q > a/p TCP 81 v6',
    ],
  })),
);

const portFaults: readonly Fault[] = [
  { says: 'nothing', text: 'null' },
  { says: 'a number alone', text: '80' },
  { says: 'a number in quotes', text: '{ port: "80" }', field: '.port' },
  { says: 'port 0', text: '{ port: 0 }', field: '.port' },
  { says: 'port 65536', text: '{ port: 65536 }', field: '.port' },
  { says: 'half a port', text: '{ port: 80.5 }', field: '.port' },
  { says: 'a name that is none', text: '{ port: Http_Port }', field: '.port' },
  { says: 'an unknown protocol', text: '{ protocol: ICMP }', field: '.protocol' },
  { says: 'a protocol in small letters', text: '{ protocol: tcp, port: 80 }', field: '.protocol' },
  { says: 'endPort below port', text: '{ port: 80, endPort: 79 }', field: '.endPort' },
  { says: 'endPort that is too large', text: '{ port: 80, endPort: 65536 }', field: '.endPort' },
  { says: 'endPort without port', text: '{ endPort: 90 }', field: '.endPort' },
  { says: 'endPort after a name', text: '{ port: http, endPort: 90 }', field: '.endPort' },
  { says: 'an unknown field', text: '{ port: 80, endport: 90 }', field: '.endport' },
];

holds(
  'an invalid port matches nothing',
  portFaults.map(({ says, text, field = '' }) => ({
    says,
    policies: `ingress:\n- ports:\n  - ${text}\n- ports: [{ port: 7 }]`,
    reports: [`spec.ingress[0].ports[0]${field}`],
    allow: ['a/q > a/p TCP 7'],
    deny: ['a/q > a/p TCP 80', 'a/q > a/p UDP 80', 'a/q > a/p TCP 85', 'a/q > a/p other 0'],
  })),
);

const ruleFaults: readonly Fault[] = [
  { says: 'nothing', text: 'null' },
  { says: 'a text', text: 'all' },
  { says: 'a misspelt from', text: `{ form: [{ ${good} }] }`, field: '.form' },
  { says: 'to in an ingress rule', text: `{ to: [{ ${good} }] }`, field: '.to' },
  { says: 'peers that are no list', text: `{ from: { ${good} } }`, field: '.from' },
  { says: 'ports that are no list', text: '{ ports: { port: 80 } }', field: '.ports' },
];

holds(
  'an invalid rule allows nothing',
  ruleFaults.map(({ says, text, field = '' }) => ({
    says,
    policies: `ingress:\n- ${text}\n- ports: [{ port: 7 }]`,
    reports: [`spec.ingress[0]${field}`],
    allow: ['a/q > a/p TCP 7'],
    deny: ['a/q > a/p TCP 80', `${external} > a/p UDP 80`],
  })),
);

const everyPod = ['a/q > a/p TCP 80', 'b/one > a/r TCP 80'];
const everyPodOut = ['a/p > b/two TCP 80', 'a/r > b/two TCP 80'];

holds('an invalid policy is closed', [
  {
    says: 'an invalid subject closes the whole namespace where the policy isolates',
    policies: 'podSelector: { matchLabels: { app: 1 } }\ningress: [{}]',
    reports: ['spec.podSelector.matchLabels.app'],
    allow: everyPodOut,
    deny: everyPod,
  },
  {
    says: 'labels in place of the subject’s selector close the whole namespace',
    policies: 'podSelector: { app: p }\npolicyTypes: [Egress]\negress: [{}]',
    reports: ['spec.podSelector'],
    allow: ['b/one > a/r TCP 80'],
    deny: everyPodOut,
  },
  {
    says: 'an unknown policy type isolates both directions, rules and all',
    policies: 'policyTypes: [Ingres]\ningress: [{ ports: [{ port: 80 }] }]',
    reports: ['spec.policyTypes[0]'],
    allow: ['a/q > a/p TCP 80'],
    deny: ['a/q > a/p TCP 81', 'a/p > a/q TCP 80'],
  },
  {
    says: 'policyTypes that are no list isolate both directions',
    policies: 'policyTypes: Ingress',
    reports: ['spec.policyTypes'],
    deny: ['a/q > a/p TCP 80', 'a/p > a/q TCP 80'],
  },
  {
    says: 'a misspelt field of the spec isolates both directions',
    policies: 'polcyTypes: [Egress]',
    reports: ['spec.polcyTypes'],
    deny: ['a/q > a/p TCP 80', 'a/p > a/q TCP 80'],
  },
  {
    says: 'rules that are no list allow nothing',
    policies: 'ingress: { from: [] }\negress: { to: [] }',
    reports: ['spec.ingress', 'spec.egress'],
    deny: ['a/q > a/p TCP 80', 'a/p > a/q TCP 80'],
  },
  {
    says: 'what one policy has wrong does not keep another from allowing',
    policies: ['ingress: [null]', `ingress: [{ from: [{ ${good} }] }]`],
    reports: ['spec.ingress[0]'],
    allow: ['a/q > a/p TCP 80'],
    deny: ['a/r > a/p TCP 80'],
  },
]);

/** The cast with one more document. */
const withDocument = (text: string) => {
  const pods = ['p', 'q'].map(
    (name, i) => `{ apiVersion: v1, kind: Pod, metadata: { namespace: a, name: ${name}, labels: { app: ${name} } },
  spec: { nodeName: n1 }, status: { podIPs: [{ ip: 10.0.0.${i + 1} }] } }`,
  );
  return worldOfYaml([...pods, '{ apiVersion: v1, kind: Node, metadata: { name: n9 } }', text].join('\n---\n'));
};

const closings: readonly (readonly [string, string, string])[] = [
  ['no spec', 'apiVersion: networking.k8s.io/v1', 'spec'],
  ['a misspelt spec', 'apiVersion: networking.k8s.io/v1\nsepc: { podSelector: {} }', 'spec'],
  ['an unknown version', 'apiVersion: networking.k8s.io/v7\nspec: { podSelector: {}, ingress: [{}] }', 'apiVersion'],
  ['no version', 'spec: { podSelector: {}, ingress: [{}] }', 'apiVersion'],
  [
    'a field of the spec in the wrong place',
    'apiVersion: networking.k8s.io/v1\nspec: { podSelector: {} }\npolicyTypes: [Egress]',
    'policyTypes',
  ],
];

for (const [says, text, field] of closings)
  test(`a NetworkPolicy with ${says} closes its namespace, both ways, and is reported`, () => {
    const it = withDocument(`kind: NetworkPolicy\nmetadata: { namespace: a, name: x }\n${text}`);
    assert.deepEqual([...new Set(it.problems.map(problem => problem.field))], [field]);
    assert.equal(passesIn(it, 'a/q > a/p TCP 80'), false);
    assert.equal(passesIn(it, `a/p > ${external} TCP 80`), false);
    assert.equal(passesIn(it, `${external} > a/q TCP 80`), false);
  });

test('another project’s NetworkPolicy is left to that project, with a warning', () => {
  const it = withDocument('apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: { namespace: a, name: x }');
  assert.deepEqual(
    it.problems.map(({ severity, field }) => [severity, field]),
    [['warning', 'apiVersion']],
  );
  assert.equal(passesIn(it, 'a/q > a/p TCP 80'), true);
});

test('a missing podSelector selects every pod, as {} does, with a warning', () => {
  const it = withDocument(
    'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { namespace: a, name: x }\nspec: {}',
  );
  assert.deepEqual(
    it.problems.map(({ severity, field }) => [severity, field]),
    [['warning', 'spec.podSelector']],
  );
  assert.equal(passesIn(it, 'a/q > a/p TCP 80'), false);
});

const policy = (name: string, spec: string, namespace = 'namespace: a, ') =>
  `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { ${namespace}name: ${name} }\nspec: ${spec}`;

test('of two objects with one name the later one counts, and the earlier one’s place is told', () => {
  const it = withDocument(
    [policy('x', '{ podSelector: {} }'), policy('x', '{ podSelector: {}, ingress: [{}] }')].join('\n---\n'),
  );
  assert.equal(it.problems.length, 1);
  assert.match(
    formatProblem(it.problems[0]!),
    /^case\.yaml#5 NetworkPolicy\/a\/x metadata\.name: .*document 4 of case\.yaml/,
  );
  assert.equal(passesIn(it, 'a/q > a/p TCP 80'), true);
});

test('policies that lost their names replace nothing', () => {
  const it = withDocument(
    [
      policy('""', '{ podSelector: {} }'),
      policy('null', '{ podSelector: {}, ingress: [{ ports: [{ port: 80 }] }] }'),
    ].join('\n---\n'),
  );
  assert.deepEqual(
    it.problems.map(({ field }) => field),
    ['metadata.name', 'metadata.name'],
  );
  assert.equal(it.world.policies.length, 2);
  assert.equal(passesIn(it, 'a/q > a/p TCP 80'), true);
  assert.equal(passesIn(it, 'a/q > a/p TCP 81'), false);
});

test('a namespace that YAML took for a number is reported, and still that namespace', () => {
  const it = worldOfYaml(policy('x', '{ podSelector: {} }', 'namespace: 7, '));
  assert.deepEqual(
    it.problems.map(({ field }) => field),
    ['metadata.namespace'],
  );
  assert.equal(it.world.policies[0]!.namespace, '7');
});

test('an object without a namespace is in default', () => {
  assert.equal(worldOfYaml(policy('x', '{ podSelector: {} }', '')).world.policies[0]!.namespace, 'default');
});

test('Lists hold objects, with or without kinds of their own', () => {
  const list = `apiVersion: v1
kind: List
items:
- { apiVersion: v1, kind: Namespace, metadata: { name: a, labels: { team: red } } }
- ${JSON.stringify({ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name: 'x' }, spec: { podSelector: {}, ingress: [null] } })}
---
apiVersion: v1
kind: PodList
items:
- { metadata: { name: p }, status: { podIP: 10.0.0.1 } }
`;
  const it = worldOfYaml(list);
  assert.deepEqual(
    it.problems.map(({ document, object, field }) => [document, object, field]),
    [[0, 'NetworkPolicy/default/x', 'items[1].spec.ingress[0]']],
  );
  assert.deepEqual(
    it.world.pods.map(({ name, addresses }) => [name, addresses]),
    [['p', ['10.0.0.1']]],
  );
  assert.equal(it.world.namespaces.get('a')!.get('team'), 'red');
  assert.equal(it.world.namespaces.get('a')!.get('kubernetes.io/metadata.name'), 'a');
});

test('other kinds and empty documents are nobody’s business; what is no object is reported', () => {
  const it = worldOfYaml(
    '---\n---\n{ apiVersion: apps/v1, kind: Deployment, metadata: { name: x } }\n---\n- just\n- a list\n---\n{ metadata: { name: x } }',
  );
  assert.deepEqual(
    it.problems.map(({ field }) => field),
    ['', 'kind'],
  );
});

test('a manifest says every problem that it has, not the first', () => {
  const { problems } = caseOf('ingress: [{ form: [] }, { from: [{}], ports: [{ port: "80" }, { protocol: ICMP }] }]');
  assert.deepEqual(
    problems.map(({ field }) => field),
    [
      'spec.ingress[0].form',
      'spec.ingress[1].from[0]',
      'spec.ingress[1].ports[0].port',
      'spec.ingress[1].ports[1].protocol',
    ],
  );
  for (const { message } of problems) assert.match(message, /write/, message);
});

test('a pod’s named ports are those of its containers and sidecars, each name as often as it has numbers', () => {
  const { world, problems } = worldOfYaml(`
apiVersion: v1
kind: Pod
metadata: { name: p }
spec:
  initContainers:
  - { name: once, ports: [{ name: setup, containerPort: 1 }] }
  - { name: sidecar, restartPolicy: Always, ports: [{ name: proxy, containerPort: 2 }] }
  containers:
  - { name: one, ports: [{ name: http, containerPort: 80 }, { containerPort: 81 }] }
  - { name: two, ports: [{ name: http, containerPort: 8080 }, { name: http, containerPort: 80 }, { name: dns, containerPort: 53, protocol: UDP }] }`);
  assert.deepEqual(problems, []);
  assert.deepEqual(world.pods[0]!.namedPorts, [
    { name: 'proxy', port: 2, protocol: 'TCP' },
    { name: 'http', port: 80, protocol: 'TCP' },
    { name: 'http', port: 8080, protocol: 'TCP' },
    { name: 'dns', port: 53, protocol: 'UDP' },
  ]);
});

test('a pod’s addresses are podIPs and podIP, canonical and each once', () => {
  const { world, problems } = worldOfYaml(
    '{ apiVersion: v1, kind: Pod, metadata: { name: p }, status: { podIP: 10.0.0.1, podIPs: [{ ip: 10.0.0.1 }, { ip: "FD00:0::01" }, { ip: x }] } }',
  );
  assert.deepEqual(world.pods[0]!.addresses, ['10.0.0.1', 'fd00::1']);
  assert.deepEqual(
    problems.map(({ field }) => field),
    ['status.podIPs[2].ip'],
  );
});

for (const phase of ['Succeeded', 'Failed'])
  test(`a pod whose phase is ${phase} has finished`, () => {
    const { world } = worldOfYaml(`{ apiVersion: v1, kind: Pod, metadata: { name: p }, status: { phase: ${phase} } }`);
    assert.equal(world.pods[0]!.finished, true);
  });

test('invalid pod fields are reported, and left out', () => {
  const { world, problems } = worldOfYaml(`
apiVersion: v1
kind: Pod
metadata: { name: p, labels: { app: web, "a b": c, version: 1.0, env: "" } }
spec: { hostNetwork: "yes", containers: [{ ports: [{ name: UP, containerPort: 1 }, { name: ok, containerPort: "80" }, { name: ok, containerPort: 80, protocol: ICMP }] }] }`);
  assert.deepEqual(problems.map(({ field }) => field).sort(), [
    'metadata.labels.a b',
    'metadata.labels.version',
    'spec.containers[0].ports[0].name',
    'spec.containers[0].ports[1].containerPort',
    'spec.containers[0].ports[2].protocol',
    'spec.hostNetwork',
  ]);
  assert.deepEqual(
    [...world.pods[0]!.labels],
    [
      ['app', 'web'],
      ['env', ''],
    ],
  );
  assert.equal(world.pods[0]!.hostNetwork, false);
});

test('readYaml() gives no document of a file with a syntax error', () => {
  const { documents, problems } = readYaml('a: 1\n---\nb: [', 'x.yaml');
  assert.deepEqual(documents, []);
  assert.deepEqual(
    problems.map(({ file, document, severity }) => [file, document, severity]),
    [['x.yaml', 1, 'error']],
  );
});

test('readYaml() reports a key that is there twice', () => {
  assert.equal(readYaml('spec: 1\nspec: 2', 'x.yaml').problems.length, 1);
});

test('readYaml() stops at aliases that multiply without end', () => {
  const levels = ['a: &a [x, x, x, x, x, x, x, x, x, x]'];
  for (const [from, to] of ['ab', 'bc', 'cd', 'de', 'ef'])
    levels.push(`${to}: &${to} [${Array.from({ length: 10 }, () => `*${from}`).join(', ')}]`);
  assert.equal(readYaml(levels.join('\n'), 'x.yaml').problems.length, 1);
});

test('readYaml() reads YAML 1.1 as Kubernetes does, dates and sixties as texts', () => {
  const { documents } = readYaml('{ a: no, b: 2026-11-23, c: 1:30, d: 010, e: { <<: { f: 1 } } }', 'x.yaml');
  assert.deepEqual(documents[0]!.value, { a: false, b: '2026-11-23', c: '1:30', d: 8, e: { f: 1 } });
});

test('readYaml() reads JSON', () => {
  assert.deepEqual(readYaml('{"a":[1,null,"x"]}', 'x.json').documents, [
    { file: 'x.json', document: 0, value: { a: [1, null, 'x'] } },
  ]);
});

test('what YAML’s own tags make is no mapping that looks empty', () => {
  const it = withDocument(policy('x', '{ podSelector: {}, ingress: [{ from: [{ podSelector: !!set { app } }] }] }'));
  assert.deepEqual(
    it.problems.map(({ field }) => field),
    ['spec.ingress[0].from[0].podSelector'],
  );
  assert.equal(passesIn(it, 'a/q > a/p TCP 80'), false);
});

test('lint() tells errors, and warnings where it is asked to', () => {
  const { documents } = readYaml(`${policy('x', '{ ingress: [{ form: [] }] }')}`, 'x.yaml');
  assert.deepEqual(
    lint(documents).map(({ field }) => field),
    ['spec.ingress[0].form'],
  );
  assert.equal(lint(documents, { least: 'warning' }).length, 2);
});

test('a manifest that is fine has no problem', () => {
  assert.deepEqual(readManifests(readYaml(policy('x', '{ podSelector: {} }'), 'x.yaml').documents).problems, []);
});
