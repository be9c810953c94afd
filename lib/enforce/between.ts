/**
 * A packet looks at the gate of its sender first and at that of its receiver a moment later, and a commit may come in
 * between: where one deny takes the place of another, it would see the old state of the one and the new state of the other,
 * and pass both. So there is a table in between, which allows only what both allow.
 */
import { keyId } from '../nft/datatype.ts';
import type { Chain, Counter, Element, NamedSet, Rule, Table } from '../nft/model.ts';
import { goto, jump, RETURN } from '../nft/model.ts';

const MAPS = ['egress_by_tag', 'ingress_by_tag'] as const;

const chainOf = ({ value }: Element): string | undefined =>
  value !== undefined && 'kind' in value && value.kind === 'goto' ? value.chain : undefined;

const setNamed = ({ sets }: Table, name: string): NamedSet | undefined => sets.find(set => set.name === name);

/** What is in neither of them has nothing to say of what is in both. */
function missing<T extends { readonly name: string }>(have: readonly T[], want: readonly T[]): readonly T[] {
  const names = new Set(want.map(({ name }) => name));
  return have.filter(({ name }) => !names.has(name));
}

/** The old gate drops what it denies and returns what it allows; then the new one judges. */
function bothRules(old: string | undefined, now: string | undefined): readonly Rule[] {
  return [
    ...(old === undefined ? [] : [{ statements: [jump(old)] }]),
    { statements: [now === undefined ? RETURN : goto(now)] },
  ];
}

function gated(map: NamedSet, before: NamedSet | undefined, chains: Map<string, Chain>): NamedSet {
  const earlier = new Map(before?.elements.map(element => [keyId(element.key), element]));
  const elements = map.elements.map(element => {
    const old = earlier.get(keyId(element.key));
    const [was, is] = [old && chainOf(old), chainOf(element)];
    if (!old || was === is || was === undefined) return element;
    const plain = `both-${map.name === 'egress_by_tag' ? 'out' : 'in'}-${String(element.key[0])}`;
    // Somebody died on his way, and this is what he left: it must not lead to itself.
    const name = was === plain ? `${plain}-again` : plain;
    chains.set(name, { name, rules: bothRules(was, is) });
    return { ...element, value: goto(name) };
  });
  return { ...map, elements };
}

/** Their names end in a hash; those of the gate's own sets do not. */
const isPeers = ({ name }: NamedSet): boolean => name.includes('-');

/** Of a set of peers that is in both tables, what is in it in both. */
function common(set: NamedSet, before: NamedSet | undefined): NamedSet {
  if (!before || set.interval || !isPeers(set)) return set;
  const old = new Set(before.elements.map(({ key }) => keyId(key)));
  return { ...set, elements: set.elements.filter(({ key }) => old.has(keyId(key))) };
}

/** @returns the table in between; undefined where no gate and no set of peers allows less than before */
export function between(have: Table, want: Table): Table | undefined {
  const chains = new Map<string, Chain>();
  const sets = want.sets.map(set =>
    MAPS.some(name => name === set.name)
      ? gated(set, setNamed(have, set.name), chains)
      : common(set, setNamed(have, set.name)),
  );
  const isSame = chains.size === 0 && sets.every((set, i) => set.elements.length === want.sets[i]!.elements.length);
  if (isSame) return undefined;
  const counters: readonly Counter[] = [...want.counters, ...missing(have.counters, want.counters)];
  const kept = missing(have.chains, [...want.chains, ...chains.values()]);
  return {
    ...want,
    chains: [...want.chains, ...kept, ...chains.values()],
    sets: [...sets, ...missing(have.sets, want.sets)],
    counters,
  };
}

/**
 * The table that was, with all that the next one newly refers to. A packet in the middle of a ruleset sees the maps of now,
 * but chains as they were when it began: one that is new to it is empty, and lets it pass. So a chain is there first, and
 * an entry that was there before leads to it only once all such packets have come to their end.
 * @returns undefined where no such entry leads to a new chain
 */
export function prepared(have: Table, next: Table): Table | undefined {
  const known = new Set(have.chains.map(({ name }) => name));
  const isNew = (chain: string | undefined): boolean => chain !== undefined && !known.has(chain);
  const isRedirected = MAPS.some(map => {
    const tags = new Set(setNamed(have, map)?.elements.map(({ key }) => keyId(key)));
    const entries = setNamed(next, map)?.elements ?? [];
    return entries.some(entry => tags.has(keyId(entry.key)) && isNew(chainOf(entry)));
  });
  if (!isRedirected) return undefined;
  const marker = setNamed(next, 'marker');
  const sets = have.sets.map(set => (set.name === 'marker' && marker ? marker : set));
  return {
    ...have,
    chains: [...have.chains, ...missing(next.chains, have.chains)],
    sets: [...sets, ...missing(next.sets, have.sets)],
    counters: [...have.counters, ...missing(next.counters, have.counters)],
  };
}
