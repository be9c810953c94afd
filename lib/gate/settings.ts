/** What a node's settings say of its gate. */

/** The judge of the pods of this network namespace; see `enforcer` in the README. */
export type Judge = 'inline' | 'agent' | 'exec' | 'none';

export interface GateSettings {
  readonly judge: Judge;
  readonly nflogGroup: number;
  readonly enforceEgressToNode: boolean;
}

/** True where policies judge pods; false where a program of the admin's judges them, or no enforcer does. */
export const isJudged = ({ judge }: Pick<GateSettings, 'judge'>): boolean => judge === 'inline' || judge === 'agent';

/** Lines about what another network's configuration changes for all pods: settings are the node's, by its last ADD. */
export const settingsChanges = (before: GateSettings, after: GateSettings): readonly string[] =>
  (['enforceEgressToNode', 'nflogGroup'] as const)
    .filter(key => before[key] !== after[key])
    .map(
      key =>
        `${key} was ${before[key]} and is ${after[key]} by now for all pods of the node: give all of its networks the same`,
    );
