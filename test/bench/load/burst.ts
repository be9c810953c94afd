/** Many ADDs at once through the launcher: all succeed by the warm worker, and no call starts a Node process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { makePods } from '../cni.ts';
import type { LoadGroup, LoadRow } from '../load-report.ts';
import { peakMemory } from '../measure.ts';
import { policiesOfABusyNode } from '../policies.ts';
import { WarmPlace } from '../warm.ts';

const [few, many] = [200, 500];

interface Burst {
  readonly failures: number;
  readonly nodeProcesses: number;
  /** MiB, of all launchers and the worker. */
  readonly memory: number;
}

/** Puts a script in tollgate-node's place, which writes a line for each start. @returns the file with these lines */
function countNodeProcesses(binary: string): string {
  const [node, log] = [`${binary}-node`, `${binary}-started`];
  if (existsSync(`${node}-real`)) return log;
  renameSync(node, `${node}-real`);
  writeFileSync(node, `#!/bin/bash\necho >>'${log}'\nexec -a "$0" '${node}-real' "$@"\n`);
  chmodSync(node, 0o755);
  writeFileSync(log, '');
  return log;
}

async function burst(place: WarmPlace, number: number): Promise<Burst> {
  const { binary } = place.plugin;
  const log = countNodeProcesses(binary);
  const before = readFileSync(log).length;
  const pods = makePods(number);
  const isOne = (executable: string): boolean => executable.startsWith(binary);
  let failures = 0;
  const adds = place.node
    .tryAll(
      pods.map(pod => place.call('ADD', pod)),
      number,
    )
    .then(outcomes => {
      failures = outcomes.filter(({ status }) => status !== 0).length;
    });
  const memory = await peakMemory(isOne, adds);
  const nodeProcesses = readFileSync(log).length - before;
  await place.delAll(pods, 16);
  return { failures, nodeProcesses, memory };
}

/** Processes that take all the time they get, while the work lasts. */
async function besideBusyLoops<T>(number: number, work: () => Promise<T>): Promise<T> {
  const loops = Array.from({ length: number }, (): ChildProcess => spawn('/bin/sh', ['-c', 'while :; do :; done']));
  try {
    return await work();
  } finally {
    for (const loop of loops) loop.kill('SIGKILL');
  }
}

export const group: LoadGroup = async say => {
  const place = await WarmPlace.start({ ipMasq: true }, policiesOfABusyNode(50));
  say('a worker that has served some hundred calls');
  for (let round = 0; round < 3; round++) await burst(place, few);
  say(`${few} ADDs at once`);
  const small = await burst(place, few);
  say(`${many} ADDs at once`);
  const large = await burst(place, many);
  say(`${many} ADDs at once beside four busy loops`);
  const busy = await besideBusyLoops(4, () => burst(place, many));
  const rows = (what: string, { failures, nodeProcesses }: Burst): LoadRow[] => [
    { what: `${what}: calls that fail`, asked: { atMost: 0 }, figure: failures, unit: 'calls' },
    { what: `${what}: Node processes started`, asked: { atMost: 0 }, figure: nodeProcesses, unit: 'processes' },
  ];
  return [
    ...rows(`${many} ADDs at once`, large),
    ...rows(`${many} ADDs at once beside four busy loops`, busy),
    {
      what: `${many} ADDs at once: peak memory of launchers and worker`,
      asked: { atMost: 1.2 },
      figure: large.memory / small.memory,
      unit: `× ${few} ADDs`,
    },
  ];
};
