/** The enforcement hook: what a CNI call asks of the enforcer that judges the node's pods. */

import type { LocalPod, Owner, PodManifest } from '../gate/node-state.ts';
import type { Operation } from '../nft/transaction.ts';

export interface Hook {
  /** @throws CniError code 7 where this network namespace belongs to another enforcer, or a manifest never parsed */
  readonly admit: () => Promise<void>;
  /** The Pod manifest of the policies folder; undefined where the folder has none. */
  readonly manifestOf: (namespace: string, name: string) => PodManifest | undefined;
  /**
   * Gives the pod its tag and puts into the table what its tag needs. Its interface still is in quarantine when this
   * returns: entry before group.
   */
  readonly judge: (pod: Omit<LocalPod, 'tag'>) => Promise<LocalPod>;
  /** Called once the pod's interface has its tag. From `judge` until this call only the ADD may open that interface. */
  readonly opened: (key: string) => void;
  /**
   * Takes the pod out of every set and map; nothing to do where it is in none.
   * @param stays asked once no other call can change the table: whether the pod of this key is a new one's by now, and stays
   */
  readonly dismiss: (key: string, stays?: () => boolean) => Promise<void>;
  /** The pod as it is judged now; undefined where it is not. */
  readonly find: (key: string) => LocalPod | undefined;
  /** All pods that are judged now. */
  readonly pods: () => readonly LocalPod[];
  /** The owner of this network namespace. */
  readonly owner: () => Owner | undefined;
  /** Differences between the table and what it should hold for this pod; a sentence each. */
  readonly differences: (pod: LocalPod) => Promise<readonly string[]>;
  /**
   * Brings the whole table to what it should be: pods that are gone leave it, changes by other programs are undone.
   * @returns the operations that it took
   */
  readonly mend: () => Promise<readonly Operation[]>;
  /** @throws CniError code 50 or 51 where a pod could not be judged now */
  readonly probe: () => void;
}
