/**
 * The gates of this node's identities, by namespace: made when they are asked for, kept until a policy, or a label that one
 * asks for, is another. Gates of before stay until they are settled, so that the policies of one namespace need not wait for
 * those of all others.
 */
import { type Identity, identityIn, identityKey } from '../../tag/identity.ts';
import type { Cluster } from '../evaluate/cluster.ts';
import { type NetworkPolicy, namespaceOfRef } from '../model/model.ts';
import { type CompileOptions, forgetGone, type Gates, gatesFor, type TaggedIdentity } from './compile.ts';
import type { Names } from './names.ts';
import { gatesIn, type KnownGates } from './rules-index.ts';
import { TierGates } from './tier-gates.ts';

/** Sources of gates that are not known yet. */
export interface GateSources {
  /** Gates of identities as another process made them, with the sets that they look into. */
  readonly known?: KnownGates;
  /** Policies of a namespace, asked for once: when an identity of it needs gates that are not known. */
  readonly policiesOf?: (namespace: string) => Iterable<NetworkPolicy>;
}

export class LiveGates {
  readonly #cluster: Cluster;
  readonly #options: Pick<CompileOptions, 'apart'> & { readonly names: Names; readonly tiers: TierGates };
  readonly #sources: GateSources;
  /** Namespaces whose policies were asked for. */
  readonly #learned = new Set<string>();
  #refused: ReadonlySet<string> = new Set();
  /** `identityKey` of each identity, which takes longer to make than to look up. */
  readonly #keys = new WeakMap<Identity, string>();
  /** By namespace: gates by `identityKey`. */
  readonly #gates = new Map<string, Map<string, Gates>>();
  /** Namespaces whose gates are those of before their policies changed, in the order of the changes. */
  readonly #unsettled = new Set<string>();
  /**
   * Unsettled namespaces that cannot wait: where a cluster policy changes, one end of a connection must not be judged by the
   * policy of before and the other by the policy of now.
   */
  readonly #urgent = new Set<string>();

  constructor(
    cluster: Cluster,
    options: Pick<CompileOptions, 'apart'> & { readonly names: Names },
    sources: GateSources = {},
  ) {
    this.#cluster = cluster;
    this.#options = { ...options, tiers: new TierGates(options) };
    this.#sources = sources;
    for (const [key, gates] of sources.known ? gatesIn(sources.known) : [])
      this.#knownIn(identityIn(key).namespace).set(key, gates);
  }

  #knownIn(namespace: string): Map<string, Gates> {
    const known = this.#gates.get(namespace) ?? new Map<string, Gates>();
    this.#gates.set(namespace, known);
    return known;
  }

  #learn(namespace: string): void {
    const { policiesOf } = this.#sources;
    if (!policiesOf || this.#learned.has(namespace)) return;
    this.#learned.add(namespace);
    for (const policy of policiesOf(namespace)) this.#cluster.setPolicy(policy);
  }

  /** Policies may be others than those that were asked for: they are asked for again, and all gates made anew. */
  forgetPolicies(): void {
    for (const namespace of this.#learned)
      for (const policy of [...this.#cluster.policiesIn(namespace)]) this.#cluster.deletePolicy(policy);
    this.#learned.clear();
    this.#gates.clear();
    this.#unsettled.clear();
    this.#urgent.clear();
  }

  unsettle(namespace: string): void {
    if (this.#gates.has(namespace)) this.#unsettled.add(namespace);
  }

  /** Has the namespaces settled by the next `settle`, whichever namespaces that one names. */
  hurry(namespaces: Iterable<string> = this.#gates.keys()): void {
    for (const namespace of namespaces)
      if (this.#gates.has(namespace)) {
        this.#unsettled.add(namespace);
        this.#urgent.add(namespace);
      }
  }

  /** The one that has waited longest first. */
  get unsettled(): readonly string[] {
    return [...this.#unsettled];
  }

  /** @returns whether any of them, or of those that cannot wait, was waiting */
  settle(namespaces: Iterable<string>): boolean {
    let isSettled = false;
    for (const namespace of [...namespaces, ...this.#urgent])
      if (this.#unsettled.delete(namespace) && this.#gates.delete(namespace)) isSettled = true;
    this.#urgent.clear();
    return isSettled;
  }

  /** An identity that has no gates yet gets them by the policies of now, and so must the others of its namespace. */
  settleNewcomers(identities: readonly TaggedIdentity[]): boolean {
    if (this.#unsettled.size === 0) return false;
    const isNew = ({ identity }: TaggedIdentity): boolean =>
      this.#unsettled.has(identity.namespace) && !this.#gates.get(identity.namespace)?.has(identityKey(identity));
    return this.settle(new Set(identities.filter(isNew).map(({ identity }) => identity.namespace)));
  }

  /** `Kind/namespace/name` of policies that the kernel refused: they isolate the pods that they select, and allow nothing. */
  setRefused(policies: ReadonlySet<string>): void {
    for (const policy of [...policies, ...this.#refused]) {
      if (policies.has(policy) === this.#refused.has(policy)) continue;
      const namespace = namespaceOfRef(policy);
      if (namespace === undefined) this.hurry();
      else this.unsettle(namespace);
    }
    this.#refused = policies;
  }

  keyOf(identity: Identity): string {
    const key = this.#keys.get(identity) ?? identityKey(identity);
    this.#keys.set(identity, key);
    return key;
  }

  of(identity: Identity): Gates {
    const known = this.#knownIn(identity.namespace);
    const key = this.keyOf(identity);
    const found = known.get(key);
    if (found) return found;
    this.#learn(identity.namespace);
    const gates = gatesFor(this.#cluster, identity, { ...this.#options, refused: this.#refused, gates: known });
    known.set(key, gates);
    return gates;
  }

  /** Names that no gate has are given anew. */
  forgetNames(): void {
    this.#options.tiers.forget();
  }

  /** Forgets those of identities that are gone. */
  keep(identities: readonly TaggedIdentity[]): void {
    const present = Map.groupBy(identities, ({ identity }) => identity.namespace);
    for (const [namespace, known] of this.#gates) {
      const here = present.get(namespace);
      if (here) forgetGone(known, here);
      else {
        this.#gates.delete(namespace);
        this.#unsettled.delete(namespace);
        this.#urgent.delete(namespace);
      }
    }
  }
}
