/** The address that a pool gave last, where the next round goes on: a hint that may be stale, torn or missing. */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { type Address, formatAddress, parseAddress } from '../ip/address.ts';
import { type Pool, poolText } from '../ipam/pool.ts';
import { readText } from './atomic.ts';
import { fileName, inFolder, networkFolders, type Store } from './store.ts';

/** Bytes of the file: longer than any address, and always the same, so that each write replaces the whole content. */
const width = 48;

const pathOf = (store: Store, network: string, pool: Pool): string =>
  `${networkFolders(store, network).last}/${fileName(`pool-${poolText(pool)}`)}`;

/** The address that the pool gave last; undefined where there is no hint. It may lie in no range of the pool any more. */
export function readLast(store: Store, network: string, pool: Pool): Address | undefined {
  try {
    return parseAddress(readText(pathOf(store, network, pool))?.trim() ?? '');
  } catch {
    return undefined;
  }
}

/** Writes the hint. Of several writers the last one wins; a stale hint costs a few tries. */
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
