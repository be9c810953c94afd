/** Names of the networks that have pods here. */
import type { Hook } from '../enforce/hook.ts';
import { fileName, listNetworks, type Store } from '../state/store.ts';
import { listAttachments } from '../state/sweep.ts';

/** By its records, since a folder may have a shortened name; by its folder where there are none. */
export function networkName(store: Store, folder: string): string {
  const names = listAttachments(store, folder).flatMap(({ facts }) => facts.network ?? []);
  return names.find(name => fileName(name) === folder) ?? folder;
}

/** Those that keep anything in the state folder, and those of pods that the node's table knows. */
export function networksOf(store: Store, hook: Pick<Hook, 'pods'>): readonly string[] {
  const kept = listNetworks(store).map(folder => networkName(store, folder));
  const folders = new Set(kept.map(fileName));
  const judged = new Set(hook.pods().map(({ network }) => network));
  return [...kept, ...[...judged].filter(network => !folders.has(fileName(network)))];
}
