/** A whole node cleared of what is dead: every network of its state folder, links that nobody knows, and the table's drift. */

import type { Config } from '../cni/config.ts';
import { ownerOf } from '../enforce/inline.ts';
import { refuseOtherOwner } from '../enforce/table.ts';
import { TABLE } from '../gate/desired.ts';
import { formatAddress } from '../ip/address.ts';
import type { Link } from '../kernel/link.ts';
import type { Operation } from '../nft/transaction.ts';
import type { Store } from '../state/store.ts';
import { isHostInterfaceName } from '../tag/link-name.ts';
import { type Collected, collect } from './collect.ts';
import { forgetFlowsOf } from './forget-flows.ts';
import type { Here } from './here.ts';
import { allLinks, condemn, findLink, isThere, removeLink, routesOver, unroute } from './interface.ts';
import { inventory } from './inventory.ts';
import { networksOf } from './networks.ts';

export interface Swept extends Omit<Collected, 'released'> {
  /** Addresses that were held by nobody. */
  readonly released: readonly { readonly network: string; readonly address: string }[];
  /** Links of ours that neither a record nor the node's state knew, deleted by force. */
  readonly links: readonly Link[];
  /** Those that were left: each may be a running pod's. */
  readonly unknown: readonly Link[];
  /** What it took to bring the table back to what it should be. */
  readonly table: readonly Operation[];
  /** The node's state file was lost, and was made again from records and links. */
  readonly isRebuilt: boolean;
}

/** A link that another plugin made is not ours to delete, whatever its tag. */
const isRemovable = ({ kind, name }: Link): boolean => kind === 'veth' && isHostInterfaceName(name);

/** Closed, out of conntrack, unrouted, gone: as DEL does it. The table does not know it. */
function removeUnrecorded(link: Link, { host, nft }: Here): void {
  condemn(host, link.ifindex);
  const addresses = routesOver(host, link.ifindex).map(({ destination }) => formatAddress(destination));
  forgetFlowsOf(addresses, { nft });
  unroute(host, link.ifindex);
  removeLink(host, link.ifindex);
}

/** The table as it should be; where the state file was lost, that is found again first. */
async function restore({ hook }: Here): Promise<Pick<Swept, 'table' | 'isRebuilt'>> {
  if (hook.table.peek()) return { table: await hook.mend(), isRebuilt: false };
  if (!hook.table.read()) return { table: [], isRebuilt: false };
  await hook.apply();
  return { table: [], isRebuilt: true };
}

/** Links of ours that neither a record nor the node's state knows, and that another look still finds. */
export function unknownLinks(store: Store, here: Here): readonly Link[] {
  const state = here.hook.table.peek()?.state;
  return inventory(allLinks(here.host), store, here, state).flatMap(({ standing, link, pod }) => {
    if (standing !== 'unrecorded' || !link || pod || !isRemovable(link)) return [];
    // A DEL that was under way while the records were read has deleted it by now.
    return isThere(findLink(here.host, { ifindex: link.ifindex })) ? [link] : [];
  });
}

export interface UnknownLinks {
  readonly links: Swept['links'];
  readonly unknown: Swept['unknown'];
  readonly failures: readonly unknown[];
}

/**
 * With force, deletes links that nobody knows; without, names them: a lost state folder has forgotten pods that run.
 * Without a table nobody can say whether this is the state folder that the links go with, so then there are none.
 */
export function sweepLinks(store: Store, here: Here, isForced: boolean): UnknownLinks {
  const found = here.hook.owner() ? unknownLinks(store, here) : [];
  if (!isForced) return { links: [], unknown: found, failures: [] };
  const failures: unknown[] = [];
  const links = found.filter(link => {
    try {
      removeUnrecorded(link, here);
      return true;
    } catch (error) {
      failures.push(error);
      return false;
    }
  });
  return { links, unknown: [], failures };
}

export interface SweepOptions {
  readonly config: Config;
  readonly store: Store;
  /** Where delegated IPAM plugins are. */
  readonly path: readonly string[];
  /** Links that nobody knows are deleted. */
  readonly isForced: boolean;
}

/** @throws CniError code 7 where this network namespace is another owner's */
export async function sweep({ config, store, path, isForced }: SweepOptions, here: Here): Promise<Swept> {
  refuseOtherOwner(ownerOf(config), here.hook.owner());
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
  for (const network of networksOf(store, here.hook)) {
    const found = await attempt(() => collect({ config: { ...config, name: network }, path, keep: undefined }, here));
    if (found) collected.push({ network, found });
  }
  const restored = (await attempt(() => restore(here))) ?? { table: [], isRebuilt: false };
  const { failures: unremoved, ...links } = sweepLinks(store, here, isForced);
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

/** Operations on our table as lines that `nft -f` would take. */
export async function nftWords(operations: readonly Operation[]): Promise<readonly string[]> {
  const { formatTransaction } = await import('../nft/text.ts');
  return formatTransaction({ family: 'inet', table: TABLE, operations })
    .split('\n')
    .filter(line => line !== '');
}
