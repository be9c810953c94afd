/**
 * One value for all that are equal: 50,000 pods have a few thousand label sets between them, and each of those, parsed
 * anew with its pod, would be kept as often as there are pods.
 */
import type { Labels } from '../policy/model.ts';
import type { NamedPort } from '../tag/identity.ts';

/**
 * Values by key, in two generations: when the younger is full, the elder is forgotten, save for what was asked for since.
 * So what nobody uses any more goes in the end, with no count of who holds it; an equal value that comes later is
 * merely kept twice.
 */
class Generations<V> {
  #young = new Map<string, V>();
  #old = new Map<string, V>();
  readonly #most: number;

  constructor(most: number) {
    this.#most = most;
  }

  get(key: string, make: () => V): V {
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const value = this.#old.get(key) ?? make();
    if (this.#young.size >= this.#most) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
    return value;
  }
}

export interface Intern {
  text(value: string): string;
  labels(labels: Labels): Labels;
  ports(ports: readonly NamedPort[]): readonly NamedPort[];
}

const none: readonly NamedPort[] = [];

/** @param most distinct values of each kind that are kept for the next who asks; twice as many at times */
export function createIntern(most = 8192): Intern {
  const texts = new Generations<string>(most);
  const labelSets = new Generations<Labels>(most);
  const portLists = new Generations<readonly NamedPort[]>(most);
  const text = (value: string): string => texts.get(value, () => value);
  return {
    text,
    labels(labels) {
      const key = JSON.stringify([...labels]);
      return labelSets.get(key, () => new Map([...labels].map(([name, value]) => [text(name), text(value)])));
    },
    ports(ports) {
      if (ports.length === 0) return none;
      return portLists.get(JSON.stringify(ports), () => ports);
    },
  };
}
