/**
 * A node to measure on: a network namespace, in which programs are started as a runtime starts them, with nothing in between.
 * All of this lives in the namespaces that bench.sh made, and goes with them.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { inNetns, Netns } from '../../lib/kernel/netns.ts';

export interface Timed {
  readonly ms: number;
  readonly stdout: string;
  /** What the program wrote to descriptor 3. */
  readonly note: string;
}

export interface Program {
  readonly command: string;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
}

const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

export function must(command: string, args: readonly string[], input = ''): string {
  const done = spawnSync(command, [...args], { input, encoding: 'utf8', maxBuffer: 1 << 28 });
  if (done.error) throw done.error;
  if (done.status === 0) return done.stdout;
  throw new Error(`Cannot ${[command, ...args].join(' ')}: exit ${done.status}: ${done.stderr}${done.stdout}`);
}

let count = 0;

/** Network namespaces with nothing in them; names for /run/netns. */
export function makeNetns(number: number): string[] {
  const names = Array.from({ length: number }, () => `b${++count}`);
  must('ip', ['-batch', '-'], names.map(name => `netns add ${name}\n`).join(''));
  return names;
}

export class BenchNode {
  readonly name: string;
  readonly netns: Netns;
  /** For state, run and policies of this node alone. */
  readonly folder: string;

  constructor() {
    const [name] = makeNetns(1);
    this.name = name!;
    this.netns = Netns.open(`/run/netns/${name}`);
    this.folder = `/run/bench/${name}`;
    mkdirSync(`${this.folder}/policies`, { recursive: true });
    this.sh('ip link set lo up; echo 1 >/proc/sys/net/ipv4/ip_forward');
  }

  /** A program that stays; it ends with the benchmark. */
  serve({ command, args = [], env = { PATH } }: Program): ChildProcess {
    const { child } = inNetns(this.netns, () => ({ child: spawn(command, [...args], { env, stdio: 'ignore' }) }));
    // The benchmark does not wait for it.
    child.unref();
    return child;
  }

  sh(script: string): string {
    return this.run({ command: '/bin/sh', args: ['-ec', script], env: { PATH } }).stdout;
  }

  /** In one piece: its reader sees the file of before or this one. */
  write(file: string, text: string): void {
    const path = `${this.folder}/${file}`;
    writeFileSync(`${path}.next`, text);
    renameSync(`${path}.next`, path);
  }

  /** How many links it has. */
  links(): number {
    // Two lines are the table's head.
    return inNetns(
      this.netns,
      () => readFileSync('/proc/thread-self/net/dev', 'latin1').trimEnd().split('\n').length - 2,
    );
  }

  /** From before it is started until it has ended. @throws Error where it does not end with 0 */
  run(program: Program): Timed {
    const [command, args, options] = callsOf([program], 1);
    const done = inNetns(this.netns, () => spawnSync(command, args, { ...options, stdio: Array(4).fill('pipe') }));
    if (done.error) throw done.error;
    const [outcome] = succeeded(outcomes(done.stdout, done.stderr, [program]).each, [program]);
    return { ms: outcome!.ms, stdout: outcome!.stdout, note: String(done.output[3] ?? '') };
  }

  /**
   * All of them, which differ in environment and input alone, so many at once;
   * milliseconds from the first start to the last end.
   */
  async runAll(programs: readonly Program[], width: number): Promise<number> {
    const { each, all } = await this.#startAll(programs, width);
    succeeded(each, programs);
    return all;
  }

  /** The same, where some may fail: how each of them ended. */
  async tryAll(programs: readonly Program[], width: number): Promise<readonly Outcome[]> {
    return (await this.#startAll(programs, width)).each;
  }

  async #startAll(programs: readonly Program[], width: number): Promise<ReturnType<typeof outcomes>> {
    const [command, args, { input, env }] = callsOf(programs, width);
    const child = inNetns(this.netns, () => ({ process: spawn(command, args, { env, stdio: 'pipe' }) })).process;
    const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
    for (const name of ['stdout', 'stderr'] as const)
      child[name].on('data', (piece: Buffer) => output[name].push(piece));
    child.stdin.on('error', () => {}).end(input);
    await once(child, 'close');
    return outcomes(Buffer.concat(output.stdout), Buffer.concat(output.stderr), programs);
  }
}

/** Made of calls.c by bench.sh. */
const calls = fileURLToPath(new URL('../../dist/tools/calls', import.meta.url));

function callsOf(programs: readonly Program[], width: number) {
  const [{ command, args = [] }] = programs as [Program];
  const parts = programs.flatMap(({ env = { PATH }, input = '' }) => {
    const variables = Object.entries(env).map(([key, value]) => `${key}=${value}\0`);
    const [environment, stdin] = [Buffer.from(variables.join('')), Buffer.from(input)];
    return [Buffer.from(`${environment.length} ${stdin.length}\n`), environment, stdin];
  });
  const options = { input: Buffer.concat(parts), env: { PATH }, maxBuffer: 1 << 28 };
  return [calls, [String(width), command, ...args], options] as const;
}

const NEWLINE = 10;

export interface Outcome {
  readonly ms: number;
  readonly stdout: string;
  readonly stderr: string;
  /** 0 where it succeeded. @see wait(2) */
  readonly status: number;
}

/** @throws Error where one did not end with 0 */
function succeeded(outcomes: readonly Outcome[], programs: readonly Program[]): readonly Outcome[] {
  for (const [i, { status, stdout, stderr }] of outcomes.entries()) {
    const { command, args = [] } = programs[i]!;
    if (status !== 0) throw failed([command, ...args], status, stderr + stdout);
  }
  return outcomes;
}

/** What calls.c prints. @throws Error where they could not be started */
function outcomes(printed: Buffer, complaint: Buffer, programs: readonly Program[]) {
  let at = 0;
  const line = (): number[] => {
    const end = printed.indexOf(NEWLINE, at);
    if (end < 0) throw new Error(`Cannot start ${programs[0]?.command}: ${complaint}`);
    const text = printed.toString('utf8', at, end);
    at = end + 1;
    return text.split(' ').map(Number);
  };
  const bytes = (size: number): string => {
    at += size;
    return printed.toString('utf8', at - size, at);
  };
  const each = programs.map((): Outcome => {
    const [, ns, status, out, err] = line() as [number, number, number, number, number];
    const [stdout, stderr] = [bytes(out), bytes(err)];
    return { ms: ns / 1e6, stdout, stderr, status };
  });
  return { each, all: line()[0]! / 1e6 };
}

const failed = (command: readonly string[], status: number, said: string): Error =>
  new Error(`${command.join(' ')} ended with wait status ${status}: ${said}`);
