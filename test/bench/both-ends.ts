/** One thread that is both pods (both.c), as often as it is to be. */

import { root } from './cni.ts';
import { must } from './node.ts';
import type { TwoPods } from './two-pods.ts';

/** Microseconds. */
export interface PacketTimes {
  readonly connection: number;
  readonly roundTrip: number;
  /** Requests with a connection of their own, by the size of their answers: 512 bytes, 1 MiB. */
  readonly small: number;
  readonly large: number;
  /** The slowest connection of a hundred, where `connection` is one that nothing disturbed. */
  readonly slowest: number;
}

/** Each pair in turn, within one process. @param rounds turns of each, a few milliseconds long */
export function bothEnds(rounds: number, pairs: readonly TwoPods[]): readonly PacketTimes[] {
  const of = pairs.flatMap(({ client, server, address }) => [client, server, address]);
  const lines = must(`${root}/dist/tools/both`, [String(rounds), ...of])
    .trim()
    .split('\n');
  return lines.map(line => {
    const [connection, roundTrip, small, large, slowest] = line.split(' ').map(ns => Number(ns) / 1000) as [
      number,
      number,
      number,
      number,
      number,
    ];
    return { connection, roundTrip, small, large, slowest };
  });
}
