/** What GC and `tollgate pods` want to know of all attachments of a network. */
import type { AttachmentKey } from '../tag/link-name.ts';
import { type Attachment, readFacts, statIfThere, tryLockAttachment } from './attachment.ts';
import { release } from './claims.ts';
import { isNoFile } from './in-the-way.ts';
import type { Facts } from './record.ts';
import { fileName, namesIn, networkFolders, type Store } from './store.ts';

export interface Listed {
  readonly path: string;
  /** Undefined where the record is garbage and its file name is a shortened one. */
  readonly owner?: AttachmentKey;
  readonly facts: Facts;
  /** A link, a folder or something else is in the record's place. */
  readonly isLost?: true;
}

/** Every record of the network, read without its lock: a moment's view. @throws StateError */
export function listAttachments(store: Store, network: string): readonly Listed[] {
  const { attachments } = networkFolders(store, network);
  return namesIn(attachments).flatMap(name => {
    const path = `${attachments}/${name}`;
    const facts = readFacts(path);
    if (!facts && !isNoFile(path)) return [];
    const owner = ownerOf(network, name, facts ?? {});
    return [{ path, facts: facts ?? {}, ...(owner && { owner }), ...(facts ? {} : { isLost: true as const }) }];
  });
}

/** Whose record it is, by its content, as long as that agrees with its name; else by its name alone. */
function ownerOf(network: string, name: string, { containerID, ifname }: Facts): AttachmentKey | undefined {
  if (containerID !== undefined && ifname !== undefined && fileName(`${containerID}:${ifname}`) === name)
    return { network, containerID, ifname };
  const parts = name.split(':');
  if (name.includes('~') || parts.length !== 2 || !parts[0] || !parts[1]) return undefined;
  return { network, containerID: parts[0], ifname: parts[1] };
}

/**
 * Removes records that say not whose they are, with their claims; those in use excepted.
 * @returns paths of the records
 * @throws StateError
 */
export const sweepNameless = (store: Store, network: string): readonly string[] =>
  listAttachments(store, network).flatMap(({ path, owner }) => {
    if (owner) return [];
    using held: Attachment | undefined = tryLockAttachment(store, network, path);
    if (!held || held.facts.containerID !== undefined) return [];
    release(held);
    held.remove();
    return statIfThere(path) ? [] : [path];
  });
