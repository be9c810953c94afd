import { messageOf } from '../cni/error.ts';
import { podKey } from '../gate/node-state.ts';
import type { InlineOptions } from './inline-options.ts';
import { ownerOf } from './owner.ts';

/**
 * Gates running pods anew, as the next ADD would: to be called where table and record are both gone, so that whose these pods
 * were the call's configuration alone tells. What it is called by goes on where that fails.
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
