/** Takes a pod out of a table of unknown policies, such as the agent's while it is away, and touches nothing else. */
import { withoutPodIn } from '../gate/closing.ts';
import { TABLE } from '../gate/desired.ts';
import { nextMarker } from '../gate/marker.ts';
import { type NodeState, withoutPod } from '../gate/node-state.ts';
import { diff } from '../nft/diff.ts';
import type { NodeStore } from '../nodestore/node-store.ts';
import { writeOrForget } from './record-keeper.ts';
import type { TableConnection } from './table-connection.ts';

export interface ClosingOptions {
  readonly store: NodeStore;
  readonly nft: () => TableConnection;
  readonly isAnyTagged: () => boolean;
  /** The node's state where there is no record of it. */
  readonly start: () => NodeState;
}

/**
 * Takes the pod out of the table, whose policies this process does not know. To be called under the lock.
 * @throws NftError EPERM where the agent lives and holds its table
 */
export function closePod(key: string, { store, nft, isAnyTagged, start }: ClosingOptions): void {
  const record = store.read();
  const before = record?.state ?? start();
  const pod = before.pods[key];
  if (!pod) return;
  const state = withoutPod(before, key);
  if (state.counts.pods === 0 && !isAnyTagged()) {
    removeAll(store, nft);
    return;
  }
  const marker = nextMarker(record?.marker ?? Date.now() >>> 0);
  const have = nft().readTable('inet', TABLE);
  if (have) {
    const isLast = state.counts.tags[pod.tag] === undefined;
    nft().commit(diff(have, withoutPodIn(have, pod, { isLast, marker })));
  }
  writeOrForget(store, { marker, folder: record?.folder ?? '', state });
}

/** The last pod has gone: nothing of ours is left on the node. */
export function removeAll(store: NodeStore, nft: () => TableConnection): void {
  const operations = [{ verb: 'delete', object: 'table' }] as const;
  if (nft().readTable('inet', TABLE)) nft().commit({ family: 'inet', table: TABLE, operations });
  store.removeAll();
}
