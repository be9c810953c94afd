/** The difference that a change makes in a ruleset, told without the parts that it leaves alone. */
import { identityKey } from '../../tag/identity.ts';
import type { Cluster } from '../evaluate/cluster.ts';
import type { Structure } from './compile.ts';
import { filled, withElements } from './members.ts';
import type { SetMoves } from './node-sets.ts';
import { type Effect, type Effects, isOneWay } from './one-way.ts';
import {
  countersOf,
  hasSameGates,
  type PeerSet,
  type PodSetSpec,
  type RuleChain,
  type Ruleset,
  type SetSpec,
  type TagEntry,
} from './ruleset.ts';

/** Two rulesets that are parts of those before and after, and whose difference is the whole difference. */
export interface RulesetChange {
  readonly before: Ruleset;
  readonly after: Ruleset;
  /** Chains or tags differ. Otherwise nothing but elements of sets that stay. */
  readonly isStructural: boolean;
  /** Rules are ordered, and a packet may see one set of before and another one of after all the same (`one-way.ts`). */
  readonly isOneWay?: true;
}

/** Elements that come and go, for each set that stays and whose elements differ. */
export type Moves = ReadonlyMap<SetSpec, SetMoves>;

const originsOf = ({ origins }: RuleChain['rules'][number]): string =>
  origins.map(({ policy, direction, index }) => `${policy} ${direction} ${index}`).join();

/** Whether two chains of one name, which match the same, come from the same policies and rules. */
const isSameChain = (a: RuleChain | undefined, b: RuleChain | undefined): boolean =>
  a === b ||
  (a !== undefined &&
    b !== undefined &&
    a.policies.join() === b.policies.join() &&
    a.rules.every((rule, i) => rule === b.rules[i] || originsOf(rule) === originsOf(b.rules[i]!)));

const isRedirected = (a: TagEntry | undefined, b: TagEntry | undefined): boolean =>
  a !== undefined && b !== undefined && !hasSameGates(a, b);

const isSameEntry = (a: TagEntry | undefined, b: TagEntry | undefined): boolean =>
  a !== undefined &&
  b !== undefined &&
  !isRedirected(a, b) &&
  (a.identity === b.identity || identityKey(a.identity) === identityKey(b.identity));

const keysOf = <K>(a: ReadonlyMap<K, unknown>, b: ReadonlyMap<K, unknown>): readonly K[] => [
  ...new Set([...a.keys(), ...b.keys()]),
];

const nextOf = ({ rules, otherwise }: RuleChain): readonly string[] => [
  ...rules.flatMap(({ to }) => to ?? []),
  ...(otherwise === undefined ? [] : [otherwise]),
];

interface Touched {
  readonly chains: ReadonlySet<string>;
  readonly tags: ReadonlySet<number>;
}

/** Chains that have a counter in common with one that differs, or lead to one that is made anew. */
function besides(
  differing: readonly string[],
  anew: ReadonlySet<string>,
  before: Structure,
  after: Structure,
): readonly string[] {
  const counters = new Set(
    differing.flatMap(name =>
      [before, after].flatMap(({ chains }) => {
        const chain = chains.get(name);
        return chain ? countersOf(chain) : [];
      }),
    ),
  );
  const isBeside = (chain: RuleChain): boolean =>
    (counters.size > 0 && countersOf(chain).some(counter => counters.has(counter))) ||
    (anew.size > 0 && nextOf(chain).some(name => anew.has(name)));
  return [...after.chains.values()].filter(isBeside).map(({ name }) => name);
}

/**
 * The chains and tags in which the two differ, with those that the kernel's table ties to them: whatever leads to a chain that
 * is made anew, and all chains of a counter. Undefined where they say the same, and for the same reasons; sets are compared by
 * name, which their selectors determine, and belong to a chain.
 */
