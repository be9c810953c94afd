/**
 * One attachment's record, held under its lock. The lock is on the record's inode, so it excludes every other call for the
 * same container and interface, in this process and in others, and the kernel drops it when its holder dies.
 */

import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  openSync,
  readSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { tryFlock, waitForFlock } from '../kernel/flock.ts';
import { monotonic } from '../kernel/monotonic.ts';
import type { AttachmentKey } from '../tag/link-name.ts';
import { doing, errnoOf, StateError } from './error.ts';
import { clearTheWay, clearUnlessFile, isInTheWay } from './in-the-way.ts';
import { type Facts, foldRecord, recordLine } from './record.ts';
import { fileName, inFolder, networkFolders, type Store } from './store.ts';

/** Far more than any record; what lies beyond was not written by us. */
const longestRecord = 1 << 20;

/** `:` is in neither part of the key. */
export const recordPath = (store: Store, { network, containerID, ifname }: AttachmentKey): string =>
  `${networkFolders(store, network).attachments}/${fileName(`${containerID}:${ifname}`)}`;

/** Held until disposed of, or until the process dies. */
export class Attachment implements Disposable {
  readonly store: Store;
  /** The network whose name the folder's is derived from; equal to the owner's, where that is known. */
  readonly network: string;
  readonly path: string;
  readonly ino: bigint;
  readonly dev: bigint;
  readonly #fd: number;
  /** Bytes of the record, kept here because only the holder of the lock writes. */
  #size: number;
  #facts: Facts;

  constructor(store: Store, network: string, path: string, fd: number, { ino, dev, size }: BigIntStats) {
    this.store = store;
    this.network = network;
    this.path = path;
    this.ino = ino;
    this.dev = dev;
    this.#fd = fd;
    this.#size = Number(size);
    this.#facts = foldRecord(readAll(fd, path, this.#size));
  }

  /** All that was ever appended, folded; without an owner where the record is garbage. */
  get facts(): Facts {
    return this.#facts;
  }

