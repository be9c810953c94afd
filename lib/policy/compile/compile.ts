/**
 * Policies to the ruleset that carries them out on one node: only what its own identities need, and nothing that changes
 * when other pods come and go but the elements of sets.
 */
import { type Identity, identityKey } from '../../tag/identity.ts';
import { type Cluster, clusterOf } from '../evaluate/cluster.ts';
import { type ClusterPolicy, tiers } from '../model/cluster-policy.ts';
import { type Direction, type NetworkPolicy, policyRef, type World } from '../model/model.ts';
import { selects } from '../model/selector.ts';
import { type Draft, draftsOf, familyOf, peersText, peerTexts, portsText } from './draft.ts';
import { filled } from './members.ts';
import { mergeDrafts, usuallyApart } from './merge.ts';
import { Names } from './names.ts';
import type { AllowRule, Gate, RuleChain, Ruleset, SetRef, SetSpec, TagEntry } from './ruleset.ts';

export interface TaggedIdentity {
  /** The interface group of the identity's pods. */
  readonly tag: number;
  readonly identity: Identity;
}

export interface CompileOptions {
  /** Kept from one compilation to the next, equal content keeps its name even where two hashes meet. */
  readonly names?: Names;
  /** `Kind/namespace/name` of policies that the kernel refused: they isolate whom they select, and allow nothing. */
  readonly refused?: ReadonlySet<string>;
  /** By identity, and by all that tells of one: kept from one compilation of the same policies to the next. */
  readonly gates?: Map<string, Gates>;
  /** How many rules that differ in peers or ports alone keep rules, and so counters, of their own (default 16). */
  readonly apart?: number;
}

/** The chain of one identity in one direction with the sets that its rules look into; `open` where no policy isolates. */
export type CompiledGate = 'open' | { readonly chain: RuleChain; readonly sets: readonly SetSpec[] };

/** Enough for a person: a set of many selectors names the first. Made of content alone, so equal sets have equal comments. */
function commentOf(peers: Draft['peers']): string {
  const parts = peerTexts(peers);
  return parts.length <= 4 ? parts.join(' or ') : `${parts.slice(0, 3).join(' or ')} or ${parts.length - 3} more`;
}

function setSpecOf({ peers, ports }: Draft, names: Names): SetSpec | undefined {
  const [family, text] = [familyOf(peers), peersText(peers)];
  if (peers.kind === 'any' || family === undefined) return undefined;
  if (ports.kind === 'name' && peers.kind !== 'pairs') {
    const ofPeers = (whom: string) => `${portsText(ports)} of ${whom}`;
    const comment = ofPeers(commentOf(peers));
    const whose =
      peers.kind === 'pods' ? { kind: peers.kind, pods: peers.pods } : { kind: peers.kind, ranges: peers.ranges };
    const port = { protocol: ports.protocol, name: ports.name };
    return { kind: 'tuples', name: names.nameOf(`ports${family}`, ofPeers(text)), family, comment, whose, port };
  }
  const [name, comment] = [names.nameOf(`${peers.kind}${family}`, text), commentOf(peers)];
  if (peers.kind === 'pairs')
    return { kind: 'tuples', name, family, comment, whose: { kind: peers.kind, pairs: peers.pairs } };
  if (peers.kind === 'ranges') return { kind: 'ranges', name, family, comment, ranges: peers.ranges };
  return { kind: 'addresses', name, family, comment, pods: peers.pods };
}

const refTo = ({ kind, family, name }: SetSpec): SetRef => ({ kind, family, name });

function allowRule({ ports, counter, origins }: Draft, set: SetSpec | undefined): AllowRule {
  return {
    peers: set ? refTo(set) : 'any',
    ports: ports.kind === 'numbers' ? { protocol: ports.protocol, spans: ports.spans } : 'any',
    ...(counter === undefined ? {} : { counter }),
    origins,
  };
}

/** What makes two rules the same rule for the kernel. */
function ruleText({ peers, ports, counter }: AllowRule): string {
  const portText = ports === 'any' ? 'any' : portsText({ kind: 'numbers', ...ports });
  return `${peers === 'any' ? 'any' : peers.name}; ${portText}; ${counter ?? ''}`;
}

function compileGate(
  policies: readonly NetworkPolicy[],
  direction: Direction,
  identity: Identity,
  { names = new Names(), refused = new Set(), apart = usuallyApart }: CompileOptions,
): CompiledGate {
  const isolating = policies.filter(policy => policy[direction] !== undefined);
  if (isolating.length === 0) return 'open';
  const heeded = isolating.filter(policy => !refused.has(policyRef(policy)));
  const drafts = mergeDrafts(
    heeded.flatMap(policy => draftsOf(policy, direction, identity)),
    apart,
  );
  const specs = drafts.map(draft => setSpecOf(draft, names));
  const rules = drafts.map((draft, i) => allowRule(draft, specs[i]));
  const name = names.nameOf(direction === 'egress' ? 'out' : 'in', rules.map(ruleText).join('\n'));
  const chain = { name, direction, rules, policies: isolating.map(policyRef).sort() };
  return { chain, sets: specs.filter(spec => spec !== undefined) };
}

