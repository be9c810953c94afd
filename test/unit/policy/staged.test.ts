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
import { formatProblem } from '../../../lib/policy/model/problem.ts';
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

const np = (apiVersion: string, spec: unknown): Manifest => ({
  ...{ apiVersion, kind: 'NetworkPolicy', metadata: { namespace: 'a', name: 'p' } },
  spec,
});
const cnp = (version: string, spec: unknown, kind = 'ClusterNetworkPolicy'): Manifest => ({
  ...{ apiVersion: `policy.networking.k8s.io/${version}`, kind, metadata: { name: 'p' } },
  spec,
});
const wide = { tier: 'Admin', priority: 1, subject: { namespaces: {} } };

const broken: Readonly<Record<string, Manifest>> = {
  'a NetworkPolicy of an unknown version': np('networking.k8s.io/v2', { podSelector: {} }),
  'a NetworkPolicy of no version': { ...np('', { podSelector: {} }), apiVersion: undefined },
  'a NetworkPolicy of the core group': np('v1', { podSelector: {} }),
  'a NetworkPolicy with a misspelt field': np('networking.k8s.io/v1', { podSelectr: {} }),
  'a NetworkPolicy without spec': np('networking.k8s.io/v1', undefined),
  'an invalid policy of 2016': np('net.alpha.kubernetes.io/v1alpha1', { podSelector: { matchLabels: {} } }),
  'an invalid policy of extensions/v1beta1': np('extensions/v1beta1', { podSelektor: {} }),
  'a ClusterNetworkPolicy of an unknown version': cnp('v9', wide),
  'a ClusterNetworkPolicy without subject': cnp('v1alpha2', { ...wide, subject: {} }),
  'a ClusterNetworkPolicy of no tier': cnp('v1alpha2', { ...wide, tier: 'admin' }),
  'a ClusterNetworkPolicy without spec': cnp('v1alpha2', undefined),
  'an AdminNetworkPolicy with a field of another version': cnp('v1alpha1', wide, 'AdminNetworkPolicy'),
};

suite('a staged policy that is broken is enforced as little as any other', () => {
  for (const [name, manifest] of Object.entries(broken)) {
    const metadata = { ...(manifest['metadata'] as object), annotations: { 'tollgate.dev/staged': 'true' } };
    const documents = {
      'by its annotation': documentsOf([{ ...manifest, metadata }]),
      'by its folder': documentsOf([manifest]).map(document => ({ ...document, isStaged: true as const })),
    };
    for (const [how, list] of Object.entries(documents))
      test(`${name}, ${how}`, () => {
        const { world, problems } = readManifests(list);
        assert.deepEqual([world.policies, world.clusterPolicies], [[], []]);
        const errors = problems.filter(({ severity }) => severity === 'error');
        assert.ok(errors.length > 0);
        for (const problem of errors) assert.match(formatProblem(problem), /\/p \(staged\) /);
      });
  }
});

const annotated = (value: unknown, isInFolder: boolean) =>
  readManifests(
    documentsOf([
      {
        ...np('networking.k8s.io/v1', { podSelector: {} }),
        metadata: { namespace: 'a', name: 'p', annotations: { 'tollgate.dev/staged': value } },
      },
    ]).map(document => ({ ...document, ...(isInFolder ? { isStaged: true as const } : {}) })),
  );

suite('what the annotation says, outside of the folder of staged policies and in it', () => {
  const told: readonly (readonly [unknown, boolean, RegExp, RegExp])[] = [
    ['true', true, /^$/, /^$/],
    [
      'false',
      false,
      /^$/,
      /^warning "false", and the folder of staged policies stages it all the same: move the file up$/,
    ],
    [null, false, /^$/, /^$/],
    [
      'True',
      false,
      /^error "True" is neither .*, so the policy is enforced: write/,
      /^error "True" .*, and the folder of staged policies stages it/,
    ],
    ['yes', false, /so the policy is enforced/, /and the folder of staged policies stages it/],
    [
      true,
      true,
      /^error true where a text is expected, which stages it here/,
      /and the folder of staged policies stages it/,
    ],
    [false, false, /so the policy is enforced/, /and the folder of staged policies stages it/],
  ];
  for (const [value, isTrial, outside, inside] of told)
    test(JSON.stringify(value), () => {
      const [alone, inFolder] = [annotated(value, false), annotated(value, true)];
      assert.deepEqual([stagedRefs(alone.world).length, stagedRefs(inFolder.world).length], [isTrial ? 1 : 0, 1]);
      const said = ({ problems }: typeof alone) =>
        problems.map(({ severity, message }) => `${severity} ${message}`).join();
      assert.match(said(alone), outside);
      assert.match(said(inFolder), inside);
    });

  for (const annotations of [['tollgate.dev/staged'], 'tollgate.dev/staged: true'])
    test(`${JSON.stringify(annotations)}: annotations that are no mapping are told`, () => {
      const metadata = { namespace: 'a', name: 'p', annotations };
      const { problems } = readManifests(
        documentsOf([{ ...np('networking.k8s.io/v1', { podSelector: {} }), metadata }]),
      );
      assert.match(problems.map(({ message }) => message).join(), /where a mapping is expected/);
    });
});
