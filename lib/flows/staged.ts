/** What staged policies would make of a flow: the same question, asked of the policies in force and of those with the staged ones. */
import type { Cluster } from '../policy/evaluate/cluster.ts';
import type { ClusterPolicy } from '../policy/model/cluster-policy.ts';
import {
  type Direction,
  type DirectionVerdict,
  formatRule,
  type NetworkPolicy,
  policyRef,
  type RuleRef,
  type Staged,
  type Verdict,
} from '../policy/model/model.ts';
import type { StagedJudgement } from './model.ts';

export interface StagedScene {
  /** As it would be if all staged policies were in force. */
  readonly cluster: Cluster;
  /** The staged policies by their references. */
  readonly policies: ReadonlyMap<string, NetworkPolicy | ClusterPolicy>;
}

/** @returns undefined where nothing is staged */
export function stagedScene(cluster: Cluster, staged: Staged | undefined): StagedScene | undefined {
  const all = staged ? [...staged.policies, ...staged.clusterPolicies] : [];
  if (!staged || all.length === 0) return undefined;
  return { cluster: cluster.promoted(staged), policies: new Map(all.map(policy => [policyRef(policy), policy])) };
}

type StagedPolicies = StagedScene['policies'];
type Words = Omit<StagedJudgement, 'verdict'>;

const taking = ({ by, passed }: DirectionVerdict): readonly string[] => [...by, ...passed.map(({ policy }) => policy)];

/**
 * The staged policies that make the difference in one direction: those that decide; where none does, those that pass it on to
 * what decides; where none does that either, those that no longer decide as the policies whose place they take.
 */
function makersOf(real: DirectionVerdict, then: DirectionVerdict, staged: StagedPolicies): readonly string[] {
  const passing = then.passed.map(({ policy }) => policy);
  const found = [then.by, passing, taking(real)].map(names => names.filter(name => staged.has(name)));
  return found.find(names => names.length > 0) ?? [];
}

function wordsOf(real: DirectionVerdict, then: DirectionVerdict, staged: StagedPolicies): Words {
  const by = makersOf(real, then, staged);
  const isOf = ({ policy }: RuleRef): boolean => by.includes(policy);
  const deciding = then.rules.filter(isOf);
  return { by, rules: (deciding.length > 0 ? deciding : then.passed.filter(isOf)).map(formatRule), why: then.why };
}

/**
 * @param real verdict of the policies in force
 * @param then verdict of these and the staged ones
 * @param judged directions that are judged on this node
 * @returns undefined where it is the same
 */
export function stagedJudgement(
  { policies }: Pick<StagedScene, 'policies'>,
  real: Verdict,
  then: Verdict,
  judged: readonly Direction[],
): StagedJudgement | undefined {
  const isAllowed = (verdict: Verdict): boolean => judged.every(direction => verdict[direction].allowed);
  if (isAllowed(real) === isAllowed(then)) return undefined;
  const changed = judged.filter(direction => real[direction].allowed !== then[direction].allowed);
  const words = changed.map(direction => wordsOf(real[direction], then[direction], policies));
  return {
    verdict: isAllowed(then) ? 'allowed' : 'denied',
    by: [...new Set(words.flatMap(({ by }) => by))],
    rules: words.flatMap(({ rules }) => rules),
    why: words.map(({ why }) => why).join('; '),
  };
}
