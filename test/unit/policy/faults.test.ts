/** Every way to write a policy wrong: it is closed for what it selects, and the report names the field. */
import { holds } from '../../support/policy-cases.ts';

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

holds('leading zeros of a CIDR mean decimal, as API servers have taken them, with a warning', [
  {
    says: 'in a block, its length and its hole',
    policies: "ingress:\n- from: [{ ipBlock: { cidr: 010.0.0.0/08, except: ['010.00.000.002/032'] } }]",
    reports: ['spec.ingress[0].from[0].ipBlock.cidr', 'spec.ingress[0].from[0].ipBlock.except[0]'],
    allow: ['10.1.1.1 > a/p TCP 80', 'a/r > a/p TCP 80'],
    deny: ['a/q > a/p TCP 80', '8.0.0.1 > a/p TCP 80'],
  },
  {
    says: 'in the quad of an IPv6 block, whose other zeros are its own',
    policies: "ingress:\n- from: [{ ipBlock: { cidr: '0fd0:0:0::010.1.2.3/0128' } }]",
    reports: ['spec.ingress[0].from[0].ipBlock.cidr'],
    allow: ['fd0::a01:203 > a/p TCP 80 v6'],
    deny: ['fd0::801:203 > a/p TCP 80 v6'],
  },
]);

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
