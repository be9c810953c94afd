/** `tollgate gc`: collects the dead of the whole node, links that no record knows, and the table's drift. */

import { ownerOf, refuseOtherOwner } from '../enforce/owner.ts';
import { formatAddress } from '../ip/address.ts';
import type { Link } from '../kernel/link.ts';
import type { Operation } from '../nft/transaction.ts';
import type { Store } from '../state/store.ts';
import { type Collected, Collector, type CollectorOptions } from './collector.ts';
import { forgetFlowsOf } from './forget-flows.ts';
import type { Here } from './here.ts';
import { inventory, isOurMaking } from './inventory.ts';
import { allLinks, condemn, removeLink, routesOver, unroute } from './links.ts';
import { isTagged } from './own-link.ts';
import { recordedNode } from './pod-records.ts';

export interface Cleared extends Omit<Collected, 'released'> {
  /** Addresses that no attachment held. */
  readonly released: readonly { readonly network: string; readonly address: string }[];
  /** Links of ours that neither a record nor the node's state knew, and that were deleted. */
  readonly links: readonly Link[];
  /** Links like these that were left. */
  readonly unknown: readonly Link[];
  /** Operations that brought the table to its desired state. */
  readonly table: readonly Operation[];
  /** The node's state file was lost, and was made again from records and links. */
  readonly isRebuilt: boolean;
}

/** Removes a link that the table does not know, in DEL's order: closed, out of conntrack, unrouted, deleted. */
async function removeUnrecorded(link: Link, { host, conntrack }: Here): Promise<void> {
  condemn(host, link.ifindex);
  const addresses = routesOver(host, link.ifindex).map(({ destination }) => formatAddress(destination));
  await forgetFlowsOf(addresses, { conntrack });
  unroute(host, link.ifindex);
  removeLink(host, link.ifindex);
}

/**
 * Whether there is a table without its state file, or pods without both, whose records say whose they are: asked again under
 * the lock, since the first pod's ADD makes both, and the last one's DEL removes both.
 */
export async function isStateLost(store: Store, { hook, host, here }: Here): Promise<boolean> {
  const { table } = hook;
  const isUngated = () => allLinks(host).some(isTagged) && recordedNode(store.stateDir, here) !== undefined;
  const isLost = () => !table.store.read() && (table.read() !== undefined || isUngated());
  if (!isLost()) return false;
  using _ = await table.store.lock(60_000);
  return isLost();
}

/** Whether there is a table of a folder whose manifests, as they came into force, are no longer known. */
function areManifestsLost({ table }: Here['hook']): boolean {
  const owner = table.store.owner();
  return owner !== undefined && owner.enforcer !== 'agent' && !table.isKnown();
}

/**
 * Brings the table to its desired state. A lost state file, and the table with it, is made again from records and links first;
 * lost manifests, which the table was made from, are read anew.
 */
async function restore(store: Store, here: Here): Promise<Pick<Cleared, 'table' | 'isRebuilt'>> {
  const { hook } = here;
  const record = hook.table.store.read();
  const table = record ? await hook.mend() : [];
  const isLost = record ? areManifestsLost(hook) : await isStateLost(store, here);
  if (isLost) await hook.apply();
  return { table, isRebuilt: isLost };
}

/** Links of ours that neither a record nor the node's state knows. */
export function unknownLinks(store: Store, here: Here): readonly Link[] {
  const links = allLinks(here.host);
  const state = here.hook.table.store.read()?.state;
  return inventory(links, store, here, state).flatMap(({ standing, link, pod }) =>
    standing === 'unrecorded' && link && !pod && isOurMaking(link) ? [link] : [],
  );
}

export interface UnknownLinks {
  readonly links: Cleared['links'];
  readonly unknown: Cleared['unknown'];
  readonly failures: readonly unknown[];
}

/**
 * Deletes links that no record knows if forced, else names them: each may be a running pod's whose record was lost.
 * Without a table it cannot be known whether the links belong to this state folder, so no link counts as unknown.
 */
export async function clearLinks(store: Store, here: Here, isForced: boolean): Promise<UnknownLinks> {
  const found = here.hook.owner() ? unknownLinks(store, here) : [];
  if (!isForced) return { links: [], unknown: found, failures: [] };
  const failures: unknown[] = [];
  const links: Link[] = [];
  for (const link of found)
    try {
      await removeUnrecorded(link, here);
      links.push(link);
    } catch (error) {
      failures.push(error);
    }
  return { links, unknown: [], failures };
}

export interface ClearOptions extends CollectorOptions {
  readonly store: Store;
  /** Whether links that no record knows are deleted. */
  readonly isForced: boolean;
}

/** @throws CniError code 7 where this network namespace is another owner's */
export async function clearNode({ settings, store, path, isForced }: ClearOptions, here: Here): Promise<Cleared> {
  refuseOtherOwner(ownerOf(settings), here.hook.owner());
  const failures: unknown[] = [];
  const attempt = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      failures.push(error);
      return undefined;
    }
  };
  const collected: { readonly network: string; readonly found: Collected }[] = [];
  await attempt(async () => {
    for await (const each of new Collector({ settings, path }, here).node()) collected.push(each);
  });
  const restored = (await attempt(() => restore(store, here))) ?? { table: [], isRebuilt: false };
  const { failures: unremoved, ...links } = await clearLinks(store, here, isForced);
  // The table may have stayed for them alone.
  if (links.links.length > 0) await attempt(() => here.hook.mend());
  await attempt(() => here.reaper.drained());
  return {
    adopted: collected.flatMap(({ found }) => found.adopted),
    undone: collected.flatMap(({ found }) => found.undone),
    released: collected.flatMap(({ network, found }) => found.released.map(address => ({ network, address }))),
    nameless: collected.flatMap(({ found }) => found.nameless),
    ...links,
    ...restored,
    failures: [...collected.flatMap(({ found }) => found.failures), ...failures, ...unremoved],
  };
}
