/**
 * Policies to the ruleset that carries them out on one node: only what its own identities need, and nothing that changes
 * when other pods come and go but the elements of sets.
 */
import { type Identity, identityKey } from '../../tag/identity.ts';
import { type Cluster, clusterOf } from '../evaluate/cluster.ts';
import { type ClusterPolicy, closedCluster, type Tier } from '../model/cluster-policy.ts';
import { type AnyPolicy, type Direction, type NetworkPolicy, policyRef, type World } from '../model/model.ts';
import { selects } from '../model/selector.ts';
import { type CompiledGate, chainOf, openGate, ruleOf } from './chain.ts';
import { draftsOf } from './draft.ts';
import { filled } from './members.ts';
import { mergeDrafts, usuallyApart } from './merge.ts';
import { Names } from './names.ts';
import { once } from './once.ts';
import type { Gate, RuleChain, Ruleset, SetSpec, TagEntry } from './ruleset.ts';
import { TierGates } from './tier-gates.ts';

export interface TaggedIdentity {
  /** The interface group of the identity's pods. */
  readonly tag: number;
  readonly identity: Identity;
}

export interface CompileOptions {
  /** Kept from one compilation to the next, equal content keeps its name even where two hashes meet. */
  readonly names?: Names;
  /**
   * `Kind/namespace/name` of policies that the kernel refused: they isolate the pods that they select, and allow nothing. Cluster
   * policies among them deny.
   */
  readonly refused?: ReadonlySet<string>;
  /** Gates by `identityKey`, and by the policies that select an identity: kept between compilations of the same policies. */
  readonly gates?: Map<string, Gates>;
  /** Made with the same names, and as many rules apart; kept from one compilation to the next. */
  readonly tiers?: TierGates;
  /** How many rules that differ in peers or ports alone keep rules, and so counters, of their own (default 16). */
  readonly apart?: number;
}

/** The identity's gate by the NetworkPolicies of its namespace. */
function ownGate(
  policies: readonly NetworkPolicy[],
  direction: Direction,
  identity: Identity,
  { names = new Names(), refused = new Set(), apart = usuallyApart }: CompileOptions,
): CompiledGate {
  const isolating = policies.filter(policy => policy[direction] !== undefined);
  if (isolating.length === 0) return openGate;
  const heeded = isolating.filter(policy => !refused.has(policyRef(policy)));
  const drafts = mergeDrafts(
    heeded.flatMap(policy => draftsOf(policy, direction, identity)),
    apart,
  );
  const rules = drafts.map(draft => ruleOf(draft, 'open', names));
  const { chain, sets } = chainOf(rules, { direction, policies: isolating.map(policyRef).sort() }, names);
  return { gate: chain.name, chains: [chain], sets };
}

export interface Gates extends Readonly<Record<Direction, CompiledGate>> {
  /** The gates by cluster policies alone, where any select the identity: as in `TagEntry`. */
  readonly byCluster?: Readonly<Record<Direction, CompiledGate>>;
}

/** The policies that select an identity. */
interface Selecting {
  readonly own: readonly NetworkPolicy[];
  /** Cluster policies by tier, in the order in which they are asked. */
  readonly cluster: Readonly<Record<Tier, readonly ClusterPolicy[]>>;
}

function selecting(cluster: Cluster, identity: Identity): Selecting {
  const own = [...cluster.policiesIn(identity.namespace)].filter(({ subject }) => selects(subject, identity.labels));
  const of = (tier: Tier) => cluster.clusterPoliciesFor(tier, identity);
  return { own, cluster: { Admin: of('Admin'), Baseline: of('Baseline') } };
}

/** Admin, then the namespace's own, then Baseline where none of these isolates; and the same where those have no say. */
function gatesOfTiers(
  { own: policies, cluster }: Selecting,
  direction: Direction,
  identity: Identity,
  options: CompileOptions,
): { readonly whole: CompiledGate; readonly byCluster: CompiledGate } {
  const { refused, tiers = new TierGates(options) } = options;
  const heeded = (policy: ClusterPolicy) => (refused?.has(policyRef(policy)) ? closedCluster(policy) : policy);
  const gateOf = (tier: Tier, next: CompiledGate): CompiledGate =>
    tiers.gate(cluster[tier].map(heeded), next, { tier, direction, identity });
  const own = ownGate(policies, direction, identity, options);
  if (own.gate !== 'open') return { whole: gateOf('Admin', own), byCluster: gateOf('Admin', openGate) };
  const whole = gateOf('Admin', gateOf('Baseline', openGate));
  return { whole, byCluster: whole };
}

function gatesOf(selected: Selecting, identity: Identity, options: CompileOptions): Gates {
  const { own, cluster } = selected;
  if (cluster.Admin.length + cluster.Baseline.length === 0) {
    const gateOf = (direction: Direction) => ownGate(own, direction, identity, options);
    return { egress: gateOf('egress'), ingress: gateOf('ingress') };
  }
  const egress = gatesOfTiers(selected, 'egress', identity, options);
  const ingress = gatesOfTiers(selected, 'ingress', identity, options);
  const byCluster = { egress: egress.byCluster, ingress: ingress.byCluster };
  return { egress: egress.whole, ingress: ingress.whole, byCluster };
}

