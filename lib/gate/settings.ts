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
