/** Policies of this node's pods, with what they let pass and stopped; those that did neither are told apart. */
import { element, find, withText } from '../../policy/matrix-page/elements.ts';
import { clock } from './words.ts';

export interface PolicyHits {
  readonly policy: string;
  readonly allowed: number;
  readonly denied: number;
  /** Seconds since 1970; null where it decided nothing. */
  readonly last: number | null;
}

export function drawPolicies(rows: readonly PolicyHits[]): void {
  const table = element('table');
  const head = element('tr');
  for (const [text, kind] of [['Policy'], ['Denied', 'number'], ['Allowed', 'number'], ['Last', 'number']] as const)
    head.append(withText(element('th', kind ?? '', { scope: 'col' }), text));
  table.append(head);
  for (const { policy, allowed, denied, last } of rows) {
    const row = element('tr');
    row.append(
      withText(element('td'), policy),
      withText(element('td', denied > 0 ? 'number denied' : 'number'), String(denied)),
      withText(element('td', 'number'), String(allowed)),
      withText(element('td', 'number'), last === null ? 'never' : clock(last)),
    );
    table.append(row);
  }
  const unused = rows.filter(({ last }) => last === null).length;
  const words = `${rows.length} policies of the namespaces of this node's pods; ${unused} decided nothing in the last day.`;
  find('policies').replaceChildren(withText(element('p', 'bar'), words), table);
}
