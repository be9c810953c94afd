/** The agent of one node, which proofs kill and bring back: as a program of ours, or as kubelet runs it in a pod. */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { readText } from '../../lib/state/atomic.ts';
import type { Host } from '../support/host.ts';
import { until } from '../support/until.ts';
import type { Daemon } from './daemon.ts';

export interface NodeAgent {
  /** Process number, as the test sees it. */
  readonly pid: number;
  /** Kills it, and keeps it from coming back until it is started. */
  kill(): Promise<void>;
  start(): void;
  /** The last lines of its log. */
  tail(lines: number): string;
}

export const programAgent = (daemon: Daemon): NodeAgent => ({
  get pid() {
    return daemon.pid;
  },
  kill: async () => await daemon.end('SIGKILL'),
  start: () => void daemon.start(),
  tail: lines => daemon.tail(lines),
});

const link = (path: string): string | undefined => {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
};
const wordsOf = (pid: string): readonly string[] => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
};

/** It shares the node's network; kubelet is held while it is to stay away. */
export class PodAgent implements NodeAgent {
  readonly #host: Host;
  readonly #kubelet: Daemon;

  constructor(host: Host, kubelet: Daemon) {
    this.#host = host;
    this.#kubelet = kubelet;
  }

  get #found(): number | undefined {
    const network = link(`/proc/${this.#host.pid}/ns/net`);
    const isIt = (pid: string) => {
      const [program = '', verb] = wordsOf(pid);
      return /(^|\/)tollgate$/.test(program) && verb === 'agent' && link(`/proc/${pid}/ns/net`) === network;
    };
    const pid = readdirSync('/proc')
      .filter(name => /^\d+$/.test(name))
      .find(isIt);
    return pid === undefined ? undefined : Number(pid);
  }

  get pid(): number {
    const pid = this.#found;
    if (pid === undefined) throw new Error('The agent is not running');
    return pid;
  }

  async kill(): Promise<void> {
    const pid = await until('the agent to run', () => this.#found);
    process.kill(this.#kubelet.pid, 'SIGSTOP');
    process.kill(pid, 'SIGKILL');
    await until('the agent to be gone', () => this.#found !== pid);
  }

  start(): void {
    process.kill(this.#kubelet.pid, 'SIGCONT');
  }

  tail(lines: number): string {
    // kubelet removes those of agents that have gone in its own time.
    const [log] = this.#host
      .files('/var/log/pods')
      .filter(file => /\/kube-system_tollgate-[^/]*\/agent\/\d+\.log$/.test(file))
      .map(file => this.#host.path(file))
      .map(path => ({ path, written: statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0 }))
      .sort((a, b) => b.written - a.written);
    const said = log && readText(log.path);
    return (said ?? '').split('\n').slice(-lines).join('\n');
  }
}
