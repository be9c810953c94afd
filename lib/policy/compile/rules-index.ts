/**
 * The compiled policies of a node's identities, as a value that can be written down: a process that reads it goes on from there
 * without a look at the policies. Blocks are left out of it: a set of blocks has its content's name, and never changes while it
 * stays.
 */
import type { Tier } from '../model/cluster-policy.ts';
import type { Protocol, RuleRef } from '../model/model.ts';
import type { CompiledGate } from './chain.ts';
import type { Gates } from './compile.ts';
import type { ChainRule, Gate, PortMatch, RuleChain, SetRef, SetSpec } from './ruleset.ts';

/** All that a pod of an identity with a gate asks for: the sets that it may be in. */
export interface RulesIndex {
  readonly specs: readonly SetSpec[];
  readonly isOrdered?: true;
  /** Asked for where identities come or go; undefined where they are no longer known. */
  readonly gates: () => GatesIndex | undefined;
}

/** The gates of all identities, which the sets of a `RulesIndex` belong to: what stands in it often is told by its place. */
export interface GatesIndex {
  /** Content of each name, so that no other content gets the same name. */
  readonly names: readonly (readonly [content: string, name: string])[];
  /** References of policies. */
  readonly policies: readonly string[];
  readonly chains: readonly IndexedChain[];
  readonly gates: readonly (readonly [gate: Gate, ...chains: readonly number[]])[];
  /** Places in `gates`, by `identityKey`: egress, ingress, and both once more where cluster policies select the identity. */
  readonly identities: readonly (readonly [identity: string, places: readonly number[]])[];
}

interface IndexedChain extends Pick<RuleChain, 'name' | 'direction' | 'otherwise'> {
  readonly policies: readonly number[];
  readonly rules: readonly IndexedRule[];
  readonly denies?: { readonly tier: Tier; readonly rules: readonly IndexedOrigin[] };
}

type IndexedOrigin = readonly [policy: number, index: number, name?: string];

type IndexedRule = readonly [
  /** The name of a set; 0 for any. */
  peers: string | 0,
  /** The first and the last of each span; 0 for any. */
  ports: readonly [Protocol, ...spans: readonly number[]] | 0,
  origins: readonly IndexedOrigin[],
  /** The policy that counts; -1 for none. */
  counter: number,
  to?: Gate,
];

/** Each value once, in the order in which they are asked for. */
class Places<T> {
  readonly #places = new Map<T, number>();

  of(value: T): number {
    const place = this.#places.get(value) ?? this.#places.size;
    this.#places.set(value, place);
    return place;
  }

