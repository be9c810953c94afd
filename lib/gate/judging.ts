/**
 * Knowledge of a table that our own commits made, by the kernel's handles and contents of its parts: an enforcer can ask
 * whether they are in force without a look at all of them.
 */
import type { Operation } from '../nft/transaction.ts';
import type { Gate, Ruleset, TagEntry } from '../policy/compile/ruleset.ts';
import { gateChains } from './chains.ts';
import type { LocalPod } from './node-state.ts';
import type { GateSettings } from './settings.ts';
import type { RulesetPair } from './shrunk.ts';
import { MOMENT, ONE_MOMENT } from './static-sets.ts';

/** Gates of a tag's packets: egress and ingress, and where rules are ordered the same two by cluster policies alone. */
export type TagGates = readonly Gate[];

/** The part of a ruleset that does not come and go with pods. */
export type LastingRules = Pick<Ruleset, 'chains' | 'tags' | 'isOrdered'>;

/** A table that was known to be as it should be, by what the kernel calls its parts. */
export interface Judging {
  /** The marker of the table when this was written. */
  readonly marker: number;
  /** The table's handle. */
  readonly table: number;
  /** Checksums of the rules of each chain, in their order. */
  readonly chains: ReadonlyMap<string, readonly number[]>;
  /** By tag. */
  readonly tags: ReadonlyMap<number, TagGates>;
  /** The table has maps and chains for ordered rules. */
  readonly isOrdered?: true | undefined;
  /** The sets that each chain of a policy looks into. */
  readonly looksInto: ReadonlyMap<string, readonly string[]>;
  /** The chains that a chain of a policy goes on to; those that go on to none are left out. */
  readonly leadsTo: ReadonlyMap<string, readonly string[]>;
  /** How many elements each of these sets had. */
  readonly sizes: ReadonlyMap<string, number>;
}

/** By how many elements sets have grown. */
export type Sizes = Readonly<Record<string, number>>;

/** The fields of a pod on which its way through the table depends. */
export type Judged = Pick<LocalPod, 'tag' | 'hostPorts' | 'masquerade'>;

/** The chains of every node that a pod's packets pass, its own not among them. */
export function sharedChains(settings: GateSettings, pods: readonly Judged[], isOrdered: boolean): string[] {
  const hostPorts = pods.some(pod => pod.hostPorts.length > 0);
  const masquerade = hostPorts || pods.some(pod => pod.masquerade !== undefined);
  return gateChains(settings, { isOrdered, hostPorts, masquerade }).map(({ name }) => name);
}

const openTo = { egress: 'open', ingress: 'open' } as const;

export const gatesOfEntry = ({ egress, ingress, byCluster = openTo }: TagEntry, isOrdered: boolean): TagGates =>
  isOrdered ? [egress, ingress, byCluster.egress, byCluster.ingress] : [egress, ingress];

const gatesOf = ({ tags, isOrdered }: LastingRules): Judging['tags'] =>
  new Map([...tags].map(([tag, entry]) => [tag, gatesOfEntry(entry, isOrdered === true)]));

const chainsAmong = (gates: readonly (Gate | undefined)[]): readonly string[] => [
  ...new Set(gates.flatMap(gate => (gate === undefined || gate === 'open' ? [] : [gate]))),
];

const leadsToOf = ({ chains }: LastingRules): Judging['leadsTo'] =>
  new Map(
    [...chains]
      .map(([name, { rules, otherwise }]) => [name, chainsAmong([otherwise, ...rules.map(({ to }) => to)])] as const)
      .filter(([, to]) => to.length > 0),
  );

/** The chains that these gates are, and those that they lead to. */
export function chainsBehind({ leadsTo }: Judging, gates: readonly Gate[]): readonly string[] {
  const found = new Set(chainsAmong(gates));
  for (const chain of found) for (const next of leadsTo.get(chain) ?? []) found.add(next);
  return [...found];
}

const looksIntoOf = ({ chains }: LastingRules): Judging['looksInto'] =>
  new Map(
    [...chains].map(([name, { rules }]) => [
      name,
      [...new Set(rules.flatMap(({ peers }) => (peers === 'any' ? [] : [peers.name])))],
    ]),
  );

type OfRules = Pick<Judging, 'tags' | 'looksInto' | 'leadsTo' | 'isOrdered'>;

export const judgedBy = (ruleset: LastingRules): OfRules => ({
  tags: gatesOf(ruleset),
  looksInto: looksIntoOf(ruleset),
  leadsTo: leadsToOf(ruleset),
  ...(ruleset.isOrdered ? { isOrdered: true } : {}),
});

/** The same without some entries, and then with others; the very same where there are none of either. */
export function turned<K, V>(
  known: ReadonlyMap<K, V>,
  gone: Iterable<K>,
  come: Iterable<readonly [K, V]>,
): ReadonlyMap<K, V> {
  let copy: Map<K, V> | undefined;
  const own = () => {
    copy ??= new Map(known);
    return copy;
  };
  for (const key of gone) own().delete(key);
  for (const [key, value] of come) own().set(key, value);
  return copy ?? known;
}

/** The same after a change. */
export function judgedAfter(known: OfRules, { before, after }: RulesetPair): OfRules {
  const { tags, looksInto, leadsTo, isOrdered } = judgedBy(after);
  const chains = [...before.chains.keys()];
  return {
    tags: turned(known.tags, before.tags.keys(), tags),
    looksInto: turned(known.looksInto, chains, looksInto),
    leadsTo: turned(known.leadsTo, chains, leadsTo),
    isOrdered,
  };
}

/** Knowledge of the table with these checksums of the rules of `one-moment`, which are others with many a change of elements. */
export const atMoment = (known: Judging, rules: readonly number[] | undefined): Judging =>
  rules === undefined ? known : { ...known, chains: turned(known.chains, [], [[ONE_MOMENT, rules]]) };

/** Whether the operation changes elements, or the map `moment` and its chain, which are made anew with elements. */
export function isOfElements(operation: Operation): boolean {
  if (operation.object === 'set') return operation.set.name === MOMENT;
  if (operation.object === 'chain') return operation.chain.name === ONE_MOMENT;
  return operation.object === 'rule' ? operation.chain === ONE_MOMENT : operation.object === 'element';
}

/** How many elements sets gain or lose by these operations; sets whose size stays are left out, and so is `moment`. */
export function resizedBy(operations: readonly Operation[], before: Sizes = {}): Sizes {
  const sizes = new Map(Object.entries(before));
  for (const operation of operations)
    if (operation.object === 'element' && !operation.set.interval && operation.set.name !== MOMENT) {
      const { set, verb, elements } = operation;
      const sign = verb === 'add' || verb === 'create' ? 1 : -1;
      sizes.set(set.name, (sizes.get(set.name) ?? 0) + sign * elements.length);
    }
  return Object.fromEntries([...sizes].filter(([, by]) => by !== 0));
}

/** Chains and sets that operations make or change, and those that they delete: for each name the last operation counts. */
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
