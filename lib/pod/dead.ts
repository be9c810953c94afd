/** Attachments that a killed ADD or DEL left half done: undone by whoever comes upon them. */
import type { Config } from '../cni/config.ts';
import { tryLockAttachment } from '../state/attachment.ts';
import { openStore } from '../state/store.ts';
import { deadAttachments } from '../state/sweep.ts';
import type { Context } from './context.ts';
import { unplug } from './unplug.ts';

/** @returns how many there were; what cannot be undone now is left for GC, and said in the log */
export async function clearDead(config: Config, path: readonly string[], context: Context): Promise<number> {
  const store = openStore(config.stateDir);
  let cleared = 0;
  for (const { owner, path: record } of deadAttachments(store, config.name)) {
    using attachment = tryLockAttachment(store, config.name, record);
    if (!owner || !attachment || attachment.facts.phase === 'ready') continue;
    try {
      await unplug({ ...owner, config, path }, attachment, context);
      cleared++;
    } catch (error) {
      context.log(
        `Cannot undo what is left of ${owner.containerID}: ${error instanceof Error ? error.message : error}`,
      );
    }
  }
  return cleared;
}
