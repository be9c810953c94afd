/** The node's table held against its state, and the policies folder against what is in force. */
import { messageOf } from '../cni/error.ts';
import { tryLockAttachment } from '../state/attachment.ts';
import type { PluggedIn } from './inventory.ts';
import { nftLines } from './nft-lines.ts';
import { hostEnd, lookUpIn } from './own-link.ts';
import type { Mismatch, Scene } from './verify.ts';

/**
 * Whether the pod is plugged in, and no call for it is under way: during a first ADD there is no
 * table yet, during a last DEL none any more.
 */
function isSettled({ network, pod, record }: PluggedIn, { here, store }: Scene): boolean {
  if (!pod || !record || network === undefined) return false;
  using held = tryLockAttachment(store, network, record.path);
  return held !== undefined && hostEnd(lookUpIn(here.host), pod) !== undefined;
}

const tableName = 'table inet tollgate';

export async function tableDifferences(scene: Scene, found: readonly PluggedIn[]): Promise<Mismatch[]> {
  const { here } = scene;
  const { table } = here.hook;
  const isNeeded = () => found.some(each => isSettled(each, scene));
  // Where nothing was ever plugged in, to lock would leave a file behind.
  if (!table.store.read() && !table.read() && !isNeeded()) return [];
  using _ = await table.store.lock(60_000);
  if (!table.store.read()) {
    if (table.read()) return [{ about: tableName, what: "the node's state file that goes with it is missing" }];
    const what =
      "is gone, and so is the node's state file: no pod is gated until `tollgate verify --repair`, or the next ADD, DEL or GC, makes both again";
    return isNeeded() ? [{ about: tableName, what }] : [];
  }
  const operations = table.drift();
  if (operations.length === 0) return [];
  const nft = await nftLines(operations);
  const what = table.read() ? `differs from what it should be` : 'is gone: no pod is gated';
  return [{ about: tableName, what, nft }];
}

/** What the policies folder says now and what is in force do not go together. */
export async function pendingPolicies({ here }: Scene): Promise<Mismatch[]> {
  const file = here.hook.table.store.read();
  if (file?.state.owner.enforcer !== 'inline') return [];
  const { readFolder, refuseBroken, warningsOf } = await import('../nodestore/policy-folder.ts');
  const { store } = here.hook.table;
  const { policies } = file.state.owner;
  const differences = (...what: readonly string[]) => what.map(each => ({ about: policies, what: each }));
  const look = async () => await readFolder(policies, store.readApplied());
  try {
    let folder = await look();
    if (folder.isChanged) {
      // A call that was under way has put it into force by now.
      using _ = await store.lock(60_000);
      folder = await look();
    }
    if (!folder.isChanged) return differences(...warningsOf(folder));
    refuseBroken(folder);
    return differences('has changed since it was applied: run `tollgate policy apply`');
  } catch (error) {
    return differences(
      `has changed since it was applied, and what it said then stays in force: ${messageOf(error)}; mend that, and run \`tollgate policy apply\``,
    );
  }
}
