/**
 * A node to measure on: a network namespace, in which programs are started as a runtime starts them, with nothing in between.
 * All of this lives in the namespaces that bench.sh made, and goes with them.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
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
    return inNetns(this.netns, () => ({ child: spawn(command, [...args], { env, stdio: 'ignore' }) })).child;
  }

  sh(script: string): string {
    return this.run({ command: '/bin/sh', args: ['-ec', script], env: { PATH } }).stdout;
  }

  write(file: string, text: string): void {
    writeFileSync(`${this.folder}/${file}`, text);
  }

  /** From before it is started until it has ended. @throws Error where it does not end with 0 */
  run({ command, args = [], env = { PATH }, input = '' }: Program): Timed {
    const start = performance.now();
    const done = inNetns(this.netns, () =>
      spawnSync(command, [...args], {
        input,
        env,
        encoding: 'utf8',
        maxBuffer: 1 << 28,
        stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
      }),
    );
    const ms = performance.now() - start;
    if (done.error) throw done.error;
    if (done.status !== 0) throw failed([command, ...args], done.status, done.stderr + done.stdout);
    return { ms, stdout: done.stdout, note: done.output[3] ?? '' };
  }

  /** As `run`, beside others. */
  async start({ command, args = [], env = { PATH }, input = '' }: Program): Promise<Timed> {
    const start = performance.now();
    const child = inNetns(this.netns, () => ({ process: spawn(command, [...args], { env, stdio: 'pipe' }) })).process;
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const)
      child[name].setEncoding('utf8').on('data', (text: string) => {
        output[name] += text;
      });
    child.stdin.on('error', () => {}).end(input);
    const status = await new Promise<number | null>((resolve, reject) =>
      child.on('error', reject).on('close', resolve),
    );
    if (status !== 0) throw failed([command, ...args], status, output.stderr + output.stdout);
    return { ms: performance.now() - start, stdout: output.stdout, note: '' };
  }
}

const failed = (command: readonly string[], status: number | null, said: string): Error =>
  new Error(`${command.join(' ')} ended with ${status}: ${said}`);

/** So many at once, each item in turn. */
export async function parallel<T>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  const queue = items.values();
  const worker = async () => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker));
}
