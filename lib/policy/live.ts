/** Naive: replaced by the incremental one. */
import { formatAddress } from '../ip/address.ts';
import { Cluster } from './cluster.ts';
import { compile, type TaggedIdentity } from './compile.ts';
import type { Labels, NetworkPolicy, Node, Pod } from './model.ts';
import { Names } from './names.ts';
import type { PeerSet, Ruleset } from './ruleset.ts';

export interface RulesetChange {
  readonly before: Ruleset;
  readonly after: Ruleset;
  readonly isStructural: boolean;
}

const textOf = (value: unknown): string =>
  JSON.stringify(value, (_, each: unknown) =>
    typeof each === 'bigint' ? `${each}n` : each instanceof Map ? [...each] : each,
  );

export class LiveRules {
  readonly cluster = new Cluster();
  readonly #names = new Names();
  #identities: readonly TaggedIdentity[] = [];
  #refused: ReadonlySet<string> = new Set();
  #last: Ruleset = { sets: new Map(), chains: new Map(), tags: new Map() };

  setPod(pod: Pod): void {
    this.cluster.setPod(pod);
  }
  deletePod(pod: Pod): void {
    this.cluster.deletePod(pod);
  }
  setNamespace(name: string, labels: Labels): void {
    this.cluster.setNamespace(name, labels);
  }
  deleteNamespace(name: string): void {
    this.cluster.deleteNamespace(name);
  }
  setPolicy(policy: NetworkPolicy): void {
    this.cluster.setPolicy(policy);
  }
  deletePolicy(policy: NetworkPolicy): void {
    this.cluster.deletePolicy(policy);
  }
  setNode(node: Node): void {
    this.cluster.setNode(node);
  }
  deleteNode(name: string): void {
    this.cluster.deleteNode(name);
  }
  setIdentities(tags: readonly TaggedIdentity[]): void {
    this.#identities = tags;
  }
  setRefused(policies: ReadonlySet<string>): void {
    this.#refused = policies;
  }
  ruleset(): Ruleset {
    return compile(this.cluster, this.#identities, { names: this.#names, refused: this.#refused });
  }
  take(): RulesetChange | undefined {
    const [have, want] = [this.#last, this.ruleset()];
    this.#last = want;
    const shape = ({ chains, tags }: Ruleset) => textOf([[...chains], [...tags]]);
    const isStructural = shape(have) !== shape(want);
    const only = (set: PeerSet, other: PeerSet | undefined): PeerSet | undefined => {
      if (!other) return set;
      const known = new Set(other.elements.map(element => textOf(element)));
      const elements = set.elements.filter(element => !known.has(textOf(element)));
      return elements.length > 0 || isStructural ? ({ ...set, elements } as PeerSet) : undefined;
    };
    const part = (one: Ruleset, other: Ruleset): Ruleset => ({
      sets: new Map(
        [...one.sets].flatMap(([name, set]) => {
          const left = only(set, other.sets.get(name));
          return left ? [[name, left] as const] : [];
        }),
      ),
      chains: isStructural ? one.chains : new Map(),
      tags: isStructural ? one.tags : new Map(),
    });
    const [before, after] = [part(have, want), part(want, have)];
    // A set that only loses, or only gains, is in both.
    const both = (a: Ruleset, b: Ruleset): Ruleset => ({
      ...a,
      sets: new Map([
        ...a.sets,
        ...[...b.sets]
          .filter(([name]) => !a.sets.has(name) && have.sets.has(name) && want.sets.has(name))
          .map(([name, set]) => [name, { ...set, elements: [] } as PeerSet] as const),
      ]),
    });
    if (!isStructural && before.sets.size === 0 && after.sets.size === 0) return undefined;
    return { before: both(before, after), after: both(after, before), isStructural };
  }
}
void formatAddress;
