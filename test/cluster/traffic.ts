/** Traffic that goes on while something happens, and what it says of it afterwards. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { until } from '../support/until.ts';
import type { Pod } from './api.ts';
import type { Target } from './asker.ts';
import type { KubeCluster } from './cluster.ts';

/** A program with lines to say; it ends when it is asked for its word. */
class Talker implements Disposable {
  readonly #process: ChildProcess;
  readonly #closed: Promise<unknown[]>;
  #rest = '';
  readonly lines: string[] = [];

  constructor(process: ChildProcess) {
    this.#process = process;
    this.#closed = once(process, 'close');
    process.stdout!.setEncoding('utf8').on('data', chunk => {
      const said = `${this.#rest}${chunk}`.split('\n');
      this.#rest = said.pop()!;
      this.lines.push(...said);
    });
    process.stdin!.on('error', () => {});
  }

  /** Whether it goes on: it ends by itself only where something is wrong. */
  get isGoing(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  async end(): Promise<readonly string[]> {
    this.#process.stdin!.end();
    const [exit] = await this.#closed;
    assert.equal(exit, 0, `traffic broke: ${this.#process.spawnargs.join(' ')}`);
    return this.lines;
  }

  [Symbol.dispose](): void {
    this.#process.kill('SIGKILL');
  }
}

export interface Talk {
  readonly echoes: number;
  /** Milliseconds. */
  readonly longestWait: number;
}

/** One connection that goes on for as long as it is let. */
export class Connection implements Disposable {
  readonly #talker: Talker;

  static async open(cluster: KubeCluster, from: Pod, to: Pod): Promise<Connection> {
    return await Connection.openTo(cluster, from, { address: to.status.podIP!, port: 80 });
  }

  /** @param patience milliseconds without an echo after which it counts as broken */
  static async openTo(
    cluster: KubeCluster,
    from: Pod,
    { address, port }: Omit<Target, 'transport'>,
    patience = 30_000,
  ): Promise<Connection> {
    const words = ['talk', address, String(port), String(patience)];
    const connection = new Connection(new Talker(cluster.spawn(from, ...words)));
    await until('a first echo', () => {
      assert.ok(connection.#talker.isGoing, 'no connection');
      return connection.#talker.lines.length > 0;
    });
    return connection;
  }

  private constructor(talker: Talker) {
    this.#talker = talker;
  }

  get isGoing(): boolean {
    return this.#talker.isGoing;
  }

  /** Resolves when ten more words have come back. @throws Error where it breaks before */
  async goesOn(): Promise<void> {
    const { length } = this.#talker.lines;
    await until('more echoes', () => {
      assert.ok(this.#talker.isGoing, 'the connection broke');
      return this.#talker.lines.length > length;
    });
  }

  async end(): Promise<Talk> {
    const [echoes, longestWait] = (await this.#talker.end()).at(-1)!.split(' ').map(Number);
    return { echoes: echoes!, longestWait: longestWait! };
  }

  [Symbol.dispose](): void {
    this.#talker[Symbol.dispose]();
  }
}

export interface Knock {
  /** Milliseconds since 1970. */
  readonly sent: number;
  readonly isEchoed: boolean;
}

const knockOf = (line: string): Knock => {
  const [sent, echoed] = line.split(' ');
  return { sent: Number(sent) / 1000, isEchoed: echoed === '1' };
};

export interface KnockOptions {
  /** Milliseconds from one to the next. */
  readonly interval: number;
  /** Milliseconds until one that nothing came of counts as lost. */
  readonly patience: number;
}

/** New flows without an end: each datagram is one. */
export class Knocking implements Disposable {
  readonly #talker: Talker;

  constructor(cluster: KubeCluster, from: Pod, to: Pod, options: Partial<KnockOptions> = {}) {
    const { interval = 10, patience = 5000 } = options;
    const words = ['knock', to.status.podIP!, '80', String(interval * 1000), String(patience)];
    this.#talker = new Talker(cluster.spawn(from, ...words));
  }

  /** Those of which it is known by now, but for the first so many; in the order of sending. */
  knocks(from = 0): readonly Knock[] {
    return this.#talker.lines.slice(from).map(knockOf);
  }

  /** Of how many it is known by now. */
  get count(): number {
    return this.#talker.lines.length;
  }

  async end(): Promise<readonly Knock[]> {
    return (await this.#talker.end()).map(knockOf);
  }

  [Symbol.dispose](): void {
    this.#talker[Symbol.dispose]();
  }
}

/** Notes down in a pod's own network namespace, before anything else there, who has sent it anything at all. */
export class Visitors {
  readonly #netns: string;

  constructor(cluster: KubeCluster, pod: Pod) {
    this.#netns = cluster.netnsPath(pod);
    this.#nft(`add table ip visitors; delete table ip visitors; table ip visitors {
      set seen { type ipv4_addr; flags dynamic; size 65535; }
      chain note { type filter hook prerouting priority -450; add @seen { ip saddr }; }
    }`);
  }

  #nft(command: string): string {
    return execFileSync('nsenter', [`--net=${this.#netns}`, 'nft', '-j', command], { encoding: 'utf8' });
  }

  /** Addresses. */
  get seen(): ReadonlySet<string> {
    const answer = JSON.parse(this.#nft('list set ip visitors seen')) as {
      readonly nftables: readonly { readonly set?: { readonly elem?: readonly string[] } }[];
    };
    return new Set(answer.nftables.flatMap(({ set }) => set?.elem ?? []));
  }
}
