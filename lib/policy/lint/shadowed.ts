/** Rules that decide nothing: those that can never match, and those that pass on what nothing would have decided. */

import { clusterRuleRef } from '../evaluate/decision.ts';
import { peerText } from '../explain/mismatch.ts';
import type { ClusterPolicy, ClusterRule } from '../model/cluster-policy.ts';
import { type Direction, formatRule, type Peer, type RuleRef } from '../model/model.ts';
import { matchesNothing } from './candidates.ts';
import {
  type ClusterCase,
  type ClusterCheck,
  coversSubject,
  directions,
  fieldOf,
  mayMeet,
  neighbours,
  peersOf,
} from './cluster-rule.ts';
import { type Allowed, allowedBy, cover } from './pointless.ts';
import { coverPorts, type PortsMatched, portsMatched } from './ports-matched.ts';

/** A rule, taken apart once. */
interface Taken {
  readonly ref: RuleRef;
  readonly rule: ClusterRule;
  readonly ports: PortsMatched;
  readonly allowed: readonly Allowed[];
  /** Nodes and domains: of these only the same words are the same. */
  readonly others: readonly string[];
}

const isOther = ({ kind }: Peer): boolean => kind === 'nodes' || kind === 'domains';

const taken = (policy: ClusterPolicy, direction: Direction, rule: ClusterRule): Taken => ({
  ref: clusterRuleRef(policy, direction, rule),
  rule,
  ports: portsMatched(rule),
  allowed: allowedBy([rule]),
  others: peersOf(rule).filter(isOther).map(peerText),
});

const isForAll = ({ rule }: Taken): boolean => rule.peers === 'any';

/** The rules of one tier: each policy's are taken apart once, and what ports cover which is found once. */
class TierRules {
  readonly #taken = new Map<ClusterPolicy, Readonly<Record<Direction, readonly Taken[]>>>();
  readonly #covers = new Map<string, boolean>();

  of(policy: ClusterPolicy, direction: Direction): readonly Taken[] {
    const all = (of: Direction) => policy[of].map(rule => taken(policy, of, rule));
    const known = this.#taken.get(policy) ?? { ingress: all('ingress'), egress: all('egress') };
    this.#taken.set(policy, known);
    return known[direction];
  }

  #coverPorts({ ports: wider }: Taken, { ports: narrower }: Taken): boolean {
    const key = `${wider.text} ${narrower.text}`;
    const known = this.#covers.get(key) ?? coverPorts(wider, narrower);
    this.#covers.set(key, known);
    return known;
  }

  /** Earlier rules that have all ports of `narrower`; undefined where together they do not match all that it does. */
  covering(narrower: Taken, earlier: readonly Taken[]): readonly Taken[] | undefined {
    if (matchesNothing(narrower.rule)) return undefined;
    const able = earlier.filter(each => this.#coverPorts(each, narrower));
    const wider = able.flatMap(({ allowed }) => allowed);
    const isCovered =
      able.length > 0 &&
      narrower.allowed.every(each => cover(wider, each)) &&
      narrower.others.every(text => able.some(each => isForAll(each) || each.others.includes(text)));
    return isCovered ? able : undefined;
  }
}

/** Rules that an earlier one of the tier always comes before. */
export function neverMatches(): ClusterCheck {
  const rules = new TierRules();
  return it => {
    const wider = neighbours(it, 'before').filter(policy => coversSubject(policy, it.policy));
    for (const direction of directions) {
      const before = wider.flatMap(policy => rules.of(policy, direction));
      const own = rules.of(it.policy, direction);
      for (const [i, each] of own.entries()) {
        const able = rules.covering(each, [...before, ...own.slice(0, i)]);
        if (!able) continue;
        const alone = able.find(one => rules.covering(each, [one]));
        const who = alone ? `${formatRule(alone.ref)} matches` : 'the rules before it together match';
        const field = fieldOf(direction, each.rule);
        it.report(field, `Never matches, since ${who} all that it does: move it up, or take it out`);
      }
    }
  };
}

/** Whether something after the rule in its tier might decide what it passes on. */
function hasTierBehind(it: ClusterCase, direction: Direction, at: number): boolean {
  if (it.policy[direction].slice(at + 1).some(({ action }) => action !== 'Pass')) return true;
  return neighbours(it, 'after').some(policy => policy[direction].length > 0 && mayMeet(it, policy, it.policy));
}

/** Whether a tier after Admin says anything of the direction. */
const hasLaterTier = ({ world, cluster }: ClusterCase, direction: Direction): boolean =>
  world.policies.some(policy => policy[direction] !== undefined) ||
  cluster.clusterPolicies('Baseline').some(policy => policy[direction].length > 0);

export const passesInVain: ClusterCheck = it => {
  for (const direction of directions)
    for (const [i, rule] of it.policy[direction].entries()) {
      if (rule.action !== 'Pass') continue;
      const field = `${fieldOf(direction, rule)}.action`;
      if (!hasTierBehind(it, direction, i))
        it.report(field, 'Nothing after it in the tier decides what it passes on, so it changes nothing: take it out');
      else if (it.policy.tier === 'Admin' && !hasLaterTier(it, direction))
        it.report(
          field,
          `Passes it on to nothing: no NetworkPolicy isolates for ${direction}, and Baseline has no rules for it, so it is allowed: write Accept to say so`,
        );
    }
};
