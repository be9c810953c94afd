/**
 * Judges for every pair of pods whether the one may reach the other: once for each pair that policies can tell apart. The
 * answers come pair by pair, so that neither time nor memory is spent on what many pairs have in common.
 */
import { type Family, parseAddress } from '../../ip/address.ts';
import { AddressClasses } from '../explain/classes.ts';
import {
  type Direction,
  type Flow,
  type Pod,
  type PolicyRule,
  policyRef,
  protocols,
  type World,
} from '../model/model.ts';
import { type Party, partyOf } from '../model/party.ts';
import { type Cluster, clusterOf } from './cluster.ts';
import { type Decision, decide, exempt, type PoliciesByTier, policiesFor, sentenceText } from './decision.ts';
import { type Asked, askBetween, type EvaluateOptions, matchesPort, type Question } from './evaluate.ts';
import { RuleMatcher } from './rule-matcher.ts';

export type Traffic = Pick<Flow, 'protocol' | 'port'>;

/** `80/TCP`, `53/udp`, `80`; `icmp` for traffic without ports. @returns undefined where it means nothing */
export function parseTraffic(text: string): Traffic | undefined {
  if (/^icmp$/i.test(text)) return { protocol: 'other', port: 0 };
  const [, digits, name = 'TCP'] = /^(\d{1,5})(?:\/([a-z]+))?$/i.exec(text) ?? [];
  const port = Number(digits);
  const protocol = protocols.find(each => each === name.toUpperCase());
  return digits === undefined || port < 1 || port > 65535 || !protocol ? undefined : { protocol, port };
}

/** A heading for the matrix of this traffic. */
export const titleOf = ({ protocol, port }: Traffic): string =>
  protocol === 'other' ? 'Who may send traffic without ports to whom' : `Who may open ${port}/${protocol} to whom`;

/** A pod as one end of connections in one family. */
export interface MatrixEnd {
  readonly pod: Pod;
  /** `namespace/pod` */
  readonly name: string;
  /** The pod's index in `pods` of the matrix. */
  readonly place: number;
  readonly party: Party;
  /** Equal for ends that no policy can tell apart as peers. */
  readonly kind: number;
  /** The pod is both subject and peer, and no other pod has its address. */
  readonly isPlain: boolean;
}

/** One pair in one address family; null where an end has no address yet and was judged by its labels. */
export interface JudgedPair {
  readonly from: MatrixEnd;
  readonly to: MatrixEnd;
  readonly family: Family | null;
  readonly allowed: boolean;
  readonly egress: Decision;
  readonly ingress: Decision;
}

/** Why, with the names of both ends. */
export const reasonOf = ({ why }: Decision, { from, to }: JudgedPair): string =>
  sentenceText(why, { from: from.party.name, to: to.party.name });

/** Subjects that the same policies judge in one direction, and whose ports have the same names. */
interface Gate {
  readonly policies: PoliciesByTier;
  /** Decisions, indexed by the peer's kind. */
  readonly decisions: (Decision | undefined)[];
}

const byText = ([a]: readonly [string, string], [b]: readonly [string, string]): number => (a < b ? -1 : 1);

export class MatrixJudge {
  /** Pods that have not finished, in the order of the world. */
  readonly pods: readonly Pod[];
  readonly traffic: Traffic;
  readonly #cluster: Cluster;
  readonly #options: EvaluateOptions;
  readonly #classes: AddressClasses;
  readonly #places: ReadonlyMap<Pod, number>;
  /** Address families of each pod, indexed by its place. */
  readonly #families: readonly (readonly Family[])[];
  readonly #ends: Readonly<Record<'4' | '6' | 'null', MatrixEnd[]>> = { 4: [], 6: [], null: [] };
  readonly #kinds = new Map<string, number>();
  /** The gate of each subject, indexed by its place. */
  readonly #gates: Readonly<Record<Direction, Gate[]>> = { egress: [], ingress: [] };
  readonly #gatesByText = new Map<string, Gate>();
  readonly #matchers = new Map<PolicyRule, RuleMatcher>();
  readonly #exempt = new Map<string, Decision>();
  /** How often rules were asked. */
  asked = 0;

