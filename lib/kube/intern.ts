/**
 * One value for all that are equal: 50,000 pods have a few thousand label sets between them, and each of those, parsed
 * anew with its pod, would be kept as often as there are pods. What is kept for this is bounded in bytes, whatever the
 * owners of objects write into them.
 */
import type { Labels } from '../policy/model/model.ts';
import type { NamedPort } from '../tag/identity.ts';

export interface InternLimits {
  /** Distinct values of each kind. */
  readonly values: number;
  /** Bytes of each kind. */
  readonly bytes: number;
}

const limits: InternLimits = { values: 8192, bytes: 8 << 20 };

/** A value that takes more than this part of the room is not kept: few objects share it, and it would drive out many. */
const LARGEST_PART = 512;
/** After as many look-ups as this times the values that there is room for, values not looked up since are forgotten. */
const TURNS = 8;
/** Bytes that an entry of a map and a string take besides the characters. */
const OVERHEAD = 48;

/** The longest text in a label: the key, of a DNS subdomain, a slash and a name. What is longer is no label of the API's. */
const LONGEST_TEXT = 253 + 1 + 63;

/**
 * Values by key, in two generations: when the younger is full, or has been asked often enough, the elder is forgotten,
 * save for values that were asked for since. So values that no object uses any more go in the end, without reference counts;
 * an equal value that comes later is merely kept twice.
 */
class Generations<V> {
  #young = new Map<string, V>();
  #old = new Map<string, V>();
  #youngBytes = 0;
  #oldBytes = 0;
  #asked = 0;
  readonly #limits: InternLimits;

  constructor(limits: InternLimits) {
    this.#limits = limits;
  }

  /** Bytes of both generations. */
  get bytes(): number {
    return this.#youngBytes + this.#oldBytes;
  }

  /**
   * @param parts how many texts and numbers the value has
   * @param value returned as it is where it is too large to be kept
   * @param make the value as it is kept
   */
  get(key: string, parts: number, value: V, make: () => V): V {
    const { values, bytes } = this.#limits;
    const size = key.length + OVERHEAD * parts;
    if (size * LARGEST_PART > bytes) return value;
    const young = this.#young.get(key);
    if (++this.#asked >= values * TURNS) this.#turn();
    if (young !== undefined) return young;
    const kept = this.#old.get(key) ?? make();
    if (this.#young.size >= values || this.#youngBytes + size > bytes) this.#turn();
    this.#young.set(key, kept);
    this.#youngBytes += size;
    return kept;
  }

  #turn(): void {
    [this.#old, this.#young] = [this.#young, new Map()];
    [this.#oldBytes, this.#youngBytes] = [this.#youngBytes, 0];
    this.#asked = 0;
  }
}

export interface Intern {
  text(value: string): string;
  labels(labels: Labels): Labels;
  ports(ports: readonly NamedPort[]): readonly NamedPort[];
  /** About how many bytes are kept for later look-ups. */
  readonly bytes: number;
}

const none: readonly NamedPort[] = [];

/** @param within of values that are kept for the next who asks; twice as many at times */
export function createIntern(within: Partial<InternLimits> = {}): Intern {
  const most = { ...limits, ...within };
  const texts = new Generations<string>(most);
  const labelSets = new Generations<Labels>(most);
  const portLists = new Generations<readonly NamedPort[]>(most);
  const text = (value: string): string =>
    value.length > LONGEST_TEXT ? value : texts.get(value, 1, value, () => value);
  return {
    text,
    labels(labels) {
      const key = JSON.stringify([...labels]);
      const make = (): Labels => new Map([...labels].map(([name, value]) => [text(name), text(value)]));
      return labelSets.get(key, 2 * labels.size, labels, make);
    },
    ports(ports) {
      if (ports.length === 0) return none;
      return portLists.get(JSON.stringify(ports), 3 * ports.length, ports, () => ports);
    },
    get bytes() {
      return texts.bytes + labelSets.bytes + portLists.bytes;
    },
  };
}
