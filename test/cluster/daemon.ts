/** A program that is to run all the time, can be killed, and started again; what it says goes to a file. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readFileSync } from 'node:fs';
import type { Host } from '../support/host.ts';
import { until } from '../support/until.ts';

/** Where logs go, and what was built for this run lies. */
export const scratch = process.env['TOLLGATE_CLUSTER_SCRATCH']!;
/** Kubernetes' programs. */
export const kubernetes = process.env['TOLLGATE_CLUSTER_BIN']!;

/** Flags of a program, without their dashes. */
export type Flags = Readonly<Record<string, string | boolean | number>>;

export const flagsOf = (flags: Flags): string[] => Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);

export interface Program {
  readonly name: string;
  readonly command: readonly string[];
  /** Where it runs; in the namespaces of the test itself where absent. */
  readonly host?: Host;
}

/** Output goes straight to the file: a test that is busy keeps no program waiting. */
function spawnLogged({ command, host }: Program, log: string): ChildProcess {
  if (host) return host.spawn(['sh', '-c', 'exec "$@" >>"$0" 2>&1', log, ...command]);
  const output = openSync(log, 'a');
  return spawn('setpriv', ['--pdeathsig', 'KILL', ...command], { stdio: ['ignore', output, output], cwd: '/' });
}

export class Daemon {
  readonly name: string;
  readonly #program: Program;
  readonly log: string;
  #process: ChildProcess | undefined;

  constructor(program: Program) {
    this.#program = program;
    this.name = program.name;
    this.log = `${scratch}/${program.name}.log`;
  }

  start(): this {
    const started = spawnLogged(this.#program, this.log);
    for (const stream of [started.stdin, started.stdout, started.stderr]) stream?.destroy();
    started.unref();
    this.#process = started;
    return this;
  }

  get isRunning(): boolean {
    return this.#process !== undefined && this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** Process number, as the test sees it. Who enters a host waits outside for what it has started inside. */
  get pid(): number {
    const pid = this.#process!.pid!;
    if (!this.#program.host) return pid;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    if (children === '') throw new Error(`${this.name} is not running`);
    return Number(children);
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const exited = once(this.#process!, 'exit');
    process.kill(this.pid, signal);
    await exited;
  }

  /** The last lines that it said. */
  tail(lines = 20): string {
    return readFileSync(this.log, 'utf8').split('\n').slice(-lines).join('\n');
  }

  /** Waits until what it does shows. */
  async until<T>(what: string, found: () => T | Promise<T>): Promise<NonNullable<T>> {
    return await until(`${this.name}: ${what}`, async () => {
      if (!this.isRunning) throw new Error(`${this.name} has ended:\n${this.tail()}`);
      return await found();
    });
  }
}
