/** Which rules of policies had a part in some flow: they decided it, or passed it on to the tiers after theirs. */
import {
  type AnyPolicy,
  type Direction,
  type DirectionVerdict,
  type PolicyRule,
  policyRef,
} from '../policy/model/model.ts';

const directions: readonly Direction[] = ['ingress', 'egress'];

const rulesOf = (policy: AnyPolicy | undefined, direction: Direction): readonly PolicyRule[] =>
  policy?.[direction] ?? [];

const textOf = (rule: PolicyRule | undefined): string =>
  JSON.stringify(rule, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value)) ?? '';

const nameOf = (direction: Direction, rule: PolicyRule): string => {
  const name = 'name' in rule ? ` ${JSON.stringify(rule.name)}` : '';
  return `${direction}[${rule.index}]${name}`;
};

/** The policy of a reference, among those that judge. */
export type PolicyOf = (ref: string) => AnyPolicy | undefined;

/** Remembered with the rules themselves, so that what is remembered goes when its policy goes. */
export class RuleUse {
  readonly #used = new WeakSet<PolicyRule>();

  /** A flow had this verdict. Rules of policies that are not found are not remembered. */
  note(find: PolicyOf, { rules, passed }: DirectionVerdict): void {
    for (const { policy, direction, index } of [...rules, ...passed]) {
      const rule = rulesOf(find(policy), direction)[index];
      if (rule) this.#used.add(rule);
    }
  }

  /** Policies that were read anew and say the same keep what is known of them. */
  carry(before: Iterable<AnyPolicy>, find: PolicyOf): void {
    for (const policy of before) {
      const heir = find(policyRef(policy));
      if (heir === policy) continue;
      for (const direction of directions)
        for (const [i, rule] of rulesOf(heir, direction).entries()) {
          const old = rulesOf(policy, direction)[i];
          if (old && this.#used.has(old) && textOf(old) === textOf(rule)) this.#used.add(rule);
        }
    }
  }

  /** `ingress[2]`, `egress[0] "to dns"` */
  unused(policy: AnyPolicy): readonly string[] {
    return directions.flatMap(direction =>
      rulesOf(policy, direction)
        .filter(rule => !this.#used.has(rule))
        .map(rule => nameOf(direction, rule)),
    );
  }
}
