/** Sets of nodes' addresses, and what has changed in them: nodes are few, so that each is asked again where one has changed. */
import type { Cluster } from '../evaluate/cluster.ts';
import { filled, type SetMember } from './members.ts';
import type { NodeSet, NodeSetSpec, SetSpec } from './ruleset.ts';

/** Elements that go from a set that stays, and elements that come to it. */
export interface SetMoves {
  readonly gone: SetMember[];
  readonly come: SetMember[];
}

export class NodeSets {
  /** The sets as the last `take` told them. */
  readonly #told = new Map<string, NodeSet>();
  #isStale = false;
  /** Asked for last. */
  #specs: ReadonlyMap<string, SetSpec> | undefined;

  /** A node has other labels or addresses. */
  outdate(): void {
    this.#isStale = true;
  }

  /** Changes in the sets that stay, since the last call. @param specs all sets that there are now */
  take(cluster: Cluster, specs: ReadonlyMap<string, SetSpec>): ReadonlyMap<NodeSetSpec, SetMoves> {
    const traffic = new Map<NodeSetSpec, SetMoves>();
    if (!this.#isStale && specs === this.#specs) return traffic;
    this.#specs = specs;
    for (const name of this.#told.keys()) if (!specs.has(name)) this.#told.delete(name);
    for (const [name, spec] of specs) {
      if (spec.kind !== 'nodes') continue;
      const was = this.#told.get(name);
      if (was && !this.#isStale) continue;
      const is = filled(cluster, spec) as NodeSet;
      this.#told.set(name, is);
      const [gone, come] = was ? [without(was, is), without(is, was)] : [[], []];
      if (gone.length + come.length > 0) traffic.set(spec, { gone, come });
    }
    this.#isStale = false;
    return traffic;
  }
}

function without({ elements }: NodeSet, other: NodeSet): SetMember[] {
  const values = new Set(other.elements.map(({ value }) => value));
  return elements.filter(({ value }) => !values.has(value));
}
