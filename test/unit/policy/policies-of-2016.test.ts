/** The policies of 2016, each example as its time wrote it, judged by evaluate and by the compiled ruleset. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { formatProblem } from '../../../lib/policy/model/problem.ts';
import { passesIn, worldOfYaml } from '../../support/policy-cases.ts';

/** The example of the announcement (kubernetes.io/blog/2016/04/Kubernetes-Network-Policy-APIs), with its apiVersion. */
const announced = `
{ "kind": "NetworkPolicy", "apiVersion": "net.alpha.kubernetes.io/v1alpha1",
  "metadata": { "name": "pol1", "namespace": "tenant-a" },
  "spec": {
    "allowIncoming": { "from": [{ "pods": { "segment": "frontend" } }], "toPorts": [{ "port": 80, "protocol": "TCP" }] },
    "podSelector": { "segment": "backend" } } }`;

const pod = (name: string, labels: string, ip: string): string => {
  const [namespace, own] = name.split('/');
  return `
---
apiVersion: v1
kind: Pod
metadata: { namespace: ${namespace}, name: ${own}, labels: { ${labels} } }
spec: { nodeName: n1 }
status: { podIPs: [{ ip: ${ip} }] }`;
};

const namespace = (annotation: string): string => `
---
apiVersion: v1
kind: Namespace
metadata: { name: tenant-a, labels: { who: a }, annotations: { ${annotation} } }
---
apiVersion: v1
kind: Namespace
metadata: { name: tenant-b, labels: { who: b } }`;

const pods = [
  pod('tenant-a/front', 'segment: frontend', '10.0.0.1'),
  pod('tenant-a/back', 'segment: backend', '10.0.0.2'),
  pod('tenant-a/other', 'segment: other', '10.0.0.3'),
  pod('tenant-b/front', 'segment: frontend', '10.0.0.4'),
].join('');

const alphaOn = 'net.alpha.kubernetes.io/network-isolation: "on"';
const betaOn = `net.beta.kubernetes.io/network-policy: '{"ingress": {"isolation": "DefaultDeny"}}'`;

const alpha = (spec: string): string =>
  `\n---\napiVersion: net.alpha.kubernetes.io/v1alpha1\nkind: NetworkPolicy\nmetadata: { namespace: tenant-a, name: pol1 }\nspec: ${spec}`;
const beta = (spec: string): string =>
  `\n---\napiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata: { namespace: tenant-a, name: pol1 }\nspec: ${spec}`;

const toBack = (from: string, port = 'TCP 80'): string => `${from} > tenant-a/back ${port}`;
const [front, other, stranger] = ['tenant-a/front', 'tenant-a/other', 'tenant-b/front'].map(from => toBack(from)) as [
  string,
  string,
  string,
];
const outside = toBack('192.0.2.7');

interface Statement {
  readonly says: string;
  readonly annotation?: string;
  readonly policy: string;
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
  /** Of each problem: severity and field. */
  readonly reports?: readonly string[];
}

const selected = 'podSelector: { segment: backend }';
const betaSelected = 'podSelector: { matchLabels: { segment: backend } }';
const everybody = [front, other, stranger, outside];

