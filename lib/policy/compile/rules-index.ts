/**
 * The compiled policies of a node's identities, as a value that can be written down: a process that reads it goes on from there
 * without a look at the policies. Blocks are left out of it: a set of blocks has its content's name, and never changes while it
 * stays.
 */
import type { CompiledGate } from './chain.ts';
import type { Gates } from './compile.ts';
import type { Effect, Effects } from './one-way.ts';
import type { DecidedSetSpec, Gate, OrderedRule, RuleChain, SetSpec } from './ruleset.ts';

/** The sets of a ruleset, which are all that a pod needs whose identity has its gates, and the gates on demand. */
export interface RulesIndex {
  readonly specs: readonly SetSpec[];
  readonly isOrdered?: true;
  /** Of the sets, where rules are ordered. */
  readonly effects?: Effects;
  /** Asked for where identities come or go; undefined where they are no longer known. */
  readonly gates: () => GatesIndex | undefined;
}

/** The gates of all identities, which the sets of a `RulesIndex` belong to. */
export interface GatesIndex {
  /** Content of each name, so that no other content gets the same name. */
  readonly names: readonly (readonly [content: string, name: string])[];
  readonly chains: readonly RuleChain[];
  readonly gates: readonly IndexedGate[];
  /** Places in `gates`, by `identityKey`. */
  readonly identities: readonly (readonly [identity: string, places: GatePlaces])[];
}

/** A `CompiledGate` with the places of its chains and the names of its sets. */
interface IndexedGate {
  readonly gate: Gate;
  readonly chains: readonly number[];
  readonly sets: readonly string[];
}

/** Egress, ingress, and both once more where cluster policies select the identity. */
type GatePlaces = readonly number[];

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

/** Sets as they are written down: several have the same rules, which they give by their place. */
export interface PackedSets {
  readonly specs: readonly (
    | Exclude<SetSpec, DecidedSetSpec>
    | (Omit<DecidedSetSpec, 'rules'> & { readonly rules: number })
  )[];
  readonly ordered: readonly (readonly OrderedRule[])[];
  readonly isOrdered?: true | undefined;
  /** Places of sets with an effect. */
  readonly effects?: Readonly<Record<Effect, readonly number[]>> | undefined;
}

/** All of the index but the gates. */
export type SetsIndex = Omit<RulesIndex, 'gates'>;

export function packed({ specs, isOrdered, effects }: SetsIndex): PackedSets {
  const ordered = new Places<readonly OrderedRule[]>();
  const written = specs.map(spec => (spec.kind === 'decided' ? { ...spec, rules: ordered.of(spec.rules) } : spec));
  const placesOf = (effect: Effect) => [...specs.keys()].filter(place => effects?.get(specs[place]!.name) === effect);
  const placed = effects && { allows: placesOf('allows'), denies: placesOf('denies'), nothing: placesOf('nothing') };
  return { specs: written, ordered: ordered.all, isOrdered, effects: placed };
}

export function unpacked({ specs: written, ordered, isOrdered, effects }: PackedSets): SetsIndex {
  const specs = written.map(spec => (spec.kind === 'decided' ? { ...spec, rules: ordered[spec.rules]! } : spec));
  const named = (of: NonNullable<typeof effects>) =>
    (Object.keys(of) as Effect[]).flatMap(effect => of[effect].map(place => [specs[place]!.name, effect] as const));
  return {
    specs,
    ...(isOrdered ? { isOrdered } : {}),
    ...(effects ? { effects: new Map(named(effects)) } : {}),
  };
}

const listOf = ({ egress, ingress, byCluster }: Gates): readonly CompiledGate[] => [
  ...[egress, ingress],
  ...(byCluster ? [byCluster.egress, byCluster.ingress] : []),
];

export function gatesIndexOf(
  names: GatesIndex['names'],
  identities: readonly (readonly [string, Gates])[],
): GatesIndex {
  const [chains, gates] = [new Places<RuleChain>(), new Places<CompiledGate>()];
  const placed = identities.map(([identity, each]) => [identity, listOf(each).map(gate => gates.of(gate))] as const);
  const indexed = gates.all.map(gate => ({
    gate: gate.gate,
    chains: gate.chains.map(chain => chains.of(chain)),
    sets: gate.sets.map(({ name }) => name),
  }));
  return { names, chains: chains.all, gates: indexed, identities: placed };
}

/** Gates of all identities with their sets, as a process takes them over from another. */
export interface KnownGates extends Pick<RulesIndex, 'specs'> {
  readonly gates: GatesIndex;
}

/** The gates of each identity that the index tells of. */
export function gatesIn({
  specs,
  gates: { chains, gates, identities },
}: KnownGates): readonly (readonly [string, Gates])[] {
  const byName = new Map(specs.map(spec => [spec.name, spec]));
  const made = gates.map(
    (each): CompiledGate => ({
      gate: each.gate,
      chains: each.chains.map(place => chains[place]!),
      sets: each.sets.map(name => byName.get(name)!),
    }),
  );
  return identities.map(([identity, places]) => {
    const [egress, ingress, egressByCluster, ingressByCluster] = places.map(place => made[place]!);
    const byCluster =
      egressByCluster && ingressByCluster ? { egress: egressByCluster, ingress: ingressByCluster } : undefined;
    return [identity, { egress: egress!, ingress: ingress!, ...(byCluster ? { byCluster } : {}) }];
  });
}
