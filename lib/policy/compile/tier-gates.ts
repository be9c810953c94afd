/**
 * The gates of tiers, kept by the policies that they are made of for as long as these live: identities of many namespaces are
 * selected by the same policies, and differ in what comes after the tier.
 */
import type { Identity } from '../../tag/identity.ts';
import type { ClusterPolicy, Tier } from '../model/cluster-policy.ts';
import type { Direction } from '../model/model.ts';
import type { CompiledGate } from './chain.ts';
import { usuallyApart } from './merge.ts';
import { Names } from './names.ts';
import { asksForOwnPorts, gateOfPlan, type TierContext, type TierPlan, tierPlan } from './tier.ts';

/** A plan, and the gates that it has become, by what comes after. */
interface Planned {
  readonly plan: TierPlan | undefined;
  readonly gates: WeakMap<CompiledGate, CompiledGate>;
}

/** Lists of policies that begin with the same ones: a policy that is gone takes its lists with it. */
class Branch {
  readonly #longer = new WeakMap<ClusterPolicy, Branch>();
  readonly planned: Partial<Record<Direction, Planned>> = {};

  with(policy: ClusterPolicy): Branch {
    const known = this.#longer.get(policy) ?? new Branch();
    this.#longer.set(policy, known);
    return known;
  }
}

interface TierQuestion {
  readonly tier: Tier;
  readonly direction: Direction;
  readonly identity: Identity;
}

export class TierGates {
  readonly #options: Pick<TierContext, 'names' | 'apart'>;
  #root = new Branch();

  constructor({ names = new Names(), apart = usuallyApart }: Partial<Pick<TierContext, 'names' | 'apart'>> = {}) {
    this.#options = { names, apart };
  }

  /**
   * The gate of a tier; what comes after it where none of its rules matches anything.
   * @param policies of the tier that select the identity, in the order in which they are asked
   */
  gate(policies: readonly ClusterPolicy[], next: CompiledGate, question: TierQuestion): CompiledGate {
    const { direction } = question;
    const { plan, gates } = this.#planned(policies, question);
    if (!plan) return next;
    const gate = gates.get(next) ?? gateOfPlan(plan, next, { direction, names: this.#options.names });
    gates.set(next, gate);
    return gate;
  }

  #planned(policies: readonly ClusterPolicy[], question: TierQuestion): Planned {
    const { direction } = question;
    const plan = () => tierPlan(policies, { ...this.#options, ...question });
    if (direction === 'ingress' && policies.some(asksForOwnPorts)) return { plan: plan(), gates: new WeakMap() };
    const { planned } = policies.reduce((branch, policy) => branch.with(policy), this.#root);
    planned[direction] ??= { plan: plan(), gates: new WeakMap() };
    return planned[direction];
  }

  /** Names may be given anew. */
  forget(): void {
    this.#root = new Branch();
  }
}
