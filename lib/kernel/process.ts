/** Reads the state of another process, by the kernel's word. @see proc(5), /proc/pid/stat */
import { readFileSync } from 'node:fs';
import { isErrno } from './message.ts';

export interface ProcessActivity {
  /** R: runs or waits for a processor; S: sleeps; D: waits in the kernel; T, t: stopped; Z: has ended. */
  readonly state: string;
  /** Processor time that all of its threads have had, in clock ticks. */
  readonly ticks: number;
}

/** @returns undefined where there is no such process, or this process namespace does not show it (pid 0) */
export function activityOf(pid: number): ProcessActivity | undefined {
  if (pid <= 0) return undefined;
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  }
  // The name before it, in brackets, may hold anything.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { state: fields[0]!, ticks: Number(fields[11]) + Number(fields[12]) };
}
