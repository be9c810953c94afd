/** The policies that concern this node's pods, in force and staged, with the flows that each decided, or would. */

import { subjectsOf } from '../policy/evaluate/subjects.ts';
import { type AnyPolicy, type DirectionVerdict, policyRef } from '../policy/model/model.ts';
import type { Attribution } from './attribution.ts';
import type { SummedFlows } from './minutes.ts';
import { atMost, OTHERS } from './model.ts';
import { type SumRow, sumBy } from './sums.ts';

export interface PolicyHits {
  readonly policy: string;
  /** null: it is gone. */
  readonly tier: NonNullable<DirectionVerdict['tier']> | null;
  readonly isStaged: boolean;
  /** Pods of this node that it selects. */
  readonly pods: number;
  /** Flows that it decided; 0 of a staged one. */
  readonly allowed: number;
  readonly denied: number;
  /** Flows that would fare otherwise because of it; 0 of one in force. */
  readonly wouldDeny: number;
  readonly wouldAllow: number;
  /** Seconds since 1970; null where it decided nothing. */
  readonly last: number | null;
  /** Rules that had a part in no flow since it was last changed: `ingress[0]`. */
  readonly unused: readonly string[];
}

export interface PolicyReport {
  /** Seconds since 1970: since when flows are recorded. */
  readonly since: number;
  /** Flows that came too fast for policies to be asked. */
  readonly unattributed: number;
  readonly policies: readonly PolicyHits[];
  /** Policies that are not in the list, since there are too many. */
  readonly leftOut: number;
}

/** A tenant may have any number of policies. */
const MOST_LISTED = 1000;

type Source = Pick<Attribution, 'scene' | 'rulesUsed' | 'unanswered'>;
type Hits = Pick<PolicyHits, 'policy' | 'allowed' | 'denied' | 'wouldDeny' | 'wouldAllow' | 'last'>;

/** A policy with its counts, before the dearer facts are looked up; no policy where it is gone. */
interface Row {
  readonly hits: Hits;
  readonly policy?: AnyPolicy;
  readonly isStaged: boolean;
}

const noHits = { allowed: 0, denied: 0, wouldDeny: 0, wouldAllow: 0, last: null };

/** Those of the namespaces of this node's pods, and those of the whole cluster. */
function declaredIn({ scene }: Source): {
  readonly inForce: readonly AnyPolicy[];
  readonly staged: readonly AnyPolicy[];
} {
  const namespaces = new Set([...scene.pods.values()].map(({ namespace }) => namespace));
  const tiers = (['Admin', 'Baseline'] as const).flatMap(tier => scene.cluster.clusterPolicies(tier));
  const staged = [...(scene.staged?.policies.values() ?? [])];
  return {
    inForce: [...tiers, ...[...namespaces].sort().flatMap(namespace => [...scene.cluster.policiesIn(namespace)])],
    staged: staged.filter(policy => 'tier' in policy || namespaces.has(policy.namespace)),
  };
}

type Counts = Partial<Pick<Hits, 'allowed' | 'denied' | 'wouldDeny' | 'wouldAllow'>>;

/** By policy: these of the counts of its row. */
const hitsOf = (rows: readonly SumRow[], counts: (row: SumRow) => Counts): ReadonlyMap<string, Hits> =>
  new Map(rows.map(row => [row.from, { ...noHits, policy: row.from, last: row.last, ...counts(row) }]));

/** By policy: flows that it decided. */
function decidedBy(sums: readonly SummedFlows[]): ReadonlyMap<string, Hits> {
  const inForce = sums.map(({ staged: _, ...sum }) => sum);
  return hitsOf(sumBy('policy', inForce), ({ allowed, denied }) => ({ allowed, denied }));
}

/** By staged policy: flows that would fare otherwise because of it. */
function changedBy(sums: readonly SummedFlows[]): ReadonlyMap<string, Hits> {
  const rows = sumBy('policy', sums, ({ staged }) => staged !== undefined);
  return hitsOf(
    rows.filter(({ wouldDeny, wouldAllow }) => wouldDeny + wouldAllow > 0),
    ({ wouldDeny, wouldAllow }) => ({ wouldDeny, wouldAllow }),
  );
}

function rowsOf(source: Source, sums: readonly SummedFlows[]): readonly Row[] {
  const { inForce, staged } = declaredIn(source);
  const [decided, changed] = [decidedBy(sums), changedBy(sums)];
  const row =
    (hits: ReadonlyMap<string, Hits>, isStaged: boolean) =>
    (policy: AnyPolicy): Row => {
      const ref = policyRef(policy);
      return { policy, isStaged, hits: hits.get(ref) ?? { ...noHits, policy: ref } };
    };
  const known = new Set(inForce.map(policyRef)).add('none').add(OTHERS);
  const gone = [...decided.values()].filter(({ policy }) => !known.has(policy));
  return [
    ...inForce.map(row(decided, false)),
    ...staged.map(row(changed, true)),
    ...gone.map(hits => ({ hits, isStaged: false })),
  ];
}

/** Those that deny most are first; where none of two does, they keep their order. */
const inOrder = ({ hits: a }: Row, { hits: b }: Row): number =>
  b.denied + b.wouldDeny - a.denied - a.wouldDeny || b.allowed + b.wouldAllow - a.allowed - a.wouldAllow;

/**
 * @param sums of the flows to count
 * @param since seconds since 1970: since when flows are recorded
 */
export function policyReport(source: Source, sums: readonly SummedFlows[], since: number): PolicyReport {
  const { scene, rulesUsed, unanswered: unattributed } = source;
  const local = [...new Set(scene.pods.values())];
  const facts = (policy: AnyPolicy | undefined): Pick<PolicyHits, 'tier' | 'pods' | 'unused'> =>
    policy
      ? {
          tier: 'tier' in policy ? policy.tier : 'NetworkPolicy',
          pods: subjectsOf(policy, scene.cluster, local).length,
          unused: atMost(rulesUsed.unused(policy)),
        }
      : { tier: null, pods: 0, unused: [] };
  const rows = [...rowsOf(source, sums)].sort(inOrder);
  return {
    ...{ since, unattributed },
    policies: rows.slice(0, MOST_LISTED).map(({ hits, policy, isStaged }) => ({ ...hits, isStaged, ...facts(policy) })),
    leftOut: Math.max(0, rows.length - MOST_LISTED),
  };
}