/** Of a hundred policies for each identity that comes. */
const quotedRef = once((policy: AnyPolicy): string => JSON.stringify(policyRef(policy)));

/** Both gates of an identity. Their sets are described; `filled` gives their elements. */
export function gatesFor(cluster: Cluster, identity: Identity, options: CompileOptions = {}): Gates {
  const selected = selecting(cluster, identity);
  const { own, cluster: of } = selected;
  const policies = [own, of.Admin, of.Baseline].map(list => list.map(quotedRef).join()).join(';');
  // The gates depend on nothing else of the identity.
  const key = `by policies ${policies}; ${JSON.stringify(identity.namedPorts)}`;
  const known = options.gates?.get(key);
  if (known) return known;
  const gates = gatesOf(selected, identity, options);
  options.gates?.set(key, gates);
  return gates;
}

/** Gates kept beyond twice as many as there are identities: to forget them at each change would cost more than they do. */
const SPARE_GATES = 256;

/** Forgets the gates of identities that are gone, once they are most of those known: on a node, pods come and go for months. */
export function forgetGone(known: Map<string, Gates>, identities: readonly TaggedIdentity[]): void {
  if (known.size <= 2 * identities.length + SPARE_GATES) return;
  const present = new Set(identities.map(({ identity }) => identityKey(identity)));
  for (const key of known.keys()) if (!present.has(key)) known.delete(key);
}

/** A chain that several identities share names the policies of all of them. */
function shared(a: RuleChain | undefined, b: RuleChain): RuleChain {
  if (!a || a === b) return b;
  const known = new Set(a.policies);
  const more = b.policies.filter(policy => !known.has(policy));
  return more.length === 0 ? a : { ...a, policies: [...a.policies, ...more].sort() };
}

/** A ruleset whose sets are described and not filled. */
export interface Structure extends Pick<Ruleset, 'chains' | 'tags' | 'isOrdered'> {
  readonly specs: ReadonlyMap<string, SetSpec>;
  /** What chains and sets are made of: each once, as identities that the same policies select have the same gates. */
  readonly gates: ReadonlySet<CompiledGate>;
}

export const emptyStructure: Structure = { specs: new Map(), chains: new Map(), tags: new Map(), gates: new Set() };

/** Chains and sets of these gates, a set by the value that it has already. */
function partsOf(gates: Structure['gates'], { specs: known }: Structure): Pick<Structure, 'chains' | 'specs'> {
  const specs = new Map<string, SetSpec>();
  const chains = new Map<string, RuleChain>();
  for (const { chains: own, sets } of gates) {
    for (const chain of own) chains.set(chain.name, shared(chains.get(chain.name), chain));
    for (const spec of sets) if (!specs.has(spec.name)) specs.set(spec.name, known.get(spec.name) ?? spec);
  }
  return { specs, chains };
}

/**
 * All that does not change when pods elsewhere come and go.
 * @param gatesOf both gates of an identity
 * @param before the structure that this one follows: of the same gates it has the same chains and sets, as the same values
 */
export function structureOf(
  identities: readonly TaggedIdentity[],
  gatesOf: (identity: Identity) => Gates,
  before = emptyStructure,
): Structure {
  const tags = new Map<number, TagEntry>();
  const gates = new Set<CompiledGate>();
  let isOrdered = false;
  const enter = (compiled: CompiledGate): Gate => {
    gates.add(compiled);
    return compiled.gate;
  };
  for (const { tag, identity } of identities.toSorted((a, b) => a.tag - b.tag)) {
    const { egress, ingress, byCluster } = gatesOf(identity);
    isOrdered ||= byCluster !== undefined;
    tags.set(tag, {
      ...{ identity, egress: enter(egress), ingress: enter(ingress) },
      ...(byCluster ? { byCluster: { egress: enter(byCluster.egress), ingress: enter(byCluster.ingress) } } : {}),
    });
  }
  const isMadeOfTheSame = gates.size === before.gates.size && [...gates].every(gate => before.gates.has(gate));
  const { chains, specs } = isMadeOfTheSame ? before : partsOf(gates, before);
  return { specs, chains, tags, gates, ...(isOrdered ? { isOrdered } : {}) };
}

/** The structure with everything that is in its sets now. */
export const filledStructure = (cluster: Cluster, { specs, gates: _, ...structure }: Structure): Ruleset => ({
  sets: new Map([...specs].map(([name, spec]) => [name, filled(cluster, spec)])),
  ...structure,
});

/** The whole ruleset for these identities. Equal worlds and identities give equal rulesets, whatever order they came in. */
export function compile(
  world: World | Cluster,
  identities: readonly TaggedIdentity[],
  options: CompileOptions = {},
): Ruleset {
  const known = options.gates ?? new Map<string, Gates>();
  const naming = { names: new Names(), ...options, gates: known };
  const making = { tiers: new TierGates(naming), ...naming };
  const cluster = clusterOf(world);
  const gatesOf = (identity: Identity): Gates => {
    const key = identityKey(identity);
    const gates = known.get(key) ?? gatesFor(cluster, identity, making);
    known.set(key, gates);
    return gates;
  };
  const structure = structureOf(identities, gatesOf);
  forgetGone(known, identities);
  return filledStructure(cluster, structure);
}
