/** What is wrong with manifests, before anybody relies on them. */
import { type Document, readManifests } from './manifest.ts';
import type { Problem, Severity } from './problem.ts';

export { formatProblem } from './problem.ts';

export interface LintOptions {
  /** The mildest severity to tell of. */
  readonly least?: Severity;
}

/** A rank for each: the lower, the graver. */
const ranks: Readonly<Record<Severity, number>> = { error: 0, warning: 1 };

/** The problems of the documents in the order of files; errors alone unless asked for more. */
export function lint(documents: readonly Document[], { least = 'error' }: LintOptions = {}): readonly Problem[] {
  return readManifests(documents).problems.filter(({ severity }) => ranks[severity] <= ranks[least]);
}
