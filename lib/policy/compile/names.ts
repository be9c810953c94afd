import { fnv1a64 } from '../../tag/hash.ts';

/** Names that are known beyond twice as many as are in use: to forget them at each change would cost more than they do. */
const SPARE = 256;

/**
 * Names by content, and the same name for the same content as long as it is in use. Should two contents ever have one hash,
 * the second gets a suffix: a name never stands for two things.
 */
export class Names {
  readonly #hash: (content: string) => string;
  readonly #byContent = new Map<string, string>();
  readonly #taken = new Set<string>();

  constructor(
    hash: (content: string) => string = fnv1a64,
    known: Iterable<readonly [content: string, name: string]> = [],
  ) {
    this.#hash = hash;
    for (const [content, name] of known) {
      this.#byContent.set(content, name);
      this.#taken.add(name);
    }
  }

  /** Known names among these, each with its content: a value for the constructor's `known`. */
  entries(inUse: ReadonlySet<string>): readonly (readonly [content: string, name: string])[] {
    return [...this.#byContent].filter(([, name]) => inUse.has(name));
  }

  get size(): number {
    return this.#byContent.size;
  }

  /** `<prefix>-<16 hex digits>`, or with a suffix, `-2`. */
  nameOf(prefix: string, content: string): string {
    const key = `${prefix} ${content}`;
    const known = this.#byContent.get(key);
    if (known !== undefined) return known;
    const base = `${prefix}-${this.#hash(content)}`;
    let name = base;
    for (let n = 2; this.#taken.has(name); n++) name = `${base}-${n}`;
    this.#taken.add(name);
    this.#byContent.set(key, name);
    return name;
  }

  /** Forgets other names than these, once they are the most of what is known. @returns whether it did */
  keep(inUse: ReadonlySet<string>): boolean {
    if (this.#byContent.size <= 2 * inUse.size + SPARE) return false;
    for (const [key, name] of this.#byContent)
      if (!inUse.has(name)) {
        this.#byContent.delete(key);
        this.#taken.delete(name);
      }
    return true;
  }
}
