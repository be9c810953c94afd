/** The demonstration's node: a network and files of its own, pods as processes, and tollgate called as runtimes call it. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setLink } from '../../kernel/link.ts';
import { must } from '../../kernel/message.ts';
import { NetlinkSocket } from '../../kernel/netlink.ts';
import { Nft } from '../../kernel/nft.ts';
import { unshareFolder, unshareNetwork } from '../../kernel/unshare.ts';
import { allLinks } from '../../pod/interface.ts';
import { ownProgram, PATH } from '../program.ts';
import type { DemoReply, Order } from './pod-program.ts';

/** In the private /run, so that the commands of the demonstration need no options. */
const stateDir = '/run/tollgate/state';
export const policies = '/run/tollgate/policies';

export interface Ended {
  readonly exit: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
}

async function run(args: readonly string[], env: Readonly<Record<string, string>>, stdin = ''): Promise<Ended> {
  const start = performance.now();
  const { file, args: first } = ownProgram();
  const child = spawn(file, [...first, ...args], { env: { PATH, ...env } });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', text => {
      output[name] += text;
    });
  child.stdin.on('error', () => {}).end(stdin);
  const [exit] = (await once(child, 'close')) as [number | null];
  return { exit, ...output, ms: performance.now() - start };
}

/** One of the commands that a person types. @throws Error where it fails */
export async function type(args: readonly string[], expected = 0): Promise<string> {
  const { exit, stdout, stderr } = await run(args, {});
  if (exit !== expected) throw new Error(`tollgate ${args.join(' ')} failed: ${stderr}${stdout}`);
  return stdout;
}

/** A process with a network of its own. */
export class DemoPod implements Disposable {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #replies: AsyncIterator<string>;
  addresses: readonly string[] = [];

  static async start(namespace: string, name: string, labels: DemoPod['labels']): Promise<DemoPod> {
    const { file, args } = ownProgram();
    const child = spawn(file, [...args, 'demo', '--pod'], { env: { PATH } });
    child.stderr.pipe(process.stderr);
    const pod = new DemoPod(namespace, name, labels, child);
    await pod.#reply();
    return pod;
  }

  private constructor(
    namespace: string,
    name: string,
    labels: DemoPod['labels'],
    child: ChildProcessWithoutNullStreams,
  ) {
    this.namespace = namespace;
    this.name = name;
    this.labels = labels;
    this.#child = child;
    // A pod that has died is noticed by its silence.
    child.stdin.on('error', () => {});
    this.#replies = createInterface(child.stdout)[Symbol.asyncIterator]();
  }

  get ref(): string {
    return `${this.namespace}/${this.name}`;
  }

  get netns(): string {
    return `/proc/${this.#child.pid}/ns/net`;
  }

  async #reply(): Promise<DemoReply> {
    const { value, done } = await this.#replies.next();
    if (done) throw new Error(`Cannot talk to pod ${this.ref}: its process has ended`);
    return JSON.parse(value) as DemoReply;
  }

  order(order: Order): Promise<DemoReply> {
    this.#child.stdin.write(`${JSON.stringify(order)}\n`);
    return this.#reply();
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }
}

interface AddResult {
  readonly ips: readonly { readonly address: string }[];
}

export class Stage {
  readonly families: readonly (4 | 6)[];
  readonly #results = new Map<string, AddResult>();

  /** From here on this process and all that it starts are in a world of their own. @throws SyscallError without root */
  static enter(): Stage {
    unshareNetwork();
    unshareFolder('/run');
    mkdirSync(policies, { recursive: true });
    using socket = NetlinkSocket.open('route');
    must(socket.exchange([setLink({ name: 'lo' }, { up: true })]));
    return new Stage(existsSync('/proc/sys/net/ipv6') ? [4, 6] : [4]);
  }

  private constructor(families: readonly (4 | 6)[]) {
    this.families = families;
  }

  #config(pod: DemoPod): string {
    const subnets = { 4: '10.88.0.0/24', 6: 'fd88::/64' } as const;
    return JSON.stringify({
      cniVersion: '1.1.0',
      name: 'demo',
      type: 'tollgate',
      stateDir,
      policies,
      ipam: { type: 'tollgate-ipam', ranges: this.families.map(family => [{ subnet: subnets[family] }]) },
      runtimeConfig: { labels: pod.labels },
      ...(this.#results.has(pod.ref) ? { prevResult: this.#results.get(pod.ref) } : {}),
    });
  }

  /** A CNI call, as a container runtime makes it. @throws Error where it fails */
  async call(verb: 'ADD' | 'CHECK' | 'DEL', pod: DemoPod): Promise<Ended> {
    const env = {
      CNI_COMMAND: verb,
      CNI_CONTAINERID: `demo-${pod.name}`,
      CNI_NETNS: pod.netns,
      CNI_IFNAME: 'eth0',
      CNI_PATH: '/opt/cni/bin',
      CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${pod.namespace};K8S_POD_NAME=${pod.name}`,
    };
    const ended = await run([], env, this.#config(pod));
    if (ended.exit !== 0) throw new Error(`${verb} of ${pod.ref} failed: ${ended.stdout}${ended.stderr}`);
    if (verb === 'ADD') {
      const result = JSON.parse(ended.stdout) as AddResult;
      this.#results.set(pod.ref, result);
      pod.addresses = result.ips.map(({ address }) => address.split('/')[0]!);
    }
    return ended;
  }

  /** Packets that the gate's policy chains have dropped so far. */
  dropped(): bigint {
    using nft = Nft.open();
    const table = nft.read({ family: 'inet', name: 'tollgate' });
    const chains = table ? [...table.ruleCounters].filter(([name]) => /^(in|out)-/.test(name)) : [];
    return chains.reduce((sum, [, counters]) => sum + (counters.at(-1)?.packets ?? 0n), 0n);
  }

  /** Everything that tollgate could have left behind, in words. */
  leftovers(): string[] {
    using socket = NetlinkSocket.open('route');
    using nft = Nft.open();
    const links = allLinks(socket.exchange).filter(({ name }) => name.startsWith('tg'));
    const chains = nft.baseChains();
    const files = readdirSync(stateDir, { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile() && /\/(attachments|claims)$/.test(entry.parentPath))
      .map(entry => `${entry.parentPath}/${entry.name}`);
    return [
      ...links.map(({ name }) => `link ${name}`),
      ...chains.map(({ table, name }) => `chain ${name} of table ${table}`),
      ...files.map(path => `file ${path}`),
    ];
  }
}
