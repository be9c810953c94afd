/** Flows of several nodes as they are followed: first what has been on all of them as one list, then what comes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FollowedNodes, withJson } from '../../../lib/cli/kubectl/flows-of-nodes.ts';
import type { FlowRecord } from '../../../lib/flows/model.ts';

const flow = (id: number, time: number, more: Partial<FlowRecord> = {}): FlowRecord => ({
  ...{ kind: 'flow', id, time, isStartKnown: true, end: null, state: 'open', verdict: 'allowed' },
  from: { kind: 'pod', name: 'shop/web', address: '10.0.1.2', namespace: 'shop', pod: 'web' },
  to: { kind: 'pod', name: 'shop/db', address: '10.0.2.2', namespace: 'shop', pod: 'db' },
  ...{ protocol: 'TCP', sourcePort: id, port: 5432, sentTo: null, seenFrom: null, sent: null, received: null },
  ...{ egress: null, ingress: null },
  ...more,
});

function follow(...args: readonly string[]) {
  const lines: string[] = [];
  const nodes = new FollowedNodes(['n1', 'n2'], args, line => lines.push(line));
  const tell = (node: string, ...entries: readonly object[]): void => {
    for (const entry of entries) nodes.take(node, JSON.stringify(entry));
  };
  /** Nodes and id of each line of JSON. */
  const told = (): readonly string[] =>
    lines.map(line => {
      const { nodes: all, node, id } = JSON.parse(line) as { nodes?: string[]; node?: string; id: number };
      return `${all?.join('+') ?? node} ${id}`;
    });
  return { nodes, lines, tell, told };
}

const live = { kind: 'live', time: 1 };
const json = ['-o', 'json'] as const;

test('nothing is told before all nodes have told what has been; of that the newest of all nodes are told, in order', () => {
  const { tell, told } = follow('--follow', '--last', '3', ...json);
  tell('n1', flow(1, 100), flow(2, 103), flow(3, 105), live);
  tell('n1', flow(4, 106));
  tell('n2', flow(7, 102), flow(8, 104));
  assert.deepEqual(told(), []);
  tell('n2', live, flow(9, 107));
  assert.deepEqual(told(), ['n1 2', 'n2 8', 'n1 3', 'n1 4', 'n2 9']);
});

test('a flow that both nodes have recorded stands once in what has been', () => {
  const { tell, told } = follow('-f', '--since=10m', ...json);
  tell('n1', flow(1, 100), live);
  tell('n2', flow(5, 100.2, { sourcePort: 1 }), live);
  assert.deepEqual(told(), ['n1+n2 1']);
});

test('a flow is told once more when it has ended, to a script; a person is told its beginning', () => {
  for (const [format, count] of [
    [json, 2],
    [[], 1],
  ] as const) {
    const { tell, lines } = follow('--follow', '--last=5', ...format);
    tell('n2', live);
    tell('n1', flow(1, 100), live, flow(1, 100), flow(1, 100, { state: 'closed', end: 101 }));
    assert.equal(lines.length, count, lines.join('\n'));
  }
});

test('without --last and --since each node tells from now on, at once', () => {
  const { tell, told } = follow('--follow', ...json);
  tell('n1', flow(1, 100));
  assert.deepEqual(told(), ['n1 1']);
});

test('a node that cannot be asked keeps the others waiting no longer than until it is known', () => {
  const { nodes, tell, told } = follow('--follow', '--last', '1', ...json);
  tell('n1', flow(1, 100), live);
  nodes.liveOrOver('n2');
  assert.deepEqual(told(), ['n1 1']);
});

for (const output of [[], ['-o', 'text'], ['-otext'], ['--output', 'text'], ['--output=text'], ['-o', 'json']])
  test(`nodes are asked for JSON once: ${output.join(' ') || 'nothing is said of the output'}`, () => {
    assert.deepEqual(withJson(['ns:shop', ...output, '--last', '5']), ['ns:shop', '--last', '5', '-o', 'json']);
  });
