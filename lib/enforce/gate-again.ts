import { messageOf } from '../cni/error.ts';
import { podKey } from '../gate/node-state.ts';
import type { InlineOptions } from './inline-options.ts';
import { ownerOf } from './owner.ts';

/**
 * Gates running pods anew, as the next ADD would: to be called where the record is gone, and with it perhaps the table or what
 * was in it, so that the call's configuration alone tells whose these pods are. Where that fails, the caller goes on.
 * @param but a pod that goes
 */
export async function gateAgain(
  { config, node, log }: InlineOptions,
  apply: () => Promise<unknown>,
  but: string | undefined,
): Promise<void> {
  if (!node.isAnyTagged()) return;
  const pods = Object.values(node.recover(ownerOf(config)));
  if (pods.every(pod => podKey(pod) === but)) return;
  try {
    await apply();
  } catch (error) {
    log(`Cannot gate the pods of this node again: ${messageOf(error)}`);
  }
}
