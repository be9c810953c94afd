/** A walkthrough as one colleague would tell it to another. */
import { stringify } from 'yaml';
import { endpointText } from '../../policy/evaluate/matrix.ts';
import type { DirectionWalk, Otherwise, PolicyWalk, RuleWalk, Walkthrough } from '../../policy/explain/explain.ts';
import type { Misfit } from '../../policy/explain/mismatch.ts';
import type { Remedy } from '../../policy/explain/remedy.ts';
import { placeText } from '../../policy/model/cluster-policy.ts';
import { formatRule, trafficText } from '../../policy/model/model.ts';

const indented = (lines: readonly string[], by = 2): string[] => lines.map(line => `${' '.repeat(by)}${line}`);

const verdictWord = (allowed: boolean): string => (allowed ? 'allowed' : 'denied');

/** `policies/db.yaml, document 2`; of an object of the API its version. */
function sourceText({ source }: PolicyWalk): string {
  if (!source) return '';
  const { file, document, resourceVersion } = source;
  return `  (${file}, ${resourceVersion === undefined ? `document ${document + 1}` : `resourceVersion ${resourceVersion}`})`;
}

const misfitText = ({ place, says }: Misfit): string => (place.includes('[') ? `${place}: ${says}` : says);

const rulePlace = ({ rule: { direction, index, name } }: RuleWalk): string =>
  `${direction}[${index}]${name === undefined ? '' : ` ${JSON.stringify(name)}`}`;

function ruleLines(walk: RuleWalk): string[] {
  const { action, allows, matches, misfits, isInvalid } = walk;
  const head = `${matches ? '+' : '-'} ${rulePlace(walk)}  ${action === undefined ? '' : `${action} `}${allows}`;
  if (!matches) return [head, ...indented(misfits.map(misfitText), 4)];
  if (isInvalid) return [`${head}: what it says is invalid, so this rule denies everything, and it ends here`];
  return [`${head}: ${action === undefined ? 'this rule allows it' : endings[action]}`];
}

const endings = {
  Accept: 'this rule accepts it, and it ends here',
  Deny: 'this rule denies it, and it ends here',
  Pass: 'this rule passes it on',
} as const;

const closedLine = (closed: NonNullable<PolicyWalk['closed']>, does: string): string =>
  `  is ${closed}, so it ${does}, whatever is added to it: tollgate policy lint says what to write`;

function policyLines(policy: PolicyWalk, direction: string): string[] {
  const head = `${policy.policy}${sourceText(policy)}`;
  if (policy.closed) return [head, closedLine(policy.closed, 'allows nothing')];
  if (policy.rules.length === 0) return [head, `  has no ${direction} rules, so it allows nothing`];
  return [head, ...indented(policy.rules.flatMap(ruleLines))];
}

/** Most that are named: a person does not read a hundred. */
const enough = 8;

function bystanderLines({ bystanders }: DirectionWalk): string[] {
  if (bystanders.length === 0) return [];
  const shown = bystanders.slice(0, enough).map(({ policy, why }) => `${policy}: ${why}`);
  const more = bystanders.length - shown.length;
  return ['No say in this:', ...indented(shown), ...(more > 0 ? [`  and ${more} more`] : [])];
}

function remedyLines({ kind, says, add }: Remedy): string[] {
  if (add === undefined || kind !== 'rule') return [`* ${says}`];
  return [`* ${says}:`, ...indented(stringify([add].flat()).trimEnd().split('\n'), 4)];
}

/** `priority 10`, or `asked last` of a policy that has no priority. */
function priorityText({ priority = 0 }: PolicyWalk): string {
  const place = placeText(priority);
  return place === String(priority) ? `priority ${place}` : `asked ${place}`;
}

function tierLines(tier: 'Admin' | 'Baseline', policies: readonly PolicyWalk[]): string[] {
  if (policies.length === 0) return [];
  const lines = policies.flatMap(policy => [
    `${policy.policy}, ${priorityText(policy)}${sourceText(policy)}`,
    ...(policy.closed ? [closedLine(policy.closed, 'accepts nothing')] : []),
    ...indented(policy.rules.flatMap(ruleLines)),
  ]);
  const isSilent = policies.every(({ rules }) => rules.every(({ matches }) => !matches));
  return [`Tier ${tier}${isSilent ? ', none of whose rules matches' : ''}:`, ...indented(lines)];
}

const otherwiseLine = ({ rule, verdict }: Otherwise): string =>
  `Without ${formatRule(rule)} it would be ${verdictWord(verdict.allowed)}: ${verdict.why}.`;

