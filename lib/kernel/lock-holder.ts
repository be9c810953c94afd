/** Who holds a lock, for a person who waits for it. @see proc_locks(5) */
import { readFileSync, statSync } from 'node:fs';
import { activityOf, commandOf } from './process.ts';

/**
 * The process that holds a lock on the file, by /proc/locks; undefined where no process does, or one of another PID
 * namespace.
 */
export function holderOf(path: string): number | undefined {
  const ino = statSync(path, { throwIfNoEntry: false })?.ino;
  if (ino === undefined) return undefined;
  // 1: FLOCK  ADVISORY  WRITE 4711 00:04:4026531840 0 EOF
  const line = new RegExp(`: FLOCK +ADVISORY +WRITE ([1-9][0-9]*) [0-9a-f:]+:${ino} `);
  const [, pid] = line.exec(readFileSync('/proc/locks', 'latin1')) ?? [];
  return pid === undefined ? undefined : Number(pid);
}

function sentenceOn(pid: number): string {
  const sentence = `process ${pid} (${commandOf(pid)}) holds it`;
  const state = activityOf(pid)?.state ?? '';
  if (!/^[Tt]$/.test(state)) return sentence;
  return `${sentence} and is stopped; let it go on by \`kill -CONT ${pid}\`, or end it`;
}

/** `process 4711 (tollgate agent) holds it`, and what to do where it is stopped; never throws. */
export function holding(path: string): string {
  try {
    const pid = holderOf(path);
    if (pid !== undefined && pid !== process.pid) return sentenceOn(pid);
  } catch {
    // It has ended meanwhile, or /proc does not show it.
  }
  return 'another call holds it';
}
