/** Staged policies beside flows: what they would make of each, by which of them, and in no verdict of now. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { flowMetrics } from '../../../lib/controller/flow-metrics.ts';
import { FlowCounts } from '../../../lib/flows/counts.ts';
import { parseFilter } from '../../../lib/flows/filter.ts';
import { FlowJournal } from '../../../lib/flows/journal.ts';
import { judge } from '../../../lib/flows/judgement.ts';
import type { FlowRecord } from '../../../lib/flows/model.ts';
import { policyReport } from '../../../lib/flows/policy-report.ts';
import { RuleUse } from '../../../lib/flows/rule-use.ts';
import { stagedScene } from '../../../lib/flows/staged.ts';
import { hintsOf, sumBy } from '../../../lib/flows/sums.ts';
import { Cluster } from '../../../lib/policy/evaluate/cluster.ts';
import { evaluate } from '../../../lib/policy/evaluate/evaluate.ts';
import { matrix } from '../../../lib/policy/evaluate/matrix.ts';
import { promoted } from '../../../lib/policy/model/staged.ts';
import { clusterPolicy, clusterWorld, flowOf, networkPolicy } from '../../support/cluster-world.ts';
import {
  attributionOf,
  bytes,
  client,
  connection,
  policies,
  sceneOf,
  stranger,
  web,
} from '../../support/flow-world.ts';
import { manifests, traffic, worldFrom } from '../../support/worlds.ts';

const staged = (manifest: string): string =>
  manifest.replace('metadata: {', 'metadata: { annotations: { tollgate.dev/staged: "true" },');

const everyone = 'from: [{ namespaces: {} }]';
const [admin, second, baseline] = ['A10', 'A20', 'B10'] as const;
const cluster = (at: string, action: string) => clusterPolicy({ at, in: [`action: ${action}, ${everyone}`] });
const allow = networkPolicy('shop/allow', 'ingress: [{}]');
const isolate = networkPolicy('shop/isolate', 'ingress: []');
const egressOnly = (place: string) => networkPolicy(place, 'policyTypes: [Egress], egress: [{}]');

/** bank/api opens shop/web, both of this node. */
const cases: [name: string, manifests: readonly string[], says: string | undefined][] = [
  ['none is staged', [cluster(admin, 'Deny')], undefined],
  ['it denies what is denied already', [cluster(admin, 'Deny'), staged(cluster(second, 'Deny'))], undefined],
  ['Admin denies', [staged(cluster(admin, 'Deny'))], 'denied CNP/a10 | CNP/a10 ingress[0]'],
  [
    'Admin accepts',
    [staged(cluster(admin, 'Accept')), cluster(second, 'Deny')],
    'allowed CNP/a10 | CNP/a10 ingress[0]',
  ],
  ['it comes after one that decides', [cluster(admin, 'Accept'), staged(cluster(second, 'Deny'))], undefined],
  ['Baseline denies', [staged(cluster(baseline, 'Deny'))], 'denied CNP/b10 | CNP/b10 ingress[0]'],
  ['Baseline is not asked', [allow, staged(cluster(baseline, 'Deny'))], undefined],
  ['a NetworkPolicy isolates', [staged(isolate)], 'denied NP/shop/isolate | '],
  [
    'a NetworkPolicy allows what another denies',
    [isolate, staged(allow)],
    'allowed NP/shop/allow | NP/shop/allow ingress[0]',
  ],
  [
    'it passes over a denial',
    [staged(cluster(admin, 'Pass')), cluster(second, 'Deny')],
    'allowed CNP/a10 | CNP/a10 ingress[0]',
  ],
  [
    'it passes over an acceptance, and a policy in force denies',
    [staged(cluster(admin, 'Pass')), cluster(second, 'Accept'), isolate],
    'denied CNP/a10 | CNP/a10 ingress[0]',
  ],
  [
    'it passes over a denial to another that allows: the one that decides counts',
    [isolate, staged(cluster(admin, 'Pass')), cluster(second, 'Deny'), staged(allow)],
    'allowed NP/shop/allow | NP/shop/allow ingress[0]',
  ],
  [
    'it takes the place of the one that denied, and isolates no more',
    [isolate, staged(egressOnly('shop/isolate'))],
    'allowed NP/shop/isolate | ',
  ],
  [
    'it takes the place of the one that allowed, and another denies',
    [allow, isolate, staged(egressOnly('shop/allow'))],
    'denied NP/shop/allow | ',
  ],
  [
    'two isolate: both deny',
    [staged(isolate), staged(networkPolicy('shop/other', 'ingress: []'))],
    'denied NP/shop/isolate NP/shop/other | ',
  ],
  [
    'it denies another direction of what is denied',
    [staged(networkPolicy('bank/out', 'policyTypes: [Egress]')), isolate],
    undefined,
  ],
  [
    'it allows one direction of two that deny',
    [networkPolicy('bank/out', 'policyTypes: [Egress]'), isolate, staged(allow)],
    undefined,
  ],
  ['it denies on the way out', [staged(networkPolicy('bank/out', 'policyTypes: [Egress]'))], 'denied NP/bank/out | '],
];

