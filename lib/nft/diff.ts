/**
 * Compares two tables, and returns the transaction that turns the one into the other.
 *
 * A table that another program put to sleep (`flags dormant`) is woken by being added again, without that flag.
 *
 * What the kernel cannot change in place is replaced within the transaction: a set or a chain of another kind, with all
 * that refers to it, and for another table comment the whole table. Packets see the table before or the table after.
 * A named counter is never replaced, so that it goes on counting; its comment is not compared.
 */

import { sameComment } from './comment.ts';
import { ruleId } from './compile.ts';
import { keyId } from './datatype.ts';
import type { Chain, Element, NamedSet, Table, TableFamily } from './model.ts';
import { chainOf, counterOf, referencesOf } from './reference.ts';
import { contentOf, createTable, type Operation, type Ownership, type Transaction } from './transaction.ts';

export interface DiffOptions extends Ownership {
  /**
   * Sets that are made anew, under the same name, where any of their elements differ. A packet in the middle of a ruleset
   * reads rules as they were when it began, but elements as they are by now: it would see the old state in one set and the
   * new one in the next. A set that has gone holds nothing (before 6.4: what it held), so that such a packet meets no
   * mixture of the two.
   */
  readonly renew?: (set: NamedSet) => boolean;
  /**
   * Name of a map that is made anew with everything that changes: a packet in the middle of a ruleset finds nothing in the one
   * that it knows, so that rules which look into it last see whether all that was looked at is of one moment.
   */
  readonly witness?: string | undefined;
}

/**
 * @param options owner and persist for the case that the table has to be made
 * @throws RangeError where the two are not one table by family and name
 */
export function diff(have: Table | undefined, want: Table, options: DiffOptions = {}): Transaction {
  const { renew, witness, ...ownership } = options;
  const { family, name } = want;
  if (!have) return createTable(want, ownership);
  if (have.family !== family || have.name !== name)
    throw new RangeError(`Cannot turn table ${have.family} ${have.name} into ${family} ${name}`);
  const woken: Operation[] = have.dormant ? [{ verb: 'add', object: 'table', ...ownership }] : [];
  const operations =
    have.comment === want.comment ? [...woken, ...witnessed(have, want, renew, witness)] : replacement(want, ownership);
  return { family, table: name, operations };
}

const replacement = (want: Table, ownership: Ownership): Operation[] => [
  { verb: 'delete', object: 'table' },
  ...createTable(want, ownership).operations,
];

interface Pair<T> {
  readonly have: T;
  readonly want: T;
}

/** Objects that both tables have, pairwise; those that should go; those that should come. */
interface Comparison<T> {
  readonly kept: readonly Pair<T>[];
  readonly gone: readonly T[];
  readonly made: readonly T[];
}

function compare<T extends { readonly name: string }>(
  have: readonly T[],
  want: readonly T[],
  replaced: (pair: Pair<T>) => boolean,
): Comparison<T> {
  const kept: Pair<T>[] = [];
  const gone: T[] = [];
  const made: T[] = [];
  const wanted = new Map(want.map(item => [item.name, item]));
  for (const item of have) {
    const other = wanted.get(item.name);
    if (!other || replaced({ have: item, want: other })) {
      gone.push(item);
    } else {
      kept.push({ have: item, want: other });
      wanted.delete(item.name);
    }
  }
  made.push(...wanted.values());
  return { kept, gone, made };
}

const otherChain = ({ have, want }: Pair<Chain>): boolean =>
  have !== want &&
  (!sameComment(have.comment, want.comment) ||
    have.base?.type !== want.base?.type ||
    have.base?.hook !== want.base?.hook ||
    have.base?.priority !== want.base?.priority);

const otherSet = ({ have, want }: Pair<NamedSet>): boolean =>
  have !== want &&
  (!sameComment(have.comment, want.comment) ||
    (have.interval ?? false) !== (want.interval ?? false) ||
    have.key.join() !== want.key.join() ||
    String(have.value) !== String(want.value));

const names = (items: readonly { readonly name: string }[]): ReadonlySet<string> =>
  new Set(items.map(({ name }) => name));

/** Whatever refers to these has to let go of them. */
interface Gone {
  readonly chains: ReadonlySet<string>;
  readonly sets: ReadonlySet<string>;
  readonly counters: ReadonlySet<string>;
}

function witnessed(
  have: Table,
  want: Table,
  renew: NonNullable<DiffOptions['renew']> = () => false,
  witness: DiffOptions['witness'],
): Operation[] {
  const isRenewed = (pair: Pair<NamedSet>) => renew(pair.want) && hasOtherElements(pair);
  const operations = changes(have, want, isRenewed);
  if (operations.length === 0 || witness === undefined) return operations;
  return changes(have, want, pair => pair.want.name === witness || isRenewed(pair));
}