function isolationLine({ policies, subject, direction }: DirectionWalk): string {
  const [count, verb] =
    policies.length === 1
      ? ['One policy isolates', 'it allows']
      : [`${policies.length} policies isolate`, 'they allow'];
  return `${count} ${subject} for ${direction}: only what ${verb} passes.`;
}

function directionLines(way: DirectionWalk, ends: string): string[] {
  const { direction, verdict, admin, policies, baseline, otherwise, remedies } = way;
  const title = `${direction === 'egress' ? 'Egress' : 'Ingress'}, ${ends}: ${verdictWord(verdict.allowed)}`;
  const help =
    remedies.length === 0 ? [] : ['What would let it pass, any one of:', ...indented(remedies.flatMap(remedyLines))];
  const isAlone = admin.length + policies.length + baseline.length === 0;
  return [
    title,
    ...indented([
      ...(isAlone ? [`${verdict.why}.`] : []),
      ...tierLines('Admin', admin),
      ...(policies.length > 0 ? [isolationLine(way)] : []),
      ...policies.flatMap(policy => policyLines(policy, direction)),
      ...tierLines('Baseline', baseline),
      ...bystanderLines(way),
      ...(isAlone || (verdict.isolated && verdict.allowed && verdict.passed.length === 0) ? [] : [`${verdict.why}.`]),
      ...otherwise.map(otherwiseLine),
      ...help,
    ]),
  ];
}

/** Says in one line which end refuses the connection, if one does. */
function summary({ egress, ingress }: Walkthrough['verdict']): string {
  if (!egress.allowed && !ingress.allowed) return 'Both ends refuse it.';
  if (!egress.allowed) return 'It may not leave; where it goes, it would be let in.';
  if (!ingress.allowed) return 'It may leave, and is not let in.';
  return 'Both ends let it pass.';
}

/** Verdict and reason under the staged policies, for each direction in which the reason differs. */
function stagedLines({ staged, verdict }: Walkthrough): string[] {
  if (!staged) return [];
  const changed = (['egress', 'ingress'] as const).filter(
    direction => staged[direction].why !== verdict[direction].why,
  );
  if (changed.length === 0) return ['With the staged policies in force nothing would change.', ''];
  const head = `With the staged policies in force it would ${staged.allowed === verdict.allowed ? 'still ' : ''}be ${verdictWord(staged.allowed)}:`;
  const lines = changed.map(
    direction => `${direction}: ${verdictWord(staged[direction].allowed)}, ${staged[direction].why}.`,
  );
  return [head, ...indented(lines), ''];
}

export function walkthroughText(way: Walkthrough): string {
  const { flow, verdict, family } = way;
  const [from, to] = [endpointText(flow.from), endpointText(flow.to)];
  const how = family === null ? 'by labels, for want of addresses' : `IPv${family}`;
  const head = `${from} to ${to}, ${trafficText(flow)}, ${how}: ${verdictWord(verdict.allowed)}`;
  return [
    head,
    summary(verdict),
    '',
    ...directionLines(way.egress, `out of ${from}`),
    '',
    ...directionLines(way.ingress, `into ${to}`),
    '',
    ...stagedLines(way),
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

const bothTiers = (a: readonly PolicyWalk[], b: readonly PolicyWalk[]): readonly PolicyWalk[] =>
  a.map((policy, i) => bothPolicies(policy, b[i]!));

const bothDirections = (a: DirectionWalk, b: DirectionWalk): DirectionWalk => ({
  ...a,
  admin: bothTiers(a.admin, b.admin),
  policies: bothTiers(a.policies, b.policies),
  baseline: bothTiers(a.baseline, b.baseline),
  remedies: a.remedies.flatMap(remedy => bothRemedies(remedy, b) ?? []),
});

/** What helps both: where each family has addresses of its own, a rule for each. */
function bothRemedies(remedy: Remedy, { remedies }: DirectionWalk): Remedy | undefined {
  const other = remedies.find(({ says }) => says === remedy.says);
  if (!other || JSON.stringify(other.add) === JSON.stringify(remedy.add)) return other;
  return { ...remedy, add: [remedy.add!, other.add!].flat() };
}

/** Equal where two families go the same way, though by other addresses. */
const wayText = ({ verdict, egress, ingress, staged }: Walkthrough): string =>
  JSON.stringify([
    verdict,
    staged,
    [egress, ingress].map(({ admin, policies, baseline }) =>
      [admin, policies, baseline].map(tier => tier.map(({ rules }) => rules.map(({ matches }) => matches))),
    ),
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
