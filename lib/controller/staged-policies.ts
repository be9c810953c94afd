/** The staged policies that the API has told of: enforced nowhere, and asked beside the others of what flows there are. */
import { type AnyPolicy, policyRef, type Staged } from '../policy/model/model.ts';

export class StagedPolicies {
  readonly #policies = new Map<string, AnyPolicy>();

  /** Forgets `before`, which is gone or in force now, and notes `after`, which is staged. */
  exchange(before: AnyPolicy | undefined, after: AnyPolicy | undefined): void {
    if (before) this.#policies.delete(policyRef(before));
    if (after) this.#policies.set(policyRef(after), after);
  }

  get size(): number {
    return this.#policies.size;
  }

  get all(): Staged {
    const all = [...this.#policies.values()];
    return {
      policies: all.flatMap(policy => ('tier' in policy ? [] : [policy])),
      clusterPolicies: all.flatMap(policy => ('tier' in policy ? [policy] : [])),
    };
  }
}
