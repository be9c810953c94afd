/**
 * The meaning of cluster policies, statement by statement: 25 examples, and each sentence of the API about order, subjects
 * and peers.
 */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { EvaluateOptions } from '../../../lib/policy/evaluate/evaluate.ts';
import {
  clusterPolicy,
  clusterWorld,
  judged,
  networkPolicy,
  verdictText,
  type Written,
} from '../../support/cluster-world.ts';

interface Example {
  readonly says: string;
  readonly policies: readonly (Written | string)[];
  /** Each flow with its verdict: who decides, and at which rule. */
  readonly flows: Readonly<Record<string, string>>;
  readonly options?: EvaluateOptions;
  /** Fields that are told. */
  readonly told?: readonly string[];
}

function holds({ says, policies, flows, options = {}, told = [] }: Example): void {
  test(says, () => {
    const it = clusterWorld(...policies.map(each => (typeof each === 'string' ? each : clusterPolicy(each))));
    assert.deepEqual(
      it.problems.map(({ field }) => field),
      told,
    );
    for (const [flow, expected] of Object.entries(flows)) {
      const verdict = judged(it, flow, options);
      assert.equal(verdictText(verdict), expected, `${flow}: ${verdict.egress.why}; ${verdict.ingress.why}`);
    }
  });
}

const tcp = (port: number): string => `protocols: [{ tcp: { destinationPort: { number: ${port} } } }]`;
const ns = (team: string): string => `{ namespaces: { matchLabels: { team: ${team} } } }`;
const from = (action: string, team: string, more = ''): string =>
  `action: ${action}, from: [${ns(team)}]${more === '' ? '' : `, ${more}`}`;
const to = (action: string, team: string, more = ''): string =>
  `action: ${action}, to: [${ns(team)}]${more === '' ? '' : `, ${more}`}`;
const fromAll = (action: string): string => `action: ${action}, from: [{ namespaces: {} }]`;
const toNetworks = (action: string, ...networks: readonly string[]): string =>
  `action: ${action}, to: [{ networks: [${networks.map(each => `"${each}"`).join(', ')}] }]`;
const toNodes = (action: string, selector: string): string => `action: ${action}, to: [{ nodes: ${selector} }]`;
const everyNamespace = '{ namespaces: {} }';

const denyIngress = (namespace: string): string => networkPolicy(`${namespace}/deny`, 'policyTypes: [Ingress]');