const short = (text: string): string => text.replace('ClusterNetworkPolicy', 'CNP').replace('NetworkPolicy', 'NP');

suite('what staged policies would make of a flow:', () => {
  for (const [name, list, says] of cases)
    test(name, () => {
      const { world } = clusterWorld(...list);
      const real = new Cluster(world);
      const flow = flowOf(world, 'bank/api > shop/web TCP 80');
      const { staged: found, ...now } = judge(
        { cluster: real, staged: stagedScene(real, world.staged) },
        flow,
        { egress: true, ingress: true },
        new RuleUse(),
      );
      const { staged: none, ...without } = judge(
        { cluster: real },
        flow,
        { egress: true, ingress: true },
        new RuleUse(),
      );
      assert.deepEqual([now, none], [without, undefined]);
      const told = found && `${found.verdict} ${found.by.map(short).join(' ')} | ${found.rules.map(short).join(' ')}`;
      assert.equal(told, says);
      if (found) assert.ok(found.why.length > 0);
    });

  test('on the way to its own node, which NetworkPolicies do not judge, one that isolates keeps Baseline from being asked', () => {
    const { world } = clusterWorld(
      clusterPolicy({ at: baseline, of: '{ namespaces: {} }', out: ['action: Deny, to: [{ nodes: {} }]'] }),
      staged(egressOnly('bank/out')),
    );
    const real = new Cluster(world);
    const { staged: found } = judge(
      { cluster: real, staged: stagedScene(real, world.staged) },
      flowOf(world, 'bank/api > node n1 TCP 80'),
      { egress: true, ingress: false },
      new RuleUse(),
    );
    assert.deepEqual([found?.verdict, found?.by], ['allowed', ['NetworkPolicy/bank/out']]);
  });

  test('a direction that another node judges has no say', () => {
    const { world } = clusterWorld(staged(networkPolicy('bank/out', 'policyTypes: [Egress]')));
    const real = new Cluster(world);
    const flow = flowOf(world, 'bank/api > shop/web TCP 80');
    const scene = { cluster: real, staged: stagedScene(real, world.staged) };
    const ask = (egress: boolean) => judge(scene, flow, { egress, ingress: true }, new RuleUse()).staged?.verdict;
    assert.deepEqual([ask(true), ask(false)], ['denied', undefined]);
  });
});

test('in any world: the verdicts of now are those without staged policies, and beside them stands what promoting would make of it', () => {
  let told = 0;
  fc.assert(
    fc.property(
      manifests({ policies: 4, clusterPolicies: 3, isStaged: true }),
      fc.constantFrom(...traffic),
      (list, what) => {
        const world = worldFrom(list);
        const [real, after] = [new Cluster(world), promoted(world)];
        const scene = stagedScene(real, world.staged);
        assert.equal(scene === undefined, after === undefined);
        if (!scene || !after) return;
        const then = new Cluster(after);
        const names = new Set(scene.policies.keys());
        for (const { from, to, family } of matrix(world, what)) {
          const [a, b] = [from, to].map(name => endpointOf(world, name, family));
          if (!a || !b) continue;
          const flow = { from: a, to: b, family, ...what };
          const [now, later] = [evaluate(real, flow), evaluate(then, flow)];
          assert.deepEqual(evaluate(scene.cluster, flow), later);
          const judged = judge({ cluster: real, staged: scene }, flow, { egress: true, ingress: true }, new RuleUse());
          assert.equal(judged.egress?.why, now.egress.why);
          assert.equal(judged.ingress?.why, now.ingress.why);
          assert.equal(
            judged.staged?.verdict,
            now.allowed === later.allowed ? undefined : later.allowed ? 'allowed' : 'denied',
          );
          if (!judged.staged) continue;
          told++;
          assert.ok(judged.staged.by.length > 0, 'some staged policy makes the difference');
          assert.ok(judged.staged.by.every(name => names.has(name)));
        }
      },
    ),
    { numRuns: 200 },
  );
  assert.ok(told > 20, `${told}`);
});