export type Gates = Readonly<Record<Direction, CompiledGate>>;

/** Drops everything: what is between Accept and Deny of cluster policies is not compiled yet, and must not count as allowed. */
function closedGate(policies: readonly ClusterPolicy[], direction: Direction, names: Names): CompiledGate {
  const name = names.nameOf(direction === 'egress' ? 'out' : 'in', '');
  return { chain: { name, direction, rules: [], policies: policies.map(policyRef).sort() }, sets: [] };
}

/** Both gates of an identity. The sets that they look into are described, not filled: that is for `filled`. */
export function gatesFor(cluster: Cluster, identity: Identity, options: CompileOptions = {}): Gates {
  const policies = [...cluster.policiesIn(identity.namespace)].filter(({ subject }) =>
    selects(subject, identity.labels),
  );
  const ordered = tiers.flatMap(tier => cluster.clusterPoliciesFor(tier, identity));
  // Nothing else of an identity tells in its gates.
  const key = `by policies ${JSON.stringify([[...policies, ...ordered].map(policyRef), identity.namedPorts])}`;
  const known = options.gates?.get(key);
  if (known) return known;
  const decided = (direction: Direction) => ordered.filter(policy => policy[direction].length > 0);
  const gate = (direction: Direction): CompiledGate =>
    decided(direction).length > 0
      ? closedGate(decided(direction), direction, options.names ?? new Names())
      : compileGate(policies, direction, identity, options);
  const gates = { egress: gate('egress'), ingress: gate('ingress') };
  options.gates?.set(key, gates);
  return gates;
}

/** Gates that are kept beyond twice as many as there are identities: to forget them at each change would cost more than they do. */
const SPARE_GATES = 256;

/** Forgets the gates of identities that are gone, once they are the most of what is known: on a node, pods come and go for months. */
export function forgetGone(known: Map<string, Gates>, identities: readonly Identity[]): void {
  if (known.size <= 2 * identities.length + SPARE_GATES) return;
  const present = new Set(identities.map(identityKey));
  for (const key of known.keys()) if (!present.has(key)) known.delete(key);
}

/** A chain that several identities share names the policies of all of them. */
const shared = (a: RuleChain | undefined, b: RuleChain): RuleChain =>
  a ? { ...a, policies: [...new Set([...a.policies, ...b.policies])].sort() } : b;

/** A ruleset whose sets are described and not filled. */
export interface Structure extends Pick<Ruleset, 'chains' | 'tags'> {
  readonly specs: ReadonlyMap<string, SetSpec>;
}

/** All that does not change when pods elsewhere come and go. @param gatesOf both gates of an identity */
export function structureOf(identities: readonly TaggedIdentity[], gatesOf: (identity: Identity) => Gates): Structure {
  const specs = new Map<string, SetSpec>();
  const chains = new Map<string, RuleChain>();
  const tags = new Map<number, TagEntry>();
  const enter = (gate: CompiledGate): Gate => {
    if (gate === 'open') return 'open';
    chains.set(gate.chain.name, shared(chains.get(gate.chain.name), gate.chain));
    for (const spec of gate.sets) if (!specs.has(spec.name)) specs.set(spec.name, spec);
    return gate.chain.name;
  };
  for (const { tag, identity } of identities.toSorted((a, b) => a.tag - b.tag)) {
    const gates = gatesOf(identity);
    tags.set(tag, { identity, egress: enter(gates.egress), ingress: enter(gates.ingress) });
  }
  return { specs, chains, tags };
}

/** The structure with everything that is in its sets now. */
export const filledStructure = (cluster: Cluster, { specs, chains, tags }: Structure): Ruleset => ({
  sets: new Map([...specs].map(([name, spec]) => [name, filled(cluster, spec)])),
  chains,
  tags,
});

/** The whole ruleset for these identities. Equal worlds and identities give equal rulesets, whatever order they came in. */
export function compile(
  world: World | Cluster,
  identities: readonly TaggedIdentity[],
  options: CompileOptions = {},
): Ruleset {
  const known = options.gates ?? new Map<string, Gates>();
  const naming = { names: new Names(), ...options, gates: known };
  const cluster = clusterOf(world);
  const gatesOf = (identity: Identity): Gates => {
    const key = identityKey(identity);
    const gates = known.get(key) ?? gatesFor(cluster, identity, naming);
    known.set(key, gates);
    return gates;
  };
  const structure = structureOf(identities, gatesOf);
  forgetGone(
    known,
    identities.map(({ identity }) => identity),
  );
  return filledStructure(cluster, structure);
}
