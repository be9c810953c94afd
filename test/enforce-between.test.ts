/** Between two tables nothing may pass that neither allows, whichever of a packet's two gates sees which. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { between } from '../lib/enforce/between.ts';
import { desiredTable } from '../lib/enforce/desired.ts';
import { manifestsOf } from '../lib/enforce/folder.ts';
import { emptyNode, type LocalPod, type NodeState, withPod } from '../lib/enforce/node.ts';
import { rulesetOfNode } from '../lib/enforce/world.ts';
import { apply } from '../lib/nft/apply.ts';
import { diff } from '../lib/nft/diff.ts';
import type { Element, Table } from '../lib/nft/model.ts';

const owner = { enforcer: 'inline', stateDir: '/state', policies: '/policies' };
const settings = { judge: 'inline', nflogGroup: 7467, enforceEgressToNode: false } as const;
const pod = (name: string, number: number): Omit<LocalPod, 'tag'> => ({
  ...{ network: 'net', containerID: name, ifname: 'eth0', link: `tg-${name}`, namespace: 'default', name },
  ...{ labels: { app: name }, given: { config: {}, call: { app: name } }, namedPorts: [], hostPorts: [] },
  addresses: [`10.0.0.${number}`],
});
const state = ['a', 'b', 'c'].reduce<NodeState>(
  (current, name, i) => withPod(current, pod(name, i + 2), () => false).state,
  emptyNode(owner, settings),
);
const policy = (app: string, spec: object) => ({
  ...{ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name: app, namespace: 'default' } },
  spec: { podSelector: { matchLabels: { app } }, ...spec },
});
const tableOf = (marker: number, ...policies: object[]): Table => {
  const documents = policies.map((value, document) => ({ file: 'f', document, value }));
  const { world } = manifestsOf({ f: { stamp: String(marker), documents } });
  return desiredTable(state, marker, rulesetOfNode(world, state));
};
const entry = (table: Table, map: string, app: string): Element['value'] =>
  table.sets
    .find(({ name }) => name === map)!
    .elements.find(({ key }) => key[0] === state.pods[`net/${app}/eth0`]!.tag)!.value;

const leaves = tableOf(1, policy('a', { policyTypes: ['Egress'] }));
const enters = tableOf(2, policy('b', { policyTypes: ['Ingress'] }));

test('where one deny takes the place of another, both hold in between', () => {
  const middle = between(leaves, enters)!;
  assert.notDeepEqual(entry(middle, 'egress_by_tag', 'a'), { kind: 'return' }, 'the old one');
  assert.notDeepEqual(entry(middle, 'ingress_by_tag', 'b'), { kind: 'return' }, 'the new one');
  assert.deepEqual(entry(middle, 'egress_by_tag', 'c'), { kind: 'return' }, 'and nobody else is held up');
});

test('both steps are taken by a kernel that refuses what the kernel refuses, and lead where one would', () => {
  const middle = between(leaves, enters)!;
  const reached = apply(apply(leaves, diff(leaves, middle)), diff(middle, enters));
  assert.deepEqual(diff(reached, enters).operations, []);
});

test('a policy that only closes takes one step', () => {
  assert.equal(between(tableOf(1), enters), undefined);
});

test('a set of peers has in between only those that it has before and after', () => {
  const allow = policy('b', { ingress: [{ from: [{ podSelector: { matchLabels: { app: 'a' } } }] }] });
  const [have, want] = [tableOf(1, allow), tableOf(2, allow)];
  const isPeers = ({ name }: { readonly name: string }) => name.startsWith('pods4-');
  const without = { ...have, sets: have.sets.map(set => (isPeers(set) ? { ...set, elements: [] } : set)) };
  assert.equal(have.sets.find(isPeers)?.elements.length, 1);
  assert.equal(between(without, want)?.sets.find(isPeers)?.elements.length, 0, 'what is opened comes last');
  assert.equal(between(have, without), undefined, 'what is closed comes at once');
});