function changes(have: Table, want: Table, isRenewed: (pair: Pair<NamedSet>) => boolean): Operation[] {
  const chains = compare(have.chains, want.chains, otherChain);
  const sets = compare(have.sets, want.sets, pair => otherSet(pair) || isRenewed(pair));
  const counters = compare(have.counters, want.counters, () => false);
  const gone: Gone = { chains: names(chains.gone), sets: names(sets.gone), counters: names(counters.gone) };
  const refilled = chains.kept.filter(pair => isOther(want.family, pair, gone));
  const elements = sets.kept.map(pair => compareElements(pair, gone.chains));
  return [
    ...flushes([...chains.gone, ...refilled.map(pair => pair.have)], sets.gone),
    ...elements.flatMap(({ set, removed }) => elementsOf('delete', set, removed)),
    ...sets.gone.map((set): Operation => ({ verb: 'delete', object: 'set', set })),
    ...chains.gone.map((chain): Operation => ({ verb: 'delete', object: 'chain', chain })),
    ...counters.gone.map((counter): Operation => ({ verb: 'delete', object: 'counter', counter })),
    ...chains.kept.filter(otherPolicy).map((pair): Operation => ({ verb: 'add', object: 'chain', chain: pair.want })),
    ...contentOf({ chains: chains.made, sets: sets.made, counters: counters.made }).filter(
      ({ object }) => object !== 'rule',
    ),
    ...elements.flatMap(({ set, added }) => elementsOf('add', set, added)),
    ...[...chains.made, ...refilled.map(pair => pair.want)].flatMap(rulesOf),
  ];
}

const otherPolicy = ({ have, want }: Pair<Chain>): boolean => have.base?.policy !== want.base?.policy;

/** Emptied first, so that what is to go refers to nothing that is to go. */
const flushes = (chains: readonly Chain[], sets: readonly NamedSet[]): Operation[] => [
  ...chains
    .filter(({ rules }) => rules.length > 0)
    .map((chain): Operation => ({ verb: 'flush', object: 'chain', chain })),
  ...sets
    .filter(set => set.elements.some(element => (chainOf(element) ?? counterOf(element)) !== undefined))
    .map((set): Operation => ({ verb: 'flush', object: 'set', set })),
];

const rulesOf = ({ name, rules }: Chain): Operation[] =>
  rules.map(rule => ({ verb: 'add', object: 'rule', chain: name, rule }));

const elementsOf = (verb: 'add' | 'delete', set: NamedSet, elements: readonly Element[]): Operation[] =>
  elements.length > 0 ? [{ verb, object: 'element', set, elements }] : [];

/** True where the rules differ, or refer to something that is to go or to be replaced. */
function isOther(family: TableFamily, { have, want }: Pair<Chain>, gone: Gone): boolean {
  if (have.rules !== want.rules) {
    if (have.rules.length !== want.rules.length) return true;
    if (have.rules.some((rule, i) => rule !== want.rules[i] && ruleId(family, rule) !== ruleId(family, want.rules[i]!)))
      return true;
  }
  if (gone.chains.size + gone.sets.size + gone.counters.size === 0) return false;
  return have.rules.some(rule => {
    const references = referencesOf(rule);
    return (
      references.chains.some(name => gone.chains.has(name)) ||
      references.sets.some(name => gone.sets.has(name)) ||
      references.counters.some(name => gone.counters.has(name))
    );
  });
}

interface ElementChange {
  readonly set: NamedSet;
  readonly removed: readonly Element[];
  readonly added: readonly Element[];
}

/** An element whose value or comment differs is removed and added again; so is one that leads to a chain that goes. */
function compareElements({ have, want }: Pair<NamedSet>, goneChains: ReadonlySet<string>): ElementChange {
  const removed: Element[] = [];
  const added: Element[] = [];
  const letsGo = (element: Element) => goneChains.size > 0 && goneChains.has(chainOf(element) ?? '');
  if (have.elements === want.elements && !(want.value === 'verdict' && have.elements.some(letsGo)))
    return { set: want, removed, added };
  const start = commonStart(have.elements, want.elements, (old, element) => isKept(old, element) && !letsGo(old));
  if (start === have.elements.length && start === want.elements.length) return { set: want, removed, added };
  const present = new Map(have.elements.slice(start).map(element => [keyId(element.key), element]));
  for (const element of want.elements.slice(start)) {
    const id = keyId(element.key);
    const old = present.get(id);
    if (old && sameElement(old, element) && !letsGo(old)) {
      present.delete(id);
    } else {
      added.push(element);
    }
  }
  removed.push(...present.values());
  return { set: want, removed, added };
}

function hasOtherElements(pair: Pair<NamedSet>): boolean {
  const { removed, added } = compareElements(pair, new Set());
  return removed.length + added.length > 0;
}

/** How many elements, from the first on, are the same: of two tables of one node these are nearly all. */
function commonStart(
  have: readonly Element[],
  want: readonly Element[],
  isSame: (have: Element, want: Element) => boolean,
): number {
  const length = Math.min(have.length, want.length);
  let start = 0;
  while (start < length && isSame(have[start]!, want[start]!)) start++;
  return start;
}

const isKept = (a: Element, b: Element): boolean => a === b || (keyId(a.key) === keyId(b.key) && sameElement(a, b));

const sameElement = (a: Element, b: Element): boolean =>
  a === b || (sameComment(a.comment, b.comment) && valueId(a.value) === valueId(b.value));

function valueId(value: Element['value']): string {
  if (value === undefined) return '';
  if ('counter' in value) return `counter ${value.counter}`;
  if (!('kind' in value)) return keyId(value);
  return 'chain' in value ? `${value.kind} ${value.chain}` : value.kind;
}
