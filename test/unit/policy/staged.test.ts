/** Staged policies: judged beside those in force, and in no verdict and no ruleset. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { compile } from '../../../lib/policy/compile/compile.ts';
import { evaluate } from '../../../lib/policy/evaluate/evaluate.ts';
import { explain, matrix } from '../../../lib/policy/evaluate/matrix.ts';
import { StagedMatrix } from '../../../lib/policy/evaluate/matrix-staged.ts';
import { diff } from '../../../lib/policy/explain/diff.ts';
import { walk } from '../../../lib/policy/explain/explain.ts';
import { lint } from '../../../lib/policy/lint/lint.ts';
import { readManifests } from '../../../lib/policy/manifest/manifest.ts';
import { promoted, stagedRefs } from '../../../lib/policy/model/staged.ts';
import { clusterPolicy, clusterWorld, flowOf, networkPolicy } from '../../support/cluster-world.ts';
import { documentsOf, localPods, type Manifest, manifests, tagged, traffic, worldFrom } from '../../support/worlds.ts';

const isStaged = ({ metadata }: Manifest): boolean =>
  (metadata as { readonly annotations?: unknown }).annotations !== undefined;

const staged = (manifest: string): string =>
  manifest.replace('metadata: {', 'metadata: { annotations: { tollgate.dev/staged: "true" },');

const fromBank = 'action: Deny, from: [{ namespaces: { matchLabels: { team: bank } } }]';

test('with staged policies and without them verdicts and rulesets are the same', () => {
  const size = { policies: 4, clusterPolicies: 3, isStaged: true };
  let most = 0;
  fc.assert(
    fc.property(manifests(size), fc.constantFrom(...traffic), (list, what) => {
      const [world, without] = [worldFrom(list), worldFrom(list.filter(each => !isStaged(each)))];
      most = Math.max(most, stagedRefs(world).length);
      const { identities } = tagged(localPods(world));
      assert.deepEqual(compile(world, identities), compile(without, identities));
      const rows = [...matrix(world, what)].map(({ staged: _, ...row }) => row);
      assert.deepEqual(rows, [...matrix(without, what)]);
    }),
    { numRuns: 300 },
  );
  assert.ok(most >= 3);
});

test('what is said of them is what would be if they were in force', () => {
  fc.assert(
    fc.property(
      manifests({ policies: 4, clusterPolicies: 3, isStaged: true }),
      fc.constantFrom(...traffic),
      (list, what) => {
        const world = worldFrom(list);
        const inForce = worldFrom(
          list.map(each => ({ ...each, metadata: { ...(each['metadata'] as object), annotations: undefined } })),
        );
        const after = promoted(world);
        if (!after) return;
        const told = [...matrix(world, what)].map(({ from, to, family, staged: then }) => [
          from,
          to,
          family,
          then!.allowed,
        ]);
        const real = [...matrix(inForce, what)].map(({ from, to, family, allowed }) => [from, to, family, allowed]);
        assert.deepEqual(told, real);
        const moved = [...new StagedMatrix(world, what).moved()].length;
        assert.equal(
          moved,
          [...matrix(world, what)].filter(({ allowed, staged: then }) => allowed !== then!.allowed).length,
        );
      },
    ),
    { numRuns: 200 },
  );
});

suite('a staged policy', () => {
  const it = clusterWorld(
    staged(clusterPolicy({ at: 'A10', in: [fromBank] })),
    networkPolicy('shop/all', 'ingress: [{}]'),
  );
  const flow = flowOf(it.world, 'bank/api > shop/web TCP 80');

  test('is told beside the real verdict by explain', () => {
    assert.equal(evaluate(it.world, flow).allowed, true);
    const way = walk(it.world, flow);
    assert.equal(way.verdict.allowed, true);
    assert.match(
      way.staged!.ingress.why,
      /ClusterNetworkPolicy\/a10 ingress\[0] denies TCP 80 from bank\/api \(tier Admin\)/,
    );
    const [row] = explain(it.world, { ...flow, protocol: 'TCP', port: 80 });
    assert.deepEqual([row!.allowed, row!.staged!.allowed], [true, false]);
    assert.deepEqual(way.ingress.bystanders, []);
  });

  test('promoted is what diff says of it', () => {
    const { changes } = diff(it.world, promoted(it.world)!);
    assert.ok(changes.every(({ change }) => change === 'closes'));
    for (const { because } of changes)
      assert.deepEqual(
        because.map(({ policy, effect }) => [policy, effect]),
        [
          ['NetworkPolicy/shop/all', 'allowed'],
          ['ClusterNetworkPolicy/a10', 'denies'],
        ],
      );
    assert.ok(changes.length > 0);
  });

  test('takes the place of the one of its name', () => {
    const both = clusterWorld(
      clusterPolicy({ at: 'A10', in: [fromBank] }),
      staged(clusterPolicy({ at: 'A10', in: ['action: Accept, from: [{ namespaces: {} }]'] })),
    );
    assert.deepEqual(both.problems, []);
    const [denied, then] = [both.world, promoted(both.world)!].map(world =>
      evaluate(world, flowOf(world, 'bank/api > shop/web TCP 80')),
    );
    assert.deepEqual([denied!.allowed, then!.allowed], [false, true]);
    assert.deepEqual(stagedRefs(both.world), ['ClusterNetworkPolicy/a10']);
  });

  test('of 2016 is staged, too', () => {
    const { world } = readManifests(
      documentsOf([
        {
          apiVersion: 'v1',
          kind: 'Namespace',
          metadata: { name: 'a', annotations: { 'net.alpha.kubernetes.io/network-isolation': 'on' } },
        },
        {
          ...{ apiVersion: 'net.alpha.kubernetes.io/v1alpha1', kind: 'NetworkPolicy' },
          metadata: { namespace: 'a', name: 'old', annotations: { 'tollgate.dev/staged': 'true' } },
          spec: { podSelector: {} },
        },
      ]),
    );
    assert.deepEqual(
      world.policies.map(({ kind }) => kind),
      ['Namespace'],
    );
    assert.deepEqual(stagedRefs(world), ['NetworkPolicy/a/old']);
  });
});

test('in the folder of staged policies only policies count', () => {
  const documents = documentsOf([
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'a' } },
    {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { namespace: 'a', name: 'p' },
      spec: { podSelector: {} },
    },
  ]).map(document => ({ ...document, isStaged: true as const }));
  const { world, problems } = readManifests(documents);
  assert.deepEqual([world.policies, [...world.namespaces]], [[], []]);
  assert.deepEqual(stagedRefs(world), ['NetworkPolicy/a/p']);
  assert.match(
    problems.map(({ severity, field, message }) => `${severity} ${field}: ${message}`).join(),
    /^warning kind: A Namespace in the folder of staged policies/,
  );
  assert.ok(lint(documents, { least: 'warning' }).length >= 1);
});
