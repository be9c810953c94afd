/** What dead pods still hold, taken back by an ADD that wants it. */

import type { Config } from '../cni/config.ts';
import { messageOf } from '../cni/error.ts';
import { tryLockAttachment } from '../state/attachment.ts';
import { openStore, type Store } from '../state/store.ts';
import { type Listed, listAttachments } from '../state/sweep.ts';
import { deathOf } from './collect.ts';
import type { Context } from './context.ts';
import { networksOf } from './networks.ts';
import { unplug } from './unplug.ts';

/** Of any network: hostPorts are the node's. @returns how many there were; what cannot be undone now is left for GC */
export async function clearDead(config: Config, path: readonly string[], context: Context): Promise<number> {
  const store = openStore(config.stateDir);
  let cleared = 0;
  for (const name of networksOf(store, context.hook))
    for (const listed of listAttachments(store, name))
      if (await isCleared(store, listed, { ...config, name }, path, context)) cleared++;
  return cleared;
}

async function isCleared(
  store: Store,
  listed: Listed,
  config: Config,
  path: readonly string[],
  context: Context,
): Promise<boolean> {
  const { owner } = listed;
  if (!owner || listed.isLost || deathOf(listed, context) === undefined) return false;
  using attachment = tryLockAttachment(store, config.name, listed.path);
  if (!attachment || deathOf(attachment, context) === undefined) return false;
  try {
    await unplug({ ...owner, config, path }, attachment, context);
    return true;
  } catch (error) {
    const why = messageOf(error);
    context.log(`Cannot undo what is left of ${owner.containerID}: ${why}`);
    return false;
  }
}
