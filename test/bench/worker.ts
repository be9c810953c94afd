/**
 * The launcher and the warm worker with everything on: addresses claimed on disk, masquerade, policy judged before ADD returns.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { bridgeMasq, makePods, newest, ours, Place, type Pod, ptp } from './cni.ts';
import type { Part } from './main.ts';
import { interleave, interleaveBursts, peakMemory, settled, type Times } from './measure.ts';
import { policiesOfABusyNode } from './policies.ts';
import { compared, type Row, single } from './report.ts';
import { used, WarmPlace } from './warm.ts';

const part = 'worker: launcher and warm worker, 50 policies and 100 pods present, ipMasq, policies enforced';
const runs = 40;
const [policies, present] = [50, 100];
const everything = { ipMasq: true };

async function populated<T extends Place>(place: T, pods = present): Promise<T> {
  await place.addAll(makePods(pods), 8);
  return place;
}

async function lonePlace(): Promise<Place> {
  const lone = new Place(ours(everything));
  lone.node.write('policies/all.json', policiesOfABusyNode(policies));
  return await populated(lone);
}

function oneByOne(warm: Place, lone: Place): Row[] {
  const others = newest ? [newest.ptp, newest.bridgeMasq] : [];
  const peers = [ptp, bridgeMasq, ...others].map(plugin => settled(new Place(plugin)));
  const [own, alone, point, masked, newPoint, newMasked] = interleave([warm, lone, ...peers], runs) as Times[];
  const add = { part, what: 'ADD', unit: 'ms' } as const;
  const del = { part, what: 'DEL', unit: 'ms' } as const;
  const byItself = { part, what: 'ADD by the executable alone, a Node process', unit: 'ms' } as const;
  const rows = [
    compared(add, own!.add, 'ptp', point!.add, { atMost: 0.5 }),
    compared(add, own!.add, 'bridge ipMasq', masked!.add, { atMost: 0.2 }),
    compared(del, own!.del, 'ptp', point!.del, { atMost: 0.3 }),
    compared(byItself, alone!.add, 'bridge ipMasq', masked!.add),
    compared({ ...del, what: 'DEL by the executable alone' }, alone!.del, 'ptp', point!.del),
  ];
  if (!newPoint || !newMasked) return rows;
  return [
    ...rows,
    compared(add, own!.add, 'newest ptp', newPoint.add, { atMost: 0.5 }),
    compared(add, own!.add, 'newest bridge ipMasq', newMasked.add, { atMost: 0.2 }),
    compared(del, own!.del, 'newest ptp', newPoint.del, { atMost: 0.3 }),
    compared(byItself, alone!.add, 'newest bridge ipMasq', newMasked.add),
  ];
}

/**
 * What a node sees on an ordinary day: a worker that has served few calls in its life, and none for a second. ptp has rested
 * as long; the hot worker has just served one.
 */
async function rested(hot: Place): Promise<Row[]> {
  const [served, rest, rounds] = [20, 1000, 25];
  const cool = await populated(await WarmPlace.start(everything, policiesOfABusyNode(policies)), served);
  const point = settled(new Place(ptp));
  const [pod, again] = makePods(2) as [Pod, Pod];
  const found = { cool: [] as number[], ptp: [] as number[], hot: [] as number[] };
  const timed = (place: Place): number => {
    const { ms } = place.add(pod);
    place.del(pod);
    return ms;
  };
  for (let round = 0; round < rounds; round++) {
    await pause(rest);
    found.cool.push(timed(cool));
    await pause(rest);
    found.ptp.push(timed(point));
    hot.add(again);
    hot.del(again);
    found.hot.push(timed(hot));
  }
  const measured = {
    part,
    what: `ADD by a worker that has served ${served} calls and rests a second`,
    unit: 'ms',
  } as const;
  return [
    compared(measured, found.cool, 'hot worker', found.hot),
    compared(measured, found.cool, 'ptp', found.ptp, { atMost: 1 }),
  ];
}

async function bursts(warm: Place): Promise<Row[]> {
  const [number, width] = [50, 16];
  const places = [warm, ...[ptp, bridgeMasq].map(plugin => settled(new Place(plugin)))];
  const [own, point, masked] = await interleaveBursts(places, { number, width, rounds: 9 });
  const measured = { part, what: `${number} ADDs, ${width} at once`, unit: 'ms' } as const;
  return [compared(measured, own!, 'ptp', point!, { atMost: 0.5 }), compared(measured, own!, 'bridge ipMasq', masked!)];
}

