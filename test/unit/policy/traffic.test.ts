import assert from 'node:assert/strict';
import test from 'node:test';
import { evaluate } from '../../../lib/policy/evaluate/evaluate.ts';
import type { Pod } from '../../../lib/policy/model/model.ts';
import { caseOf, holds, passesIn, worldOfYaml } from '../../support/policy-cases.ts';

const external = '203.0.113.9';
const from = (peers: string) => `ingress: [{ from: [${peers}] }]`;

holds('1.3 ipBlock', [
  {
    says: 'an address in one block’s hole may be in another rule’s block',
    policies: `ingress:
- from: [{ ipBlock: { cidr: 10.0.0.0/8, except: [10.1.0.0/16] } }]
- from: [{ ipBlock: { cidr: 10.1.2.0/24 } }]`,
    allow: ['10.1.2.5 > a/p TCP 80'],
    deny: ['10.1.9.9 > a/p TCP 80'],
  },
  {
    says: 'an address in one policy’s hole may be in another policy’s block',
    policies: [
      from('{ ipBlock: { cidr: 10.0.0.0/8, except: [10.1.0.0/16] } }'),
      from('{ ipBlock: { cidr: 10.1.2.5/32 } }'),
    ],
    allow: ['10.1.2.5 > a/p TCP 80', '10.255.0.1 > a/p TCP 80'],
    deny: ['10.1.2.6 > a/p TCP 80'],
  },
  {
    says: 'holes may overlap and touch, and each end of a block and a hole counts',
    policies: from('{ ipBlock: { cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.1.128.0/17, 10.2.0.0/16] } }'),
    allow: [
      '10.0.255.255 > a/p TCP 80',
      '10.3.0.0 > a/p TCP 80',
      '10.255.255.255 > a/p TCP 80',
      '10.0.0.0 > a/p TCP 80',
    ],
    deny: ['10.1.0.0 > a/p TCP 80', '10.2.255.255 > a/p TCP 80', '11.0.0.0 > a/p TCP 80', '9.255.255.255 > a/p TCP 80'],
  },
  {
    says: 'a hole may be the first address of its block, or the last',
    policies: from('{ ipBlock: { cidr: 10.0.0.0/30, except: [10.0.0.0/32, 10.0.0.3/32] } }'),
    allow: ['10.0.0.1 > a/r TCP 80', '10.0.0.2 > a/p TCP 80'],
    deny: ['10.0.0.0 > a/p TCP 80', '10.0.0.3 > a/p TCP 80', '10.0.0.4 > a/p TCP 80'],
  },
  {
    says: 'blocks may overlap',
    policies: from(
      '{ ipBlock: { cidr: 10.0.0.0/8 } }, { ipBlock: { cidr: 10.1.0.0/16 } }, { ipBlock: { cidr: 0.0.0.0/0, except: [10.0.0.0/8] } }',
    ),
    allow: ['10.1.2.3 > a/p TCP 80', '255.255.255.255 > a/p TCP 80', '0.0.0.0 > a/p TCP 80'],
    deny: ['a/q > a/p TCP 80 v6'],
  },
  {
    says: 'host bits of a cidr are nobody’s business',
    policies: from('{ ipBlock: { cidr: 10.1.2.77/24 } }'),
    allow: ['10.1.2.1 > a/p TCP 80'],
    deny: ['10.1.3.1 > a/p TCP 80'],
  },
  {
    says: 'IPv6 blocks have holes, too',
    policies: from('{ ipBlock: { cidr: "fd00::/64", except: ["fd00::2/127"] } }'),
    allow: ['a/prod > a/p TCP 80 v6', 'fd00::1:5 > a/p TCP 80 v6'],
    deny: ['a/q > a/p TCP 80 v6', 'a/blank > a/p TCP 80 v6', 'a/q > a/p TCP 80'],
  },
  {
    says: 'nodes and pods on their network are addresses like others',
    policies: from('{ ipBlock: { cidr: 10.9.0.2/32 } }'),
    allow: ['node n2 > a/p TCP 80', 'a/host > a/p TCP 80'],
    deny: ['a/q > a/p TCP 80'],
  },
  {
    says: 'egress to a block reaches pods in it and whatever else',
    policies: 'policyTypes: [Egress]\negress: [{ to: [{ ipBlock: { cidr: 10.1.0.0/16, except: [10.1.3.0/24] } }] }]',
    allow: ['a/p > b/one TCP 80', 'a/p > 10.1.9.9 UDP 1'],
    deny: ['a/p > b/two TCP 80', 'a/p > a/q TCP 80'],
  },
]);