  get all(): readonly T[] {
    return [...this.#places.keys()];
  }
}

export const withoutBlocks = (spec: SetSpec): SetSpec => (spec.kind === 'ranges' ? { ...spec, ranges: [] } : spec);

const listOf = ({ egress, ingress, byCluster }: Gates): readonly CompiledGate[] => [
  ...[egress, ingress],
  ...(byCluster ? [byCluster.egress, byCluster.ingress] : []),
];

const portsIn = ({ protocol, spans }: PortMatch): IndexedRule[1] => [
  protocol,
  ...spans.flatMap(({ first, last }) => [first, last]),
];

/** @param placeOf the place of a policy */
function indexedChain(
  { policies, rules, denies, ...chain }: RuleChain,
  placeOf: (policy: string) => number,
): IndexedChain {
  const originsIn = (origins: readonly RuleRef[]): readonly IndexedOrigin[] =>
    origins.map(({ policy, index, name }) => {
      return name === undefined ? [placeOf(policy), index] : [placeOf(policy), index, name];
    });
  const ruleIn = ({ peers, ports, origins, counter, to }: ChainRule): IndexedRule => {
    const set = peers === 'any' ? 0 : peers.name;
    const matched = ports === 'any' ? 0 : portsIn(ports);
    const counting = counter === undefined ? -1 : placeOf(counter);
    const rule = [set, matched, originsIn(origins), counting] as const;
    return to === undefined ? rule : [...rule, to];
  };
  return {
    ...{ ...chain, policies: policies.map(placeOf), rules: rules.map(ruleIn) },
    ...(denies ? { denies: { tier: denies.tier, rules: originsIn(denies.rules) } } : {}),
  };
}

export function gatesIndexOf(
  names: GatesIndex['names'],
  identities: readonly (readonly [string, Gates])[],
): GatesIndex {
  const [policies, chains, gates] = [new Places<string>(), new Places<RuleChain>(), new Places<CompiledGate>()];
  const placed = identities.map(([identity, each]) => [identity, listOf(each).map(gate => gates.of(gate))] as const);
  const indexed = gates.all.map(gate => [gate.gate, ...gate.chains.map(chain => chains.of(chain))] as const);
  const told = chains.all.map(chain => indexedChain(chain, policy => policies.of(policy)));
  return { names, policies: policies.all, chains: told, gates: indexed, identities: placed };
}

/** Gates of all identities with their sets, as a process takes them over from another. */
export interface KnownGates extends Pick<RulesIndex, 'specs'> {
  readonly gates: GatesIndex;
}

function portsOf([protocol, ...numbers]: Exclude<IndexedRule[1], 0>): PortMatch {
  const spans = Array.from({ length: numbers.length / 2 }, (_, i) => {
    return { first: numbers[2 * i]!, last: numbers[2 * i + 1]! };
  });
  return { protocol, spans };
}

function chainOf(
  { policies, rules, denies, ...chain }: IndexedChain,
  specs: ReadonlyMap<string, SetSpec>,
  refs: readonly string[],
): RuleChain {
  const { direction } = chain;
  const setOf = (set: string): SetRef => {
    const { kind, family, name } = specs.get(set)!;
    return { kind, family, name };
  };
  const originsOf = (origins: readonly IndexedOrigin[]) =>
    origins.map(([policy, index, name]): RuleRef => {
      return { policy: refs[policy]!, direction, index, ...(name === undefined ? {} : { name }) };
    });
  return {
    ...chain,
    policies: policies.map(place => refs[place]!),
    rules: rules.map(([peers, ports, origins, counter, to]) => ({
      ...{ peers: peers === 0 ? 'any' : setOf(peers), ports: ports === 0 ? 'any' : portsOf(ports) },
      ...(counter < 0 ? {} : { counter: refs[counter]! }),
      origins: originsOf(origins),
      ...(to === undefined ? {} : { to }),
    })),
    ...(denies ? { denies: { tier: denies.tier, rules: originsOf(denies.rules) } } : {}),
  };
}

/** The sets that rules of these chains look into, each once. */
function setsOf(chains: readonly RuleChain[], specs: ReadonlyMap<string, SetSpec>): readonly SetSpec[] {
  const peers = chains.flatMap(({ rules }) => rules.map(rule => rule.peers));
  return [...new Set(peers.flatMap(set => (set === 'any' ? [] : specs.get(set.name)!)))];
}

/** The gates of each identity that the index tells of. */
export function gatesIn({ specs, gates: index }: KnownGates): readonly (readonly [string, Gates])[] {
  const byName = new Map(specs.map(spec => [spec.name, spec]));
  const chains = index.chains.map(chain => chainOf(chain, byName, index.policies));
  const made = index.gates.map(([gate, ...places]): CompiledGate => {
    const own = places.map(place => chains[place]!);
    return { gate, chains: own, sets: setsOf(own, byName) };
  });
  return index.identities.map(([identity, places]) => {
    const [egress, ingress, egressByCluster, ingressByCluster] = places.map(place => made[place]!);
    const byCluster =
      egressByCluster && ingressByCluster ? { egress: egressByCluster, ingress: ingressByCluster } : undefined;
    return [identity, { egress: egress!, ingress: ingress!, ...(byCluster ? { byCluster } : {}) }];
  });
}