function endpointOf(world: ReturnType<typeof worldFrom>, name: string, family: 4 | 6 | null) {
  const pod = world.pods.find(each => `${each.namespace}/${each.name}` === name);
  if (pod) return { kind: 'pod', pod } as const;
  return name.startsWith('node') || family === null ? undefined : ({ kind: 'address', address: name } as const);
}

const stagedText = `${policies}---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { namespace: shop, name: none, annotations: { tollgate.dev/staged: "true" } }
spec: { podSelector: { matchLabels: { app: client } }, policyTypes: [Egress], egress: [{ ports: [{ port: 53 }] }] }
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { namespace: shop, name: more, annotations: { tollgate.dev/staged: "true" } }
spec: { podSelector: { matchLabels: { app: web } }, ingress: [{ from: [{ podSelector: {} }], ports: [{ port: 81 }] }] }
`;

const denial = (port: number) => ({
  ...{ time: 100, direction: 'ingress' as const, protocol: 6, sourcePort: 4000, port },
  ...{ from: bytes('10.0.0.4'), to: bytes('10.0.0.2'), by: ['NetworkPolicy/shop/web'] },
});

function start(text = stagedText) {
  const place = { now: sceneOf([web, client, stranger], text) };
  const attribution = attributionOf(place);
  const journal = new FlowJournal(attribution, 1 << 20);
  const flows = (filter = ''): FlowRecord[] =>
    [...journal.list({ filter: parseFilter(filter), last: 1000 }, 0)].filter(entry => entry.kind === 'flow');
  return { place, attribution, journal, flows };
}

/** Allowed at 80, which `none` would deny; denied at 81, which `more` would allow; denied at 82. */
function threeFlows() {
  const started = start();
  started.journal.opened(connection('10.0.0.3', '10.0.0.2'), 100);
  for (const port of [81, 82]) started.journal.denied(denial(port));
  return started;
}

