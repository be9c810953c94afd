/**
 * How long a process at the other end of a Unix socket may be silent before its caller gives it up. Silence is counted in
 * looks, each of which has read what had come: a caller that had no processor meanwhile takes nothing for silence.
 */
import type { Socket } from 'node:net';
import { peerOf } from '../kernel/peer.ts';
import { activityOf } from '../kernel/process.ts';
import { descriptorOf } from './connection.ts';

/** A process as one look finds it. */
export interface Sighting {
  /** 0: this process namespace does not show it. */
  readonly pid: number;
  /** As in `ProcessActivity`; empty where the process is not seen. */
  readonly state: string;
  /** It computes, or has computed since the last look. */
  readonly isActive: boolean;
}

/** Watches the process at the other end, look by look. */
export function watchPeer(socket: Socket) {
  let pid: number | undefined;
  let before = 0;
  return (): Sighting => {
    pid ??= peerOf(descriptorOf(socket)).pid;
    const { state, ticks } = activityOf(pid) ?? { state: '', ticks: before };
    const isActive = state === 'R' || ticks !== before;
    before = ticks;
    return { pid, state, isActive };
  };
}

/** The process is there, and gives no sign of life. */
export class StandsStillError extends Error {
  override readonly name = 'StandsStillError';
  /** What to do about it. */
  readonly advice: string;

  constructor(why: string, advice: string) {
    super(why);
    this.advice = advice;
  }
}

/** Milliseconds, of a process that sleeps or is stopped: one that lives says something every second, or computes. */
const PATIENCE = 5_000;
/** What holds a process up in the kernel, a lock or a slow disk, would hold its caller up, too. */
const PATIENCE_IN_KERNEL = 30_000;
/** One that cannot be seen may be computing. */
const PATIENCE_UNSEEN = 60_000;

function patienceOf({ pid, state }: Sighting): number {
  if (pid === 0) return PATIENCE_UNSEEN;
  return state === 'D' ? PATIENCE_IN_KERNEL : PATIENCE;
}

function stillness({ pid, state }: Sighting, silent: number): StandsStillError {
  const silence = `for ${silent / 1000} s`;
  if (pid === 0)
    return new StandsStillError(`it has given no sign of life ${silence}`, 'see whether its process lives');
  if (state === 'T' || state === 't')
    return new StandsStillError(
      `its process ${pid} stands still: it is stopped`,
      `let it go on by \`kill -CONT ${pid}\`, or start it again`,
    );
  if (state === 'D')
    return new StandsStillError(
      `its process ${pid} stands still: it has waited in the kernel ${silence}`,
      `/proc/${pid}/stack says for what; see the kernel's log`,
    );
  return new StandsStillError(
    `its process ${pid} stands still: it has given no sign of life ${silence}`,
    'start it again',
  );
}

/** The silence of one process. */
export class Silence {
  readonly #look: () => Sighting;
  #silent = 0;

  /** @param look at the process, as by `watchPeer` */
  constructor(look: () => Sighting) {
    this.#look = look;
  }

  /**
   * Looks once more.
   * @param passed milliseconds from one look to the next
   * @param isHeard something came from the process since the last look
   * @returns why the caller waits no longer
   */
  after(passed: number, isHeard: boolean): StandsStillError | undefined {
    const sighting = this.#look();
    this.#silent = isHeard || sighting.isActive ? 0 : this.#silent + passed;
    return this.#silent < patienceOf(sighting) ? undefined : stillness(sighting, this.#silent);
  }
}