function touchedBetween(before: Structure, after: Structure): Touched | undefined {
  const chains = before.chains === after.chains ? [] : keysOf(before.chains, after.chains);
  const tags = keysOf(before.tags, after.tags);
  const isOther = (name: string) => !isSameChain(before.chains.get(name), after.chains.get(name));
  const differing = chains.filter(isOther);
  const entries = tags.map(tag => [tag, before.tags.get(tag), after.tags.get(tag)] as const);
  const others = entries.filter(([, a, b]) => !isSameEntry(a, b));
  if (differing.length + others.length === 0) return undefined;
  // Maps that tell all tags are made anew, or are others.
  const isAll = before.isOrdered !== after.isOrdered || others.some(([, a, b]) => isRedirected(a, b));
  const anew = new Set(differing.filter(name => before.chains.has(name) && after.chains.has(name)));
  const isLed = (entry: TagEntry | undefined): boolean =>
    entry !== undefined &&
    anew.size > 0 &&
    [entry, entry.byCluster].some(gates => gates && (anew.has(gates.egress) || anew.has(gates.ingress)));
  const led = entries.filter(([, , entry]) => isLed(entry));
  return {
    chains: new Set([...differing, ...besides(differing, anew, before, after)]),
    tags: new Set(isAll ? tags : [...others, ...led].map(([tag]) => tag)),
  };
}

const picked = <K, V>(map: ReadonlyMap<K, V>, keys: ReadonlySet<K>): ReadonlyMap<K, V> =>
  new Map([...keys].flatMap(key => (map.has(key) ? [[key, map.get(key)!] as const] : [])));

const noneTouched: Touched = { chains: new Set(), tags: new Set() };

/**
 * @param moves elements of the sets that stay
 * @param effects of these sets
 * @returns undefined where nothing has changed
 */
export function changeBetween(
  cluster: Cluster,
  before: Structure,
  after: Structure,
  moves: Moves,
  effects: () => Effects,
): RulesetChange | undefined {
  const isSame = before === after;
  const touched = isSame ? undefined : touchedBetween(before, after);
  if (!touched && moves.size === 0) return undefined;
  const { chains, tags } = touched ?? noneTouched;
  const differing = ({ specs }: Structure, other: Structure): readonly SetSpec[] =>
    specs === other.specs
      ? [...moves.keys()]
      : [...specs.values()].filter(spec => moves.has(spec) || !other.specs.has(spec.name));
  const part = (own: Structure, other: Structure, side: keyof SetMoves): Ruleset => ({
    sets: new Map(
      differing(own, other).map((spec): [string, PeerSet] => {
        const moved = moves.get(spec);
        if (other.specs.has(spec.name)) return [spec.name, withElements(spec as PodSetSpec, moved![side])];
        return [spec.name, side === 'come' ? filled(cluster, spec) : emptied(spec)];
      }),
    ),
    ...{ chains: picked(own.chains, chains), tags: picked(own.tags, tags) },
    ...(own.isOrdered ? { isOrdered: true } : {}),
  });
  return {
    before: part(before, after, 'gone'),
    after: part(after, before, 'come'),
    isStructural: touched !== undefined,
    ...(after.isOrdered && mayBeSeenInPart(touched, { before, after }, moves, effects) ? { isOneWay: true } : {}),
  };
}

/** Whether a packet may see a part of the change. To one that has a tag which no entry knows, nothing is allowed. */
function mayBeSeenInPart(
  { chains, tags }: Touched = noneTouched,
  { before, after }: { readonly before: Structure; readonly after: Structure },
  moves: Moves,
  effects: () => Effects,
): boolean {
  if (chains.size > 0 || before.isOrdered !== after.isOrdered) return false;
  const come = [...tags].filter(tag => !before.tags.has(tag));
  const gone = [...tags].filter(tag => !after.tags.has(tag));
  // An entry that stays leads elsewhere.
  if (come.length + gone.length < tags.size) return false;
  const allows: readonly Effect[] = come.length > 0 ? ['allows'] : [];
  const denies: readonly Effect[] = gone.length > 0 ? ['denies'] : [];
  return isOneWay(moves, effects(), [...allows, ...denies]);
}

const emptied = (spec: SetSpec): PeerSet => ({ ...spec, elements: [] }) as PeerSet;
