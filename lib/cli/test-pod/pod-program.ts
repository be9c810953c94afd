/**
 * The program in a pod of our own making (`tollgate demo`, `tollgate connectivity test`): a process with a network of its own
 * that serves and asks as its stdin says, one JSON value a line. It ends with its stdin, so with the command, however that ends.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, get as httpGet } from 'node:http';
import { isIPv6 } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { NetlinkSocket } from '../../kernel/netlink.ts';
import { unshareNetwork } from '../../kernel/unshare.ts';
import { findLink } from '../../pod/links.ts';

export type Order =
  | { readonly kind: 'mtu' }
  | { readonly kind: 'serve'; readonly ports: readonly number[]; readonly greeting: string; readonly family: 4 | 6 }
  | ({ readonly kind: 'ask' } & TestQuestion)
  /** All at once. */
  | { readonly kind: 'ask all'; readonly questions: readonly TestQuestion[] };

export interface TestQuestion {
  readonly address: string;
  readonly port: number;
  /** Milliseconds until it gives up. */
  readonly timeoutMs: number;
  /** So many are sent in one UDP datagram, and must come back in one: TCP's offloads hide a wrong MTU. Absent: a GET. */
  readonly datagram?: number;
  /** The same, with as many bytes as the MTU of this process's eth0 has room for beside headers of so many. */
  readonly fillsMtu?: number;
  /** Of a Service: nodes hear of it later than the API server, so a GET that fails is tried again until the timeout. */
  readonly isNew?: boolean;
}

export type PodReply =
  | { readonly kind: 'replies'; readonly replies: readonly PodReply[] }
  | { readonly kind: 'mtu'; readonly mtu: number }
  | { readonly kind: 'ready' }
  | { readonly kind: 'answer'; readonly text: string }
  /** No answer, or the connection was refused. `fits`: bytes of the largest datagram that came back, where shorter ones did. */
  | { readonly kind: 'silence'; readonly why: string; readonly fits?: number };

/** By TCP it greets; by UDP it sends back what it gets. */
export async function serve({ ports, greeting, family }: Extract<Order, { kind: 'serve' }>): Promise<PodReply> {
  const address = family === 6 ? '::' : '0.0.0.0';
  for (const port of ports) {
    const server = createServer((_, response) => response.end(greeting));
    server.listen(port, address);
    await once(server, 'listening');
    const echo = createSocket(family === 6 ? 'udp6' : 'udp4');
    echo.on('message', (message, { port: from, address: to }) => echo.send(message, from, to));
    echo.bind(port, address);
    await once(echo, 'listening');
  }
  return { kind: 'ready' };
}

function ownMtu(): number {
  using socket = NetlinkSocket.open('route');
  return findLink(socket.exchange, { name: 'eth0' })?.mtu ?? 0;
}

const silence = (timeoutMs: number, error?: Error): PodReply => {
  const isTimeout = !error || error.name === 'AbortError' || error.name === 'TimeoutError';
  return { kind: 'silence', why: isTimeout ? `nothing came within ${timeoutMs} ms` : error.message };
};

function fetched(url: string, signal: AbortSignal): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  httpGet(url, { agent: false, signal }, response => {
    let text = '';
    response.setEncoding('utf8').on('data', chunk => {
      text += chunk;
    });
    response.on('error', reject).on('end', () => resolve(text));
  }).on('error', reject);
  return promise;
}

/** Milliseconds after which a datagram is sent again, and a name is asked for again: one may be lost without a fault. */
const AGAIN = 500;

/** Milliseconds: a connection that was begun before its Service was known leads nowhere for as long as it is tried. */
const ATTEMPT = 5_000;

/** A cluster's DNS hears of a Service later than the API server, so a name that is not known is asked for until the timeout. */
async function get({ address, port, timeoutMs, isNew = false }: TestQuestion): Promise<PodReply> {
  const url = `http://${isIPv6(address) ? `[${address}]` : address}:${port}/`;
  const timeout = AbortSignal.timeout(timeoutMs);
  for (;;) {
    try {
      const attempt = isNew ? AbortSignal.any([timeout, AbortSignal.timeout(ATTEMPT)]) : timeout;
      return { kind: 'answer', text: await fetched(url, attempt) };
    } catch (error) {
      const failure = error as NodeJS.ErrnoException;
      const isUnknown = failure.syscall === 'getaddrinfo';
      if (!isUnknown && !isNew) return silence(timeoutMs, failure);
      await pause(AGAIN);
      if (!timeout.aborted) continue;
      if (!isUnknown) return silence(timeoutMs, failure);
      return { kind: 'silence', why: `the name ${address} was not known within ${timeoutMs} ms (${failure.code})` };
    }
  }
}

async function echoed({ address, port, timeoutMs }: Omit<TestQuestion, 'datagram'>, bytes: number): Promise<PodReply> {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  const { promise, resolve } = Promise.withResolvers<PodReply>();
  socket.on('error', error => resolve(silence(timeoutMs, error)));
  socket.on('message', message => {
    if (message.length === bytes) resolve({ kind: 'answer', text: `a datagram of ${bytes} bytes` });
  });
  // An error of one send may be the answer to an earlier packet, which was too long, so the callback ignores it.
  const send = () => socket.send(Buffer.alloc(bytes), port, address, () => {});
  send();
  const again = setInterval(send, AGAIN);
  const end = setTimeout(() => resolve(silence(timeoutMs)), timeoutMs);
  const reply = await promise;
  clearInterval(again);
  clearTimeout(end);
  socket.close();
  return reply;
}

/** Milliseconds until a datagram of the search counts as too long. */
const SEARCH = 1_000;

/** Searches for the largest datagram that comes back, below one that did not. @returns its bytes; undefined where none does */
async function largestEchoed(question: TestQuestion, tooLong: number): Promise<number | undefined> {
  const comesBack = async (bytes: number): Promise<boolean> =>
    (await echoed({ ...question, timeoutMs: SEARCH }, bytes)).kind === 'answer';
  let [least, end] = [0, tooLong];
  if (!(await comesBack(least))) return undefined;
  while (end - least > 1) {
    const middle = (least + end) >> 1;
    if (await comesBack(middle)) least = middle;
    else end = middle;
  }
  return least;
}

async function echoedWhole(question: TestQuestion, bytes: number): Promise<PodReply> {
  const reply = await echoed(question, bytes);
  if (reply.kind !== 'silence') return reply;
  const fits = await largestEchoed(question, bytes);
  return fits === undefined ? reply : { ...reply, fits };
}

/** From the network namespace of this process. */
export async function ask(question: TestQuestion): Promise<PodReply> {
  const { datagram, fillsMtu } = question;
  if (fillsMtu !== undefined) return echoedWhole(question, ownMtu() - fillsMtu);
  return datagram === undefined ? get(question) : echoedWhole(question, datagram);
}

async function carryOut(order: Order): Promise<PodReply> {
  if (order.kind === 'serve') return serve(order);
  if (order.kind === 'ask all') return { kind: 'replies', replies: await Promise.all(order.questions.map(ask)) };
  return order.kind === 'ask' ? ask(order) : { kind: 'mtu', mtu: ownMtu() };
}

const say = (reply: PodReply): void => void process.stdout.write(`${JSON.stringify(reply)}\n`);

/** Obeys until its stdin is closed. */
export async function livePod(): Promise<void> {
  unshareNetwork();
  say({ kind: 'ready' });
  for await (const line of createInterface(process.stdin)) {
    say(await carryOut(JSON.parse(line) as Order));
  }
  process.exit(0);
}