const statements: readonly Statement[] = [
  {
    says: 'the announced policy allows what it says, and isolation forbids the rest',
    annotation: alphaOn,
    policy: `\n---${announced}`,
    allow: [front],
    deny: [
      toBack('tenant-a/front', 'TCP 81'),
      toBack('tenant-a/front', 'UDP 80'),
      other,
      stranger,
      outside,
      'tenant-a/back > tenant-a/other TCP 80',
    ],
  },
  {
    says: 'isolation closes every pod of the namespace on the way in, and nothing on the way out',
    annotation: alphaOn,
    policy: '',
    allow: ['tenant-a/back > tenant-b/front TCP 80', 'tenant-a/back > 192.0.2.7 UDP 53'],
    deny: [...everybody, 'tenant-b/front > tenant-a/other UDP 53'],
  },
  {
    says: 'with isolation off policies do nothing',
    annotation: 'net.alpha.kubernetes.io/network-isolation: "off"',
    policy: `\n---${announced}`,
    allow: everybody,
    reports: ['warning apiVersion'],
  },
  {
    says: 'without the annotation policies do nothing',
    policy: `\n---${announced}`,
    allow: everybody,
    reports: ['warning apiVersion'],
  },
  {
    says: 'yes is on, as some of its makers wrote it',
    annotation: 'net.alpha.kubernetes.io/network-isolation: "yes"',
    policy: '',
    deny: everybody,
  },
  { says: 'no is off', annotation: 'net.alpha.kubernetes.io/network-isolation: "no"', policy: '', allow: everybody },
  {
    says: 'a bare on is YAML for true: taken as meant, and reported',
    annotation: 'net.alpha.kubernetes.io/network-isolation: on',
    policy: '',
    deny: everybody,
    reports: ['error metadata.annotations.net.alpha.kubernetes.io/network-isolation'],
  },
  {
    says: 'a word that is neither isolates',
    annotation: 'net.alpha.kubernetes.io/network-isolation: maybe',
    policy: '',
    deny: everybody,
    reports: ['error metadata.annotations.net.alpha.kubernetes.io/network-isolation'],
  },
  {
    says: 'namespaces by their labels',
    annotation: alphaOn,
    policy: alpha(`{ ${selected}, allowIncoming: { from: [{ namespaces: { who: b } }] } }`),
    allow: [stranger, toBack('tenant-b/front', 'UDP 9')],
    deny: [front, outside],
  },
  {
    says: 'no from is everybody',
    annotation: alphaOn,
    policy: alpha(`{ ${selected}, allowIncoming: { toPorts: [{ port: 80, protocol: TCP }] } }`),
    allow: everybody,
    deny: [toBack('tenant-a/front', 'TCP 81')],
  },
  {
    says: 'no toPorts is every port',
    annotation: alphaOn,
    policy: alpha(`{ ${selected}, allowIncoming: { from: [{ pods: {} }] } }`),
    allow: [front, other, toBack('tenant-a/front', 'UDP 5')],
    deny: [stranger, outside],
  },
  {
    says: 'an empty from is nobody',
    annotation: alphaOn,
    policy: alpha(`{ ${selected}, allowIncoming: { from: [] } }`),
    deny: everybody,
    reports: ['warning spec.allowIncoming.from'],
  },
  {
    says: 'an empty toPorts is no port',
    annotation: alphaOn,
    policy: alpha(`{ ${selected}, allowIncoming: { from: [{ pods: {} }], toPorts: [] } }`),
    deny: everybody,
    reports: ['warning spec.allowIncoming.toPorts'],
  },
  {
    says: 'no podSelector is every pod',
    annotation: alphaOn,
    policy: alpha('{ allowIncoming: { from: [{ pods: { segment: frontend } }] } }'),
    allow: [front, 'tenant-a/front > tenant-a/other TCP 1'],
    deny: [other],
  },
  {
    says: 'a policy without allowIncoming allows nothing',
    annotation: alphaOn,
    policy: alpha(`{ ${selected} }`),
    deny: everybody,
  },
  {
    says: 'pods and namespaces in one peer match nothing',
    annotation: alphaOn,
    policy: alpha(`{ ${selected}, allowIncoming: { from: [{ pods: {}, namespaces: {} }] } }`),
    deny: everybody,
    reports: ['error spec.allowIncoming.from[0]'],
  },
  {
    says: 'a selector of later versions allows nothing',
    annotation: alphaOn,
    policy: alpha(`{ ${betaSelected}, allowIncoming: {} }`),
    deny: everybody,
    reports: ['error spec.podSelector'],
  },
  {
    says: 'a misspelt field allows nothing',
    annotation: alphaOn,
    policy: alpha(`{ ${selected}, allowIncomming: {} }`),
    deny: everybody,
    reports: ['error spec.allowIncomming'],
  },

  {
    says: 'v1beta1 allows what it says under DefaultDeny',
    annotation: betaOn,
    policy: beta(
      `{ ${betaSelected}, ingress: [{ from: [{ podSelector: { matchLabels: { segment: frontend } } }], ports: [{ port: 80 }] }] }`,
    ),
    allow: [front],
    deny: [other, stranger, outside, toBack('tenant-a/front', 'TCP 81')],
  },
  {
    says: 'v1beta1 does nothing without DefaultDeny',
    policy: beta(`{ ${betaSelected}, ingress: [] }`),
    allow: everybody,
    reports: ['warning apiVersion'],
  },
  {
    says: 'an annotation that does not say isolation isolates nothing',
    annotation: `net.beta.kubernetes.io/network-policy: '{"ingress": {}}'`,
    policy: '',
    allow: everybody,
  },
  {
    says: 'an unknown isolation closes',
    annotation: `net.beta.kubernetes.io/network-policy: '{"ingress": {"isolation": "Deny"}}'`,
    policy: '',
    deny: everybody,
    reports: ['error metadata.annotations.net.beta.kubernetes.io/network-policy.ingress.isolation'],
  },
  {
    says: 'an annotation that is no JSON closes',
    annotation: 'net.beta.kubernetes.io/network-policy: DefaultDeny',
    policy: '',
    deny: everybody,
    reports: ['error metadata.annotations.net.beta.kubernetes.io/network-policy'],
  },
  {
    says: 'v1beta1: a rule without from and ports is everybody',
    annotation: betaOn,
    policy: beta(`{ ${betaSelected}, ingress: [{}] }`),
    allow: [...everybody, toBack('192.0.2.7', 'UDP 7')],
  },
  {
    says: 'v1beta1: an empty from is nobody, an empty ports no port',
    annotation: betaOn,
    policy: beta(`{ ${betaSelected}, ingress: [{ from: [] }, { ports: [] }] }`),
    deny: everybody,
    reports: ['warning spec.ingress[0].from', 'warning spec.ingress[1].ports'],
  },
  {
    says: 'v1beta1: namespaces by selector',
    annotation: betaOn,
    policy: beta(`{ ${betaSelected}, ingress: [{ from: [{ namespaceSelector: { matchLabels: { who: b } } }] }] }`),
    allow: [stranger],
    deny: [front, other],
  },
  {
    says: 'v1beta1 with policyTypes is of 1.8 or later, and means what v1 means',
    policy: beta(`{ ${betaSelected}, policyTypes: [Ingress] }`),
    deny: everybody,
    reports: ['warning apiVersion'],
  },
  {
    says: 'either annotation is enough for either policy',
    annotation: betaOn,
    policy: `\n---${announced}`,
    allow: [front],
    deny: [other],
  },
];

