/** Reads the kernel's counters of this node, as of one moment. */
import { countedDenial } from '../gate/denial.ts';
import { TABLE } from '../gate/desired.ts';
import { tagCounter } from '../gate/ruleset-to-nft.ts';
import { Nft } from '../kernel/nft.ts';
import type { Counted } from '../nft/decode.ts';
import type { Table } from '../nft/model.ts';
import type { Direction } from '../policy/model/model.ts';

export interface KernelCounts {
  /** Named counters. */
  readonly counters: ReadonlyMap<string, Counted>;
  /** Packets that each chain, or rule of it, has dropped, by `denialName`. */
  readonly drops: ReadonlyMap<string, Counted>;
  /** The chain that judges each tag; none where no policy does. */
  readonly judges: Readonly<Record<Direction, ReadonlyMap<number, string>>>;
}

/** The counts of one identity in one direction: packets that began a connection, since replies pass before. */
export interface IdentityCount {
  /** Judged, whichever chains did it in the course of time. */
  readonly tried: Counted;
  /** Denied by the chain that judges it now; undefined where no policy does. */
  readonly denied?: Counted & {
    /** How many identities that chain judges, with the same rules: what it denied was theirs together. */
    readonly identities: number;
  };
}

function judgesIn(table: Table | undefined, direction: Direction): ReadonlyMap<number, string> {
  const elements = table?.sets.find(({ name }) => name === `${direction}_by_tag`)?.elements ?? [];
  return new Map(
    elements.flatMap(({ key: [tag], value }): [number, string][] =>
      typeof tag === 'number' && value && 'chain' in value ? [[tag, value.chain]] : [],
    ),
  );
}

/** Counters of our table; none where there is no table. */
export function readCounts(): KernelCounts {
  using nft = Nft.open();
  const read = nft.read({ family: 'inet', name: TABLE });
  const drops = (read?.table.chains ?? []).flatMap(({ name: chain, rules }) =>
    (read?.ruleCounters.get(chain) ?? []).flatMap((counted, i): [string, Counted][] => {
      const log = rules[i]?.statements.find(statement => statement.kind === 'log');
      return counted ? [[countedDenial({ chain, ...log }), counted]] : [];
    }),
  );
  const judges = { ingress: judgesIn(read?.table, 'ingress'), egress: judgesIn(read?.table, 'egress') };
  return { counters: read?.counters ?? new Map(), drops: new Map(drops), judges };
}

/** Undefined where the gate does not know the tag. */
export function countOfTag(
  { counters, drops, judges }: KernelCounts,
  direction: Direction,
  tag: number,
): IdentityCount | undefined {
  const tried = counters.get(tagCounter(direction, tag));
  if (!tried) return undefined;
  const chain = judges[direction].get(tag);
  const denied = chain === undefined ? undefined : drops.get(chain);
  const identities = [...judges[direction].values()].filter(other => other === chain).length;
  return { tried, ...(denied ? { denied: { ...denied, identities } } : {}) };
}

/** A counter as JSON has it. */
export const countedJson = ({ packets, bytes }: Counted) => ({ packets: Number(packets), bytes: Number(bytes) });
