/** Policies of this node's pods with what they let pass and stopped, those that are staged apart, and rules that nothing used. */
import type { PolicyHits, PolicyReport } from '../../../flows/policy-report.ts';
import { element, find, withText } from '../../policy/matrix-page/elements.ts';
import { clock, minuteClock, withoutKind } from './words.ts';

type Cell = readonly [text: string, kind?: string];

/** Column by column: the head, and each policy's cell. */
interface Column {
  readonly head: string;
  readonly kind?: string;
  readonly cell: (policy: PolicyHits) => Cell;
}

const number = (head: string, of: (policy: PolicyHits) => number, strong = ''): Column => ({
  ...{ head, kind: 'number' },
  cell: policy => [String(of(policy)), of(policy) > 0 ? strong : ''],
});

const tierText = ({ tier }: PolicyHits): string => tier ?? 'gone';

/** Of a policy that selects no pod here, no rule can be used here. */
const unusedText = ({ pods, unused }: PolicyHits): string => (pods === 0 ? '' : unused.join(', '));

const before: readonly Column[] = [
  { head: 'Tier', cell: policy => [tierText(policy)] },
  number('Pods here', ({ pods }) => pods),
];

const after: readonly Column[] = [
  { head: 'Last', kind: 'number', cell: ({ last }) => [last === null ? 'never' : minuteClock(last)] },
  { head: 'Unused rules', cell: policy => [unusedText(policy), 'unused'] },
];

const inForce: readonly Column[] = [
  ...before,
  number('Denied', ({ denied }) => denied, 'denied'),
  number('Allowed', ({ allowed }) => allowed),
  ...after,
];

const staged: readonly Column[] = [
  ...before,
  number('Would deny', ({ wouldDeny }) => wouldDeny, 'would'),
  number('Would allow', ({ wouldAllow }) => wouldAllow, 'would'),
  ...after,
];

const classes = (...names: readonly (string | undefined)[]): string => names.filter(Boolean).join(' ');

function tableOf(
  name: string,
  columns: readonly Column[],
  rows: readonly PolicyHits[],
  filterFor: (policy: PolicyHits) => string,
  pick: (filter: string) => void,
): HTMLElement {
  const table = element('table', '', { 'aria-label': name });
  const head = element('tr');
  head.append(withText(element('th', '', { scope: 'col' }), name));
  for (const { head: text, kind } of columns) head.append(withText(element('th', kind, { scope: 'col' }), text));
  table.append(head);
  for (const policy of rows) {
    const row = element('tr');
    const link = withText(element('button', 'policy', { type: 'button', title: 'Its flows' }), policy.policy);
    link.addEventListener('click', () => pick(filterFor(policy)));
    const first = element('td');
    first.append(link);
    row.append(first);
    for (const { cell, kind } of columns) {
      const [text, strong] = cell(policy);
      row.append(withText(element('td', classes(kind, strong)), text));
    }
    table.append(row);
  }
  return table;
}

const counted = (count: number, word: string): string => `${count} ${word}`;

function summary({ policies, leftOut, since, unattributed }: PolicyReport): string {
  const real = policies.filter(({ isStaged }) => !isStaged);
  const idle = real.filter(({ last }) => last === null).length;
  const parts = [
    `${counted(real.length, 'policies')} of the cluster and of the namespaces of this node's pods; ${idle} decided nothing in the last day`,
    `Flows are recorded since ${clock(since)}`,
    ...(unattributed > 0
      ? [`${unattributed} of them came too fast for policies to be asked, and count nowhere here`]
      : []),
    ...(leftOut > 0 ? [`${leftOut} policies are not shown`] : []),
  ];
  return `${parts.join('. ')}.`;
}

function partsOf(report: PolicyReport, pick: (filter: string) => void): readonly HTMLElement[] {
  const real = report.policies.filter(({ isStaged }) => !isStaged);
  const trial = report.policies.filter(({ isStaged }) => isStaged);
  const first = [
    withText(element('p', 'bar'), summary(report)),
    tableOf('In force', inForce, real, ({ policy }) => `policy:${withoutKind(policy)}`, pick),
  ];
  if (trial.length === 0) return first;
  const words = `${counted(trial.length, 'staged')}: flows that would fare otherwise if all of them were in force.`;
  return [
    ...first,
    withText(element('p', 'bar'), words),
    tableOf('Staged', staged, trial, ({ policy }) => `staged:${withoutKind(policy)}`, pick),
  ];
}

export class PolicyTables {
  readonly #pick: (filter: string) => void;
  /** The report that is drawn: one that says the same is not drawn again, so that what has the focus keeps it. */
  #drawn = '';

  /** @param pick shows the flows that pass a filter */
  constructor(pick: (filter: string) => void) {
    this.#pick = pick;
  }

  draw(report: PolicyReport): void {
    const text = JSON.stringify(report);
    if (text === this.#drawn) return;
    this.#drawn = text;
    find('policies').replaceChildren(...partsOf(report, this.#pick));
  }
}
