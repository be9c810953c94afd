export type Severity = 'error' | 'warning';

/** Something in a manifest that is wrong or looks wrong. */
export interface Problem {
  readonly severity: Severity;
  readonly file: string;
  /** From 0 within the file. */
  readonly document: number;
  /** `Kind/namespace/name`, as far as it is known. */
  readonly object?: string;
  /** `spec.ingress[0].from[1].ipBlock.cidr`; empty for the whole document. */
  readonly field: string;
  /** What is wrong, what it does instead, and what to write. */
  readonly message: string;
}

/** `web.yaml#2 NetworkPolicy/shop/web spec.ingress[0].form: Unknown field, …`, on one line. Documents count from 1 for people. */
export function formatProblem({ file, document, object, field, message }: Problem): string {
  const place = [`${file}#${document + 1}`, object, field].filter(part => part !== undefined && part !== '');
  return `${place.join(' ')}: ${message}`;
}