  constructor(world: World, traffic: Traffic, options: EvaluateOptions = {}) {
    this.pods = world.pods.filter(({ finished }) => !finished);
    this.traffic = traffic;
    this.#cluster = clusterOf(world);
    this.#options = options;
    this.#classes = new AddressClasses([world]);
    this.#places = new Map(this.pods.map((pod, i) => [pod, i]));
    this.#families = this.pods.map(({ addresses }) => {
      const own = new Set(addresses.map(text => parseAddress(text)?.family));
      return ([4, 6] as const).filter(family => own.has(family));
    });
  }

  /** Each ordered pair of different pods, in each family that both have. */
  *[Symbol.iterator](): Generator<JudgedPair> {
    const count = this.pods.length;
    for (let from = 0; from < count; from++)
      for (let to = 0; to < count; to++)
        if (from !== to) for (const family of this.#shared(from, to)) yield this.#judge(from, to, family);
  }

  *between(from: Pod, to: Pod): Generator<JudgedPair> {
    const [a, b] = [this.#places.get(from)!, this.#places.get(to)!];
    for (const family of this.#shared(a, b)) yield this.#judge(a, b, family);
  }

  #shared(from: number, to: number): readonly (Family | null)[] {
    if (this.pods[from]!.addresses.length === 0 || this.pods[to]!.addresses.length === 0) return [null];
    const [a, b] = [this.#families[from]!, this.#families[to]!];
    return a.length === b.length && a.length === 2 ? a : a.filter(family => b.includes(family));
  }

  #judge(a: number, b: number, family: Family | null): JudgedPair {
    const [from, to] = [this.#end(a, family), this.#end(b, family)];
    const decided = this.#decided(from, to);
    if (decided) return { from, to, family, ...decided };
    const flow: Flow = {
      from: { kind: 'pod', pod: from.pod },
      to: { kind: 'pod', pod: to.pod },
      family,
      ...this.traffic,
    };
    const asked = askBetween(this.#cluster, from.party, to.party, flow, this.#options);
    const [egress, ingress] = [this.#decide(asked.egress, to.kind), this.#decide(asked.ingress, from.kind)];
    return { from, to, family, allowed: egress.allowed && ingress.allowed, egress, ingress };
  }

  /** The decisions on an earlier pair of the same kinds, for two different pods that policies judge in both directions. */
  #decided(from: MatrixEnd, to: MatrixEnd): Pick<JudgedPair, 'allowed' | 'egress' | 'ingress'> | undefined {
    if (!from.isPlain || !to.isPlain || from.name === to.name) return undefined;
    const egress = this.#gates.egress[from.place]?.decisions[to.kind];
    const ingress = this.#gates.ingress[to.place]?.decisions[from.kind];
    return egress && ingress && { allowed: egress.allowed && ingress.allowed, egress, ingress };
  }

  #end(place: number, family: Family | null): MatrixEnd {
    const ends = this.#ends[`${family}`];
    const known = ends[place];
    if (known) return known;
    const pod = this.pods[place]!;
    const party = partyOf(this.#cluster, { kind: 'pod', pod }, family);
    const isPlain = party.subject === pod && party.peer === pod && party.node === undefined;
    const name = `${pod.namespace}/${pod.name}`;
    const end = { pod, name, place, party, kind: this.#kindOf(party), isPlain };
    ends[place] = end;
    return end;
  }

  #kindOf({ peer, address }: Party): number {
    const seen = peer && [
      peer.namespace,
      [...peer.labels].sort(byText),
      [...this.#cluster.namespaceLabels(peer.namespace)].sort(byText),
      peer.namedPorts,
    ];
    const text = JSON.stringify([seen, address?.family, address && this.#classes.indexOf(address)]);
    const kind = this.#kinds.get(text) ?? this.#kinds.size;
    this.#kinds.set(text, kind);
    return kind;
  }

  #decide(asked: Asked, kind: number): Decision {
    if ('exempt' in asked) {
      const key = asked.exempt.map(part => (typeof part === 'string' ? part : part.end)).join('|');
      const known = this.#exempt.get(key) ?? exempt(asked.exempt);
      this.#exempt.set(key, known);
      return known;
    }
    const { policies, decisions } = this.#gate(asked);
    const known = decisions[kind];
    if (known) return known;
    const decision = decide(asked, policies, rule => this.#matches(asked, rule));
    decisions[kind] = decision;
    return decision;
  }

  #gate(question: Question): Gate {
    const { subject, direction, unjudged = [] } = question;
    const isUsual = unjudged.length === 0;
    const place = isUsual ? this.#places.get(subject) : undefined;
    const known = place === undefined ? undefined : this.#gates[direction][place];
    if (known) return known;
    const policies = policiesFor(this.#cluster, direction, subject);
    const names = direction === 'ingress' ? subject.namedPorts : [];
    const refs = [policies.admin, policies.isolating, policies.baseline].map(each => each.map(policyRef));
    const text = JSON.stringify([direction, refs, names, unjudged]);
    const gate = this.#gatesByText.get(text) ?? { policies, decisions: [] };
    this.#gatesByText.set(text, gate);
    if (place !== undefined) this.#gates[direction][place] = gate;
    return gate;
  }

  #matches(question: Question, rule: PolicyRule): boolean {
    this.asked++;
    if (rule.ports !== 'any' && !rule.ports.some(port => matchesPort(question, port))) return false;
    const matcher = this.#matchers.get(rule) ?? new RuleMatcher(this.#cluster, rule);
    this.#matchers.set(rule, matcher);
    return matcher.matchesPeer(question.peer);
  }
}
