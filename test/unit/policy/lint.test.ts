import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { diff } from '../../../lib/policy/explain/diff.ts';
import { type LintOptions, lint } from '../../../lib/policy/lint/lint.ts';
import { covers } from '../../../lib/policy/lint/pointless.ts';
import { readYaml } from '../../../lib/policy/manifest/yaml.ts';
import { policyRef, type World } from '../../../lib/policy/model/model.ts';
import { manifests, worldFrom } from '../../support/worlds.ts';

const pods = `
apiVersion: v1
kind: Namespace
metadata: { name: a, labels: { team: red } }
---
apiVersion: v1
kind: Pod
metadata: { namespace: a, name: p, labels: { app: p } }
spec: { containers: [{ name: main, ports: [{ name: http, containerPort: 80 }] }] }
status: { podIPs: [{ ip: 10.0.0.1 }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: a, name: q, labels: { app: q } }
status: { podIPs: [{ ip: 10.0.0.2 }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: b, name: dns, labels: { app: dns } }
spec: { containers: [{ name: main, ports: [{ name: dns, containerPort: 53, protocol: UDP }, { name: dns-tcp, containerPort: 53 }] }] }
status: { podIPs: [{ ip: 10.1.0.1 }] }`;

const policy = (name: string, spec: string): string =>
  `\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { namespace: a, name: ${name} }\nspec: ${spec}`;

/** `field: message` of the warnings about these policies of namespace a. */
function warnings(specs: readonly string[], options: LintOptions = {}, cast = pods): readonly string[] {
  const { documents, problems } = readYaml(cast + specs.map((spec, i) => policy(`p${i}`, spec)).join(''), 'case.yaml');
  assert.deepEqual(problems, []);
  const found = lint(documents, { least: 'warning', ...options });
  assert.deepEqual(
    found.filter(({ severity }) => severity === 'error'),
    [],
  );
  return found.map(({ field, message }) => `${field}: ${message}`);
}

const p = 'podSelector: { matchLabels: { app: p } }';
const dns = '{ ports: [{ protocol: UDP, port: 53 }, { protocol: TCP, port: 53 }] }';

interface Oddity {
  readonly says: string;
  readonly policies: readonly string[];
  /** Each matches one warning, in order; none at all where this is empty. */
  readonly warns: readonly RegExp[];
}