suite('the 25 examples', () => {
  const example4: readonly Written[] = [
    { at: 'A10', in: [from('Pass', 'mon')] },
    { at: 'A20', in: [fromAll('Deny')] },
  ];
  const rows: readonly Example[] = [
    {
      says: '1: an Admin Deny comes before a NetworkPolicy that allows; who is not meant is allowed by that',
      policies: [{ at: 'A10', in: [from('Deny', 'bank')] }, networkPolicy('shop/all', 'ingress: [{}]')],
      flows: {
        'bank/api > shop/web TCP 8080': 'deny A10 ingress[0]',
        'mon/prom > shop/web TCP 8080': 'accept NP ingress',
      },
    },
    {
      says: '2: an Admin Accept comes before a NetworkPolicy that denies, for its port and protocol alone',
      policies: [{ at: 'A10', in: [from('Accept', 'mon', tcp(8080))] }, denyIngress('shop')],
      flows: {
        'mon/prom > shop/web TCP 8080': 'accept A10 ingress[0]',
        'mon/prom > shop/web TCP 8081': 'deny NP ingress',
        'mon/prom > shop/web UDP 8080': 'deny NP ingress',
        'mon/prom > shop/web other': 'deny NP ingress',
      },
    },
    {
      says: '3: an Accept on the way in does not help who may not leave',
      policies: [
        { at: 'A10', in: [from('Accept', 'mon', tcp(8080))] },
        denyIngress('shop'),
        networkPolicy('mon/deny', 'policyTypes: [Egress]'),
      ],
      flows: { 'mon/prom > shop/web TCP 8080': 'deny NP egress' },
    },
    {
      says: '4: a Pass before a Deny of all: passed on by default, others denied, of the own namespace too',
      policies: example4,
      flows: {
        'mon/prom > shop/web TCP 80': 'accept',
        'bank/api > shop/web TCP 80': 'deny A20 ingress[0]',
        'shop/db > shop/web TCP 80': 'deny A20 ingress[0]',
      },
    },
    {
      says: '5: what is passed on is for NetworkPolicies to decide',
      policies: [...example4, networkPolicy('shop/own', 'ingress: [{ from: [{ podSelector: {} }] }]')],
      flows: { 'mon/prom > shop/web TCP 80': 'deny NP ingress', 'shop/db > shop/web TCP 80': 'deny A20 ingress[0]' },
    },
    {
      says: '6: what is passed on reaches Baseline where no NetworkPolicy isolates',
      policies: [...example4, { at: 'B10', in: [from('Deny', 'mon')] }],
      flows: { 'mon/prom > shop/web TCP 80': 'deny B10 ingress[0]' },
    },
    {
      says: '7: a NetworkPolicy that isolates is final: Baseline is not asked',
      policies: [
        networkPolicy('shop/mon', 'ingress: [{ from: [{ namespaceSelector: { matchLabels: { team: mon } } }] }]'),
        { at: 'B10', in: [from('Deny', 'mon')] },
      ],
      flows: { 'mon/prom > shop/web TCP 80': 'accept NP ingress' },
    },
    {
      says: '8: a NetworkPolicy for ingress alone leaves egress to Baseline: each direction is decided by itself',
      policies: [denyIngress('shop'), { at: 'B10', out: [toNetworks('Deny', '0.0.0.0/0')] }],
      flows: { 'shop/web > 198.51.100.7 TCP 443': 'deny B10 egress[0]' },
    },
    {
      says: '9: the first rule that matches decides, in the order of the list',
      policies: [{ at: 'A10', in: [from('Accept', 'mon', tcp(8080)), from('Deny', 'mon'), from('Pass', 'mon')] }],
      flows: {
        'mon/prom > shop/web TCP 8080': 'accept A10 ingress[0]',
        'mon/prom > shop/web TCP 8081': 'deny A10 ingress[1]',
      },
    },
    {
      says: '10: by priorities, Deny before Pass',
      policies: [
        { at: 'A50', in: [from('Deny', 'bank')] },
        { at: 'A60', in: [from('Pass', 'bank')] },
        { at: 'B10', in: [from('Accept', 'bank')] },
      ],
      flows: { 'bank/api > shop/web TCP 80': 'deny A50 ingress[0]' },
    },
    {
      says: '10, once the priority is lower: Pass before Deny',
      policies: [
        { at: 'A50', in: [from('Deny', 'bank')] },
        { at: 'A40', in: [from('Pass', 'bank')] },
        { at: 'B10', in: [from('Accept', 'bank')] },
      ],
      flows: { 'bank/api > shop/web TCP 80': 'accept B10 ingress[0]' },
    },
    {
      says: '11: a Pass of Baseline passes all of Baseline',
      policies: [
        { at: 'B10', in: [from('Pass', 'mon')] },
        { at: 'B20', in: [fromAll('Deny')] },
      ],
      flows: { 'mon/prom > shop/web TCP 80': 'accept', 'bank/api > shop/web TCP 80': 'deny B20 ingress[0]' },
    },
    {
      says: '12: a port by name is each destination’s own',
      policies: [
        { at: 'A10', of: everyNamespace, in: [from('Accept', 'mon', 'protocols: [{ destinationNamedPort: http }]')] },
        { at: 'B10', of: everyNamespace, in: [fromAll('Deny')] },
      ],
      flows: {
        'mon/prom > shop/web TCP 8080': 'accept A10 ingress[0]',
        'mon/prom > shop/web TCP 9090': 'deny B10 ingress[0]',
        'mon/prom > bank/api TCP 9090': 'accept A10 ingress[0]',
      },
    },
    {
      says: '13: 0.0.0.0/0 is pods and ICMP too, and nothing of the other family',
      policies: [{ at: 'A10', out: [toNetworks('Deny', '0.0.0.0/0')] }],
      flows: {
        'shop/web > shop/db TCP 5432': 'deny A10 egress[0]',
        'shop/web > 198.51.100.7 other': 'deny A10 egress[0]',
        'shop/web > fd00::9 TCP 80': 'accept',
      },
    },
    {
      says: '14: a Pass to all pods before it spares them',
      policies: [{ at: 'A10', out: ['action: Pass, to: [{ namespaces: {} }]', toNetworks('Deny', '0.0.0.0/0')] }],
      flows: { 'shop/web > shop/db TCP 5432': 'accept', 'shop/web > 198.51.100.7 TCP 443': 'deny A10 egress[1]' },
    },
    {
      says: '15: nodes by label, with all that runs on their network',
      policies: [{ at: 'A10', out: [toNodes('Deny', '{ matchLabels: { role: db } }')] }],
      flows: {
        'shop/web > 192.0.2.12 TCP 22': 'deny A10 egress[0]',
        'shop/web > bank/hostd TCP 80': 'deny A10 egress[0]',
        'shop/web > 192.0.2.11 TCP 22': 'accept',
      },
    },
    {
      says: '16: all nodes are the own node too, though NetworkPolicies do not judge the way there',
      policies: [{ at: 'A10', out: [toNodes('Deny', '{}')] }],
      flows: {
        'shop/web > 192.0.2.11 TCP 10250': 'deny A10 egress[0]',
        'shop/web > node TCP 10250': 'deny A10 egress[0]',
      },
    },
    {
      says: '17: a pod on its node’s network is no subject',
      policies: [{ at: 'A10', of: ns('bank'), in: [fromAll('Deny')] }],
      flows: { 'shop/web > bank/hostd TCP 80': 'accept', 'shop/web > bank/api TCP 80': 'deny A10 ingress[0]' },
    },
    {
      says: '18: nodes, addresses outside and pods on a node’s network match no ingress rule',
      policies: [{ at: 'A10', in: [fromAll('Deny')] }],
      flows: {
        'node > shop/web TCP 8080': 'accept',
        'node n2 > shop/web TCP 8080': 'accept',
        '203.0.113.5 > shop/web TCP 8080': 'accept',
        'bank/hostd > shop/web TCP 8080': 'accept',
      },
    },
    {
      says: '19: a pod is not judged on the way to its own address, and is on the way through a Service back to itself',
      policies: [{ at: 'A10', in: [from('Deny', 'shop')] }],
      flows: {
        'shop/web > shop/web TCP 8080': 'accept',
        'shop/web > shop/web TCP 8080 via service': 'deny A10 ingress[0]',
      },
    },
    {
      says: '20: connections are judged where they are opened: the other way round is another one',
      policies: [
        { at: 'A10', out: [to('Accept', 'bank')] },
        { at: 'A10 bank', of: ns('bank'), out: [to('Deny', 'shop')] },
      ],
      flows: {
        'shop/web > bank/api TCP 80': 'accept A10 egress[0]',
        'bank/api > shop/web TCP 80': 'deny A10-BANK egress[0]',
      },
    },
    {
      says: '21: a peer that says nothing denies all where the rule denies',
      policies: [{ at: 'A10', in: ['action: Deny, from: [{}]'] }],
      told: ['spec.ingress[0].from[0]'],
      flows: {
        'mon/prom > shop/web TCP 80': 'deny A10 ingress[0]',
        '203.0.113.5 > shop/web TCP 80': 'deny A10 ingress[0]',
        'node > shop/web TCP 80': 'accept',
      },
    },
    {
      says: '21, where the rule accepts: it matches nothing',
      policies: [{ at: 'A10', in: ['action: Accept, from: [{}]'] }, denyIngress('shop')],
      told: ['spec.ingress[0].from[0]'],
      flows: { 'mon/prom > shop/web TCP 80': 'deny NP ingress' },
    },
    {
      says: '22: a policy without rules isolates nobody',
      policies: [{ at: 'A10' }],
      flows: { 'mon/prom > shop/web TCP 80': 'accept', 'shop/web > 198.51.100.7 TCP 80': 'accept' },
    },
    {
      says: '23: of a domain nothing is known yet: what only it would accept is denied',
      policies: [
        {
          at: 'A10',
          out: [
            `action: Accept, to: [{ domainNames: ["api.example.com"] }], ${tcp(443)}`,
            toNetworks('Deny', '0.0.0.0/0', '::/0'),
          ],
        },
      ],
      told: ['spec.egress[0].to[0].domainNames'],
      flows: {
        'shop/web > 198.51.100.7 TCP 443': 'deny A10 egress[1]',
        'shop/web > 198.51.100.7 TCP 80': 'deny A10 egress[1]',
      },
    },
    {
      says: '24: a range ends where it ends, and is of its protocol',
      policies: [
        {
          at: 'A10',
          out: [
            to('Accept', 'bank', 'protocols: [{ tcp: { destinationPort: { range: { start: 8000, end: 8999 } } } }]'),
          ],
        },
        { at: 'A20', out: [to('Deny', 'bank')] },
      ],
      flows: {
        'shop/web > bank/api TCP 8999': 'accept A10 egress[0]',
        'shop/web > bank/api TCP 8000': 'accept A10 egress[0]',
        'shop/web > bank/api TCP 9000': 'deny A20 egress[0]',
        'shop/web > bank/api SCTP 8999': 'deny A20 egress[0]',
      },
    },
    {
      says: '25: a network of Services is met by nobody: policies see the pod behind the Service',
      policies: [{ at: 'A10', out: [toNetworks('Deny', '10.96.0.0/12')] }],
      flows: { 'shop/web > bank/api TCP 9090 via service': 'accept' },
    },
  ];
  rows.forEach(holds);
});

