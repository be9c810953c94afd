/** Pods that come and go: what a worker keeps of them once they are gone. */
import { readFileSync } from 'node:fs';
import { makePods, type Pod } from '../cni.ts';
import type { LoadGroup } from '../load-report.ts';
import { policiesOfABusyNode } from '../policies.ts';
import { WarmPlace } from '../warm.ts';

/** ADD and DEL of one pod each: in all, and those of the end, in which memory must be flat. */
const [pairs, last] = [20_000, 10_000];
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

export const group: LoadGroup = async say => {
  const place = await WarmPlace.start({ ipMasq: true }, policiesOfABusyNode(50));
  const pods = makePods(50);
  const sizes: number[] = [];
  for (let done = 0; done < pairs; done += pods.length) {
    const round = nextOf(pods, done / pods.length);
    await place.addAll(round, width);
    await place.delAll(round, width);
    if ((done + pods.length) % 1_000 !== 0) continue;
    sizes.push(await rested(place.pid));
    say(`${done + pods.length} pairs: ${sizes.at(-1)!.toFixed(1)} MiB`);
  }
  const end = sizes.slice(-Math.ceil(last / 1_000));
  return [
    {
      what: `${pairs} ADD/DEL pairs of new identities: growth of the worker in the last ${last}`,
      ...{ asked: { atMost: 3 }, figure: end.at(-1)! - end[0]!, unit: 'MiB' },
    },
  ];
};
