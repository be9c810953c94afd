import assert from 'node:assert/strict';
import test from 'node:test';
import { lint } from '../../../lib/policy/lint/lint.ts';
import { readManifests } from '../../../lib/policy/manifest/manifest.ts';
import { readYaml } from '../../../lib/policy/manifest/yaml.ts';
import { formatProblem } from '../../../lib/policy/model/problem.ts';
import { caseOf, passesIn, worldOfYaml } from '../../support/policy-cases.ts';

const external = '203.0.113.9';

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

const misfiled: readonly (readonly [what: string, manifest: string, problem: RegExp])[] = [
  [
    'a misspelt namespace, so the policy is in default',
    'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: p, namespce: shop }\nspec: { podSelector: {} }',
    /^error NetworkPolicy\/default\/p metadata\.namespce: Unknown field, so it says nothing: write "namespace"$/,
  ],
  [
    'misspelt annotations, which stage nothing',
    'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: p, annotation: { tollgate.dev/staged: "true" } }\nspec: { podSelector: {} }',
    /^error NetworkPolicy\/default\/p metadata\.annotation: .* write "annotations"$/,
  ],
  [
    'misspelt labels of a Pod',
    'apiVersion: v1\nkind: Pod\nmetadata: { name: p, lables: { app: web } }',
    /^error Pod\/default\/p metadata\.lables: .* write "labels"$/,
  ],
  [
    'a namespace of a cluster policy, which is for all of them',
    'apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: { name: p, namespace: shop }\nspec: { tier: Admin, priority: 1, subject: { namespaces: {} } }',
    /^warning ClusterNetworkPolicy\/p metadata\.namespace: A namespace, and this is an object of the whole cluster, so it says nothing: take it out$/,
  ],
];

for (const [what, manifest, problem] of misfiled)
  test(`metadata is looked at: ${what}`, () => {
    const { problems } = worldOfYaml(manifest);
    const told = problems.map(({ severity, object, field, message }) => `${severity} ${object} ${field}: ${message}`);
    assert.match(told.join('\n'), problem);
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
