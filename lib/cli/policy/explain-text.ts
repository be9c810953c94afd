/** A walkthrough as one colleague would tell it to another. */
import { stringify } from 'yaml';
import { endpointText } from '../../policy/evaluate/matrix.ts';
import type { DirectionWalk, PolicyWalk, RuleWalk, Walkthrough } from '../../policy/explain/explain.ts';
import type { Misfit } from '../../policy/explain/mismatch.ts';
import type { Remedy } from '../../policy/explain/remedy.ts';

const indented = (lines: readonly string[], by = 2): string[] => lines.map(line => `${' '.repeat(by)}${line}`);

const verdictWord = (allowed: boolean): string => (allowed ? 'allowed' : 'denied');

/** `policies/db.yaml, document 2`; of an object of the API its version. */
function sourceText({ source }: PolicyWalk): string {
  if (!source) return '';
  const { file, document, resourceVersion } = source;
  return `  (${file}, ${resourceVersion === undefined ? `document ${document + 1}` : `resourceVersion ${resourceVersion}`})`;
}

const misfitText = ({ place, says }: Misfit): string => (place.includes('[') ? `${place}: ${says}` : says);

function ruleLines({ rule, allows, matches, misfits }: RuleWalk): string[] {
  const head = `${matches ? '+' : '-'} ${rule.direction}[${rule.index}]  ${allows}`;
  if (matches) return [`${head}: this rule allows it`];
  return [head, ...indented(misfits.map(misfitText), 4)];
}

function policyLines(policy: PolicyWalk, direction: string): string[] {
  const head = `${policy.policy}${sourceText(policy)}`;
  if (policy.rules.length === 0) return [head, `  has no ${direction} rules, so it allows nothing`];
  return [head, ...indented(policy.rules.flatMap(ruleLines))];
}

/** So many are named; nobody reads a hundred. */
const enough = 8;

function bystanderLines({ bystanders }: DirectionWalk): string[] {
  if (bystanders.length === 0) return [];
  const shown = bystanders.slice(0, enough).map(({ policy, why }) => `${policy}: ${why}`);
  const more = bystanders.length - shown.length;
  return ['No say in this:', ...indented(shown), ...(more > 0 ? [`  and ${more} more`] : [])];
}

function remedyLines({ kind, says, add }: Remedy): string[] {
  if (add === undefined || kind !== 'rule') return [`* ${says}`];
  return [`* ${says}:`, ...indented(stringify([add]).trimEnd().split('\n'), 4)];
}

function isolationLine({ policies, subject, direction }: DirectionWalk): string {
  const [count, verb] =
    policies.length === 1
      ? ['One policy isolates', 'it allows']
      : [`${policies.length} policies isolate`, 'they allow'];
  return `${count} ${subject} for ${direction}: only what ${verb} passes.`;
}

function directionLines(way: DirectionWalk, ends: string): string[] {
  const { direction, verdict, policies, remedies } = way;
  const title = `${direction === 'egress' ? 'Egress' : 'Ingress'}, ${ends}: ${verdictWord(verdict.allowed)}`;
  if (!verdict.isolated) return [title, ...indented([`${verdict.why}.`, ...bystanderLines(way)])];
  const help =
    remedies.length === 0 ? [] : ['What would let it pass, any one of:', ...indented(remedies.flatMap(remedyLines))];
  return [
    title,
    ...indented([
      isolationLine(way),
      ...policies.flatMap(policy => policyLines(policy, direction)),
      ...bystanderLines(way),
      ...(verdict.allowed ? [] : [`${verdict.why}.`]),
      ...help,
    ]),
  ];
}

/** What decides, in one line. */
function summary({ egress, ingress }: Walkthrough['verdict']): string {
  if (!egress.allowed && !ingress.allowed) return 'Both ends refuse it.';
  if (!egress.allowed) return 'It may not leave; where it goes, it would be let in.';
  if (!ingress.allowed) return 'It may leave, and is not let in.';
  return 'Both ends let it pass.';
}

export function walkthroughText(way: Walkthrough): string {
  const { flow, verdict, family } = way;
  const [from, to] = [endpointText(flow.from), endpointText(flow.to)];
  const how = family === null ? 'by labels, for want of addresses' : `IPv${family}`;
  const head = `${from} to ${to}, ${flow.protocol} ${flow.port}, ${how}: ${verdictWord(verdict.allowed)}`;
  return [
    head,
    summary(verdict),
    '',
    ...directionLines(way.egress, `out of ${from}`),
    '',
    ...directionLines(way.ingress, `into ${to}`),
    '',
  ].join('\n');
}

/** The misfits of both, each sentence once. */
const bothRules = (a: RuleWalk, b: RuleWalk): RuleWalk => ({
  ...a,
  misfits: [...new Map([...a.misfits, ...b.misfits].map(each => [misfitText(each), each])).values()],
});

const bothPolicies = (a: PolicyWalk, b: PolicyWalk): PolicyWalk => ({
  ...a,
  rules: a.rules.map((rule, i) => bothRules(rule, b.rules[i]!)),
});

const bothDirections = (a: DirectionWalk, b: DirectionWalk): DirectionWalk => ({
  ...a,
  policies: a.policies.map((policy, i) => bothPolicies(policy, b.policies[i]!)),
  remedies: a.remedies.filter(({ says }) => b.remedies.some(each => each.says === says)),
});

/** Equal where two families go the same way, though by other addresses. */
const wayText = ({ verdict, egress, ingress }: Walkthrough): string =>
  JSON.stringify([
    verdict,
    [egress, ingress].map(({ policies }) => policies.flatMap(({ rules }) => rules.map(({ matches }) => matches))),
  ]);

/** Dual-stack connections mostly go the same way twice: then it is told once. */
export function walkthroughsText(ways: readonly Walkthrough[]): string {
  const [first, second] = ways;
  if (!first || !second || wayText(first) !== wayText(second)) return ways.map(walkthroughText).join('\n');
  const both = {
    ...first,
    egress: bothDirections(first.egress, second.egress),
    ingress: bothDirections(first.ingress, second.ingress),
  };
  return walkthroughText(both).replace(', IPv4:', ', IPv4 and IPv6:');
}
