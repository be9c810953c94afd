/** What is known of a table's parts as a text, for the next process. */
import type { Judging } from '../gate/judging.ts';
import { sealed, unsealed } from '../state/sealed.ts';

/** To be counted up wherever the shape of `Judging` changes. */
const format = 'judging 3';

const maps = ['chains', 'tags', 'looksInto', 'leadsTo', 'sizes'] as const;

type Entries<T> = T extends ReadonlyMap<infer K, infer V> ? readonly (readonly [K, V])[] : never;
type Written = Omit<Judging, (typeof maps)[number]> & {
  readonly [Name in (typeof maps)[number]]: Entries<Judging[Name]>;
};

export function judgingText({ chains, tags, looksInto, leadsTo, sizes, ...rest }: Judging): string {
  const written: Written = {
    ...rest,
    chains: [...chains],
    tags: [...tags],
    looksInto: [...looksInto],
    leadsTo: [...leadsTo],
    sizes: [...sizes],
  };
  return sealed(format, written);
}

/** Undefined where it is not what we wrote. */
export function judgingIn(text: string | undefined): Judging | undefined {
  const found = unsealed<Written>(format, text);
  return (
    found && {
      ...found,
      chains: new Map(found.chains),
      tags: new Map(found.tags),
      looksInto: new Map(found.looksInto),
      leadsTo: new Map(found.leadsTo),
      sizes: new Map(found.sizes),
    }
  );
}
