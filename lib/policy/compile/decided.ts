/**
 * Many ordered rules as few sets: which of them is the first that matches is worked out pod by pod and port by port
 * (`decisions.ts`), so that a packet costs the same however many there are. That holds for rules for pods that a selector tells
 * from others, on few ports or on all; those for all pods, for nodes, for blocks and for long ranges of ports stay rules of a
 * chain, since each would bring too many elements.
 */
import type { Family } from '../../ip/address.ts';
import { fnv1a64 } from '../../tag/hash.ts';
import type { Action } from '../model/cluster-policy.ts';
import { type Direction, formatRule, type LabelSelector, type PodPeer, type RuleRef } from '../model/model.ts';
import { type Draft, peersText, portsText } from './draft.ts';
import { fewPorts } from './merge.ts';
import type { Names } from './names.ts';
import { once } from './once.ts';
import type { DecidedSetSpec, OrderedRule } from './ruleset.ts';

export interface OrderedDraft extends Draft {
  readonly action: Action;
}

/** The number of ports that the rules of a tier may name together, and so of elements that each selected pod may need. */
const PORTS = 256;

const tellsApart = ({ requirements }: LabelSelector): boolean =>
  requirements.some(({ operator }) => operator === 'In' || operator === 'Exists');

/** Whether it asks for a label or a namespace; what only rules some out selects most pods. */
const isSelective = ({ namespace, pods }: PodPeer): boolean =>
  typeof namespace === 'string' || tellsApart(namespace) || tellsApart(pods);

/** Tells which drafts can be looked up at once: one after the other, as long as the ports that they name are few together. */
export class PortBudget {
  readonly #named = new Set<string>();

  admits(draft: OrderedDraft): boolean {
    const keys = portsToLookUp(draft);
    if (keys === undefined) return false;
    const fresh = keys.filter(key => !this.#named.has(key));
    if (this.#named.size + fresh.length > PORTS) return false;
    for (const key of fresh) this.#named.add(key);
    return true;
  }
}

/** A text for each port that the draft names; undefined where it cannot be looked up. */
const portsToLookUp = once((draft: OrderedDraft): readonly string[] | undefined => {
  const rule = orderedRuleOf(draft);
  return rule?.pods.every(isSelective) ? portKeys(rule) : undefined;
});

function portKeys({ ports }: OrderedRule): readonly string[] {
  if (ports === 'any') return [];
  if ('names' in ports) return ports.names.map(({ protocol, name }) => `${protocol} ${name}`);
  return ports.ports.map(port => `${ports.protocol} ${port}`);
}

/** A number's last bits are the rule's place in its policy, the others a hash of the policy. */
export const RULE_BITS = 10;
export const POLICY_BITS = (-1 << RULE_BITS) >>> 0;

/** Two rules may have one number: their packets are then told of in the name of both. */
export const numberOf = once(({ origins: [origin] }: OrderedDraft): number => {
  const { policy, index } = origin!;
  return ((Number.parseInt(fnv1a64(policy).slice(-8), 16) << RULE_BITS) | (index & ~POLICY_BITS)) >>> 0;
});

const orderedRuleOf = once((draft: OrderedDraft): OrderedRule | undefined => {
  const { peers, ports, action, counter } = draft;
  const few = ports.kind === 'any' ? ports.kind : ports.kind === 'names' ? { names: ports.names } : fewPorts(ports);
  if (peers.kind !== 'pods' || few === undefined) return undefined;
  const told = {
    ...(counter === undefined ? {} : { counter }),
    ...(action === 'Deny' ? { number: numberOf(draft) } : {}),
  };
  return { pods: peers.pods, ports: few, action, ...told };
});

/** One text for rules that bring the same elements. */
const textOf = once((draft: OrderedDraft): string => {
  const { peers, ports, action, counter } = draft;
  const told = action === 'Deny' ? numberOf(draft) : (counter ?? '');
  return `${action} ${peersText(peers)}; ${portsText(ports)}; ${told}`;
});

/** Each rule once. */
export const originsOf = (drafts: readonly OrderedDraft[]): readonly RuleRef[] => [
  ...new Map(drafts.flatMap(({ origins }) => origins.map(origin => [formatRule(origin), origin]))).values(),
];

export interface DecidedRules {
  readonly set: DecidedSetSpec;
  /** Rules with the action of the set. */
  readonly origins: readonly RuleRef[];
}

const keys = ['tuple', 'address'] as const;
const actions: readonly Action[] = ['Pass', 'Deny', 'Accept'];

/**
 * The sets to look into one after the other.
 * @param drafts of one family that a `PortBudget` has admitted
 */
export function decidedSets(
  family: Family,
  drafts: readonly OrderedDraft[],
  direction: Direction,
  names: Names,
): readonly DecidedRules[] {
  const rules = drafts.map(draft => orderedRuleOf(draft)!);
  const made: DecidedRules[] = [];
  for (const key of keys)
    for (const action of actions) {
      const own = drafts.filter(
        draft => draft.action === action && (draft.ports.kind === 'any') === (key === 'address'),
      );
      if (own.length === 0) continue;
      // The first set's name comes from the rules, the names of the others from the first set's.
      const whose = made[0]?.set.name ?? [direction, ...drafts.map(textOf)].join('\n');
      const name = names.nameOf(`decided${family}`, `${action} by ${key} of ${whose}`);
      const comment = `${action} by ${key === 'tuple' ? 'address and port' : 'address'}: ${own.length} of ${drafts.length} rules`;
      made.push({
        set: { kind: 'decided', name, family, comment, direction, action, key, rules },
        origins: originsOf(own),
      });
    }
  return made;
}
