/** What an inline hook works with. */
import type { NodeSettings } from '../cni/own-keys.ts';
import type { Owner } from '../gate/node-state.ts';
import type { Conntrack } from '../kernel/conntrack.ts';
import type { Nft } from '../kernel/nft.ts';
import type { NodeStore } from '../nodestore/node-store.ts';
import type { FolderTableOptions } from './folder-table.ts';
import type { TableMemory } from './footing.ts';
import type { PodChanges } from './pod-change.ts';

export interface InlineOptions {
  readonly config: NodeSettings;
  readonly store: NodeStore;
  /** Only a warm process has one. */
  readonly memory?: TableMemory | undefined;
  /** The queue in which calls of a warm process wait for the node's lock. */
  readonly changes?: PodChanges | undefined;
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
  /** Told of tables that are put right, with the number of operations that another program's changes took. */
  readonly mended?: ((operations: number) => void) | undefined;
  readonly nft: () => Nft;
  readonly conntrack: Conntrack;
  readonly node: Pick<FolderTableOptions, 'recover' | 'isCarried' | 'isAnyTagged' | 'retag'> & {
    /** Keys of all pods that some attachment's record speaks of, those in the making included. */
    readonly recorded: (owner: Owner) => ReadonlySet<string>;
    /** Addresses of all the node's links; canonical texts. */
    readonly localAddresses: () => ReadonlySet<string>;
  };
}