  /** How many addresses claim to be this attachment's: names of the record's inode, its own not counted. */
  get claimCount(): number {
    return fstatSync(this.#fd).nlink - 1;
  }

  /**
   * Adds facts, or replaces some. All or nothing: what a full disk cuts short is taken back.
   * @throws StateError
   */
  append(facts: Facts): void {
    const line = Buffer.from(recordLine(facts));
    const size = this.#size;
    doing('write', this.path, () => {
      try {
        const written = writeSync(this.#fd, line, 0, line.length, size);
        if (written < line.length) throw new StateError('write', this.path, 'ENOSPC', 'the disk is full (ENOSPC)');
      } catch (error) {
        ftruncateSync(this.#fd, size);
        throw error;
      }
    });
    this.#size = size + line.length;
    this.#facts = { ...this.#facts, ...facts };
  }

  /** Forgets the attachment; to come last, when its addresses are released. @throws StateError */
  remove(): void {
    doing('remove', this.path, () => unlinkIfThere(this.path));
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

export interface AttachmentLockOptions {
  /** Milliseconds. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** First line of the record that is made where there is none yet, beside its owner; undefined: none is made. */
  readonly create?: Facts | undefined;
}

/**
 * The attachment, locked: undefined where it has no record and none is to be made. `fresh` where this call made it.
 * @throws LockTimeoutError where another call for it runs beyond the timeout; StateError; the signal's reason
 */
export async function lockAttachment(
  store: Store,
  owner: AttachmentKey,
  { timeoutMs, signal, create }: AttachmentLockOptions,
): Promise<{ readonly attachment: Attachment; readonly fresh: boolean } | undefined> {
  const path = recordPath(store, owner);
  const end = monotonic() + timeoutMs;
  for (;;) {
    const fd = openRecord(store, owner.network, path, create !== undefined);
    if (fd === undefined) return undefined;
    const attachment = await lockedAs(store, owner.network, path, fd, Math.max(0, end - monotonic()), signal);
    if (!attachment) continue;
    const fresh = attachment.facts.containerID === undefined && attachment.claimCount === 0;
    if (create && attachment.facts.containerID === undefined) begin(attachment, { ...owner, ...create });
    return { attachment, fresh };
  }
}

/**
 * The record of an attachment that lost it, by one of its claims, which are its record by other names.
 * @returns false where no claim of these addresses says that it is the attachment's, or where there is a record by now
 */
export function restoreRecord(store: Store, owner: AttachmentKey, addresses: readonly string[]): boolean {
  const { attachments, claims } = networkFolders(store, owner.network);
  const path = recordPath(store, owner);
  for (const address of addresses) {
    const claim = `${claims}/${address}`;
    const { containerID, ifname } = readFacts(claim) ?? {};
    if (containerID !== owner.containerID || ifname !== owner.ifname) continue;
    clearUnlessFile(path);
    return inFolder(store, attachments, 'restore', path, () => {
      try {
        linkSync(claim, path);
        return true;
      } catch (error) {
        if (errnoOf(error) === 'EEXIST') return false;
        throw error;
      }
    });
  }
  return false;
}

/** The attachment, locked; undefined where a call holds it, or where it has gone. @throws StateError */
export function tryLockAttachment(store: Store, network: string, path: string): Attachment | undefined {
  const fd = openRecord(store, network, path, false);
  if (fd === undefined) return undefined;
  let attachment: Attachment | undefined;
  try {
    if (tryFlock(fd, path)) attachment = ifNamed(store, network, path, fd);
    return attachment;
  } finally {
    if (!attachment) closeSync(fd);
  }
}

function ifNamed(store: Store, network: string, path: string, fd: number): Attachment | undefined {
  const stat = fstatSync(fd, { bigint: true });
  return isNameOf(path, stat) ? new Attachment(store, network, path, fd, stat) : undefined;
}

/** The open record once it is ours; undefined where it was removed while we waited, so that the name is another's now. */
async function lockedAs(
  store: Store,
  network: string,
  path: string,
  fd: number,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Attachment | undefined> {
  let attachment: Attachment | undefined;
  try {
    await waitForFlock(fd, path, timeoutMs, signal);
    attachment = ifNamed(store, network, path, fd);
    return attachment;
  } finally {
    if (!attachment) closeSync(fd);
  }
}

/** Writes the first facts. Where they cannot be written the record is removed: it would not even say whose it is. */
function begin(attachment: Attachment, first: Facts): void {
  try {
    attachment.append(first);
  } catch (error) {
    if (attachment.claimCount === 0) unlinkIfThere(attachment.path);
    attachment[Symbol.dispose]();
    throw error;
  }
}

/** Opens the record. Something else in its place says nothing of an attachment, and gives way where a record is to be made. */
function openRecord(store: Store, network: string, path: string, create: boolean): number | undefined {
  if (!create) return doing('open', path, () => openIfThere(path, READ_WRITE));
  const { attachments } = networkFolders(store, network);
  const make = () => openFile(path, READ_WRITE | constants.O_CREAT);
  const fd = inFolder(store, attachments, 'open', path, make);
  if (fd !== undefined) return fd;
  clearTheWay(path);
  const made = doing('open', path, make);
  if (made !== undefined) return made;
  throw new StateError('open', path, 'EINVAL', 'it is not a file: remove it');
}

/** Whether the path is a name of this very file. */
export function isNameOf(path: string, { ino, dev }: { readonly ino: bigint; readonly dev: bigint }): boolean {
  const found = statIfThere(path);
  return found !== undefined && found.ino === ino && found.dev === dev;
}

/** What is at the path itself: a link is what it is, wherever it leads. @throws StateError */
export const statIfThere = (path: string): BigIntStats | undefined =>
  doing('look at', path, () => ifThere(() => lstatSync(path, { bigint: true, throwIfNoEntry: false })));

function unless<T>(isNone: (code: string | undefined) => boolean, operation: () => T): T | undefined {
  try {
    return operation();
  } catch (error) {
    if (isNone(errnoOf(error))) return undefined;
    throw error;
  }
}

/**
 * The result; undefined where the path leads to no file of ours, but to nothing, a link, a folder, a socket, or through a file.
 */
const ifThere = <T>(operation: () => T): T | undefined =>
  unless(code => code === 'ENOENT' || isInTheWay(code), operation);

export const READ = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;
const READ_WRITE = constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOFOLLOW;

/** The open file; undefined where something else has the path. @throws ENOENT */
function openFile(path: string, flags: number): number | undefined {
  const fd = unless(
    code => code !== 'ENOTDIR' && isInTheWay(code),
    () => openSync(path, flags, 0o600),
  );
  if (fd === undefined || fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  return undefined;
}

/** Opens as `openFile` does; undefined, too, where nothing has the path. */
export const openIfThere = (path: string, flags: number): number | undefined => ifThere(() => openFile(path, flags));

/** True where it was there. */
export const unlinkIfThere = (path: string): boolean =>
  ifThere(() => {
    unlinkSync(path);
    return true;
  }) ?? false;

/** Reads a record, or one of its claims, without its lock; undefined where there is none. @throws StateError */
export function readFacts(path: string): Facts | undefined {
  return doing('read', path, () => {
    const fd = openIfThere(path, READ);
    if (fd === undefined) return undefined;
    try {
      return foldRecord(readAll(fd, path, fstatSync(fd).size));
    } finally {
      closeSync(fd);
    }
  });
}

/** @throws StateError */
function readAll(fd: number, path: string, size: number): string {
  return doing('read', path, () => {
    const buffer = Buffer.alloc(Math.min(size, longestRecord));
    let length = 0;
    for (let read = -1; read !== 0 && length < buffer.length; length += read)
      read = readSync(fd, buffer, length, buffer.length - length, length);
    return buffer.toString('utf8', 0, length);
  });
}
