/** Prints the test's result for a person, for a script, and as JUnit for a pipeline. */
import { styleText } from 'node:util';
import { type Exit, exit, print, printJson } from '../command.ts';
import type { CheckOutcome } from './checks.ts';

export interface Tested {
  readonly outcomes: readonly CheckOutcome[];
  /** Likely causes of the failures, a sentence each. */
  readonly causes: readonly string[];
  /** What could not be tried here, and why. */
  readonly notTried: readonly string[];
}

const familyText = ({ family }: CheckOutcome): string => (family === undefined ? '' : `IPv${family}`);
function targetText({ to }: CheckOutcome): string {
  if (to.kind !== 'pod') return to.kind;
  return to.port === undefined ? to.pod : `${to.pod}:${to.port}`;
}

/** `✓ IPv4  client → open   pod to pod   answered: …` */
export function outcomeLine(outcome: CheckOutcome): string {
  const { ok, from, name, got, expected } = outcome;
  const mark = ok
    ? styleText('green', '✓', { stream: process.stdout })
    : styleText('red', '✗', { stream: process.stdout });
  const ends = `${from} → ${targetText(outcome)}`;
  const wrong = ok ? '' : expected === 'answer' ? ' (an answer was expected)' : ' (silence was expected)';
  return `${mark} ${familyText(outcome).padEnd(4)}  ${ends.padEnd(22)}  ${name.padEnd(36)}  ${got}${wrong}`;
}

function summaryLines({ outcomes, causes, notTried }: Tested): readonly string[] {
  const failed = outcomes.filter(({ ok }) => !ok).length;
  const skipped = notTried.map(what => `not tried: ${what}`);
  if (failed === 0) return [...skipped, `All ${outcomes.length} checks are as they should be.`];
  const causeLines = causes.flatMap(cause => [`  ${cause}`]);
  return [
    ...skipped,
    `${failed} of ${outcomes.length} checks failed.`,
    ...(causes.length > 0
      ? ['Likely causes:', ...causeLines]
      : ['No cause is known: `tollgate sysdump` has what a maintainer needs.']),
  ];
}

/** A contract with scripts: keys are only ever added. */
const testedJson = ({ outcomes, causes, notTried }: Tested) => ({
  ok: outcomes.every(({ ok }) => ok),
  checks: outcomes.map(outcome => {
    const { name, family, from, expected, ok, got } = outcome;
    return { name, family: family ?? null, from, to: targetText(outcome), expected, ok, got };
  }),
  causes,
  notTried,
});

const escaped = (text: string): string =>
  text.replace(
    /[<>&"]|[^\t\n\x20-\ud7ff\ue000-\ufffd]/g,
    found => `&#${found.codePointAt(0)! < 32 ? 65533 : found.codePointAt(0)};`,
  );

/** @see https://github.com/testmoapp/junitxml the elements that tools agree on */
function testedJunit({ outcomes, causes }: Tested): string {
  const cases = outcomes.map(outcome => {
    const { name, from, ok, got, expected } = outcome;
    const title = escaped(`${`${familyText(outcome)} `.trimStart()}${from} to ${targetText(outcome)}: ${name}`);
    const why = escaped([`expected: ${expected}`, got, ...causes].join('\n'));
    const failure = ok ? '' : `<failure message="${escaped(got)}">${why}</failure>`;
    return `  <testcase classname="tollgate.connectivity" name="${title}">${failure}</testcase>\n`;
  });
  const failed = outcomes.filter(({ ok }) => !ok).length;
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuite name="tollgate connectivity" tests="${outcomes.length}" failures="${failed}">\n${cases.join('')}</testsuite>\n`;
}

export type ReportFormat = 'text' | 'json' | 'junit';

export const formatOption = {
  output: { alias: 'o', choices: ['text', 'json', 'junit'], default: 'text', describe: 'How to print it' },
} as const;

/** The outcomes were told before, where it is for a person. */
export function conclude(result: Tested, format: ReportFormat): Exit {
  if (format === 'json') printJson(testedJson(result));
  else if (format === 'junit') print(testedJunit(result));
  else print(summaryLines(result).join('\n'));
  return result.outcomes.every(({ ok }) => ok) ? exit.yes : exit.no;
}
