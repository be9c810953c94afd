/** How places are measured: in turn, so that what else the machine does falls on all of them alike. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { makePods, type Place } from './cni.ts';

/** Milliseconds, with room for a machine ten times slower. */
const DEADLINE = 60_000;

export interface Times {
  readonly add: number[];
  readonly del: number[];
  /** Milliseconds of processor time that both calls and what follows them take in the warm process; none without one. */
  readonly processor: number[];
}

/**
 * Each of them once, in an order that is drawn anew: what one leaves the machine to do (bridge with ipMasq above all) must not
 * fall on the same other one each time.
 */
function inAnyOrder(count: number): number[] {
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/** Rounds that warm caches and do not count. */
const WARMUP = 3;

/** ADD and DEL at each place, round by round. @param pods one for each place */
export function interleave(places: readonly Place[], rounds: number, pods = makePods(places.length)): Times[] {
  const times = places.map((): Times => ({ add: [], del: [], processor: [] }));
  for (let round = -WARMUP; round < rounds; round++)
    for (const i of inAnyOrder(places.length)) {
      const place = places[i]!;
      const [links, spent] = [place.node.links(), place.spent()];
      const add = place.add(pods[i]!).ms;
      const del = place.del(pods[i]!).ms;
      restsWith(links, place);
      if (round < 0) continue;
      times[i]!.add.push(add);
      times[i]!.del.push(del);
      if (spent !== undefined) times[i]!.processor.push(place.spent()! - spent);
    }
  return times;
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));
const sleep = (ms: number): void => void Atomics.wait(sleeper, 0, 0, ms);

/** Ticks that all processors together have been idle, and all ticks. @see proc_stat(5) */
function ticks(): readonly [idle: number, all: number] {
  const [line] = readFileSync('/proc/stat', 'latin1').split('\n', 1);
  const each = line!.trim().split(/ +/).slice(1, 9).map(Number);
  return [each[3]! + each[4]!, each.reduce((sum, more) => sum + more)];
}

/** Long enough for ten ticks of two processors. */
const WINDOW = 50;
/** Milliseconds: on a machine that others keep busy there is no use in waiting. */
const PATIENCE = 1_000;

/**
 * Whatever a place leaves to be done after its DEL must not fall into the next one's time: links that are deleted later, and
 * what the kernel then does by itself.
 */
function restsWith(links: number, { node }: Place): void {
  for (const end = performance.now() + DEADLINE; node.links() > links; sleep(5))
    if (performance.now() > end) throw new Error(`Cannot go on: ${node.name} keeps more than ${links} links`);
  for (const end = performance.now() + PATIENCE; performance.now() < end; ) {
    const [idle, all] = ticks();
    sleep(WINDOW);
    const [idleNow, allNow] = ticks();
    if (idleNow - idle >= 0.9 * (allNow - all)) return;
  }
}

/** So many ADDs at a time at each place: milliseconds from the first start to the last end, round by round. */
export async function interleaveBursts(
  places: readonly Place[],
  { number, width, rounds }: { readonly number: number; readonly width: number; readonly rounds: number },
): Promise<number[][]> {
  const times = places.map((): number[] => []);
  const pods = makePods(number);
  for (let round = 0; round < rounds; round++)
    for (const i of inAnyOrder(places.length)) {
      const links = places[i]!.node.links();
      times[i]!.push(await places[i]!.addAll(pods, width));
      await places[i]!.delAll(pods, width);
      restsWith(links, places[i]!);
    }
  return times;
}

/** With one pod that stays, as on any node that is up: bridges and tables are there. */
export function settled(place: Place): Place {
  for (const pod of makePods(1)) place.add(pod);
  return place;
}

/**
 * Milliseconds of processor time of all threads, kernel included; those of threads that have ended are missing.
 * @see sched-stats in the kernel's documentation
 */
export function processorMs(pid: number): number {
  const folder = `/proc/${pid}/task`;
  const threads = readdirSync(folder).map(id =>
    Number(readFileSync(`${folder}/${id}/schedstat`, 'latin1').split(' ')[0]),
  );
  return threads.reduce((sum, ns) => sum + ns, 0) / 1e6;
}

const kilobytes = (status: string, field: string): number =>
  Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0);

/** Megabytes of all processes of these programs: each one's own pages, and each program's file pages once. */
function memoryOf(isOne: (executable: string) => boolean): number {
  let own = 0;
  const files = new Map<string, number>();
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const executable = readlinkSync(`/proc/${pid}/exe`);
      if (!isOne(executable)) continue;
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      own += kilobytes(status, 'RssAnon') + kilobytes(status, 'RssShmem');
      files.set(executable, Math.max(files.get(executable) ?? 0, kilobytes(status, 'RssFile')));
    } catch {
      // It has ended in between.
    }
  }
  return (own + [...files.values()].reduce((sum, each) => sum + each, 0)) / 1024;
}

/** The most that they had together while the work lasted, as often as it was looked at. */
export async function peakMemory(isOne: (executable: string) => boolean, work: Promise<unknown>): Promise<number> {
  let isDone = false;
  const ended = work.finally(() => {
    isDone = true;
  });
  let peak = memoryOf(isOne);
  while (!isDone) {
    peak = Math.max(peak, memoryOf(isOne));
    await pause(4);
  }
  await ended;
  return peak;
}
