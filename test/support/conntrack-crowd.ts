/** Other programs of the machine that look at a kernel's large table of connections without end. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseAddress } from '../../lib/ip/address.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { inNetns } from '../../lib/kernel/netns.ts';
import { makeNetns, type Netns } from './netns.ts';
import { manyFlows, openFlows } from './tracked-flows.ts';

const walker = fileURLToPath(new URL('conntrack-walker.ts', import.meta.url));
const MOST = 100_000;
/** A kernel on a small machine has room for fewer: half of its room is taken. */
const room = (): number => Number(readFileSync('/proc/sys/net/netfilter/nf_conntrack_max', 'latin1')) || MOST * 2;

function fill(netns: Netns): void {
  using socket = inNetns(netns, () => NetlinkSocket.open('netfilter'));
  const [from, to] = ['198.18.0.1', '198.18.0.2'].map(text => parseAddress(text)!);
  openFlows(socket.exchange, manyFlows(from!, to!, Math.min(MOST, room() >> 1)));
}

export class ConntrackCrowd implements Disposable {
  /** One namespace has the connections; in the other, which has none, they are looked for. */
  readonly #places: readonly Netns[];
  readonly #child: ChildProcess;
  /** The number of walks through the whole table. */
  walks = 0;

  /** @param threads so many stand before the kernel's lock at once */
  constructor(threads: number) {
    using undo = new DisposableStack();
    const [full, empty] = [undo.use(makeNetns()), undo.use(makeNetns())];
    fill(full);
    const args = ['netns', 'exec', empty.name, process.execPath, '--disable-warning=ExperimentalWarning', walker];
    const env = { ...process.env, UV_THREADPOOL_SIZE: String(threads) };
    this.#child = spawn('ip', args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
    this.#child.stdout!.on('data', (chunk: Buffer) => {
      this.walks += chunk.toString().split('\n').length - 1;
    });
    this.#places = [full, empty];
    undo.move();
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
    for (const place of this.#places) place[Symbol.dispose]();
  }
}
