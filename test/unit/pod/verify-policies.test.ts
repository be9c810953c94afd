/** What verify says of a policies folder that a call puts into force while verify looks at it. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import type { NodeRecord } from '../../../lib/nodestore/node-store.ts';
import { type Kept, readFolder } from '../../../lib/nodestore/policy-folder.ts';
import { differences, type Scene } from '../../../lib/pod/verify.ts';
import { openStore } from '../../../lib/state/store.ts';
import { MapStore } from '../../support/map-store.ts';
import { scratchFolder } from '../../support/scratch.ts';

const policies = scratchFolder();
writeFileSync(`${policies}/shop.yaml`, 'apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n');

/** A node without pods, whose table is as it should be. */
function sceneOf(store: MapStore): Scene {
  const table = { store, read: () => undefined, drift: () => [] };
  const hook = { table, pods: () => [], find: () => undefined };
  return { here: { hook }, store: openStore(scratchFolder()), links: [] } as unknown as Scene;
}

const state = { owner: { enforcer: 'inline', policies, stateDir: '/' }, pods: {} };
const said = async (store: MapStore) => (await differences(sceneOf(store))).map(({ about }) => about);

test('a folder that has changed is told', async () => {
  const store = new MapStore();
  store.write({ state } as unknown as NodeRecord);
  assert.deepEqual(await said(store), [policies]);
});

test('one that is put into force meanwhile is not', async () => {
  const { kept } = await readFolder(policies, {});
  /** The call comes to its end between two looks. */
  class Store extends MapStore {
    readonly #looks: Kept[] = [{}, kept];
    override readApplied = (): Kept => this.#looks.shift() ?? kept;
  }
  const store = new Store();
  store.write({ state } as unknown as NodeRecord);
  assert.deepEqual(await said(store), []);
});
