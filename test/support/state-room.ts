/** A store in a folder of the test's own, which goes when the test is over. */
import assert from 'node:assert/strict';
import { readdirSync, rmSync } from 'node:fs';
import { parseAddress, parsePrefix } from '../../lib/ip/address.ts';
import { planPools } from '../../lib/ipam/config.ts';
import type { Pool } from '../../lib/ipam/pool.ts';
import type { Reservation } from '../../lib/ipam/reserve.ts';
import { type Attachment, lockAttachment } from '../../lib/state/attachment.ts';
import { networkFolders, openStore, type Store } from '../../lib/state/store.ts';
import type { AttachmentKey } from '../../lib/tag/link-name.ts';
import { scratchFolder } from './scratch.ts';

export interface Room extends Disposable {
  readonly stateDir: string;
  readonly store: Store;
  /** Moves the store's clock on, by milliseconds. */
  readonly pass: (time: number) => void;
}

export function room(bootId = 'test'): Room {
  const stateDir = scratchFolder('state');
  let now = Date.now();
  return {
    stateDir,
    store: openStore(stateDir, { bootId, now: () => now }),
    pass: time => {
      now += time;
    },
    [Symbol.dispose]: () => rmSync(stateDir, { recursive: true, force: true }),
  };
}

export const network = 'net';

export const owner = (containerID: string, ifname = 'eth0'): AttachmentKey => ({ network, containerID, ifname });

export const poolsOf = (...subnets: string[]): readonly Pool[] =>
  planPools({ config: subnets.map(subnet => [{ subnet: parsePrefix(subnet)! }]), cniVersion: '1.1.0' }).pools;

export const from = (pools: readonly Pool[], requested: string[] = []): Reservation => ({
  pools,
  requested: requested.map(text => parseAddress(text)!),
  minimumRest: 60_000,
});

/** Locks a new attachment, as ADD does. */
export async function adding(store: Store, whose: AttachmentKey): Promise<Attachment> {
  const locked = await lockAttachment(store, whose, { timeoutMs: 10_000, create: { phase: 'adding' } });
  assert.ok(locked);
  return locked.attachment;
}

/** Locks an attachment that exists, as DEL does. */
export async function existing(store: Store, whose: AttachmentKey): Promise<Attachment | undefined> {
  return (await lockAttachment(store, whose, { timeoutMs: 10_000 }))?.attachment;
}

export interface Contents {
  readonly attachments: string[];
  readonly claims: string[];
}

/** File names of what is kept for the network. */
export function contents(store: Store): Contents {
  const { attachments, claims } = networkFolders(store, network);
  const names = (folder: string) => {
    try {
      return readdirSync(folder).sort();
    } catch {
      return [];
    }
  };
  return { attachments: names(attachments), claims: names(claims) };
}
