/** The world as it would be if staged policies were in force. */
import { policyRef, type World } from './model.ts';

interface Named {
  readonly kind: string;
  readonly namespace?: string;
  readonly name: string;
}

/** Each staged one in the place of the one of its name. */
function promote<T extends Named>(
  real: readonly T[],
  staged: readonly T[],
  refOf: (policy: T) => string,
): readonly T[] {
  const refs = new Set(staged.map(refOf));
  return [...real.filter(policy => !refs.has(refOf(policy))), ...staged];
}

/** The world with all its staged policies in force; undefined where it has none. */
export function promoted(world: World): World | undefined {
  const { staged, ...real } = world;
  if (!staged || staged.policies.length + staged.clusterPolicies.length === 0) return undefined;
  return {
    ...real,
    policies: promote(real.policies, staged.policies, policyRef),
    clusterPolicies: promote(real.clusterPolicies ?? [], staged.clusterPolicies, policyRef),
  };
}

/** `Kind/namespace/name`, or `Kind/name`, of the staged policies, ascending. */
export const stagedRefs = ({ staged }: World): readonly string[] =>
  staged ? [...staged.policies, ...staged.clusterPolicies].map(policyRef).sort() : [];