holds('1.4 ports', [
  {
    says: 'a named port on the way in is the subject’s own',
    policies: 'podSelector: {}\ningress: [{ ports: [{ port: http }] }]',
    allow: ['b/two > a/p TCP 80'],
    deny: ['b/two > a/p TCP 8080', 'b/two > a/p UDP 80'],
  },
  {
    says: 'a name that no container has matches nothing, not everything',
    policies: 'ingress: [{ ports: [{ port: nobody }] }]\negress: [{ ports: [{ port: nobody }] }]',
    deny: ['a/q > a/p TCP 80', 'a/q > a/p TCP 0', 'a/p > a/q TCP 80'],
  },
  {
    says: 'name and protocol both count',
    policies: 'policyTypes: [Egress]\negress: [{ ports: [{ port: dns }, { port: http, protocol: UDP }] }]',
    deny: ['a/p > b/two TCP 53', 'a/p > b/two UDP 53', 'a/p > b/one UDP 80'],
  },
  {
    says: 'a name with its protocol is found',
    policies: 'policyTypes: [Egress]\negress: [{ ports: [{ port: dns, protocol: UDP }] }]',
    allow: ['a/p > b/two UDP 53'],
    deny: ['a/p > b/two TCP 53', 'a/p > b/one UDP 53'],
  },
  {
    says: 'names and numbers stand side by side',
    policies:
      'policyTypes: [Egress]\negress: [{ to: [{ namespaceSelector: {} }], ports: [{ port: http }, { port: 9000, endPort: 9001 }] }]',
    allow: ['a/p > b/two TCP 8080', 'a/p > b/two TCP 9001', 'a/p > b/one TCP 9000'],
    deny: ['a/p > b/one TCP 8080', `a/p > ${external} TCP 9000`],
  },
  {
    says: 'a named port within a block is that of the pods in it, and nobody else’s',
    policies: 'policyTypes: [Egress]\negress: [{ to: [{ ipBlock: { cidr: 10.1.0.0/16 } }], ports: [{ port: http }] }]',
    allow: ['a/p > b/one TCP 80', 'a/p > b/two TCP 8080'],
    deny: ['a/p > 10.1.9.9 TCP 80', 'a/p > a/q TCP 80', 'a/p > b/two TCP 80'],
  },
  {
    says: 'a named port of a pod on its node’s network is nobody’s',
    policies: 'policyTypes: [Egress]\negress: [{ ports: [{ port: http }] }]',
    deny: ['a/p > a/host TCP 80', 'a/p > node n2 TCP 80'],
  },
  {
    says: 'SCTP is not TCP, and a policy for SCTP alone isolates from TCP',
    policies: 'ingress: [{ ports: [{ port: 80, protocol: SCTP }] }]',
    allow: ['a/q > a/p SCTP 80'],
    deny: ['a/q > a/p TCP 80', 'a/q > a/p UDP 80'],
  },
  {
    says: 'what has no ports (ICMP echo) passes a rule without ports only',
    policies: [
      'ingress: [{ ports: [{ protocol: TCP }, { protocol: UDP }, { protocol: SCTP }] }]',
      from('{ podSelector: { matchLabels: { app: q } } }'),
    ],
    allow: ['a/q > a/p other 0', 'a/r > a/p TCP 1'],
    deny: ['a/r > a/p other 0'],
  },
  {
    says: 'a range of one port and of all ports',
    policies: 'ingress: [{ ports: [{ port: 80, endPort: 80 }, { protocol: UDP, port: 1, endPort: 65535 }] }]',
    allow: ['a/q > a/p TCP 80', 'a/q > a/p UDP 1', 'a/q > a/p UDP 65535'],
    deny: ['a/q > a/p TCP 81'],
  },
]);

const denyAll = 'policyTypes: [Ingress, Egress]';

holds('1.5 who is exempt', [
  {
    says: 'the own node gets in, other nodes do not',
    policies: denyAll,
    allow: ['node > a/p TCP 80', '10.9.0.1 > a/p TCP 80 '.trim()],
    deny: ['node n2 > a/p TCP 80', '10.9.0.2 > a/p TCP 80'],
  },
  {
    says: 'egress to the own node is open unless it is enforced',
    policies: denyAll,
    allow: ['a/p > node TCP 10250', 'a/p > 10.9.0.1 TCP 10250'],
    deny: ['a/p > node n2 TCP 10250', 'a/p > 10.9.0.2 TCP 10250'],
  },
  {
    says: 'egress to the own node is judged like that to any address once it is enforced',
    policies:
      'policyTypes: [Egress]\negress: [{ to: [{ ipBlock: { cidr: 10.9.0.0/16 } }], ports: [{ port: 53, protocol: UDP }] }]',
    options: { enforceEgressToNode: true },
    allow: ['a/p > 10.9.0.1 UDP 53', 'a/p > node n1 UDP 53'],
    deny: ['a/p > 10.9.0.1 TCP 10250'],
  },
  {
    says: 'a pod on its node’s network is never a subject',
    policies: 'podSelector: {}\npolicyTypes: [Ingress, Egress]',
    allow: [`a/host > ${external} TCP 80`, `${external} > a/host TCP 80`, 'b/one > a/host TCP 80'],
    deny: ['b/one > a/p TCP 80'],
  },
  {
    says: 'a pod reaches its own address, straight or through a service, whatever policies say',
    policies: denyAll,
    allow: ['a/p > a/p TCP 80', 'a/p > 10.0.0.1 TCP 80', 'a/p > fd00::1 UDP 9 v6'],
    deny: ['a/p > a/q TCP 80'],
  },
]);

