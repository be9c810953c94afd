/** What staged policies would make of a flow: one question, asked of the policies in force and of these with the staged ones. */
import type { Cluster } from '../policy/evaluate/cluster.ts';
import { policiesFor } from '../policy/evaluate/decision.ts';
import {
  type AnyPolicy,
  type Direction,
  type DirectionVerdict,
  type Flow,
  formatRule,
  policyRef,
  type RuleRef,
  type Staged,
  type Verdict,
} from '../policy/model/model.ts';
import { partyOf } from '../policy/model/party.ts';
import type { StagedJudgement } from './model.ts';

export interface StagedScene {
  /** As it would be if all staged policies were in force. */
  readonly cluster: Cluster;
  readonly staged: Staged;
  /** These by their references. */
  readonly policies: ReadonlyMap<string, AnyPolicy>;
}

/** @returns undefined where nothing is staged */
export function stagedScene(cluster: Cluster, staged: Staged | undefined): StagedScene | undefined {
  const all = staged ? [...staged.policies, ...staged.clusterPolicies] : [];
  if (!staged || all.length === 0) return undefined;
  return {
    cluster: cluster.promoted(staged),
    staged,
    policies: new Map(all.map(policy => [policyRef(policy), policy])),
  };
}

type StagedPolicies = StagedScene['policies'];
type Words = Omit<StagedJudgement, 'verdict'>;

const taking = ({ by, passed }: DirectionVerdict): readonly string[] => [...by, ...passed.map(({ policy }) => policy)];

/** NetworkPolicies that isolate the flow's pod of this direction, so that Baseline is not asked. */
function isolatingIn(cluster: Cluster, flow: Flow, direction: Direction): readonly string[] {
  const { subject } = partyOf(cluster, direction === 'egress' ? flow.from : flow.to, flow.family);
  return subject ? policiesFor(cluster, direction, subject).isolating.map(policyRef) : [];
}

/** One direction of a flow, by the policies in force and with the staged ones. */
interface Compared {
  readonly real: DirectionVerdict;
  readonly after: DirectionVerdict;
  readonly isolating: () => readonly string[];
}

/**
 * The staged policies that make the difference: those that decide; where none does, those that pass it on to what decides;
 * where none does that either, those that no longer decide as the policies whose place they take; and at last those that
 * isolate the pod, on a way that NetworkPolicies do not judge and Baseline would.
 */
function makersOf({ real, after, isolating }: Compared, staged: StagedPolicies): readonly string[] {
  const passing = after.passed.map(({ policy }) => policy);
  for (const names of [() => after.by, () => passing, () => taking(real), isolating]) {
    const found = names().filter(name => staged.has(name));
    if (found.length > 0) return found;
  }
  return [];
}

function wordsOf(compared: Compared, staged: StagedPolicies): Words {
  const { after } = compared;
  const by = makersOf(compared, staged);
  const isOf = ({ policy }: RuleRef): boolean => by.includes(policy);
  const deciding = after.rules.filter(isOf);
  return { by, rules: (deciding.length > 0 ? deciding : after.passed.filter(isOf)).map(formatRule), why: after.why };
}

/**
 * @param real verdict of the policies in force
 * @param after verdict of these and the staged ones
 * @param judged directions that are judged on this node
 * @returns undefined where it is the same
 */
export function stagedJudgement(
  { cluster, policies }: StagedScene,
  flow: Flow,
  real: Verdict,
  after: Verdict,
  judged: readonly Direction[],
): StagedJudgement | undefined {
  const isAllowed = (verdict: Verdict): boolean => judged.every(direction => verdict[direction].allowed);
  if (isAllowed(real) === isAllowed(after)) return undefined;
  const changed = judged.filter(direction => real[direction].allowed !== after[direction].allowed);
  const words = changed.map(direction => {
    const isolating = () => isolatingIn(cluster, flow, direction);
    return wordsOf({ real: real[direction], after: after[direction], isolating }, policies);
  });
  return {
    verdict: isAllowed(after) ? 'allowed' : 'denied',
    by: [...new Set(words.flatMap(({ by }) => by))],
    rules: words.flatMap(({ rules }) => rules),
    why: words.map(({ why }) => why).join('; '),
  };
}
