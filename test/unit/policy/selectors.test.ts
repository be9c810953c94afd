import { holds } from '../../support/policy-cases.ts';

const external = '203.0.113.9';
const from = (peers: string) => `ingress: [{ from: [${peers}] }]`;

holds('1.1 selection and isolation', [
  {
    says: 'each direction is isolated by itself',
    policies: 'policyTypes: [Ingress]',
    allow: ['a/p > a/q TCP 80'],
    deny: ['a/q > a/p TCP 80'],
  },
  {
    says: 'the source’s egress and the destination’s ingress must both allow',
    policies: [
      'podSelector: { matchLabels: { app: q } }\npolicyTypes: [Egress]\negress: [{ to: [{ podSelector: { matchLabels: { app: p } } }] }]',
      'ingress: [{ ports: [{ port: 80 }] }]',
    ],
    allow: ['a/q > a/p TCP 80', 'a/r > a/p TCP 80'],
    deny: ['a/q > a/p TCP 81', 'a/q > a/r TCP 80'],
  },
  {
    says: 'without policyTypes an egress rule isolates for egress too',
    policies: 'egress: [{ to: [{ podSelector: {} }] }]',
    allow: ['a/p > a/q TCP 80'],
    deny: ['a/p > b/one TCP 80', 'a/q > a/p TCP 80'],
  },
  {
    says: 'explicit [Ingress] leaves egress open, even beside egress rules',
    policies: 'policyTypes: [Ingress]\negress: [{ to: [{ podSelector: {} }] }]',
    allow: [`a/p > ${external} TCP 80`],
    deny: ['a/q > a/p TCP 80'],
  },
  {
    says: 'a policy selects pods of its own namespace only',
    policies: 'podSelector: {}\ningress: []',
    allow: ['a/q > b/two TCP 80', 'a/q > c/z TCP 80'],
    deny: ['a/q > a/p TCP 80', 'a/q > a/r TCP 80'],
  },
  {
    says: 'a missing protocol is TCP',
    policies: 'ingress: [{ ports: [{ port: 80 }] }]',
    allow: ['a/q > a/p TCP 80'],
    deny: ['a/q > a/p UDP 80', 'a/q > a/p SCTP 80'],
  },
  ...['from: []', 'from: null', 'ports: []', 'ports: null', ''].map(rule => ({
    says: `"{${rule}}" is everybody, pods or not, on every port and protocol`,
    policies: `ingress: [{ ${rule} }]`,
    allow: [`${external} > a/p TCP 1`, 'a/q > a/p UDP 2 v6', 'node n2 > a/p SCTP 3', 'b/one > a/p other 0'],
  })),
  {
    says: 'selector peers match no node and no outside address',
    policies: from('{ podSelector: {}, namespaceSelector: {} }'),
    allow: ['a/q > a/p TCP 80'],
    deny: [`${external} > a/p TCP 80`, 'node n2 > a/p TCP 80', '10.9.0.2 > a/p TCP 80'],
  },
  {
    says: 'order never matters: either policy’s rule is enough',
    policies: [
      from('{ podSelector: { matchLabels: { app: r } } }'),
      from('{ podSelector: { matchLabels: { app: q } } }'),
    ],
    allow: ['a/q > a/p TCP 80', 'a/r > a/p TCP 80'],
    deny: ['a/prod > a/p TCP 80'],
  },
]);

const expression = (text: string) => from(`{ podSelector: { matchExpressions: [{ ${text} }] } }`);

holds('1.2 peers', [
  {
    says: 'podSelector S alone is S in the own namespace',
    policies: from('{ podSelector: { matchLabels: { app: q } } }'),
    allow: ['a/q > a/p TCP 80'],
    deny: ['b/one > a/p TCP 80', 'c/z > a/p TCP 80', 'a/r > a/p TCP 80', 'a/host > a/p TCP 80'],
  },
  {
    says: 'namespaceSelector N alone is every pod of N',
    policies: from('{ namespaceSelector: { matchLabels: { team: blue } } }'),
    allow: ['b/one > a/p TCP 80', 'b/two > a/p TCP 80'],
    deny: ['a/q > a/p TCP 80', 'c/z > a/p TCP 80'],
  },
  {
    says: 'namespaceSelector N with podSelector {} is every pod of N',
    policies: from('{ namespaceSelector: { matchLabels: { team: blue } }, podSelector: {} }'),
    allow: ['b/one > a/p TCP 80', 'b/two > a/p TCP 80'],
    deny: ['a/q > a/p TCP 80'],
  },
  {
    says: 'both selectors in one entry must match',
    policies: from('{ namespaceSelector: { matchLabels: { team: blue } }, podSelector: { matchLabels: { app: q } } }'),
    allow: ['b/one > a/p TCP 80'],
    deny: ['b/two > a/p TCP 80', 'a/q > a/p TCP 80'],
  },
  {
    says: 'of two entries one is enough',
    policies: from(
      '{ namespaceSelector: { matchLabels: { team: blue } } }, { podSelector: { matchLabels: { app: q } } }',
    ),
    allow: ['b/one > a/p TCP 80', 'b/two > a/p TCP 80', 'a/q > a/p TCP 80'],
    deny: ['a/r > a/p TCP 80', 'c/z > a/p TCP 80'],
  },
  {
    says: 'a namespace’s name is always among its labels, declared or not',
    policies: from('{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: c } } }'),
    allow: ['c/z > a/p TCP 80'],
    deny: ['b/one > a/p TCP 80', 'a/q > a/p TCP 80'],
  },
  {
    says: 'In needs the key',
    policies: expression('key: env, operator: In, values: [prod, test]'),
    allow: ['a/prod > a/p TCP 80'],
    deny: ['a/q > a/p TCP 80', 'a/blank > a/p TCP 80'],
  },
  {
    says: 'Exists holds for any value, the empty one too',
    policies: expression('key: env, operator: Exists'),
    allow: ['a/prod > a/p TCP 80', 'a/blank > a/p TCP 80'],
    deny: ['a/q > a/p TCP 80'],
  },
  {
    says: 'DoesNotExist holds for none',
    policies: expression('key: env, operator: DoesNotExist'),
    allow: ['a/q > a/p TCP 80'],
    deny: ['a/prod > a/p TCP 80', 'a/blank > a/p TCP 80'],
  },
  {
    says: 'all requirements must hold',
    policies: from(
      '{ podSelector: { matchLabels: { app: prod }, matchExpressions: [{ key: env, operator: NotIn, values: [prod] }] } }',
    ),
    deny: ['a/prod > a/p TCP 80', 'a/q > a/p TCP 80'],
  },
  {
    says: 'NotIn on a namespace holds for one without the key',
    policies: from('{ namespaceSelector: { matchExpressions: [{ key: team, operator: NotIn, values: [blue] }] } }'),
    allow: ['c/z > a/p TCP 80', 'a/q > a/p TCP 80'],
    deny: ['b/one > a/p TCP 80'],
  },
  {
    says: 'NotIn in the subject selects a pod without the key',
    policies: 'podSelector: { matchExpressions: [{ key: env, operator: NotIn, values: [prod] }] }',
    allow: ['a/q > a/prod TCP 80'],
    deny: ['a/q > a/p TCP 80', 'a/q > a/blank TCP 80'],
  },
  {
    says: 'a label key may be a word that objects have anyway',
    policies: from(
      '{ podSelector: { matchLabels: { constructor: "" } } }, { podSelector: { matchExpressions: [{ key: toString, operator: Exists }] } }',
    ),
    deny: ['a/q > a/p TCP 80'],
  },
]);
