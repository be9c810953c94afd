/** Records of several nodes as one list. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Entry, FlowJudgement, FlowRecord } from '../../../lib/flows/model.ts';
import { entriesOfNodes } from '../../../lib/flows/of-nodes.ts';

const judged = (allowed: boolean, ...by: readonly string[]): FlowJudgement => ({
  ...{ allowed, isolated: by.length > 0, by, rules: [], why: 'so it is' },
});

const flow = (time: number, more: Partial<FlowRecord> = {}): FlowRecord => ({
  ...{ kind: 'flow', id: 1, time, isStartKnown: true, end: null, state: 'open', verdict: 'allowed' },
  from: { kind: 'pod', name: 'shop/web', address: '10.0.1.2', namespace: 'shop', pod: 'web' },
  to: { kind: 'pod', name: 'shop/db', address: '10.0.2.2', namespace: 'shop', pod: 'db' },
  ...{ protocol: 'TCP', sourcePort: 40_000, port: 5432, sentTo: null, seenFrom: null, sent: null, received: null },
  ...{ egress: null, ingress: null },
  ...more,
});

const list = (lists: Readonly<Record<string, readonly Entry[]>>) => entriesOfNodes(new Map(Object.entries(lists)));

test('a flow that two nodes recorded stands there once, with what the policies of both say', () => {
  const service = { address: '10.96.0.9', port: 5432 };
  const merged = list({
    n2: [flow(100.2, { id: 7, ingress: judged(true, 'NetworkPolicy/shop/db') })],
    n1: [flow(100, { egress: judged(true), sentTo: service })],
  });
  assert.equal(merged.length, 1);
  const { nodes, entry } = merged[0]!;
  const { egress, ingress, sentTo } = entry as FlowRecord;
  assert.deepEqual(nodes, ['n1', 'n2']);
  assert.deepEqual([egress?.by, ingress?.by, sentTo], [[], ['NetworkPolicy/shop/db'], service]);
});

const apart: readonly (readonly [what: string, lists: Readonly<Record<string, readonly Entry[]>>])[] = [
  ['two flows of one node', { n1: [flow(100), flow(100.5, { id: 2 })] }],
  ['flows that began more than a second apart', { n1: [flow(100)], n2: [flow(101.5)] }],
  ['flows from other ports', { n1: [flow(100)], n2: [flow(100, { sourcePort: 40_001 })] }],
  ['what one node let pass and the other stopped', { n1: [flow(100)], n2: [flow(100, { verdict: 'denied' })] }],
];
for (const [what, lists] of apart) test(`${what} are two`, () => assert.equal(list(lists).length, 2));

test('entries stand in the order of time, losses and sums beside the flows', () => {
  const merged = list({
    n1: [flow(3), { kind: 'loss', time: 5, until: 6, events: 2 }],
    n2: [flow(1, { sourcePort: 1 }), flow(4, { sourcePort: 2 })],
  });
  assert.deepEqual(
    merged.map(({ nodes, entry }) => `${nodes} ${entry.time}`),
    ['n2 1', 'n1 3', 'n2 4', 'n1 5'],
  );
});