async function memory(warm: Place): Promise<Row[]> {
  const number = 200;
  const point = settled(new Place(ptp));
  const pods = makePods(number);
  const peaks: [number[], number[]] = [[], []];
  for (let round = 0; round < 3; round++)
    for (const [i, place] of [warm, point].entries()) {
      const { binary, path } = place.plugin;
      const isOne = (executable: string) =>
        [binary, `${binary}-node`, `${path}/host-local`].includes(executable.replace(/ \(deleted\)$/, ''));
      peaks[i]!.push(await peakMemory(isOne, place.addAll(pods, number)));
      await place.delAll(pods, 16);
    }
  const measured = { part, what: `${number} ADDs at once: peak memory of all processes`, unit: 'MB' } as const;
  return [compared(measured, peaks[0], 'ptp', peaks[1], { atMost: 0.5 })];
}

async function crowded(): Promise<Row[]> {
  const number = 1000;
  const [one, many] = [
    await used(await populated(await WarmPlace.start(everything), 1)),
    await used(await populated(await WarmPlace.start(everything), number)),
  ];
  const [few, crowd] = interleave([one, many], runs) as [Times, Times];
  const add = { part, what: `ADD with ${number} pods there, no policies`, unit: 'ms' } as const;
  const del = { part, what: `DEL with ${number} pods there, no policies`, unit: 'ms' } as const;
  return [
    compared(add, crowd.add, 'with one', few.add, { atMost: 1.1 }),
    compared(del, crowd.del, 'with one', few.del),
  ];
}

const strace = '/usr/bin/strace';

/** Calls in a strace's output: one a line, save those that are finished on a line of their own. */
const callsIn = (file: string): number =>
  readFileSync(file, 'utf8')
    .split('\n')
    .filter(line => /^\d+ +\w+\(/.test(line)).length;

async function attached(pid: number, output: string): Promise<ChildProcess> {
  const tracer = spawn(strace, ['-f', '-o', output, '-p', `${pid}`], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  while (!said.includes('attached')) {
    const [chunk] = (await Promise.race([once(tracer.stderr!, 'data'), once(tracer, 'exit')])) as [unknown];
    if (tracer.exitCode !== null) throw new Error(`Cannot trace process ${pid}: ${said}`);
    said += String(chunk);
  }
  tracer.stderr!.resume();
  return tracer;
}

async function systemCalls(warm: WarmPlace, lone: Place): Promise<Row[]> {
  const counts = { launcher: [] as number[], worker: [] as number[], alone: [] as number[] };
  const traced = (place: Place, output: string, pod: ReturnType<typeof makePods>[number]): number => {
    const { command, ...rest } = place.call('ADD', pod);
    place.node.run({ ...rest, command: strace, args: ['-f', '-o', output, command] });
    return callsIn(output);
  };
  const [pod] = makePods(1);
  for (let round = 0; round < 5; round++) {
    const [own, theirs] = ['/run/bench/strace.own', '/run/bench/strace.worker'];
    const tracer = await attached(warm.pid, theirs);
    counts.launcher.push(traced(warm, own, pod!));
    tracer.kill('SIGINT');
    await once(tracer, 'exit');
    counts.worker.push(callsIn(theirs));
    warm.del(pod!);
    counts.alone.push(traced(lone, own, pod!));
    lone.del(pod!);
  }
  const row = (what: string, found: readonly number[]) =>
    single({ part, what: `system calls of an ADD: ${what}`, unit: 'calls' }, found);
  return [
    row('launcher', counts.launcher),
    row('worker', counts.worker),
    row('executable alone, Node and all', counts.alone),
  ];
}

export const worker: Part = async say => {
  say(`${policies} policies, ${present} pods, for the worker and for the executable alone`);
  const warm = await used(await populated(await WarmPlace.start(everything, policiesOfABusyNode(policies))));
  const lone = await lonePlace();
  say(`whole processes, ${runs} rounds`);
  const rows = oneByOne(warm, lone);
  say('a worker that rests');
  rows.push(...(await rested(warm)));
  say('bursts');
  rows.push(...(await bursts(warm)));
  say('memory');
  rows.push(...(await memory(warm)));
  if (existsSync(strace)) {
    say('system calls');
    rows.push(...(await systemCalls(warm, lone)));
  }
  say('a thousand pods');
  rows.push(...(await crowded()));
  return rows;
};
