/** The change of one pod, as a call of a warm process asks for it. */
import type { NodeState } from '../gate/node-state.ts';
import type { Concern } from '../nodestore/node-store.ts';
import type { Folder, Kept } from '../nodestore/policy-folder.ts';
import type { Goal } from './footing.ts';
import type { GroupCommit, Request } from './group-commit.ts';

export type StateChange = (state: NodeState) => NodeState;

export interface PodChange extends Request<PodChange, Goal> {
  readonly only: Concern;
  /** @throws CniError why this pod cannot come */
  readonly change: StateChange;
  /** Owner and settings that the call's configuration says; equal texts for equal ones. */
  readonly settings: string;
  /** The manifests that the call has read. */
  readonly kept: () => Kept;
  /** The folder was read again under the lock. */
  readonly heed: (folder: Folder | undefined) => void;
}

export type PodChanges = GroupCommit<PodChange, Goal>;

/** Changes go together where all pods come or all go, by the same settings and manifests. */
export const isSameKind = (a: PodChange, b: PodChange): boolean =>
  (a.only.coming === undefined) === (b.only.coming === undefined) &&
  a.settings === b.settings &&
  (a.only.coming === undefined || a.kept() === b.kept());
