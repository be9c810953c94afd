/**
 * A machine to plug pods into: a process with mounts and a network of its own, in which everything that a test makes
 * lives. The kernel sweeps it all away when that process ends, and it ends with the test, however the test ends.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { errnoOf } from '../../lib/state/error.ts';
import { enterProgram } from './enter.ts';
import { PATIENCE, until } from './until.ts';
import type { Way } from './way.ts';

export interface Exit {
  /** 128 + the signal's number is not used: `signal` says so, and exit is null. */
  readonly exit: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
}

export interface Run {
  readonly input?: string | Uint8Array;
  /** The whole environment; PATH alone where absent. */
  readonly env?: Readonly<Record<string, string>>;
  /** A namespace of `Host.netns`, by name; the host's own where absent. */
  readonly netns?: string;
  /** SIGKILL this many milliseconds after the start. */
  readonly killAfter?: number;
  /** Leave stdin open, with nothing in it. */
  readonly openStdin?: boolean;
  /** SIGKILL, and a failure of the test, after this many milliseconds (`PATIENCE`). */
  readonly deadline?: number;
}

export type Transport = 'tcp' | 'udp';

const enter = enterProgram();
const echo = fileURLToPath(new URL('echo.ts', import.meta.url));
const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
/** A variable of the environment by which test/run.sh finds leftover processes. */
const mark = process.env['TOLLGATE_TEST_RUN'];
const marked = mark === undefined ? {} : { TOLLGATE_TEST_RUN: mark };
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface HostOptions {
  /** Has a process namespace too, so that daemons end with the host. */
  readonly pids?: boolean;
  /** How calls reach the plugin; `alone` where absent. `furnished` puts there what it takes. */
  readonly way?: Way;
  /** A name of its own, as hostname(1) says it; that of the machine where absent. */
  readonly hostname?: string;
  /** Shell lines run inside as it starts, before anything else. */
  readonly setup?: string;
}

/**
 * Seconds that conntrack remembers any state of any connection for: a closed one it would forget after 10, and a busy machine
 * may take longer from one step of a test to the next.
 */
const CONNTRACK_TIMEOUT = 3600;

const open = new Set<Host>();
process.on('exit', () => {
  for (const host of [...open]) host[Symbol.dispose]();
});

export class Host implements Disposable {
  readonly #holder: ChildProcess;
  readonly #pids: boolean;
  readonly #uts: boolean;
  readonly #kept = new Set<ChildProcess>();
  #names = 0;
  /** The process that holds the namespaces. */
  readonly pid: number;
  readonly way: Way;

