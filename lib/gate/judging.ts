/**
 * What is known of a table that our own commits made: by what the kernel calls its parts, so that whether they are in force can
 * be asked without a look at all of them.
 */
import type { Operation } from '../nft/transaction.ts';
import type { Gate, Ruleset } from '../policy/compile/ruleset.ts';
import { type GateSettings, gateChains } from './chains.ts';
import type { LocalPod } from './node-state.ts';

/** Where the tag's packets go, by direction. */
type TagGates = readonly [egress: Gate, ingress: Gate];

/** A table that was known to be as it should be, by what the kernel calls its parts. */
export interface Judging {
  /** The marker of the table when this was written. */
  readonly marker: number;
  /** The table's handle. */
  readonly table: number;
  /** Handles of the rules of each chain, in their order. */
  readonly chains: Readonly<Record<string, readonly number[]>>;
  /** By tag. */
  readonly tags: Readonly<Record<string, TagGates>>;
  /** The sets that each chain of a policy looks into. */
  readonly looksInto: Readonly<Record<string, readonly string[]>>;
  /** How many elements each of these sets had. */
  readonly sizes: Sizes;
}

/** Numbers of elements by set. */
export type Sizes = Readonly<Record<string, number>>;

/** What a pod has that is judged. */
export type Judged = Pick<LocalPod, 'tag' | 'hostPorts' | 'masquerade'>;

/** The chains of every node that a pod's packets pass, its own not among them. */
export function sharedChains(settings: GateSettings, pods: readonly Judged[]): string[] {
  const isMapped = pods.some(({ hostPorts }) => hostPorts.length > 0);
  const isMasked = pods.some(({ masquerade }) => masquerade !== undefined);
  return gateChains(settings)
    .filter(({ name, base }) => base?.type !== 'nat' || (name.startsWith('hostports') ? isMapped : isMasked))
    .map(({ name }) => name);
}

const gatesOf = ({ tags }: Pick<Ruleset, 'tags'>): Record<string, TagGates> =>
  Object.fromEntries([...tags].map(([tag, { egress, ingress }]) => [tag, [egress, ingress]]));

const looksIntoOf = ({ chains }: Pick<Ruleset, 'chains'>): Record<string, readonly string[]> =>
  Object.fromEntries(
    [...chains].map(([name, { rules }]) => [
      name,
      [...new Set(rules.flatMap(({ peers }) => (peers === 'any' ? [] : [peers.name])))],
    ]),
  );

export const judgedBy = (ruleset: Pick<Ruleset, 'chains' | 'tags'>): Pick<Judging, 'tags' | 'looksInto'> => ({
  tags: gatesOf(ruleset),
  looksInto: looksIntoOf(ruleset),
});

/** What sets gain and lose by these operations, where that is not nothing. */
export function resizedBy(operations: readonly Operation[], before: Sizes = {}): Sizes {
  const sizes = new Map(Object.entries(before));
  for (const operation of operations)
    if (operation.object === 'element' && !operation.set.interval) {
      const { set, verb, elements } = operation;
      const sign = verb === 'add' || verb === 'create' ? 1 : -1;
      sizes.set(set.name, (sizes.get(set.name) ?? 0) + sign * elements.length);
    }
  return Object.fromEntries([...sizes].filter(([, by]) => by !== 0));
}

/** What operations make or change, and what they take away: of each name the last word. */
export interface Changed {
  readonly chains: ReadonlySet<string>;
  readonly goneChains: ReadonlySet<string>;
  /** Those that are made. */
  readonly sets: ReadonlySet<string>;
  readonly goneSets: ReadonlySet<string>;
}

export function changedBy(operations: readonly Operation[]): Changed {
  const chains = { there: new Set<string>(), gone: new Set<string>() };
  const sets = { there: new Set<string>(), gone: new Set<string>() };
  for (const operation of operations) {
    const { object, verb } = operation;
    if (object !== 'rule' && object !== 'chain' && object !== 'set') continue;
    if (object === 'set' && verb === 'flush') continue;
    const name = object === 'rule' ? operation.chain : object === 'chain' ? operation.chain.name : operation.set.name;
    const kind = object === 'set' ? sets : chains;
    const isGone = object !== 'rule' && (verb === 'delete' || verb === 'destroy');
    (isGone ? kind.there : kind.gone).delete(name);
    (isGone ? kind.gone : kind.there).add(name);
  }
  return { chains: chains.there, goneChains: chains.gone, sets: sets.there, goneSets: sets.gone };
}
