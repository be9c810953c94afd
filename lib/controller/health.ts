/** Faults of an agent, as values: a caller decides by the part that is concerned, and never by the words. */
import type { WatchStatus } from './watches.ts';

/**
 * The part of the agent that fails: the gate (the table in the kernel), a watch of the API, the node's own network
 * (routes, ranges, conflist), or the tending of what others changed or left behind.
 */
export type Part = 'gate' | 'watch' | 'node' | 'tending';

export interface HealthProblem {
  readonly part: Part;
  /** The work does not come to an end by itself: a new process may do better. */
  readonly isStuck: boolean;
  readonly message: string;
}

const seconds = (milliseconds: number): string => `${Math.round(milliseconds / 1000)} s`;

/** A problem for each watch that has not heard for too long, stands still, or could not take in what it heard. */
export function problemsOf({
  resource,
  age,
  isOverdue,
  isStuck,
  trouble,
  fault,
}: WatchStatus): readonly HealthProblem[] {
  const told: HealthProblem[] = [];
  const problem = (message: string, isStuck = false): void => void told.push({ part: 'watch', isStuck, message });
  if (isOverdue) {
    const last = age === undefined ? 'nothing yet' : `nothing for ${seconds(age)}`;
    const why = isStuck ? ': it stands still' : trouble === undefined ? '' : `: ${trouble}`;
    problem(`the watch of ${resource} has heard ${last}${why}`, isStuck);
  }
  if (fault !== undefined) problem(`the watch of ${resource} could not take in an object: ${fault}`);
  return told;
}

/** Whether the node is kept up to date: not where its gate or a watch fails. */
export const isUnhealthy = ({ part }: HealthProblem): boolean => part === 'gate' || part === 'watch';

/**
 * Whether a restart may help. An API server that is away is no reason: a new agent would know nothing until it is back,
 * where this one still knows what was last heard.
 */
export const wantsRestart = ({ part, isStuck }: HealthProblem): boolean =>
  part === 'gate' || (part === 'watch' && isStuck);
