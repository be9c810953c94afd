import { printable } from '../../tag/printable.ts';
import { sourceText } from './model.ts';

export type Severity = 'error' | 'warning';

/** Something in a manifest that is wrong or looks wrong. */
export interface Problem {
  readonly severity: Severity;
  readonly file: string;
  /** From 0 within the file. */
  readonly document: number;
  /** Version of an object of the API, which is in no file. */
  readonly resourceVersion?: string;
  /** `Kind/namespace/name`, as far as it is known. */
  readonly object?: string;
  /** The object is a staged policy: what the message says follows from it would follow if it were in force. */
  readonly isStaged?: true;
  /** `spec.ingress[0].from[1].ipBlock.cidr`; empty for the whole document. */
  readonly field: string;
  /** Says what is wrong, what follows, and what to write instead. */
  readonly message: string;
  /**
   * `unreadable`: what the object is cannot be told, so it may be a policy that closes something, and nothing can be said of
   * the file that it is in. `unenforced`: it is a policy, and means nothing to this version.
   */
  readonly matter?: 'unreadable' | 'unenforced';
}

export const isUnreadable = ({ matter }: Problem): boolean => matter === 'unreadable';

/** A line for each object: the first of its problems, and how many more there are. */
export function formatByObject(problems: readonly Problem[]): readonly string[] {
  const byObject = new Map<string, { readonly first: Problem; count: number }>();
  for (const problem of problems) {
    const { file, document, object = '' } = problem;
    const key = JSON.stringify([file, document, object]);
    const found = byObject.get(key);
    if (found) found.count++;
    else byObject.set(key, { first: problem, count: 1 });
  }
  return [...byObject.values()].map(({ first, count }) => {
    const line = formatProblem(first);
    return count > 1 ? `${line} (and ${count - 1} more: see tollgate policy lint)` : line;
  });
}

/** `web.yaml#2 NetworkPolicy/shop/web spec.ingress[0].form: Unknown field, …`, on one line. Documents count from 1 for people. */
export function formatProblem({ object, isStaged, field, message, ...source }: Problem): string {
  const place = [sourceText(source), object, isStaged ? '(staged)' : '', field].filter(
    part => part !== undefined && part !== '',
  );
  return printable(`${place.join(' ')}: ${message}`);
}
