/** The reconciler's options, the listeners that it calls, and its results. */
import type { RulesetSource } from '../gate/node-rules.ts';
import type { IsCarried, LocalPod, NodeState, Owner } from '../gate/node-state.ts';
import type { CutScope } from '../gate/shrunk.ts';
import type { Operation } from '../nft/transaction.ts';
import type { RecordKeeperOptions } from './record-keeper.ts';
import type { TableConnection } from './table-connection.ts';

/** Callbacks for what comes of a change. */
export interface Listeners {
  readonly log: (line: string) => void;
  /** Told whose connections may have been allowed before and be forbidden now, after each change that may forbid any. */
  readonly shrunk: (scope: CutScope) => void;
  /** Told where there was no room for the record, which is forgotten then. */
  readonly unkept: (error: Error) => void;
}

export interface ReconcilerOptions extends RecordKeeperOptions {
  readonly nft: () => TableConnection;
  readonly rules: RulesetSource;
  /** Open pods of this node that are found without its record. */
  readonly recover: (owner: Owner) => NodeState['pods'];
  readonly isCarried: IsCarried;
  /** Gives the pod's link its tag, wherever it is by now. */
  readonly retag: (pod: LocalPod) => void;
  /** Whether the kernel keeps other programs from changing the table. */
  readonly isOwned: () => boolean;
}

export interface ReachOptions {
  /** Namespaces whose policies are to be in force afterwards; absent: all. Policies of other namespaces may have to wait. */
  readonly namespaces?: readonly string[] | undefined;
  /** Keys of pods that are to be opened: when this is done, what judges them is in force. */
  readonly opening?: readonly string[] | undefined;
  /** Keys of pods that go: whether what judged them was in force is looked at once more. */
  readonly closing?: readonly string[] | undefined;
  /** Stamps of the manifests that the rules are made from. */
  readonly folder?: string;
  /** These are others than before, so the record is to be written though the state is the same. */
  readonly isNews?: boolean;
}

export interface Reached {
  /** That it took. */
  readonly operations: readonly Operation[];
  /** By so many operations the table was not what it had been left as; it is put right. */
  readonly drift: number;
}

/** A state that was found again. */
export interface FoundNodeState {
  readonly state: NodeState;
  /** Pods of it whose links carry another tag. */
  readonly awry: readonly LocalPod[];
  /** The last marker that the table may have. */
  readonly marker: number | undefined;
}