suite('in the journal', () => {
  test('records, filters, counts, sums and hints tell of them', () => {
    const { journal, flows } = threeFlows();
    assert.deepEqual(
      flows().map(({ staged: beside }) => beside),
      [
        {
          ...{ verdict: 'denied', by: ['NetworkPolicy/shop/none'], rules: [] },
          why: 'NetworkPolicy/shop/none isolates shop/client for egress, and no rule allows TCP 80 to shop/web',
        },
        {
          ...{ verdict: 'allowed', by: ['NetworkPolicy/shop/more'], rules: ['NetworkPolicy/shop/more ingress[0]'] },
          why: 'NetworkPolicy/shop/more ingress[0] allows TCP 81 from shop/stranger',
        },
        undefined,
      ],
    );
    const ports = (filter: string) => flows(filter).map(({ port }) => port);
    const filters: [filter: string, ports: number[]][] = [
      ['staged:denied', [80]],
      ['staged:allowed', [81]],
      ['staged:none', [82]],
      ['-staged:none', [80, 81]],
      ['staged:more', [81]],
      ['staged:shop/*', [80, 81]],
      ['staged:other/*', []],
      ['policy:more', []],
    ];
    for (const [filter, found] of filters) assert.deepEqual(ports(filter), found, filter);
    assert.deepEqual(
      [...journal.totals.staged],
      [
        ['NetworkPolicy/shop/none', { wouldDeny: 1, wouldAllow: 0 }],
        ['NetworkPolicy/shop/more', { wouldDeny: 0, wouldAllow: 1 }],
      ],
    );
    const sums = journal.minutes.summed(0);
    const rows = (kind: 'policy' | 'ns') =>
      sumBy(kind, sums).map(row => [row.from, row.denied, row.allowed, row.wouldDeny, row.wouldAllow]);
    assert.deepEqual(rows('policy'), [
      ['NetworkPolicy/shop/web', 2, 1, 0, 0],
      ['NetworkPolicy/shop/none', 0, 0, 1, 0],
      ['NetworkPolicy/shop/more', 0, 0, 0, 1],
    ]);
    assert.deepEqual(rows('ns'), [['shop', 2, 1, 1, 1]]);
    assert.deepEqual(
      sumBy('policy', sums, parseFilter('staged:allowed')).map(({ from }) => from),
      ['NetworkPolicy/shop/web', 'NetworkPolicy/shop/more'],
    );
    assert.deepEqual(hintsOf(sums).staged, ['allowed', 'denied', 'shop/more', 'shop/none']);
  });

  test('a flow about which there is a doubt says nothing of them, and counts for none', () => {
    const { journal, flows } = start(stagedText.replace('app: client } }]', 'app: nobody } }]'));
    // The kernel let pass what the policies of now deny; denied what they allow.
    journal.opened(connection('10.0.0.4', '10.0.0.2', { port: 81 }), 100);
    journal.denied({ ...denial(80), direction: 'egress', from: bytes('10.0.0.3'), to: bytes('192.0.2.7') });
    assert.deepEqual(
      flows().map(({ doubt, staged: beside }) => [doubt, beside]),
      [
        ['changed', undefined],
        ['changed', undefined],
      ],
    );
    assert.equal(journal.totals.staged.size, 0);
  });

  test('a denied flow counts for the policies that denied it, and for none that let it pass in its other direction', () => {
    const out = networkPolicy('shop/out', 'policyTypes: [Egress], egress: [{}]');
    const { journal } = start(`${policies}---\n${out}`);
    journal.denied(denial(81));
    assert.deepEqual(
      sumBy('policy', journal.minutes.summed(0)).map(({ from, denied, allowed }) => [from, denied, allowed]),
      [['NetworkPolicy/shop/web', 1, 0]],
    );
  });

  test('without staged policies no record and no sum says a word of them', () => {
    const { journal, flows } = start(policies);
    journal.opened(connection('10.0.0.3', '10.0.0.2'), 100);
    assert.ok(!('staged' in flows()[0]!));
    assert.ok(!('staged' in journal.minutes.summed(0)[0]!));
  });

  test('of thousands of policies in one flow twenty are named, and the others count together: none of them counts as none', () => {
    const many = Array.from({ length: 300 }, (_, i) => stagedText.split('---')[1]!.replace('none', `none-${100 + i}`));
    const { journal, flows } = start([policies, ...many].join('---'));
    journal.opened(connection('10.0.0.3', '10.0.0.2'), 100);
    const [{ staged: beside }] = flows() as [FlowRecord];
    assert.deepEqual([beside!.by.length, beside!.by.at(-1)], [21, 'and 280 more']);
    assert.ok(beside!.why.length <= 1001);
    assert.equal(journal.totals.staged.size, 21);
    assert.deepEqual(journal.totals.staged.get('others'), { wouldDeny: 1, wouldAllow: 0 });
    const sums = journal.minutes.summed(0);
    assert.ok(sumBy('policy', sums).every(({ from }) => !from.startsWith('and ')));
    assert.equal(hintsOf(sums).staged.length, 21);
  });

  test('a tenant that stages policies without end has a thousand counts, and the metrics half of that', () => {
    const counts = new FlowCounts();
    for (let i = 0; i < 3000; i++)
      for (const verdict of ['denied', 'allowed'] as const)
        counts.passed({
          ...{ egress: null, ingress: null },
          staged: { verdict, by: [`NetworkPolicy/shop/p${i}`], rules: [], why: '' },
        });
    const { staged: counted } = counts.totals;
    assert.equal(counted.size, 1001);
    assert.deepEqual(counted.get('others'), { wouldDeny: 2000, wouldAllow: 2000 });
    const { attribution } = start();
    const journal = { totals: counts.totals, bytes: 0, size: 0, open: 0 } as FlowJournal;
    const series = flowMetrics({ journal, attribution }).find(({ name }) => name === 'flows_staged_total')!.samples;
    assert.equal(series.length, 500);
  });
});

