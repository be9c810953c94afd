/** A whole node cleared of what is dead: every network of its state folder, links that nobody knows, and the table's drift. */

import type { Config } from '../cni/config.ts';
import { TABLE } from '../enforce/desired.ts';
import { ownerOf } from '../enforce/inline.ts';
import { refuseOtherOwner } from '../enforce/table.ts';
import { formatAddress } from '../ip/address.ts';
import type { Link } from '../kernel/link.ts';
import type { Operation } from '../nft/transaction.ts';
import { fileName, listNetworks, type Store } from '../state/store.ts';
import { listAttachments } from '../state/sweep.ts';
import { isHostInterfaceName } from '../tag/link-name.ts';
import { type Collected, collect, type Undone } from './collect.ts';
import { forgetFlowsOf } from './flows.ts';
import type { Here } from './here.ts';
import { condemn, removeLink, routesOver, unroute } from './interface.ts';
import { inventory } from './inventory.ts';

export interface Swept extends Omit<Collected, 'released'> {
  readonly undone: readonly Undone[];
  /** Addresses that were held by nobody. */
  readonly released: readonly { readonly network: string; readonly address: string }[];
  /** Links of ours that no record knew. */
  readonly links: readonly Link[];
  /** What it took to bring the table back to what it should be. */
  readonly table: readonly Operation[];
  /** The node's state file was lost, and was made again from records and links. */
  readonly isRebuilt: boolean;
}

/** By its records, since a folder may have a shortened name; by its folder where there are none. */
export function networkName(store: Store, folder: string): string {
  const names = listAttachments(store, folder).flatMap(({ facts }) => facts.network ?? []);
  return names.find(name => fileName(name) === folder) ?? folder;
}

/** A link that another plugin made is not ours to delete, whatever its tag. */
const isRemovable = ({ kind, name }: Link): boolean => kind === 'veth' && isHostInterfaceName(name);

/** Closed, out of conntrack, unrouted, gone: as DEL does it. The table has let go of its pod before. */
function removeUnrecorded(link: Link, { host, nft }: Here): void {
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

/**
 * @param links of this network namespace, listed before anything else
 * @param path where delegated IPAM plugins are
 * @throws CniError code 7 where this network namespace is another owner's
 */
export async function sweep(
  links: readonly Link[],
  config: Config,
  store: Store,
  path: readonly string[],
  here: Here,
): Promise<Swept> {
  const owner = here.hook.owner();
  refuseOtherOwner(ownerOf(config), owner);
  const failures: unknown[] = [];
  const attempt = async <T>(work: () => T | Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      failures.push(error);
      return undefined;
    }
  };
  // Without a table nobody can say whether this is the state folder that the links go with.
  const lost = owner
    ? inventory(links, store, here, undefined).flatMap(({ standing, link }) =>
        standing === 'unrecorded' && link && isRemovable(link) ? [link] : [],
      )
    : [];
  for (const link of lost) await attempt(() => condemn(here.host, link.ifindex));
  const collected: { readonly network: string; readonly found: Collected }[] = [];
  for (const folder of listNetworks(store)) {
    const network = networkName(store, folder);
    const found = await attempt(() => collect({ config: { ...config, name: network }, path, keep: undefined }, here));
    if (found) collected.push({ network, found });
  }
  const restored = (await attempt(() => restore(here))) ?? { table: [], isRebuilt: false };
  const removed: Link[] = [];
  for (const link of lost)
    await attempt(() => {
      removeUnrecorded(link, here);
      removed.push(link);
    });
  await attempt(() => here.graveyard.emptied());
  return {
    undone: collected.flatMap(({ found }) => found.undone),
    released: collected.flatMap(({ network, found }) => found.released.map(address => ({ network, address }))),
    nameless: collected.flatMap(({ found }) => found.nameless),
    links: removed,
    ...restored,
    failures: [...collected.flatMap(({ found }) => found.failures), ...failures],
  };
}

/** Operations on our table as lines that `nft -f` would take. */
export async function nftWords(operations: readonly Operation[]): Promise<readonly string[]> {
  const { formatTransaction } = await import('../nft/text.ts');
  return formatTransaction({ family: 'inet', table: TABLE, operations })
    .split('\n')
    .filter(line => line !== '');
}