test('1.2: relabelled namespaces and pods are subjects and peers by their new labels', () => {
  const { world } = caseOf(from('{ namespaceSelector: { matchLabels: { team: blue } } }'));
  const relabelled = { ...world, namespaces: new Map([...world.namespaces, ['b', new Map([['team', 'green']])]]) };
  assert.equal(passesIn({ world, problems: [] }, 'b/two > a/p TCP 80'), true);
  assert.equal(passesIn({ world: relabelled, problems: [] }, 'b/two > a/p TCP 80'), false);
  const pods = world.pods.map(pod => (pod.name === 'p' ? { ...pod, labels: new Map([['app', 'other']]) } : pod));
  assert.equal(passesIn({ world: { ...world, pods }, problems: [] }, 'a/q > a/p TCP 80'), true);
});

const podNamed = (pods: readonly Pod[], name: string): Pod => pods.find(pod => pod.name === name)!;

test('1.6: a pod without an address is a subject by its labels, and no ipBlock matches it', () => {
  const { world } = caseOf(from('{ podSelector: { matchLabels: { app: q } } }, { ipBlock: { cidr: 0.0.0.0/0 } }'));
  const pods = world.pods.map(pod => ({ ...pod, addresses: [] }));
  const flow = (name: string) => ({
    from: { kind: 'pod', pod: podNamed(pods, name) } as const,
    to: { kind: 'pod', pod: podNamed(pods, 'p') } as const,
    family: null,
    protocol: 'TCP' as const,
    port: 80,
  });
  assert.equal(evaluate({ ...world, pods }, flow('q')).allowed, true);
  assert.equal(evaluate({ ...world, pods }, flow('r')).allowed, false);
});

test('1.6: a terminating pod that still runs stays subject and peer', () => {
  const pod = (name: string, ip: string) => `
apiVersion: v1
kind: Pod
metadata: { namespace: a, name: ${name}, labels: { app: ${name} }, deletionTimestamp: 2026-11-01T00:00:00Z }
spec: { nodeName: n1 }
status: { phase: Running, podIP: ${ip} }
---`;
  const policy = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { namespace: a, name: only-q }
spec: { podSelector: { matchLabels: { app: p } }, ingress: [{ from: [{ podSelector: { matchLabels: { app: q } } }] }] }`;
  const it = worldOfYaml(`${pod('p', '10.0.0.1')}${pod('q', '10.0.0.2')}${pod('r', '10.0.0.3')}${policy}
---
{ apiVersion: v1, kind: Node, metadata: { name: n1 } }`);
  assert.deepEqual(it.problems, []);
  assert.equal(passesIn(it, 'a/q > a/p TCP 80'), true);
  assert.equal(passesIn(it, 'a/r > a/p TCP 80'), false);
});

test('1.6: of two live pods with one address the one that runs here has it', () => {
  const { world } = caseOf(from('{ podSelector: { matchLabels: { app: q } } }'));
  const stale = podNamed(world.pods, 'q');
  const taken = { ...podNamed(world.pods, 'r'), addresses: stale.addresses };
  const pods = [...world.pods.filter(pod => !['q', 'r'].includes(pod.name)), taken, { ...stale, local: false }];
  const it = { world: { ...world, pods }, problems: [] };
  assert.equal(passesIn(it, `${stale.addresses[0]} > a/p TCP 80`), false);
  assert.equal(passesIn(it, 'a/q > a/p TCP 80'), false, 'what q sends looks like r to a/p');
});

test('1.6: a finished pod is no selector’s peer even while nobody else has its address', () => {
  const { world } = caseOf(from('{ podSelector: {} }, { ipBlock: { cidr: 10.0.0.4/32 } }'));
  const finish = (name: string) => ({
    world: { ...world, pods: world.pods.map(pod => (pod.name === name ? { ...pod, finished: true } : pod)) },
    problems: [],
  });
  assert.equal(passesIn(finish('q'), 'a/q > a/p TCP 80'), false);
  assert.equal(passesIn(finish('prod'), 'a/prod > a/p TCP 80'), true, 'its address is still an address');
});

test('1.6: both families of a pod are judged, each by itself', () => {
  const it = caseOf(from('{ ipBlock: { cidr: "fd00::/16" } }'));
  assert.equal(passesIn(it, 'a/q > a/p TCP 80 v6'), true);
  assert.equal(passesIn(it, 'a/q > a/p TCP 80'), false);
  const both = caseOf(from('{ podSelector: { matchLabels: { app: q } } }'));
  assert.equal(passesIn(both, 'a/q > a/p TCP 80 v6'), true);
  assert.equal(passesIn(both, 'a/q > a/p TCP 80'), true);
});

test('1.6: replies need no rule: the other direction of a connection is not a flow of its own', () => {
  const it = caseOf(
    'policyTypes: [Ingress, Egress]\ningress: [{ from: [{ podSelector: { matchLabels: { app: q } } }] }]',
  );
  assert.equal(passesIn(it, 'a/q > a/p TCP 80'), true);
  assert.equal(passesIn(it, 'a/p > a/q TCP 40000'), false);
});
