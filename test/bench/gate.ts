/**
 * What the gate's lines cost a packet, without the scheduler: one thread is both pods (both.c). A connection costs a third
 * less than between two processes, so that the gate's share of it is larger here than pods ever see.
 */

import { bothEnds, type PacketTimes } from './both-ends.ts';
import type { Part } from './main.ts';
import { policiesForTheServer } from './policies.ts';
import { compared, type Row } from './report.ts';
import { conntrackOnly, idleNat, type TwoPods, twoPods } from './two-pods.ts';

const part = 'gate: pod to pod on one node, one thread being both, 1 policy';
const runs = 11;
/** Of each run; a turn takes two milliseconds. */
const rounds = 100;
const port = 8080;

interface Way extends TwoPods {
  readonly name: string;
  readonly found: PacketTimes[];
}

const way = (name: string, pods: TwoPods): Way => ({ name, ...pods, found: [] });

const measures: Readonly<Record<keyof PacketTimes, string>> = {
  connection: 'a connection',
  roundTrip: 'a round trip',
  small: 'a request for 512 bytes',
  large: 'a request for 1 MiB',
  slowest: 'the slowest connection of a hundred',
};

type Limits = Readonly<Partial<Record<keyof PacketTimes, number>>>;

const rowsOf = (each: Way, against: Way, limits?: Limits): Row[] =>
  (Object.keys(measures) as (keyof PacketTimes)[]).map(name => {
    const values = ({ found }: Way) => found.map(times => times[name]);
    const measured = { part, what: `${measures[name]}, ${each.name}`, unit: 'µs' } as const;
    const atMost = limits?.[name];
    return compared(
      measured,
      values(each),
      against.name,
      values(against),
      atMost === undefined ? undefined : { atMost },
    );
  });

export const gate: Part = async say => {
  const policies = policiesForTheServer(1, port);
  const none = way('no table', twoPods({ policies: undefined }));
  const conntrack = way('conntrack only', twoPods({ policies: undefined, others: [conntrackOnly] }));
  const nat = way('conntrack and NAT', twoPods({ policies: undefined, others: [conntrackOnly, idleNat] }));
  const own = way('our table', twoPods({ policies }));
  const ownAndNat = way('our table beside NAT', twoPods({ policies, others: [idleNat] }));
  const ways = [none, conntrack, nat, own, ownAndNat];
  for (let run = 0; run < runs; run++) {
    say(`run ${run + 1} of ${runs}`);
    for (const [i, times] of bothEnds(rounds, ways).entries()) ways[i]!.found.push(times);
  }
  // 0.97 of the connections per second.
  const limits = { connection: 1.03, roundTrip: 1.02, small: 1.03, large: 1.01 };
  return [
    ...rowsOf(conntrack, none),
    ...rowsOf(nat, conntrack),
    ...rowsOf(own, conntrack, limits),
    ...rowsOf(ownAndNat, nat, limits),
  ];
};
