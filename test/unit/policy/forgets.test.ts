/** Pods come and go for months: what is kept of identities and rules is bounded by those that are there. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compile, type Gates } from '../../../lib/policy/compile/compile.ts';
import { Names } from '../../../lib/policy/compile/names.ts';
import type { World } from '../../../lib/policy/model/model.ts';
import type { Identity } from '../../../lib/tag/identity.ts';

const world: World = { namespaces: new Map(), pods: [], policies: [], nodes: [] } as unknown as World;
const identity = (number: number): Identity => ({
  namespace: 'default',
  labels: new Map([['number', String(number)]]),
  namedPorts: [],
});

test('gates of identities that are gone are forgotten', () => {
  const gates = new Map<string, Gates>();
  for (let i = 0; i < 2_000; i++) compile(world, [{ tag: 0x74670001, identity: identity(i) }], { gates });
  assert.ok(gates.size <= 300, `${gates.size} are kept`);
});

test('names that are not in use are forgotten, and those in use stay what they are', () => {
  const names = new Names();
  const stays = names.nameOf('in', 'stays');
  for (let i = 0; i < 2_000; i++) names.keep(new Set([stays, names.nameOf('in', String(i))]));
  assert.ok(names.size <= 300, `${names.size} are kept`);
  assert.equal(names.nameOf('in', 'stays'), stays);
  const clashing = new Names(() => 'same');
  const [first, second] = [clashing.nameOf('in', 'a'), clashing.nameOf('in', 'b')];
  for (let i = 0; i < 300; i++) clashing.nameOf('in', String(i));
  clashing.keep(new Set([second]));
  assert.equal(clashing.size, 1);
  assert.equal(clashing.nameOf('in', 'b'), second);
  assert.notEqual(clashing.nameOf('in', 'c'), second);
  assert.notEqual(first, second);
});