  /** Only `lo` is there, and up; /run and /var/lib are empty, and its own. */
  static async start(options: HostOptions = {}): Promise<Host> {
    const { pids = false, way = 'alone', hostname } = options;
    const fork = pids ? ['--pid', '--fork', '--kill-child=KILL', '--mount-proc'] : [];
    const uts = hostname === undefined ? [] : ['--uts'];
    // The checkout must stay in sight, wherever it is; and the machine's own state must not be.
    const script = `set -e; for d in /run /var/lib; do mount -t tmpfs tmpfs $d; done
      sight() { [ -e "$PWD/package.json" ] || { mkdir -p "$PWD"; mount -c --bind . "$PWD"; }; }
      for t in /proc/sys/net/netfilter/nf_conntrack_*_timeout*; do echo ${CONNTRACK_TIMEOUT} >$t; done
      sight; mkdir /run/netns; ${hostname === undefined ? '' : `hostname ${hostname};`} ip link set lo up; ${options.setup ?? ''}
      sight
      echo ready; exec sleep infinity`;
    const unshare = '--pdeathsig KILL unshare --mount --net --propagation private'.split(' ');
    const holder = spawn('setpriv', [...unshare, ...uts, ...fork, 'sh', '-c', script], {
      ...{ env: { PATH, ...marked }, cwd: root },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    const ready = new Promise<void>((resolve, reject) => {
      holder.stdout.on('data', (chunk: Buffer) => chunk.toString().includes('ready') && resolve());
      holder.stderr.on('data', (chunk: Buffer) => {
        said += chunk.toString();
      });
      holder.on('error', reject).on('exit', () => reject(new Error(`Cannot start a host: ${said}`)));
    });
    await ready;
    holder.stdout.destroy();
    holder.stderr.destroy();
    holder.unref();
    return new Host(holder, { pids, uts: uts.length > 0, way });
  }

  private constructor(
    holder: ChildProcess,
    { pids, uts, way }: { readonly pids: boolean; readonly uts: boolean; readonly way: Way },
  ) {
    this.way = way;
    this.#holder = holder;
    this.#pids = pids;
    this.#uts = uts;
    const pid = holder.pid!;
    this.pid = pids ? Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()) : pid;
    open.add(this);
  }

  /** Ends it with the host, and does not wait for it before. */
  keep(child: ChildProcess): void {
    for (const stream of [child.stdin, child.stdout, child.stderr]) stream!.destroy();
    child.unref();
    this.#kept.add(child);
    child.once('exit', () => this.#kept.delete(child));
  }

  get isOver(): boolean {
    return !open.has(this);
  }

  [Symbol.dispose](): void {
    open.delete(this);
    for (const child of this.#kept) child.kill('SIGKILL');
    this.#holder.kill('SIGKILL');
  }

  /** The path by which the test reaches a file of the host. */
  path(file: string): string {
    return `/proc/${this.pid}/root${file}`;
  }

  write(file: string, text: string | Uint8Array): void {
    writeFileSync(this.path(file), text);
  }

  /** Paths of all files below, sorted; none where the folder is not there. */
  files(folder: string): string[] {
    const root = this.path(folder);
    while (existsSync(root))
      try {
        return readdirSync(root, { withFileTypes: true, recursive: true })
          .filter(entry => !entry.isDirectory())
          .map(entry => `${folder}${entry.parentPath.slice(root.length)}/${entry.name}`)
          .sort();
      } catch (error) {
        // A folder below was removed meanwhile.
        if (errnoOf(error) !== 'ENOENT') throw error;
      }
    return [];
  }

  /** What a program of the host, or of one of its namespaces, is started by. */
  #enter(netns: string | undefined): [string, ...string[]] {
    const [mounts, net] = [`/proc/${this.pid}/ns/mnt`, `/proc/${this.pid}/ns/net`];
    const network = netns === undefined ? net : this.path(`/run/netns/${netns}`);
    if (!this.#pids && !this.#uts) return [enter, mounts, network];
    const pid = this.#pids ? [`--pid=/proc/${this.pid}/ns/pid`] : [];
    const uts = this.#uts ? [`--uts=/proc/${this.pid}/ns/uts`] : [];
    const nsenter = ['nsenter', `--mount=${mounts}`, `--net=${network}`, ...uts, ...pid, '--'];
    return ['setpriv', '--pdeathsig', 'KILL', ...nsenter];
  }

  /** Starts a program that ends with the test at the latest. */
  spawn(command: readonly string[], run: Run = {}): ChildProcess {
    const [program, ...args] = this.#enter(run.netns);
    return spawn(program, [...args, ...command], { stdio: 'pipe', env: run.env ?? { PATH, ...marked }, cwd: '/' });
  }

  async run(command: readonly string[], run: Run = {}): Promise<Exit> {
    const start = performance.now();
    const child = this.spawn(command, run);
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout!.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr!.on('data', (chunk: Buffer) => stderr.push(chunk));
    // A program may well end without reading what it is given.
    child.stdin!.on('error', () => {});
    if (!run.openStdin) child.stdin!.end(run.input ?? '');
    const deadline = setTimeout(() => child.kill('SIGKILL'), run.killAfter ?? run.deadline ?? PATIENCE);
    const [exit, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    clearTimeout(deadline);
    const ms = performance.now() - start;
    const text = (chunks: Buffer[]) => Buffer.concat(chunks).toString();
    if (signal && run.killAfter === undefined) {
      throw new Error(`${command.join(' ')} did not end, or was killed (${signal}): ${text(stderr)}`);
    }
    return { exit, signal, stdout: text(stdout), stderr: text(stderr), ms };
  }

  /** Standard output of a program that must succeed. */
  async must(command: readonly string[], run: Run = {}): Promise<string> {
    const { exit, stdout, stderr } = await this.run(command, run);
    if (exit !== 0) throw new Error(`${command.join(' ')}: exit ${exit}: ${stderr}${stdout}`);
    return stdout;
  }

  /** Standard input is a socket, as where sshd calls: bash would read the .bashrc of who runs the tests. */
  sh(script: string, netns?: string): Promise<string> {
    return this.must(['bash', '--norc', '-ec', script], netns === undefined ? {} : { netns });
  }

  /** New network namespaces, named, at /run/netns/NAME; nothing is up in them. */
  async netns(count: number): Promise<string[]> {
    const names = Array.from({ length: count }, () => `pod${++this.#names}`);
    await this.must(['ip', '-batch', '-'], { input: names.map(name => `netns add ${name}\n`).join('') });
    return names;
  }

  async pod(): Promise<string> {
    const [name] = await this.netns(1);
    return name!;
  }

  /**
   * Deletes a network namespace and waits until its links are gone: the kernel deletes them in its own time, one namespace
   * of the machine after another.
   */
  async removeNetns(name: string): Promise<void> {
    const inside = JSON.parse(await this.sh('ip -j link', name)) as readonly { readonly link_index?: number }[];
    const others = inside.map(({ link_index }) => link_index).filter(index => index !== undefined);
    await this.sh(`ip netns delete ${name}`);
    await until(`the links of ${name} to be gone`, async () => {
      const left = JSON.parse(await this.sh('ip -j link')) as readonly { readonly ifindex: number }[];
      return !left.some(({ ifindex }) => others.includes(ifindex));
    });
  }

  /**
   * A namespace beyond the host's only wire: the host is 192.0.2.1 and 2001:db8::1 on `wire`, it is .2 and ::2, and it
   * sends everything else to the host.
   */
  async outside(): Promise<string> {
    const name = await this.pod();
    await this.sh(`echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad; ip link add wire type veth peer name wire netns ${name}
      ip addr add 192.0.2.1/24 dev wire; ip addr add 2001:db8::1/64 dev wire nodad; ip link set wire up
      ip -n ${name} addr add 192.0.2.2/24 dev wire; ip -n ${name} addr add 2001:db8::2/64 dev wire nodad
      ip -n ${name} link set lo up; ip -n ${name} link set wire up
      ip -n ${name} route add default via 192.0.2.1; ip -n ${name} route add default via 2001:db8::1`);
    return name;
  }

  /** Whether the very first packet to an address is answered, within so many seconds. */
  async pings(address: string, netns?: string, patience = 30): Promise<boolean> {
    const run = netns === undefined ? {} : { netns };
    return (await this.run(['ping', '-n', '-c', '1', '-W', String(patience), address], run)).exit === 0;
  }

  /** Starts a server that answers each line with `NAME <address of the one who asks>`; it listens when this returns. */
  async serve(
    name: string,
    transport: Transport,
    port: number,
    netns?: string,
    family: 4 | 6 = 4,
  ): Promise<ChildProcess> {
    const command = [process.execPath, echo, name, transport, String(port), String(family)];
    const child = this.spawn(command, netns === undefined ? {} : { netns });
    const [said] = await Promise.race([once(child.stdout!, 'data'), once(child, 'exit')]);
    if (String(said) !== 'ready\n') throw new Error(`Cannot serve ${transport} port ${port}: ${said}`);
    for (const stream of [child.stdin, child.stdout, child.stderr]) stream!.destroy();
    child.unref();
    return child;
  }

  /** The server's answer; undefined where none comes within the patience (ms). */
  async ask(
    transport: Transport,
    address: string,
    port: number,
    netns?: string,
    patience = 30_000,
  ): Promise<string | undefined> {
    const script = `exec 3<>/dev/$0/$1/$2 && echo hello >&3 && head -n 1 <&3`;
    const seconds = String(patience / 1000);
    const command = ['timeout', seconds, 'bash', '--norc', '-c', script, transport, address, String(port)];
    const { stdout } = await this.run(command, netns === undefined ? {} : { netns });
    return stdout.trim() || undefined;
  }
}
