/**
 * What the number of policies costs a request, as Romana published it in 2016: by the size of the answer, beside 0, 10, 50, 100
 * and 200 policies that all select the server, of which the last lets the client in.
 */
import { bothEnds, type PacketTimes } from './both-ends.ts';
import type { Part } from './main.ts';
import { policiesForTheServer } from './policies.ts';
import { compared, type Row } from './report.ts';
import { twoPods } from './two-pods.ts';

const part = 'requests: pod to pod on one node, one thread being both, by the number of policies';
const numbers = [10, 50, 100, 200];
/** Where the kernel's memory comes to lie makes a hundredth of a request on one node or another, so each number has several. */
const nodes = 3;
const runs = 11;
/** Of each run; a turn takes two milliseconds. */
const rounds = 100;
const port = 8080;
const limit = { atMost: 1.01 };
const sizes = { small: '512 bytes', large: '1 MiB' } as const;

export const requests: Part = async say => {
  say('nodes');
  const ways = Array.from({ length: nodes }, () => [0, ...numbers])
    .flat()
    .map(number => ({
      number,
      pods: twoPods({ policies: policiesForTheServer(number, port) }),
      found: [] as PacketTimes[],
    }));
  const places = ways.map(({ pods }) => pods);
  for (let run = 0; run < runs; run++) {
    say(`run ${run + 1} of ${runs}`);
    for (const [i, times] of bothEnds(rounds, places).entries()) ways[i]!.found.push(times);
  }
  const beside = (number: number, size: keyof typeof sizes): number[] =>
    ways.flatMap(way => (way.number === number ? way.found.map(times => times[size]) : []));
  return (Object.keys(sizes) as (keyof typeof sizes)[]).flatMap(size =>
    numbers.map((number): Row => {
      const measured = { part, what: `a request for ${sizes[size]}, ${number} policies`, unit: 'µs' } as const;
      return compared(measured, beside(number, size), 'no policy', beside(0, size), limit);
    }),
  );
};
