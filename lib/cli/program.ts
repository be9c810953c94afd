/** Other programs, this one among them, run from the command line and waited for. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { isSea } from 'node:sea';

export const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** This very program. Its file may be out of sight by now; the kernel still knows it. */
export function ownProgram(): { readonly file: string; readonly args: readonly string[] } {
  const file = process.execPath.startsWith('/run/') ? '/proc/self/exe' : process.execPath;
  return { file, args: isSea() ? [] : [...process.execArgv, process.argv[1]!] };
}

export interface ProgramEnd {
  /** Null where a signal ended it. */
  readonly exit: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface RunOptions {
  /** Milliseconds until it is killed. */
  readonly timeout?: number;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Its stdin; empty where absent. */
  readonly input?: string;
}

/** @throws Error where it cannot be started, as with code ENOENT where there is no such program */
export async function runProgram(
  file: string,
  args: readonly string[],
  { timeout, env = { PATH }, input = '' }: RunOptions = {},
): Promise<ProgramEnd> {
  const child = spawn(file, args, { env, timeout, killSignal: 'SIGKILL', stdio: 'pipe' });
  // The program may end before it has read all of its input.
  child.stdin.on('error', () => {}).end(input);
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  const [exit] = (await once(child, 'close')) as [number | null];
  return { exit, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() };
}

/** One of our own commands, or with CNI_COMMAND in the environment the plugin. */
export async function runOwn(args: readonly string[], options: RunOptions = {}): Promise<ProgramEnd> {
  const { file, args: before } = ownProgram();
  return runProgram(file, [...before, ...args], { ...options, env: { PATH, ...options.env } });
}

/** Runs this program as `runOwn` does, on this process's stdout and stderr. @returns its exit code; 3 where a signal ended it */
export async function runOwnAttached(args: readonly string[], input = ''): Promise<number> {
  const { file, args: before } = ownProgram();
  const child = spawn(file, [...before, ...args], {
    env: process.env,
    argv0: 'tollgate',
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  child.stdin.on('error', () => {}).end(input);
  const [exit] = (await once(child, 'close')) as [number | null];
  return exit ?? 3;
}
