/**
 * What lives in a pod of the demonstration: a process with a network of its own that serves and asks as it is told, one
 * JSON value a line. It ends with its stdin, so with the demonstration, however that ends.
 */
import { once } from 'node:events';
import { createServer, get } from 'node:http';
import { isIPv6 } from 'node:net';
import { createInterface } from 'node:readline';
import { unshareNetwork } from '../../kernel/unshare.ts';

export type Order =
  | { readonly kind: 'serve'; readonly port: number; readonly greeting: string; readonly family: 4 | 6 }
  /** Milliseconds until it gives up. */
  | { readonly kind: 'ask'; readonly address: string; readonly port: number; readonly timeoutMs: number };

export type DemoReply =
  | { readonly kind: 'ready' }
  | { readonly kind: 'answer'; readonly text: string }
  /** Nothing came, or the connection was refused. */
  | { readonly kind: 'silence'; readonly why: string };

async function serve({ port, greeting, family }: Extract<Order, { kind: 'serve' }>): Promise<DemoReply> {
  const server = createServer((_, response) => response.end(greeting));
  server.listen(port, family === 6 ? '::' : '0.0.0.0');
  await once(server, 'listening');
  return { kind: 'ready' };
}

function ask({ address, port, timeoutMs }: Extract<Order, { kind: 'ask' }>): Promise<DemoReply> {
  const url = `http://${isIPv6(address) ? `[${address}]` : address}:${port}/`;
  return new Promise(resolve => {
    const request = get(url, { agent: false, signal: AbortSignal.timeout(timeoutMs) }, response => {
      let text = '';
      response.setEncoding('utf8').on('data', chunk => {
        text += chunk;
      });
      response.on('end', () => resolve({ kind: 'answer', text }));
    });
    request.on('error', ({ name, message }) =>
      resolve({
        kind: 'silence',
        why: name === 'AbortError' || name === 'TimeoutError' ? `nothing came within ${timeoutMs} ms` : message,
      }),
    );
  });
}

const say = (reply: DemoReply): void => void process.stdout.write(`${JSON.stringify(reply)}\n`);

/** Obeys until nobody gives orders any more. */
export async function livePod(): Promise<void> {
  unshareNetwork();
  say({ kind: 'ready' });
  for await (const line of createInterface(process.stdin)) {
    const order = JSON.parse(line) as Order;
    say(await (order.kind === 'serve' ? serve(order) : ask(order)));
  }
  process.exit(0);
}
