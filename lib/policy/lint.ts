/** What is wrong with manifests, before anybody relies on them. */
import type { Problem, Severity } from './field.ts';
import { type Document, readManifests } from './manifest.ts';

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

/** `web.yaml#2 NetworkPolicy/shop/web spec.ingress[0].form: Unknown field, …`, on one line. Documents count from 1 for people. */
export function formatProblem({ file, document, object, field, message }: Problem): string {
  const place = [`${file}#${document + 1}`, object, field].filter(part => part !== undefined && part !== '');
  return `${place.join(' ')}: ${message}`;
}