suite('policies of this node', () => {
  const report = (started: ReturnType<typeof start>) => {
    const { rulesUsed, unanswered, scene } = started.attribution;
    return policyReport({ scene, rulesUsed, unanswered }, started.journal.minutes.summed(0), 7);
  };

  test('those that deny most are first; each with its pods, its flows and the rules that nothing used', () => {
    const { policies: rows, ...more } = report(threeFlows());
    assert.deepEqual(more, { since: 7, unattributed: 0, leftOut: 0 });
    assert.deepEqual(
      rows.map(({ policy, tier, isStaged, pods, unused, last: _, ...counts }) => [
        ...[policy.split('/')[2], tier, isStaged, pods, unused.join()],
        Object.values(counts).join(),
      ]),
      [
        // allowed, denied, wouldDeny, wouldAllow
        ['web', 'NetworkPolicy', false, 1, '', '1,2,0,0'],
        ['none', 'NetworkPolicy', true, 1, 'egress[0]', '0,0,1,0'],
        ['more', 'NetworkPolicy', true, 1, '', '0,0,0,1'],
      ],
    );
  });

  test('a rule is used by what it decides, and by what it passes on; cluster policies are there whether or not they decided', () => {
    const rules = (at: string) =>
      clusterPolicy({
        at,
        of: '{ namespaces: {} }',
        in: ['name: next, action: Pass, from: [{ namespaces: {} }]', `action: Deny, ${everyone}`],
      });
    const started = start(
      [
        policies,
        rules('A10'),
        staged(rules('B5')),
        clusterPolicy({ at: 'B20', in: [`action: Deny, ${everyone}`] }),
      ].join('\n---\n'),
    );
    started.journal.opened(connection('10.0.0.3', '10.0.0.2'), 100);
    assert.deepEqual(
      report(started).policies.map(({ policy, tier, isStaged, unused }) => [policy, tier, isStaged, unused]),
      [
        ['NetworkPolicy/shop/web', 'NetworkPolicy', false, []],
        ['ClusterNetworkPolicy/a10', 'Admin', false, ['ingress[1]']],
        ['ClusterNetworkPolicy/b20', 'Baseline', false, ['ingress[0]']],
        ['ClusterNetworkPolicy/b5', 'Baseline', true, ['ingress[0] "next"', 'ingress[1]']],
      ],
    );
  });

  test('files that are read anew and say the same keep what is known; a rule that says something else is a new one', () => {
    const started = threeFlows();
    const { place, attribution } = started;
    const unused = () =>
      report(started).policies.map(({ policy, unused: rules }) => `${policy.split('/')[2]} ${rules.join()}`);
    for (const [text, says] of [
      [stagedText, ['web ', 'none egress[0]', 'more ']],
      [stagedText.replace('port: 81', 'port: 83'), ['web ', 'none egress[0]', 'more ingress[0]']],
      [stagedText.replace('port: 80', 'port: 8080'), ['web ingress[0]', 'none egress[0]', 'more ingress[0]']],
    ] as const) {
      place.now = sceneOf([web, client, stranger], text);
      attribution.outdate();
      assert.deepEqual(unused(), says, text);
    }
  });

  test('a policy that decided and is gone is told as gone; of too many the last are left out', () => {
    const started = threeFlows();
    const many = Array.from({ length: 1200 }, (_, i) => policies.replace('name: web', `name: many-${i}`));
    started.place.now = sceneOf([client], many.join('---'));
    started.attribution.outdate();
    const { policies: rows, leftOut } = report(started);
    assert.deepEqual([rows.length, leftOut], [1000, 201]);
    assert.deepEqual([rows[0]!.policy, rows[0]!.tier, rows[0]!.denied], ['NetworkPolicy/shop/web', null, 2]);
  });
});
