/** What the kernel says of another process. @see proc_pid_stat(5), proc_pid_cmdline(5) */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
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

const COMMAND_LENGTH = 80;

/**
 * `tollgate flows --denied`; a thread's name, such as `node-MainThread`, would say less.
 * @throws ENOENT, ESRCH where there is no such process
 */
export function commandOf(pid: number): string {
  const [program = '', ...args] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  const command = [basename(program), ...args].join(' ').trim();
  if (command === '') return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  return command.length > COMMAND_LENGTH ? `${command.slice(0, COMMAND_LENGTH)}…` : command;
}
