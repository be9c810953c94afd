/** What gc says of a table whose state file is not there, or not there yet. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { readNodeSettings } from '../../lib/cni/own-keys.ts';
import { ownerOf } from '../../lib/enforce/owner.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { currentNetns, inNetns } from '../../lib/kernel/netns.ts';
import type { NodeRecord } from '../../lib/nodestore/node-store.ts';
import { clearNode } from '../../lib/pod/clear-node.ts';
import type { Here } from '../../lib/pod/here.ts';
import { deletingReaper } from '../../lib/pod/link-reaper.ts';
import { openStore } from '../../lib/state/store.ts';
import { MapStore } from '../support/map-store.ts';
import { makeNetns } from '../support/netns.ts';
import { scratchFolder } from '../support/scratch.ts';

const netns = makeNetns();
const socket = inNetns(netns, () => NetlinkSocket.open('route'));
after(() => {
  socket[Symbol.dispose]();
  netns[Symbol.dispose]();
});
const stateDir = scratchFolder();
const settings = readNodeSettings({ stateDir, runDir: scratchFolder() });
const owner = ownerOf(settings);

/** Whether gc, on a node without pods whose table is there, calls the state file made again. */
async function isRebuilt(store: MapStore): Promise<boolean> {
  const table = { store, read: () => ({}) };
  const hook = { table, owner: () => owner, pods: () => [], apply: async () => {}, mend: async () => [] };
  const { exchange: host } = socket;
  const here = { hook, host, here: inNetns(netns, currentNetns), reaper: deletingReaper(host) } as unknown as Here;
  const { failures, ...cleared } = await clearNode(
    { settings, store: openStore(stateDir), path: [], isForced: false },
    here,
  );
  assert.deepEqual(failures, []);
  return cleared.isRebuilt;
}

test('one that was lost is made again', async () => {
  assert.equal(await isRebuilt(new MapStore()), true);
});

test('one that the first ADD writes after the table, under the lock, was not lost', async () => {
  /** The ADD comes to its end before its lock is another's. */
  class Store extends MapStore {
    override async lock(): Promise<Disposable> {
      this.write({ state: { owner, pods: {} } } as unknown as NodeRecord);
      return await super.lock();
    }
  }
  assert.equal(await isRebuilt(new Store()), false);
});
