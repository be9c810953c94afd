/** Attachments by their records, and the networks that have any. */
import type { AttachmentKey } from '../tag/link-name.ts';
import { readFacts } from './attachment.ts';
import { isNoFile } from './in-the-way.ts';
import type { Facts } from './record.ts';
import { fileName, listNetworks, namesIn, networkFolders, type Store } from './store.ts';

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

/** The attachment that the record is of: by its content, as long as that agrees with its name; else by its name alone. */
function ownerOf(network: string, name: string, { containerID, ifname }: Facts): AttachmentKey | undefined {
  if (containerID !== undefined && ifname !== undefined && fileName(`${containerID}:${ifname}`) === name)
    return { network, containerID, ifname };
  const parts = name.split(':');
  if (name.includes('~') || parts.length !== 2 || !parts[0] || !parts[1]) return undefined;
  return { network, containerID: parts[0], ifname: parts[1] };
}

/** Name of a network's folder: by its records, since a folder may have a shortened name; by the folder where it has none. */
export function networkName(store: Store, folder: string): string {
  const names = listAttachments(store, folder).flatMap(({ facts }) => facts.network ?? []);
  return names.find(name => fileName(name) === folder) ?? folder;
}

/**
 * Names of the networks that keep anything in the state folder, and of those in `known` that keep nothing.
 * @param known networks of pods that the node's table knows
 */
export function networksIn(store: Store, known: Iterable<string>): readonly string[] {
  const kept = listNetworks(store).map(folder => networkName(store, folder));
  const folders = new Set(kept.map(fileName));
  return [...kept, ...[...new Set(known)].filter(network => !folders.has(fileName(network)))];
}