for (const { says, annotation = '', policy, allow = [], deny = [], reports = [] } of statements)
  test(`2016: ${says}`, () => {
    const it = worldOfYaml(`${namespace(annotation)}${pods}${policy}`);
    assert.deepEqual(
      it.problems.map(({ severity, field }) => `${severity} ${field}`).sort(),
      [...reports].sort(),
      it.problems.map(formatProblem).join('\n'),
    );
    for (const flow of allow) assert.equal(passesIn(it, flow), true, `${flow} should pass`);
    for (const flow of deny) assert.equal(passesIn(it, flow), false, `${flow} should not pass`);
  });

test('2016: isolation is named as the reason, and v1 policies live beside it', () => {
  const v1 =
    '\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { namespace: tenant-a, name: new }\nspec: { podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { segment: other } } }] }] }';
  const it = worldOfYaml(`${namespace(alphaOn)}${pods}\n---${announced}${v1}`);
  assert.deepEqual(it.problems, []);
  assert.deepEqual(
    it.world.policies.map(({ kind, name }) => `${kind} ${name}`),
    ['NetworkPolicy pol1', 'NetworkPolicy new', 'Namespace network-isolation'],
  );
  assert.equal(passesIn(it, other), true);
  assert.equal(passesIn(it, front), true);
  assert.equal(passesIn(it, stranger), false);
});
