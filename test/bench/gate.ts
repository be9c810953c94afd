/**
 * What the gate's lines cost a packet, without the scheduler: one thread is both pods (both.c). A connection costs a third
 * less than between two processes, so that the gate's share of it is larger here than pods ever see.
 */

import { root } from './cni.ts';
import type { Part } from './main.ts';
import { must } from './node.ts';
import { policiesForTheServer } from './policies.ts';
import { compared, type Row } from './report.ts';
import { conntrackAndNat, conntrackOnly, type TwoPods, twoPods } from './two-pods.ts';

const part = 'gate: pod to pod on one node, one thread being both, 1 policy';
const runs = 15;
/** Of each run; a turn takes half a millisecond. */
const rounds = 200;
const port = 8080;

interface Way extends TwoPods {
  readonly name: string;
  readonly connection: number[];
  readonly roundTrip: number[];
}

const way = (name: string, pods: TwoPods): Way => ({ name, ...pods, connection: [], roundTrip: [] });

/** In turn, within one process. */
function measure(ways: readonly Way[]): void {
  const of = ways.flatMap(({ client, server, address }) => [client, server, address]);
  const lines = must(`${root}/dist/tools/both`, [String(rounds), ...of])
    .trim()
    .split('\n');
  for (const [i, line] of lines.entries()) {
    const [connection, roundTrip] = line.split(' ').map(ns => Number(ns) / 1000) as [number, number];
    ways[i]!.connection.push(connection);
    ways[i]!.roundTrip.push(roundTrip);
  }
}

const rowsOf = (each: Way, against: Way, atMost?: number): Row[] =>
  (['connection', 'roundTrip'] as const).map(name => {
    const what = `${name === 'connection' ? 'a connection' : 'a round trip'}, ${each.name}`;
    const target = atMost === undefined ? undefined : { atMost: name === 'connection' ? atMost : 1.02 };
    return compared({ part, what, unit: 'µs' }, each[name], against.name, against[name], target);
  });

export const gate: Part = async say => {
  const policies = policiesForTheServer(1, port);
  const none = way('no table', twoPods({ policies: undefined }));
  const conntrack = way('conntrack only', twoPods({ policies: undefined, replacement: conntrackOnly }));
  const nat = way('conntrack and NAT', twoPods({ policies: undefined, replacement: conntrackAndNat }));
  const own = way('our table', twoPods({ policies }));
  const ways = [none, conntrack, nat, own];
  for (let run = 0; run < runs; run++) {
    say(`run ${run + 1} of ${runs}`);
    measure(ways);
  }
  // 0.97 of the connections per second.
  const share = 1.03;
  return [
    ...rowsOf(conntrack, none),
    ...rowsOf(nat, conntrack),
    ...rowsOf(own, conntrack, share),
    ...rowsOf(own, nat, share),
  ];
};
