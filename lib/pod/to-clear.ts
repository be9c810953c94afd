/** `tollgate gc --dry-run`: what `clearNode` would do, by the same looks; nothing is changed. */
import { podKey } from '../gate/node-state.ts';
import { tryLockAttachment } from '../state/attachment.ts';
import { isOrphan, listNameless, listOrphans } from '../state/leftovers.ts';
import { listAttachments, networksIn } from '../state/listed.ts';
import type { Store } from '../state/store.ts';
import { type Adopted, adoptedOf, lostRecords } from './adopt.ts';
import { type Cleared, isStateLost, unknownLinks } from './clear-node.ts';
import { type Undone, undoneOf } from './collector.ts';
import { deathOf } from './death.ts';
import { type Here, nodeFacts } from './here.ts';

function toUndo(store: Store, network: string, here: Here): readonly Undone[] {
  return listAttachments(store, network).flatMap(({ owner, path }) => {
    if (!owner) return [];
    using attachment = tryLockAttachment(store, network, path);
    const death = attachment && deathOf(attachment, here);
    return attachment && death !== undefined ? [undoneOf(owner, attachment.facts, death)] : [];
  });
}

/** Addresses that no attachment holds. A pod whose record is written again gets its own back before. */
function toRelease(store: Store, network: string, adopted: readonly Adopted[]): Cleared['released'] {
  const kept = new Set(adopted.filter(each => each.network === network).flatMap(({ addresses }) => addresses));
  return listOrphans(store, network)
    .filter(address => !kept.has(address) && isOrphan(store, network, address))
    .map(address => ({ network, address }));
}

/** Operations on the table, also those by which it forgets pods without a record. */
async function toMend({ hook, host, here }: Here, lost: ReadonlySet<string>): Promise<Cleared['table']> {
  const { store } = hook.table;
  const owner = store.owner();
  if (!owner) return [];
  using _ = await store.lock(60_000);
  const recorded = nodeFacts(host, here).recorded(owner);
  return hook.table.toMend(key => !recorded.has(key) && !lost.has(key));
}

/** @param isForced whether links that no record knows would be deleted */
export async function toClear(store: Store, isForced: boolean, here: Here): Promise<Cleared> {
  const { hook } = here;
  const networks = networksIn(
    store,
    hook.pods().map(({ network }) => network),
  );
  const lost = networks.flatMap(network => lostRecords(store, network, here));
  const adopted = lost.map(adoptedOf);
  const strange = hook.owner() ? unknownLinks(store, here) : [];
  return {
    adopted,
    undone: networks.flatMap(network => toUndo(store, network, here)),
    released: networks.flatMap(network => toRelease(store, network, adopted)),
    nameless: networks.flatMap(network => listNameless(store, network)),
    links: isForced ? strange : [],
    unknown: isForced ? [] : strange,
    table: await toMend(here, new Set(lost.map(podKey))),
    isRebuilt: await isStateLost(store, here),
    failures: [],
  };
}
