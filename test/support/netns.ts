/** Network namespaces of a test's own, for both sides of the wire; gone when the test is, also when it fails. */
import { type ChildProcess, type SpawnSyncOptionsWithStringEncoding, spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { PATIENCE } from './until.ts';

const open = new Set<Netns>();
let count = 0;

/** `tg-<pid>-<random>-<n>`: no two runs meet, and what a killed run left behind can be told by its dead pid. */
const uniqueName = (): string =>
  `tg-${process.pid}-${Math.random().toString(36).slice(2, 8).padEnd(6, '0')}-${++count}`;

export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, whatever the end. @throws Error only where it could not be started. */
export function run(
  command: string,
  args: readonly string[],
  options: Omit<SpawnSyncOptionsWithStringEncoding, 'encoding'> = {},
): Outcome {
  const done = spawnSync(command, [...args], { maxBuffer: 1 << 26, ...options, encoding: 'utf8' });
  if (done.error) throw done.error;
  return { status: done.status ?? 128, stdout: done.stdout, stderr: done.stderr };
}

function mustRun(command: string, args: readonly string[], options?: Parameters<typeof run>[2]): Outcome {
  const outcome = run(command, args, options);
  if (outcome.status === 0) return outcome;
  throw new Error(`Cannot ${[command, ...args].join(' ')}: status ${outcome.status}: ${outcome.stderr.trim()}`);
}

let reaper: ChildProcess | undefined;

/**
 * Tells a process that outlives this one what to remove. Its input ends when this process does, however it ends: killed,
 * or aborted by native code, where no exit handler runs. What is gone by then is no matter.
 */
function bequeath(name: string): void {
  if (!reaper) {
    const script =
      'names=; while read -r n; do names="$names $n"; done; for n in $names; do ip netns delete "$n"; done';
    reaper = spawn('sh', ['-c', script], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
    reaper.unref();
    if (reaper.stdin instanceof Socket) reaper.stdin.unref();
  }
  reaper.stdin?.write(`${name}\n`);
}

/** A named network namespace (`ip netns`), with `lo` up. */
export class Netns implements Disposable {
  readonly name: string;
  readonly path: string;
  /** Open for as long as the namespace is. */
  readonly fd: number;

  constructor(name = uniqueName()) {
    bequeath(name);
    mustRun('ip', ['netns', 'add', name]);
    this.name = name;
    this.path = `/run/netns/${name}`;
    this.fd = openSync(this.path, 'r');
    open.add(this);
    this.exec('ip', ['link', 'set', 'lo', 'up']);
  }

  /** Runs a program inside. @throws Error where it does not end with 0. */
  exec(command: string, args: readonly string[], options?: Parameters<typeof run>[2]): Outcome {
    return mustRun('ip', ['netns', 'exec', this.name, command, ...args], options);
  }

  /** Like `exec`, but a failure is returned instead of thrown. */
  try(command: string, args: readonly string[], options?: Parameters<typeof run>[2]): Outcome {
    return run('ip', ['netns', 'exec', this.name, command, ...args], options);
  }

  [Symbol.dispose](): void {
    if (!open.delete(this)) return;
    closeSync(this.fd);
    mustRun('ip', ['netns', 'delete', this.name]);
  }
}

export const makeNetns = (name?: string): Netns => new Netns(name);

/** Waits for a condition, looking every few milliseconds. @throws Error after `deadline` milliseconds. */
export async function until(what: string, condition: () => boolean, deadline = PATIENCE): Promise<void> {
  const end = performance.now() + deadline;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`Cannot see within ${deadline} ms that ${what}`);
    await new Promise(resolve => setTimeout(resolve, 5));
  }
}

/** Links come and go without a pause, in a namespace of their own: each holds the lock that changes of all links take. */
export function busyWithLinks(): Disposable {
  const netns = makeNetns();
  const turn = (n: number) =>
    `ip link add a${n} type veth peer name b${n}; ip link set a${n} up; ip link set b${n} up; ip link del a${n}`;
  const busy = [1, 2, 3, 4].map(n => {
    const command = ['netns', 'exec', netns.name, 'setpriv', '--pdeathsig', 'KILL', 'sh', '-c'];
    return spawn('ip', [...command, `while :; do ${turn(n)}; done`], { stdio: 'ignore' });
  });
  return {
    [Symbol.dispose]() {
      for (const child of busy) child.kill('SIGKILL');
      netns[Symbol.dispose]();
    },
  };
}

process.on('exit', () => {
  for (const netns of [...open]) netns[Symbol.dispose]();
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1));
