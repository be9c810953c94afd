/** What policies say of a flow, in both directions, as it stands in a record: bounded, and as the kernel decided. */

import type { Cluster } from '../policy/evaluate/cluster.ts';
import { type EvaluateOptions, evaluate } from '../policy/evaluate/evaluate.ts';
import { type Direction, type DirectionVerdict, type Flow, formatRule } from '../policy/model/model.ts';
import { atMost, type FlowJudgement, type Judgements, type StagedJudgement } from './model.ts';
import type { Keyed } from './ring.ts';
import type { RuleUse } from './rule-use.ts';
import { type StagedScene, stagedJudgement } from './staged.ts';

const LONGEST_WHY = 1000;

const shortened = (why: string): string => (why.length > LONGEST_WHY ? `${why.slice(0, LONGEST_WHY)}…` : why);

export const judgementOf = ({ allowed, isolated, tier, by, rules, why }: DirectionVerdict): FlowJudgement => ({
  ...{ allowed, isolated, ...(tier === undefined ? {} : { tier }) },
  ...{ by: atMost(by), rules: atMost(rules.map(formatRule)), why: shortened(why) },
});

const bounded = ({ verdict, by, rules, why }: StagedJudgement): StagedJudgement => ({
  ...{ verdict, by: atMost(by), rules: atMost(rules), why: shortened(why) },
});

/** Judgements with a key, kept once for all flows that were judged alike. */
export const keyedJudgements = (value: Judgements): Keyed<Judgements> => ({ key: `j${JSON.stringify(value)}`, value });

interface JudgingScene extends EvaluateOptions {
  readonly cluster: Cluster;
  readonly staged?: StagedScene | undefined;
}

/**
 * Asks the policies in force, and the staged ones beside them.
 * @param isJudged whether the directions are judged on this node
 * @param rulesUsed learns which rules had a part in it
 */
export function judge(
  { cluster, staged, enforceEgressToNode }: JudgingScene,
  flow: Flow,
  isJudged: Readonly<Record<Direction, boolean>>,
  rulesUsed: RuleUse,
): Judgements {
  const options = { enforceEgressToNode: enforceEgressToNode === true };
  const judged = (['egress', 'ingress'] as const).filter(direction => isJudged[direction]);
  const verdict = evaluate(cluster, flow, options);
  for (const direction of judged) rulesUsed.note(ref => cluster.policy(ref), verdict[direction]);
  const judgements: Judgements = {
    egress: isJudged.egress ? judgementOf(verdict.egress) : null,
    ingress: isJudged.ingress ? judgementOf(verdict.ingress) : null,
  };
  if (!staged) return judgements;
  const then = evaluate(staged.cluster, flow, options);
  for (const direction of judged) rulesUsed.note(ref => staged.policies.get(ref), then[direction]);
  const beside = stagedJudgement(staged, flow, verdict, then, judged);
  return beside ? { ...judgements, staged: bounded(beside) } : judgements;
}

/** The staged policies were asked about another moment than the kernel decided in. */
const doubted = ({ staged: _, ...judged }: Judgements): Judgements => ({ ...judged, doubt: 'changed' });

/** The policies of the moment say no, and yet the kernel let it pass. */
const deniesSome = ({ egress, ingress }: Judgements): boolean =>
  egress?.allowed === false || ingress?.allowed === false;

/** As the kernel decided: it let the flow pass. */
export const passed = (judged: Judgements): Judgements => (deniesSome(judged) ? doubted(judged) : judged);

/**
 * As the kernel decided: a chain of this direction stopped it.
 * @param by whose chain that is, for where the policies of the moment say otherwise
 */
export function stopped(judged: Judgements, direction: Direction, by: readonly string[]): Judgements {
  if (judged[direction]?.allowed === false) return judged;
  const why =
    by.length === 0
      ? `The gate does not know the pod's tag`
      : `${atMost(by).join(', ')} denied it in the ${direction} direction when it was tried`;
  const word: FlowJudgement = { allowed: false, isolated: by.length > 0, by: atMost(by), rules: [], why };
  return doubted({ ...judged, [direction]: word });
}