const oddities: readonly Oddity[] = [
  {
    says: 'pods that may go out but not ask DNS',
    policies: [
      `{ ${p}, policyTypes: [Egress], egress: [{ to: [{ podSelector: {} }], ports: [{ protocol: TCP, port: 80 }] }] }`,
    ],
    warns: [
      /^spec\.egress: No egress rule of its pods allows UDP 53 and TCP 53, so names cannot be looked up: add a rule with ports: \[\{ protocol: UDP, port: 53 \}/,
    ],
  },
  {
    says: 'DNS over UDP alone',
    policies: [`{ ${p}, policyTypes: [Egress], egress: [{ ports: [{ protocol: UDP, port: 53 }] }] }`],
    warns: [/allows TCP 53, so answers that are too long/],
  },
  {
    says: 'DNS by a policy beside it',
    policies: [
      `{ ${p}, egress: [{ ports: [{ protocol: TCP, port: 80 }] }] }`,
      `{ podSelector: {}, policyTypes: [Egress], egress: [${dns}] }`,
    ],
    warns: [],
  },
  {
    says: 'DNS by the name of a port',
    policies: [
      `{ ${p}, egress: [{ to: [{ namespaceSelector: {} }], ports: [{ protocol: UDP, port: dns }, { protocol: TCP, port: dns-tcp }] }] }`,
    ],
    warns: [],
  },
  { says: 'DNS by a rule for everything', policies: [`{ ${p}, egress: [{}] }`], warns: [] },
  { says: 'pods that may go nowhere', policies: [`{ ${p}, policyTypes: [Egress] }`], warns: [] },
  {
    says: 'a policy for nobody',
    policies: ['{ podSelector: { matchLabels: { app: web } }, ingress: [{}] }'],
    warns: [/^spec\.podSelector: Selects none of the 3 pods that are known, so it does nothing/],
  },
  {
    says: 'a peer that is nobody',
    policies: [`{ ${p}, ingress: [{ from: [{ podSelector: { matchLabels: { app: web } } }] }] }`],
    warns: [/^spec\.ingress\[0\]\.from\[0\]: Matches none of the 3 pods.*write labels that pods have/],
  },
  {
    says: 'a peer that is in another namespace',
    policies: [`{ ${p}, ingress: [{ from: [{ podSelector: {} }, { podSelector: { matchLabels: { app: dns } } }] }] }`],
    warns: [/^spec\.ingress\[0\]\.from\[1\]: .*pods of other namespaces would match: add a namespaceSelector/],
  },
  {
    says: 'a peer that is somebody',
    policies: [`{ ${p}, ingress: [{ from: [{ podSelector: { matchLabels: { app: q } } }] }] }`],
    warns: [],
  },
  {
    says: 'a port without its protocol',
    policies: [`{ ${p}, ingress: [{ ports: [{ protocol: UDP, port: 1 }, { port: 80 }] }] }`],
    warns: [/^spec\.ingress\[0\]\.ports\[1\]: No protocol, so TCP alone is meant/],
  },
  {
    says: 'a block that covers pods',
    policies: [`{ ${p}, ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.0/8 } }] }] }`],
    warns: [
      /^spec\.ingress\[0\]\.from\[0\]\.ipBlock\.cidr: 10\.0\.0\.0\/8 covers pods \(a\/p, a\/q and 1 more\), so connections from them/,
    ],
  },
  {
    says: 'a block that excepts pods',
    policies: [`{ ${p}, ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.0/8, except: [10.0.0.0/15] } }] }] }`],
    warns: [],
  },
  {
    says: 'an except that another block of the rule opens again',
    policies: [
      `{ ${p}, ingress: [{ from: [{ ipBlock: { cidr: 192.0.2.0/24, except: [192.0.2.64/26] } }, { ipBlock: { cidr: 192.0.2.96/28 } }] }] }`,
    ],
    warns: [/except\[0\]: NetworkPolicy\/a\/p0 ingress\[0\] allows 192\.0\.2\.96\/28 again/],
  },
  {
    says: 'an except that another policy opens again',
    policies: [
      `{ ${p}, ingress: [{ from: [{ ipBlock: { cidr: 192.0.2.0/24, except: [192.0.2.64/26] } }], ports: [{ protocol: TCP, port: 80 }] }] }`,
      '{ podSelector: {}, ingress: [{ ports: [{ protocol: TCP, port: 1, endPort: 100 }] }] }',
    ],
    warns: [
      /except\[0\]: NetworkPolicy\/a\/p1 ingress\[0\] allows 192\.0\.2\.64\/26 again/,
      /p1 isolates the same pods and allows all/,
    ],
  },
  {
    says: 'an except that others open for other ports and other pods',
    policies: [
      `{ ${p}, ingress: [{ from: [{ ipBlock: { cidr: 192.0.2.0/24, except: [192.0.2.64/26] } }], ports: [{ protocol: TCP, port: 80 }] }] }`,
      `{ ${p}, ingress: [{ ports: [{ protocol: UDP, port: 80 }] }] }`,
      '{ podSelector: { matchLabels: { app: q } }, ingress: [{}] }',
    ],
    warns: [],
  },
  {
    says: 'a policy that is there twice',
    policies: [`{ ${p}, ingress: [] }`, `{ ${p}, policyTypes: [Ingress] }`],
    warns: [/NetworkPolicy\/a\/p0 isolates the same pods and allows all that this policy does/],
  },
  {
    says: 'a policy that a wider one makes pointless',
    policies: [
      `{ ${p}, ingress: [{ from: [{ podSelector: { matchLabels: { app: q } } }], ports: [{ protocol: TCP, port: 80 }] }] }`,
      '{ podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] }',
    ],
    warns: [/NetworkPolicy\/a\/p1 isolates the same pods/],
  },
  {
    says: 'an ingress port by a name that its pods do not have',
    policies: [`{ ${p}, ingress: [{ ports: [{ protocol: TCP, port: web }] }] }`],
    warns: [
      /^spec\.ingress\[0\]\.ports\[0\]\.port: No container of a\/p has a port named web for TCP, so it matches nothing: write a number, or one of http \(TCP\)/,
    ],
  },
  {
    says: 'an ingress port by a name that they have',
    policies: [`{ ${p}, ingress: [{ ports: [{ protocol: TCP, port: http }] }] }`],
    warns: [],
  },
];

for (const { says, policies, warns } of oddities)
  test(`lint ${warns.length === 0 ? 'is silent about' : 'tells of'} ${says}`, () => {
    const found = warnings(policies);
    assert.equal(found.length, warns.length, found.join('\n'));
    for (const [i, pattern] of warns.entries()) assert.match(found[i]!, pattern);
  });

test('where no pods are known, nothing is said of whom selectors mean', () => {
  assert.deepEqual(
    warnings(
      [`{ ${p}, ingress: [{ from: [{ podSelector: {} }], ports: [{ protocol: TCP, port: web }] }] }`],
      {},
      'apiVersion: v1\nkind: Namespace\nmetadata: { name: a }',
    ),
    [],
  );
});

test('of a node, lint says that it knows its own pods only', () => {
  const here = worldFrom([
    { apiVersion: 'v1', kind: 'Pod', metadata: { namespace: 'a', name: 'p', labels: { app: 'p' } } },
  ]).pods;
  const [warning, ...more] = warnings(
    [`{ ${p}, ingress: [{ from: [{ podSelector: { matchLabels: { app: q } } }] }] }`],
    { node: { pods: here } },
  );
  assert.deepEqual(more, []);
  assert.match(warning!, /Matches none of the 1 pods that are known: without an agent a node knows its own pods/);
});

test('a warning names its place in a List', () => {
  const { documents } = readYaml(
    `
apiVersion: v1
kind: List
items:
  - { apiVersion: v1, kind: Pod, metadata: { namespace: a, name: x } }
  - apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: { namespace: a, name: web }
    spec: { podSelector: { matchLabels: { app: web } }, ingress: [{ ports: [{ port: 80 }] }] }`,
    'list.yaml',
  );
  assert.deepEqual(
    lint(documents, { least: 'warning' })
      .map(({ field }) => field)
      .sort(),
    ['items[1].spec.ingress[0].ports[0]', 'items[1].spec.podSelector'],
  );
});

test('an invalid policy has its errors, and no warnings about what is left of it', () => {
  const { documents } = readYaml(
    pods + policy('bad', '{ podSelector: { matchLabels: { app: web } }, ingress: [{ fom: [] }] }'),
    'case.yaml',
  );
  assert.deepEqual(
    lint(documents, { least: 'warning' }).map(({ severity, field }) => `${severity} ${field}`),
    ['error spec.ingress[0].fom'],
  );
});

test('taking out a policy that is called pointless changes nothing, in random worlds', () => {
  let found = 0;
  const isPointless = (world: World) => {
    for (const policyA of world.policies)
      for (const policyB of world.policies) {
        if (policyA === policyB || !covers(policyA, policyB)) continue;
        found++;
        const { changes } = diff(world, { ...world, policies: world.policies.filter(each => each !== policyB) });
        assert.deepEqual(changes, [], `${policyRef(policyB)} beside ${policyRef(policyA)}`);
      }
  };
  fc.assert(
    fc.property(manifests({ policies: 8 }), list => isPointless(worldFrom(list))),
    { numRuns: 400 },
  );
  assert.ok(found > 50, `came up ${found} times`);
});
