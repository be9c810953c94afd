/** Which address a pool gave last: where the next round goes on. A hint only, and allowed to be stale, torn or missing. */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { type Address, formatAddress, parseAddress } from '../ip/address.ts';
import { type Pool, poolText } from '../ipam/pool.ts';
import { readText } from './atomic.ts';
import { fileName, inFolder, networkFolders, type Store } from './store.ts';

/** One write of always the same length replaces all of the one before; longer than any address. */
const width = 48;

const pathOf = (store: Store, network: string, pool: Pool): string =>
  `${networkFolders(store, network).last}/${fileName(`pool-${poolText(pool)}`)}`;

/** Undefined where nobody knows; it may lie in no range of the pool any more. */
export function readLast(store: Store, network: string, pool: Pool): Address | undefined {
  try {
    return parseAddress(readText(pathOf(store, network, pool))?.trim() ?? '');
  } catch {
    return undefined;
  }
}

/** Of several writers at once the last one wins, which costs nothing but a few tries. */
export function writeLast(store: Store, network: string, pool: Pool, address: Address): void {
  const path = pathOf(store, network, pool);
  try {
    const fd = inFolder(store, networkFolders(store, network).last, 'open', path, () =>
      openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_NONBLOCK | constants.O_NOFOLLOW, 0o600),
    );
    try {
      writeSync(fd, `${formatAddress(address).padEnd(width - 1)}\n`, 0);
    } finally {
      closeSync(fd);
    }
  } catch {}
}
