/** The map of flows has a bounded number of boxes and lines, and tells how many flows it leaves out. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { SummedEnd, SummedFlows } from '../../../lib/flows/minutes.ts';
import { graphOf } from '../../../lib/flows/sums.ts';

const workload = (namespace: string, pod: string): SummedEnd => ({
  ...{ kind: 'pod', name: `${namespace}/${pod}`, namespace, pod },
});
const outside: SummedEnd = { kind: 'outside', name: 'outside' };

const flows = (from: SummedEnd, to: SummedEnd, count = 1, verdict: 'allowed' | 'denied' = 'allowed'): SummedFlows => ({
  ...{ from, to, verdict, flows: count, protocol: 'TCP', port: 80, egress: null, ingress: null },
  ...{ bytes: 0, first: 0, last: 60 },
});

const numbers = (count: number): readonly number[] => Array.from({ length: count }, (_, i) => i);

test('a few workloads have a box each', () => {
  const { nodes, edges, isCollapsed } = graphOf([
    flows(workload('shop', 'web'), workload('shop', 'db'), 3),
    flows(workload('shop', 'web'), workload('shop', 'db'), 2, 'denied'),
    flows(outside, workload('shop', 'web')),
  ]);
  assert.deepEqual(nodes.map(({ name }) => name).sort(), ['outside', 'shop/db', 'shop/web']);
  assert.deepEqual(edges[0], { from: 'shop/web', to: 'shop/db', allowed: 3, denied: 2, ports: ['80/TCP'] });
  assert.equal(isCollapsed, false);
});

/** So many workloads, each with one line. */
const inPairs = (count: number): readonly SummedFlows[] =>
  numbers(count / 2).map(i => flows(workload('shop', `client${i}`), workload('shop', `server${i}`)));
/** Few workloads, so many lines. */
const lines = (count: number): readonly SummedFlows[] =>
  numbers(count).map(i => flows(workload('a', `client${i % 25}`), workload('b', `server${Math.floor(i / 25)}`)));

const bounds: [name: string, sums: readonly SummedFlows[], isCollapsed: boolean, boxes: number][] = [
  ['150 workloads have a box each', inPairs(150), false, 150],
  ['152 workloads are as many boxes as they have namespaces', inPairs(152), true, 1],
  ['400 lines are drawn', lines(400), false, 41],
  ['401 lines are those between namespaces', lines(401), true, 2],
];
for (const [name, sums, isCollapsed, boxes] of bounds)
  test(name, () => {
    const graph = graphOf(sums);
    assert.deepEqual([graph.isCollapsed, graph.nodes.length], [isCollapsed, boxes]);
  });

test('hundreds of workloads are as many boxes as they have namespaces', () => {
  const sums = numbers(600).map(i =>
    flows(workload(`ns${i % 20}`, `pod${i}`), workload(`ns${(i * 7) % 20}`, `pod${i + 1}`)),
  );
  const { nodes, isCollapsed } = graphOf(sums);
  assert.deepEqual([nodes.length, isCollapsed], [20, true]);
});

test('of hundreds of namespaces those with denials and with most flows have boxes, the rest has one', () => {
  const sums = numbers(500).map(i =>
    flows(workload(`ns${i}`, 'a'), outside, i === 3 ? 1 : i, i === 3 ? 'denied' : 'allowed'),
  );
  const { nodes } = graphOf(sums);
  const names = new Set(nodes.map(({ name }) => name));
  assert.equal(names.size, 150);
  assert.ok(names.has('ns3') && names.has('ns499') && names.has('352 other namespaces'), [...names].join(' '));
});

test('where all talk to all, the pairs with denials and with most flows are drawn, and how many are not is told', () => {
  const all = numbers(60).flatMap(from =>
    numbers(60).map(to => flows(workload(`a${from}`, 'x'), workload(`b${to}`, 'y'))),
  );
  const { edges, leftOut } = graphOf([...all, flows(workload('a0', 'x'), workload('b0', 'y'), 1, 'denied')]);
  assert.deepEqual([edges.length, leftOut], [400, 3200]);
  assert.deepEqual([edges[0]!.from, edges[0]!.to, edges[0]!.denied], ['a0', 'b0', 1]);
});

test('whatever talks to whatever, a map has few boxes and lines, between boxes that are there', () => {
  const end = fc.oneof(
    fc.constant(outside),
    fc.tuple(fc.nat(300), fc.nat(5)).map(([ns, pod]) => workload(`ns${ns}`, `pod${pod}`)),
  );
  const some = fc.array(fc.tuple(end, end, fc.integer({ min: 1, max: 9 }), fc.constantFrom('allowed', 'denied')), {
    maxLength: 900,
    size: 'max',
  });
  fc.assert(
    fc.property(some, fc.boolean(), (list, isAsked) => {
      const sums = list.map(([from, to, count, verdict]) => flows(from, to, count, verdict as 'allowed' | 'denied'));
      const { nodes, edges, leftOut } = graphOf(sums, () => true, isAsked);
      assert.ok(nodes.length <= 150 && edges.length <= 400, `${nodes.length} boxes, ${edges.length} lines`);
      const names = new Set(nodes.map(({ name }) => name));
      assert.ok(edges.every(({ from, to }) => names.has(from) && names.has(to)));
      const total = (each: readonly { allowed: number; denied: number }[]) =>
        each.reduce((sum, { allowed, denied }) => sum + allowed + denied, 0);
      const wanted = sums.reduce((sum, each) => sum + each.flows, 0);
      if (leftOut === 0) assert.equal(total(edges), wanted);
      else assert.ok(total(edges) < wanted);
    }),
    { numRuns: 60 },
  );
});
