/** Pods that come and go: what a worker keeps of them once they are gone. */
import { readFileSync } from 'node:fs';
import { makePods, type Pod } from '../cni.ts';
import type { LoadGroup } from '../load-report.ts';
import { policiesOfABusyNode } from '../policies.ts';
import { WarmPlace } from '../warm.ts';

/** ADD and DEL of one pod each, in all: those of the second half must leave memory flat. */
const DEFAULT_PAIRS = 20_000;
/** How many come and go at once. */
const ROUND = 50;
/** Pods that stay, so that the node's state is never given up as a whole. */
const RESIDENTS = 5;
/** How often memory is looked at. */
const SAMPLES = 40;
const width = 4;
/** Milliseconds in which a worker that rests has given back what it can. */
const REST = 3_000;

/** MiB. */
const rssOf = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;

/** Each time another container, with labels that no pod had before: what is kept by name or by identity grows by it. */
const nextOf = (pods: readonly Pod[], round: number): Pod[] =>
  pods.map((pod, i) => {
    const number = round * pods.length + i;
    return {
      ...pod,
      containerID: `${number.toString(16).padStart(8, 'f')}`.repeat(8),
      name: `churn-${number}`,
      labels: { ...pod.labels, number: `${number}` },
    };
  });

async function rested(pid: number): Promise<number> {
  await new Promise(resolve => setTimeout(resolve, REST));
  return rssOf(pid);
}

/** @throws Error where the variable is no number of pairs */
function pairsAsked(): number {
  const text = process.env['CHURN_PAIRS'] ?? String(DEFAULT_PAIRS);
  const pairs = Number(text);
  const least = ROUND * SAMPLES;
  if (Number.isSafeInteger(pairs) && pairs >= least) return Math.ceil(pairs / least) * least;
  throw new Error(`CHURN_PAIRS=${text} must be a number of pairs, ${least} or more`);
}

export const group: LoadGroup = async say => {
  const pairs = pairsAsked();
  const place = await WarmPlace.start({ ipMasq: true }, policiesOfABusyNode(50));
  await place.addAll(makePods(RESIDENTS), width);
  const pods = makePods(ROUND);
  const sizes: number[] = [];
  for (let done = 0; done < pairs; ) {
    const round = nextOf(pods, done / ROUND);
    await place.addAll(round, width);
    await place.delAll(round, width);
    done += ROUND;
    if (done % (pairs / SAMPLES) !== 0) continue;
    sizes.push(await rested(place.pid));
    say(`${done} pairs: ${sizes.at(-1)!.toFixed(1)} MiB`);
  }
  // A sample has some 10 MiB of garbage in it that V8 has not collected yet: what is kept is the least of several samples.
  const quarter = SAMPLES / 4;
  const [before, after] = [sizes.slice(-2 * quarter, -quarter), sizes.slice(-quarter)].map(some => Math.min(...some));
  return [
    {
      what: `${pairs} ADD/DEL pairs of new identities: growth of what the worker keeps from the third quarter to the fourth`,
      ...{ asked: { atMost: 3 }, figure: after! - before!, unit: 'MiB' },
    },
  ];
};
