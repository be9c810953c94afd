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

/** Where nothing could be tried, nothing is known to be fine. */
const isFine = ({ outcomes }: Tested): boolean => outcomes.length > 0 && outcomes.every(({ ok }) => ok);

function verdictText(tested: Tested): string {
  const { length } = tested.outcomes;
  if (isFine(tested)) return `All ${length} checks are as they should be.`;
  if (length === 0) return 'Nothing could be tried.';
  return `${tested.outcomes.filter(({ ok }) => !ok).length} of ${length} checks failed.`;
}

function summaryLines(tested: Tested): readonly string[] {
  const { causes, notTried } = tested;
  const lines = [...notTried.map(what => `not tried: ${what}`), verdictText(tested)];
  if (isFine(tested)) return lines;
  if (causes.length > 0) return [...lines, 'Likely causes:', ...causes.map(cause => `  ${cause}`)];
  return [...lines, 'No cause is known: `tollgate sysdump` has what a maintainer needs.'];
}

/** A contract with scripts: keys are only ever added. */
const testedJson = (tested: Tested) => ({
  ok: isFine(tested),
  checks: tested.outcomes.map(outcome => {
    const { name, family, from, expected, ok, got } = outcome;
    return { name, family: family ?? null, from, to: targetText(outcome), expected, ok, got };
  }),
  causes: tested.causes,
  notTried: tested.notTried,
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
  return isFine(result) ? exit.yes : exit.no;
}