suite('the order of tiers, policies and rules', () => {
  const rows: readonly Example[] = [
    {
      says: 'both directions must accept: each is judged by the policies of its own pod',
      policies: [
        { at: 'A10', out: [to('Accept', 'bank')] },
        { at: 'A20', of: ns('bank'), in: [from('Deny', 'shop')] },
      ],
      flows: { 'shop/web > bank/api TCP 80': 'deny A20 ingress[0]', 'shop/web > mon/prom TCP 80': 'accept' },
    },
    {
      says: 'a rule matches where any of its peers and any of its protocols do',
      policies: [
        {
          at: 'A10',
          in: [
            `action: Deny, from: [${ns('mon')}, ${ns('bank')}], protocols: [{ tcp: { destinationPort: { number: 80 } } }, { udp: { destinationPort: { number: 53 } } }]`,
          ],
        },
      ],
      flows: {
        'bank/api > shop/web TCP 80': 'deny A10 ingress[0]',
        'mon/prom > shop/web UDP 53': 'deny A10 ingress[0]',
        'mon/prom > shop/web UDP 80': 'accept',
        'shop/db > shop/web TCP 80': 'accept',
      },
    },
    {
      says: 'priority 0 is the first',
      policies: [
        { at: 'A1', in: [fromAll('Deny')] },
        { at: 'A0', in: [fromAll('Accept')] },
      ],
      flows: { 'mon/prom > shop/web TCP 80': 'accept A0 ingress[0]' },
    },
    {
      says: 'Admin comes before Baseline, whatever the priorities',
      policies: [
        { at: 'B0', in: [fromAll('Deny')] },
        { at: 'A1000', in: [fromAll('Accept')] },
      ],
      flows: { 'mon/prom > shop/web TCP 80': 'accept A1000 ingress[0]' },
    },
    {
      says: 'of equal priorities the name that comes first is asked first',
      policies: [
        { at: 'A10 b', in: [fromAll('Accept')] },
        { at: 'A10 a', in: [fromAll('Deny')] },
      ],
      flows: { 'mon/prom > shop/web TCP 80': 'deny A10-A ingress[0]' },
    },
    {
      says: 'where no rule matches the next policy of the tier is asked, then the next tier',
      policies: [
        { at: 'A10', in: [from('Deny', 'bank')] },
        { at: 'A20', in: [from('Deny', 'shop')] },
        { at: 'B10', in: [from('Deny', 'mon')] },
      ],
      flows: {
        'shop/db > shop/web TCP 80': 'deny A20 ingress[0]',
        'mon/prom > shop/web TCP 80': 'deny B10 ingress[0]',
      },
    },
    {
      says: 'a Pass of Admin leaves the whole tier',
      policies: [
        { at: 'A10', in: [from('Pass', 'mon')] },
        { at: 'A20', in: [from('Deny', 'mon')] },
      ],
      flows: { 'mon/prom > shop/web TCP 80': 'accept' },
    },
    {
      says: 'a policy whose rules are for one direction says nothing of the other',
      policies: [{ at: 'A10', in: [fromAll('Deny')] }],
      flows: { 'shop/web > bank/api TCP 80': 'accept' },
    },
    {
      says: 'a Baseline Accept comes before a Baseline Deny after it',
      policies: [
        { at: 'B10', in: [from('Accept', 'mon')] },
        { at: 'B20', in: [fromAll('Deny')] },
      ],
      flows: { 'mon/prom > shop/web TCP 80': 'accept B10 ingress[0]' },
    },
    {
      says: 'a NetworkPolicy for egress alone leaves ingress to Baseline',
      policies: [
        networkPolicy('shop/out', 'policyTypes: [Egress], egress: [{}]'),
        { at: 'B10', in: [fromAll('Deny')] },
      ],
      flows: { 'mon/prom > shop/web TCP 80': 'deny B10 ingress[0]' },
    },
    {
      says: 'a BaselineAdminNetworkPolicy comes after the ClusterNetworkPolicies of Baseline',
      policies: [
        { at: 'B1000', in: [from('Accept', 'mon')] },
        `{ apiVersion: policy.networking.k8s.io/v1alpha1, kind: BaselineAdminNetworkPolicy, metadata: { name: default }, spec: { subject: { namespaces: {} }, ingress: [{ ${fromAll('Deny')} }] } }`,
      ],
      flows: {
        'mon/prom > shop/web TCP 80': 'accept B1000 ingress[0]',
        'bank/api > shop/web TCP 80': 'deny DEFAULT ingress[0]',
      },
    },
  ];
  rows.forEach(holds);
});

