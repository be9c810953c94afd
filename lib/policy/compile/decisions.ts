/**
 * Works out, port by port, what ordered rules decide for one pod, so that the kernel looks up a packet's verdict instead of
 * asking rule after rule.
 */
import { PeerIndex } from '../evaluate/peer-index.ts';
import type { Labels, Pod, Protocol } from '../model/model.ts';
import { numbersNamed } from '../model/port-names.ts';
import type { DecidedSetSpec, OrderedRule } from './ruleset.ts';

interface PortDecision {
  readonly protocol: Protocol;
  readonly port: number;
  readonly rule: OrderedRule;
}

/** The first rule that matches, by what it matches. */
interface Decisions {
  /** Decisions on ports that a rule before `rest` names. */
  readonly ports: readonly PortDecision[];
  /** The decision on all other packets; undefined where no rule is for every port. */
  readonly rest: OrderedRule | undefined;
}

/** The pod's own port numbers that the rule is for. */
function portsOf({ ports }: OrderedRule, { namedPorts }: Pod): readonly Omit<PortDecision, 'rule'>[] {
  if (ports === 'any') return [];
  if ('ports' in ports) return ports.ports.map(port => ({ protocol: ports.protocol, port }));
  return ports.names.flatMap(({ protocol, name }) =>
    [...numbersNamed(namedPorts, protocol, name)].map(port => ({ protocol, port })),
  );
}

function decided(matching: readonly OrderedRule[], pod: Pod): Decisions {
  const ports = new Map<string, PortDecision>();
  for (const rule of matching) {
    if (rule.ports === 'any') return { ports: [...ports.values()], rest: rule };
    for (const { protocol, port } of portsOf(rule, pod)) {
      const key = `${protocol} ${port}`;
      if (!ports.has(key)) ports.set(key, { protocol, port, rule });
    }
  }
  return { ports: [...ports.values()], rest: undefined };
}

/** Rules by place, found by the pods that they match, and the answer of the last time: several sets have the same rules. */
interface Known {
  readonly index: PeerIndex<number>;
  last?: { readonly pod: Pod; readonly labels: Labels; readonly found: Decisions };
}

const known = new WeakMap<readonly OrderedRule[], Known>();

function indexed(rules: readonly OrderedRule[]): Known {
  const index = new PeerIndex<number>();
  for (const [place, { pods }] of rules.entries()) for (const peer of pods) index.add(peer, place);
  const made = { index };
  known.set(rules, made);
  return made;
}

export function decisionsFor(rules: readonly OrderedRule[], pod: Pod, labels: Labels): Decisions {
  const of = known.get(rules) ?? indexed(rules);
  if (of.last?.pod === pod && of.last.labels === labels) return of.last.found;
  const places = [...new Set(of.index.of(pod, labels))].sort((a, b) => a - b);
  const found = decided(
    places.map(place => rules[place]!),
    pod,
  );
  of.last = { pod, labels, found };
  return found;
}

/** The rules that bring pods into the set; others of the list may keep them out. */
export const bringing = ({ rules, action, key }: DecidedSetSpec): readonly OrderedRule[] =>
  rules.filter(rule => rule.action === action && (rule.ports === 'any') === (key === 'address'));
