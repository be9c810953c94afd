/** Metrics whose number a tenant could make large. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { metricsOf, type Readings } from '../../../lib/controller/agent-metrics.ts';
import { DropTotals } from '../../../lib/controller/drop-totals.ts';
import { formatMetrics, Histogram } from '../../../lib/controller/prometheus.ts';
import type { RuleChain } from '../../../lib/policy/compile/ruleset.ts';

const chain = (name: string, policies: readonly string[]): RuleChain => ({
  name,
  policies,
  direction: 'ingress',
  rules: [],
});

type Counts = readonly (readonly [chain: RuleChain, packets: number])[];

const namedIn = (counts: Counts) => new Map(counts.map(([{ name }, packets]) => [name, { packets: BigInt(packets) }]));

function linesOf(totals: DropTotals, counts: Counts): readonly string[] {
  const readings: Readings = {
    ...{ release: '1', watches: [], isServing: true, pods: 0, identities: 0, refused: 0, failures: 0, cuts: 0 },
    ...{
      delays: new Histogram(),
      syncs: new Histogram(),
      mended: { table: 0, links: 0, routes: 0, forwarding: 0 },
      memory: 0,
    },
    dropped: totals.take(namedIn(counts), new Map(counts.map(([each]) => [each.name, each]))),
  };
  const text = formatMetrics(metricsOf(readings));
  return text.split('\n').filter(line => line.startsWith('tollgate_dropped_packets_total{'));
}

const dropsOf = (chains: readonly RuleChain[], packets: readonly number[]): readonly string[] =>
  linesOf(
    new DropTotals(new Map()),
    chains.map((each, i) => [each, packets[i]!]),
  );

test('a chain of many policies is a short series for each, and a policy of several chains is one', () => {
  assert.deepEqual(
    dropsOf([chain('in-1', ['NetworkPolicy/a/x', 'NetworkPolicy/a/y']), chain('in-2', ['NetworkPolicy/a/y'])], [3, 4]),
    [
      'tollgate_dropped_packets_total{direction="ingress",policy="NetworkPolicy/a/y"} 7',
      'tollgate_dropped_packets_total{direction="ingress",policy="NetworkPolicy/a/x"} 3',
    ],
  );
});

test('what was dropped only grows, whatever becomes of chains; it goes with the last of them', () => {
  const [one, two] = [chain('in-1', ['NetworkPolicy/a/x']), chain('in-2', ['NetworkPolicy/a/x'])];
  const totals = new DropTotals(namedIn([[one, 100]]));
  const steps: readonly (readonly [what: string, counts: Counts, dropped: number | undefined])[] = [
    ['dropped before the agent began', [[one, 100]], 0],
    [
      'dropped since, also by a chain that is new',
      [
        [one, 103],
        [two, 4],
      ],
      7,
    ],
    ['one chain goes', [[two, 5]], 8],
    ['a chain is made anew', [[two, 2]], 10],
    [
      'a chain comes back',
      [
        [one, 1],
        [two, 2],
      ],
      11,
    ],
    ['no chain is left', [], undefined],
    ['another one comes', [[one, 3]], 3],
  ];
  for (const [what, counts, dropped] of steps) {
    const series = 'tollgate_dropped_packets_total{direction="ingress",policy="NetworkPolicy/a/x"}';
    assert.deepEqual(linesOf(totals, counts), dropped === undefined ? [] : [`${series} ${dropped}`], what);
  }
});

test('what a chain by number drops is counted rule by rule, and a count in it that is not of its rules for none', () => {
  const name = 'in-1';
  const origin = { policy: 'ClusterNetworkPolicy/x', direction: 'ingress', index: 3 } as const;
  const byNumber: RuleChain = {
    ...chain(name, ['ClusterNetworkPolicy/x', 'ClusterNetworkPolicy/y']),
    rules: [{ peers: 'any', ports: 'any', numbers: { bits: 0xab, mask: 0xffffffff }, origins: [origin] }],
    denies: { tier: 'Admin', rules: [] },
  };
  const drops = new Map([
    ['in-1/ab', { packets: 3n }],
    [name, { packets: 5n }],
  ]);
  const samples = new DropTotals(new Map()).take(drops, new Map([[name, byNumber]]));
  const labels = { direction: 'ingress', policy: 'ClusterNetworkPolicy/x' };
  const expected = { ...labels, tier: 'Admin', rule: 'ClusterNetworkPolicy/x ingress[3]' };
  assert.deepEqual(samples, [{ labels: expected, value: 3 }]);
});

test('however many policies there are, the series are those that drop most, and no line is long', () => {
  const policies = Array.from({ length: 3000 }, (_, i) => `NetworkPolicy/a/p${i}`);
  const lines = dropsOf([chain('in-1', policies), chain('in-2', ['NetworkPolicy/b/most'])], [1, 2]);
  assert.equal(lines.length, 500);
  assert.match(lines[0]!, /NetworkPolicy\/b\/most"} 2$/);
  assert.ok(lines.every(line => line.length < 500));
});