suite('whom and what it means', () => {
  const rows: readonly Example[] = [
    {
      says: 'a subject of pods is both selectors together',
      policies: [
        {
          at: 'A10',
          of: '{ pods: { namespaceSelector: { matchLabels: { team: shop } }, podSelector: { matchLabels: { app: web } } } }',
          in: [fromAll('Deny')],
        },
      ],
      flows: { 'mon/prom > shop/web TCP 80': 'deny A10 ingress[0]', 'mon/prom > shop/db TCP 80': 'accept' },
    },
    {
      says: 'a subject of pods without a namespaceSelector is of all namespaces',
      policies: [{ at: 'A10', of: '{ pods: { podSelector: { matchLabels: { app: api } } } }', in: [fromAll('Deny')] }],
      flows: { 'mon/prom > bank/api TCP 80': 'deny A10 ingress[0]', 'mon/prom > shop/db TCP 80': 'accept' },
    },
    {
      says: 'a pod on its node’s network is no peer by its labels',
      policies: [{ at: 'A10', out: [to('Deny', 'bank')] }],
      flows: { 'shop/web > bank/hostd TCP 80': 'accept', 'shop/web > bank/api TCP 80': 'deny A10 egress[0]' },
    },
    {
      says: 'and is one by its address, as a network',
      policies: [{ at: 'A10', out: [toNetworks('Deny', '192.0.2.12/32')] }],
      flows: { 'shop/web > bank/hostd TCP 80': 'deny A10 egress[0]' },
    },
    {
      says: 'ICMP is matched by rules without protocols alone',
      policies: [
        {
          at: 'A10',
          in: ['action: Deny, from: [{ namespaces: {} }], protocols: [{ tcp: {} }, { udp: {} }, { sctp: {} }]'],
        },
        { at: 'A20', in: [from('Deny', 'bank')] },
      ],
      told: [
        'spec.ingress[0].protocols[0].tcp',
        'spec.ingress[0].protocols[1].udp',
        'spec.ingress[0].protocols[2].sctp',
      ],
      flows: {
        'mon/prom > shop/web other': 'accept',
        'mon/prom > shop/web TCP 1': 'deny A10 ingress[0]',
        'bank/api > shop/web other': 'deny A20 ingress[0]',
      },
    },
    {
      says: '::/0 says nothing of IPv4',
      policies: [{ at: 'A10', out: [toNetworks('Deny', '::/0')] }],
      flows: { 'shop/web > fd00::9 TCP 80': 'deny A10 egress[0]', 'shop/web > 198.51.100.7 TCP 80': 'accept' },
    },
    {
      says: 'the own node as a network, though NetworkPolicies do not judge the way there',
      policies: [{ at: 'A10', out: [toNetworks('Deny', '192.0.2.11/32')] }],
      flows: { 'shop/web > 192.0.2.11 TCP 10250': 'deny A10 egress[0]' },
    },
    {
      says: 'an Accept to the own node comes before NetworkPolicies that are told to judge it',
      policies: [{ at: 'A10', out: [toNodes('Accept', '{}')] }, networkPolicy('shop/deny', 'policyTypes: [Egress]')],
      options: { enforceEgressToNode: true },
      flows: { 'shop/web > 192.0.2.11 TCP 53': 'accept A10 egress[0]' },
    },
    {
      says: 'Baseline is not asked about the own node where a NetworkPolicy isolates, though that does not judge the way there',
      policies: [{ at: 'B10', out: [toNodes('Deny', '{}')] }, networkPolicy('shop/deny', 'policyTypes: [Egress]')],
      flows: { 'shop/web > 192.0.2.11 TCP 53': 'accept' },
    },
    {
      says: 'Baseline is asked about the own node where no NetworkPolicy isolates',
      policies: [{ at: 'B10', out: [toNodes('Deny', '{}')] }],
      flows: { 'shop/web > 192.0.2.11 TCP 53': 'deny B10 egress[0]' },
    },
    {
      says: 'the way through a Service back to itself is judged for egress as well',
      policies: [{ at: 'A10', out: [to('Deny', 'shop')] }],
      flows: {
        'shop/web > shop/web TCP 8080 via service': 'deny A10 egress[0]',
        'shop/web > shop/web TCP 8080': 'accept',
      },
    },
    {
      says: 'and NetworkPolicies let it pass, as they always did',
      policies: [denyIngress('shop'), networkPolicy('shop/out', 'policyTypes: [Egress]')],
      flows: { 'shop/web > shop/web TCP 8080 via service': 'accept' },
    },
    {
      says: 'and where they do, Baseline is not asked',
      policies: [denyIngress('shop'), { at: 'B10', in: [fromAll('Deny')] }],
      flows: { 'shop/web > shop/web TCP 8080 via service': 'accept' },
    },
    {
      says: 'a port by name matches no destination that is no pod',
      policies: [
        {
          at: 'A10',
          out: ['action: Deny, to: [{ networks: ["0.0.0.0/0"] }], protocols: [{ destinationNamedPort: http }]'],
        },
      ],
      told: ['spec.egress[0].protocols'],
      flows: { 'shop/web > 198.51.100.7 TCP 9090': 'accept', 'shop/web > bank/api TCP 9090': 'deny A10 egress[0]' },
    },
    {
      says: 'a namespace that is declared nowhere has its name as its only label',
      policies: [
        {
          at: 'A10',
          of: '{ namespaces: { matchLabels: { kubernetes.io/metadata.name: shop } } }',
          in: [fromAll('Deny')],
        },
      ],
      flows: { 'mon/prom > shop/web TCP 80': 'deny A10 ingress[0]', 'mon/prom > bank/api TCP 80': 'accept' },
    },
  ];
  rows.forEach(holds);
});

test('a verdict names tier, policy and rule, and the rules that passed it on', () => {
  const it = clusterWorld(
    clusterPolicy({ at: 'A10', in: [`name: monitoring, ${from('Pass', 'mon')}`] }),
    clusterPolicy({ at: 'B10', in: [`name: no monitoring, ${from('Deny', 'mon')}`] }),
  );
  const { ingress } = judged(it, 'mon/prom > shop/web TCP 80');
  assert.equal(ingress.tier, 'Baseline');
  assert.equal(
    ingress.why,
    'ClusterNetworkPolicy/a10 ingress[0] "monitoring" passes it on; ClusterNetworkPolicy/b10 ingress[0] "no monitoring" denies TCP 80 from mon/prom (tier Baseline)',
  );
  assert.deepEqual(ingress.passed, [
    { policy: 'ClusterNetworkPolicy/a10', direction: 'ingress', index: 0, name: 'monitoring' },
  ]);
});
