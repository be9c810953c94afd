import { holds } from '../../support/policy-cases.ts';

const external = '203.0.113.9';

holds('golden vector', [
  {
    says: '1 no policyTypes and an empty egress isolate for ingress only',
    policies: 'egress: []',
    allow: ['a/p > a/q TCP 80', `a/p > ${external} UDP 53`],
    deny: ['a/q > a/p TCP 80'],
  },
  {
    says: '2 [Egress] without a rule lets everybody in and nothing out',
    policies: 'policyTypes: [Egress]',
    allow: ['a/q > a/p TCP 80', `${external} > a/p TCP 80`],
    deny: ['a/p > a/q TCP 80', `a/p > ${external} UDP 53`],
  },
  ...['ingress: []', 'ingress: null', 'policyTypes: [Ingress]'].map(policies => ({
    says: `3 "${policies}" lets nobody in`,
    policies,
    allow: ['a/p > a/q TCP 80'],
    deny: ['a/q > a/p TCP 80', 'b/one > a/p UDP 53', `${external} > a/p SCTP 80`, 'node n2 > a/p TCP 80'],
  })),
  {
    says: '4 "ingress: [{}]" lets everybody in, with any protocol',
    policies: 'ingress: [{}]',
    allow: [
      `${external} > a/p TCP 80`,
      'node n2 > a/p UDP 9',
      'b/one > a/p SCTP 7',
      'a/host > a/p other 0',
      'a/q > a/p TCP 1 v6',
    ],
  },
  {
    says: '5 NotIn matches a pod without the key',
    policies:
      'ingress: [{ from: [{ podSelector: { matchExpressions: [{ key: env, operator: NotIn, values: [prod] }] } }] }]',
    allow: ['a/q > a/p TCP 80', 'a/blank > a/p TCP 80'],
    deny: ['a/prod > a/p TCP 80'],
  },
  {
    says: '6 a required value of "" needs the key to be there',
    policies: 'ingress: [{ from: [{ podSelector: { matchLabels: { env: "" } } }] }]',
    allow: ['a/blank > a/p TCP 80'],
    deny: ['a/q > a/p TCP 80', 'a/prod > a/p TCP 80'],
  },
  {
    says: '7 podSelector {} is the own namespace, without pods on a node’s network',
    policies: 'ingress: [{ from: [{ podSelector: {} }] }]',
    allow: ['a/q > a/p TCP 80'],
    deny: ['b/one > a/p TCP 80', 'a/host > a/p TCP 80'],
  },
  {
    says: '8 namespaceSelector {} is any pod and nobody else',
    policies: 'ingress: [{ from: [{ namespaceSelector: {} }] }]',
    allow: ['a/q > a/p TCP 80', 'b/one > a/p TCP 80', 'c/z > a/p UDP 1'],
    deny: [`${external} > a/p TCP 80`, 'a/host > a/p TCP 80'],
  },
  {
    says: '9 a hole is a hole in its own block only',
    policies: `ingress:
- from:
  - ipBlock: { cidr: 10.0.0.0/8, except: [10.1.0.0/16] }
  - ipBlock: { cidr: 10.1.2.0/24 }`,
    allow: ['10.1.2.5 > a/p TCP 80', 'b/one > a/p TCP 80', '10.77.0.1 > a/p TCP 80'],
    deny: ['10.1.3.5 > a/p TCP 80', 'b/two > a/p TCP 80'],
  },
  {
    says: '10 an ipBlock matches addresses of pods',
    policies: 'ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.0/24 } }] }]',
    allow: ['a/q > a/p TCP 80'],
    deny: ['b/one > a/p TCP 80'],
  },
  {
    says: '11 a protocol without a port is all of its ports',
    policies: 'ingress: [{ ports: [{ protocol: UDP }] }]',
    allow: ['a/q > a/p UDP 1', 'a/q > a/p UDP 65535'],
    deny: ['a/q > a/p TCP 80', 'a/q > a/p SCTP 80', 'a/q > a/p other 0'],
  },
  {
    says: '12 a named port is the number that each destination gives it',
    policies: 'egress: [{ ports: [{ port: http }] }]\npolicyTypes: [Egress]',
    allow: ['a/p > b/one TCP 80', 'a/p > b/two TCP 8080', 'a/p > b/one TCP 80 v6'],
    deny: ['a/p > b/one TCP 8080', 'a/p > b/two TCP 80', `a/p > ${external} TCP 80`],
  },
  {
    says: '13 endPort is inclusive',
    policies: 'ingress: [{ ports: [{ port: 80, endPort: 90 }] }]',
    allow: ['a/q > a/p TCP 80', 'a/q > a/p TCP 90'],
    deny: ['a/q > a/p TCP 79', 'a/q > a/p TCP 91', 'a/q > a/p UDP 80'],
  },
  {
    says: '14 a block of IPv4 never matches the IPv6 address of the same pod',
    policies: 'ingress: [{ from: [{ ipBlock: { cidr: 0.0.0.0/0 } }] }]',
    allow: ['a/q > a/p TCP 80'],
    deny: ['a/q > a/p TCP 80 v6'],
  },
  {
    says: '15 the own node gets in whatever policies say, other nodes do not',
    policies: 'ingress: []',
    allow: ['node > a/p TCP 80', 'node n1 > a/p TCP 80', '10.9.0.1 > a/p TCP 80'],
    deny: ['node n2 > a/p TCP 80', 'a/host > a/p TCP 80', '10.9.0.2 > a/p TCP 80'],
  },
  {
    says: '16 of two policies one that allows is enough',
    policies: ['ingress: []', 'ingress: [{ from: [{ podSelector: { matchLabels: { app: q } } }] }]'],
    allow: ['a/q > a/p TCP 80'],
    deny: ['a/r > a/p TCP 80'],
  },
  {
    says: '17 a pod always reaches itself',
    policies: 'policyTypes: [Ingress, Egress]',
    allow: ['a/p > a/p TCP 80', 'a/p > 10.0.0.1 TCP 80', 'a/p > a/p UDP 5 v6'],
    deny: ['a/p > a/q TCP 80'],
  },
  {
    says: '18 a finished pod’s address is its next owner’s',
    policies: 'ingress: [{ from: [{ podSelector: { matchLabels: { app: done } } }] }]',
    deny: ['a/r > a/p TCP 80', '10.0.0.7 > a/p TCP 80', 'a/done > a/p TCP 80'],
  },
]);
