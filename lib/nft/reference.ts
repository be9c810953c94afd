/** Finds the chains, sets and counters that a rule or an element names: the kernel does not let these be deleted. */

import type { Element, Rule, Statement } from './model.ts';

export interface References {
  readonly chains: readonly string[];
  readonly sets: readonly string[];
  readonly counters: readonly string[];
}

function collect(statement: Statement, chains: string[], sets: string[], counters: string[]): void {
  switch (statement.kind) {
    case 'jump':
    case 'goto':
      chains.push(statement.chain);
      return;
    case 'lookup':
      if (typeof statement.set === 'string') sets.push(statement.set);
      return;
    case 'vmap':
    case 'counter-map':
    case 'mark-map':
      sets.push(statement.map);
      return;
    case 'dnat':
    case 'snat':
      if ('map' in statement.to) sets.push(statement.to.map);
      return;
    case 'counter':
      if (statement.name !== undefined) counters.push(statement.name);
      return;
    default:
      return;
  }
}

const known = new WeakMap<Rule, References>();

export function referencesOf(rule: Rule): References {
  const references = known.get(rule);
  if (references) return references;
  const made = { chains: [], sets: [], counters: [] };
  for (const statement of rule.statements) collect(statement, made.chains, made.sets, made.counters);
  known.set(rule, made);
  return made;
}

/** The chain that a verdict map's element leads to. */
export const chainOf = ({ value }: Element): string | undefined =>
  value && 'kind' in value && 'chain' in value ? value.chain : undefined;

/** The counter that an element of a map of counters leads to. */
export const counterOf = ({ value }: Element): string | undefined =>
  value && 'counter' in value ? value.counter : undefined;
