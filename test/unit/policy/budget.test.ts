/** Policies that are larger than policies may be close whom they select, say so, and change nothing for anybody else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compile } from '../../../lib/policy/compile/compile.ts';
import { LiveRules } from '../../../lib/policy/compile/live.ts';
import { evaluate } from '../../../lib/policy/evaluate/evaluate.ts';
import { lint } from '../../../lib/policy/lint/lint.ts';
import { type Document, readManifests } from '../../../lib/policy/manifest/manifest.ts';
import { MOST_OF_NAMESPACE, MOST_OF_POLICY } from '../../../lib/policy/model/budget.ts';
import type { Endpoint, World } from '../../../lib/policy/model/model.ts';
import { countReads } from '../../support/counted-reads.ts';

const times = <T>(number: number, make: (i: number) => T): readonly T[] =>
  Array.from({ length: number }, (_, i) => make(i));
const documentsOf = (values: readonly unknown[]): readonly Document[] =>
  values.map((value, document) => ({ file: 'f', document, value }));

const policy = (name: string, spec: object, namespace = 'a') => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name, namespace },
  spec,
});
const pod = (name: string, namespace: string, ip: string) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace, labels: { app: name } },
  status: { podIP: ip },
});

const p = { podSelector: { matchLabels: { app: 'p' } } };
const block = (i: number) => ({ ipBlock: { cidr: `10.${i >> 8}.${i & 255}.0/24` } });
const value = (i: number) => `v${i}`;

const large: readonly (readonly [what: string, entries: (size: number) => object])[] = [
  ['blocks', size => ({ ingress: [{ from: times(size, block) }] })],
  ['rules with a block each', size => ({ ingress: times(size, i => ({ from: [block(i)] })) })],
  [
    'excepts of one block',
    size => ({
      ingress: [
        { from: [{ ipBlock: { cidr: '10.0.0.0/8', except: times(size - 1, i => `10.${i >> 8}.${i & 255}.0/24`) } }] },
      ],
    }),
  ],
  [
    'values of one selector',
    size => ({
      ingress: [
        {
          from: [
            { podSelector: { matchExpressions: [{ key: 'app', operator: 'NotIn', values: times(size - 2, value) }] } },
          ],
        },
      ],
    }),
  ],
  ['ports', size => ({ ingress: [{ ports: times(size / 2, i => ({ protocol: 'TCP', port: i + 1 })) }] })],
];

for (const [what, entries] of large) {
  const problemsOf = (size: number) =>
    lint(documentsOf([policy('big', { ...p, policyTypes: ['Ingress'], ...entries(size) })])).map(
      ({ severity, object, field, message }) => `${severity} ${object} ${field}: ${message}`,
    );
  test(`as many ${what} as a policy may have are no problem, and more are one`, () => {
    assert.deepEqual(problemsOf(MOST_OF_POLICY), []);
    const [problem, ...more] = problemsOf(MOST_OF_POLICY + 2);
    assert.match(
      problem!,
      /^error NetworkPolicy\/a\/big spec: More than 20000 entries .*closes the pods that it selects/,
    );
    assert.deepEqual(more, []);
  });
}

test('peers count once for each port by name, as the kernel has them', () => {
  const from = (peers: number, names: number) =>
    policy('big', {
      ...p,
      policyTypes: ['Egress'],
      egress: [{ to: times(peers, block), ports: times(names, i => ({ protocol: 'TCP', port: `n${i}` })) }],
    });
  assert.deepEqual(lint(documentsOf([from(100, 100)])), []);
  assert.match(lint(documentsOf([from(200, 150)]))[0]!.message, /More than 20000 entries/);
});

const pods = [pod('p', 'a', '192.0.2.1'), pod('q', 'a', '192.0.2.2'), pod('s', 'b', '192.0.2.3')];
const end = (world: World, name: string): Endpoint => ({
  kind: 'pod',
  pod: world.pods.find(each => each.name === name)!,
});
const reaches = (world: World, from: string, to: string): boolean =>
  evaluate(world, { from: end(world, from), to: end(world, to), family: 4, protocol: 'TCP', port: 80 }).allowed;

test('a policy that is too large isolates whom it selects as it says, and allows nothing', () => {
  const ingress = [{ from: [...times(MOST_OF_POLICY, block), { podSelector: {} }] }];
  const { world } = readManifests(documentsOf([...pods, policy('big', { ...p, policyTypes: ['Ingress'], ingress })]));
  assert.equal(reaches(world, 'q', 'p'), false);
  assert.equal(reaches(world, 's', 'p'), false);
  assert.equal(reaches(world, 'p', 'q'), true);
  assert.equal(reaches(world, 's', 'q'), true);
});

test('of a policy that is too large no entry is read to compile it', () => {
  const spec = { ...p, policyTypes: ['Ingress'], ingress: [{ from: times(MOST_OF_POLICY + 1, block) }] };
  const counted = countReads(policy('big', spec));
  const { world } = readManifests(documentsOf([...pods, counted.value]));
  const before = counted.reads();
  const identity = { namespace: 'a', labels: new Map([['app', 'p']]), namedPorts: [] };
  const { sets, chains } = compile(world, [{ tag: 1, identity }]);
  assert.equal(counted.reads(), before);
  assert.equal(sets.size, 0);
  assert.deepEqual(
    [...chains.values()].map(({ rules }) => rules),
    [[]],
  );
});

const quarter = MOST_OF_NAMESPACE / 4 - 10;
const together = (count: number, namespace = 'a') =>
  times(count, i =>
    policy(`p${i}`, { ...p, policyTypes: ['Ingress'], ingress: [{ from: times(quarter, block) }] }, namespace),
  );

test('of a namespace whose policies are too large together those that come last by name are closed', () => {
  assert.deepEqual(lint(documentsOf(together(4))), []);
  const shuffled = together(6).toReversed();
  const found = lint(documentsOf([...shuffled, ...together(1, 'b')]));
  assert.deepEqual(found.map(({ object }) => object).sort(), ['NetworkPolicy/a/p4', 'NetworkPolicy/a/p5']);
  assert.match(found[0]!.message, /policies of namespace a come to more than 60000 entries together/);
});

test('and count again once there is room', () => {
  const { world } = readManifests(documentsOf(together(5)));
  const live = new LiveRules();
  const closedNow = () => [...live.cluster.policiesBeyondBudget()].map(({ name }) => name);
  for (const each of world.policies) live.setPolicy(each);
  assert.deepEqual(closedNow(), ['p4']);
  live.deletePolicy(world.policies[0]!);
  assert.deepEqual(closedNow(), []);
});
