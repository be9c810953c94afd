/** Holds back whatever nodes and the API server say to each other; the test itself asks the server without delay. */
import { execFileSync } from 'node:child_process';
import net from 'node:net';

const SLOW_PORT = 16_443;

/** Hands on what comes in, in order, each piece so many milliseconds later. */
function later(from: net.Socket, to: net.Socket, ms: number): void {
  from.on('data', chunk => {
    setTimeout(() => {
      if (!to.destroyed) to.write(chunk);
    }, ms);
  });
  from.on('close', () => setTimeout(() => to.destroy(), ms));
  from.on('error', () => {});
}

/** New connections of nodes go through the delay; those that were open are reset, so that they come again. */
const rules = `table ip slow {
  chain in { type nat hook prerouting priority -100; iifname nodes tcp dport 6443 redirect to :${SLOW_PORT}; }
  chain old { type filter hook input priority 0; iifname nodes tcp dport 6443 reject with tcp reset; }
}`;
const nft = (command: string): void => void execFileSync('nft', ['-f', '-'], { input: command });

export class SlowApi implements AsyncDisposable {
  readonly #server: net.Server;
  readonly #open = new Set<net.Socket>();
  /** Connections that have come through it. */
  count = 0;

  static async start(ms: number): Promise<SlowApi> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const slow = new SlowApi(ms);
    slow.#server.listen(SLOW_PORT, '0.0.0.0', resolve);
    await promise;
    nft(rules);
    return slow;
  }

  private constructor(ms: number) {
    this.#server = net.createServer(near => {
      this.count++;
      const far = net.connect(6443, '127.0.0.1');
      for (const socket of [near, far]) {
        this.#open.add(socket);
        socket.on('close', () => this.#open.delete(socket));
      }
      later(near, far, ms);
      later(far, near, ms);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    nft('delete table ip slow');
    for (const socket of this.#open) socket.destroy();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    await promise;
  }
}
