/**
 * Judges connections between two ends, once for all pairs that fare alike: subjects that the same policies judge share a gate,
 * and peers that the same rules of that gate match fare alike.
 */
import type { Family } from '../../ip/address.ts';
import type { Cluster } from '../evaluate/cluster.ts';
import { decide, exempt, type PoliciesByTier, policiesFor } from '../evaluate/decision.ts';
import { askBetween, type EvaluateOptions, matchesPort, type Question } from '../evaluate/evaluate.ts';
import { RuleMatcher } from '../evaluate/rule-matcher.ts';
import {
  type Direction,
  type DirectionVerdict,
  type Endpoint,
  type Pod,
  type PolicyRule,
  policyRef,
} from '../model/model.ts';
import { type Party, partyOf } from '../model/party.ts';
import type { PortClass } from './classes.ts';

export type BareVerdict = Omit<DirectionVerdict, 'why'>;

/** The verdicts of policies in one direction, on all ports. */
export interface Ruling {
  /** The same for rulings of this judge that say the same, by the same rules. */
  readonly id: number;
  readonly on: (ports: PortClass) => BareVerdict;
}

interface Gate {
  readonly policies: PoliciesByTier;
  /** Rulings by peer. */
  readonly rulings: WeakMap<Party, Ruling>;
}

const unasked: Ruling = { id: 0, on: () => exempt([]) };

/** Judges pairs of one world. */
export class PairJudge {
  readonly #cluster: Cluster;
  readonly #options: EvaluateOptions;
  readonly #parties = new Map<Endpoint, Map<Family | null, Party>>();
  readonly #gates: Readonly<Record<Direction, Map<Pod, Gate>>> = {
    egress: new Map(),
    ingress: new Map(),
  };
  readonly #gatesByText = new Map<string, Gate>();
  readonly #matchers = new Map<PolicyRule, RuleMatcher>();
  readonly #rulings = new Map<string, Ruling>();
  readonly #numbers = new Map<PolicyRule | Gate, number>();

  constructor(cluster: Cluster, options: EvaluateOptions) {
    this.#cluster = cluster;
    this.#options = options;
  }

  /** Rulings on a pair; callers pass the same two objects for the same ends, since rulings are remembered by object. */
  between(from: Endpoint, to: Endpoint, family: Family | null): Readonly<Record<Direction, Ruling>> {
    const [a, b] = [this.#party(from, family), this.#party(to, family)];
    const flow = { from, to, family, protocol: 'other', port: 0 } as const;
    const { egress, ingress } = askBetween(this.#cluster, a, b, flow, this.#options);
    return {
      egress: 'exempt' in egress ? unasked : this.#ruling(egress),
      ingress: 'exempt' in ingress ? unasked : this.#ruling(ingress),
    };
  }

  #party(endpoint: Endpoint, family: Family | null): Party {
    const known = this.#parties.get(endpoint) ?? new Map<Family | null, Party>();
    this.#parties.set(endpoint, known);
    const party = known.get(family) ?? partyOf(this.#cluster, endpoint, family);
    known.set(family, party);
    return party;
  }

  #ruling(question: Question): Ruling {
    const gate = this.#gate(question);
    const known = gate.rulings.get(question.peer);
    if (known) return known;
    const { direction } = question;
    const all = Object.values(gate.policies)
      .flat()
      .flatMap(policy => policy[direction] ?? []);
    const asked = all.filter(rule => this.#means(rule, question.peer));
    const ports = direction === 'egress' ? question.destination?.namedPorts : [];
    const text = JSON.stringify([this.#numberOf(gate), asked.map(rule => this.#numberOf(rule)), ports]);
    const ruling = this.#rulings.get(text) ?? rulingOf(this.#rulings.size + 1, question, gate, new Set(asked));
    this.#rulings.set(text, ruling);
    gate.rulings.set(question.peer, ruling);
    return ruling;
  }

  #numberOf(key: PolicyRule | Gate): number {
    const number = this.#numbers.get(key) ?? this.#numbers.size;
    this.#numbers.set(key, number);
    return number;
  }

  #gate(question: Question): Gate {
    const { subject, direction, unjudged = [] } = question;
    const isUsual = unjudged.length === 0;
    const known = isUsual ? this.#gates[direction].get(subject) : undefined;
    if (known) return known;
    const policies = policiesFor(this.#cluster, direction, subject);
    const names = direction === 'ingress' ? subject.namedPorts : [];
    const refs = Object.values(policies).map(each => each.map(policyRef));
    const text = JSON.stringify([direction, refs, names, unjudged]);
    const gate = this.#gatesByText.get(text) ?? { policies, rulings: new WeakMap() };
    this.#gatesByText.set(text, gate);
    if (isUsual) this.#gates[direction].set(subject, gate);
    return gate;
  }

  #means(rule: PolicyRule, peer: Party): boolean {
    const matcher = this.#matchers.get(rule) ?? new RuleMatcher(this.#cluster, rule);
    this.#matchers.set(rule, matcher);
    return matcher.matchesPeer(peer);
  }
}

/** @param asked rules of the gate's that mean the peer */
function rulingOf(id: number, question: Question, { policies }: Gate, asked: ReadonlySet<PolicyRule>): Ruling {
  const known = new Map<PortClass, BareVerdict>();
  const judge = ({ protocol, first: port }: PortClass): BareVerdict => {
    const about = { ...question, flow: { ...question.flow, protocol, port } };
    const isFor = ({ ports }: PolicyRule): boolean => ports === 'any' || ports.some(each => matchesPort(about, each));
    return decide(about, policies, rule => asked.has(rule) && isFor(rule));
  };
  return {
    id,
    on: ports => {
      const verdict = known.get(ports) ?? judge(ports);
      known.set(ports, verdict);
      return verdict;
    },
  };
}
