/**
 * The agent as seen from outside: HTTP on a Unix socket for root, who may ask for everything, and on a local TCP address
 * for Prometheus and for probes. Every process of the node can connect there, so a connection lasts for one answer and a few
 * seconds, and a new one always has room: kubelet restarts an agent whose probes find none.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { isIP, type Socket } from 'node:net';
import { join } from 'node:path';
import { messageOf } from '../cni/error.ts';
import type { Log } from '../rpc/log.ts';
import { placeSocket, started } from '../rpc/root-socket.ts';

export interface HttpResponse {
  readonly status?: number;
  readonly type: `${'application' | 'text'}/${string}`;
  readonly text: string;
}

export const json = (value: unknown): HttpResponse => ({
  type: 'application/json',
  text: `${JSON.stringify(value)}\n`,
});

/** A response that is written piece by piece for as long as the client reads. */
export interface Outlet {
  readonly write: (text: string) => void;
  /** True while the client has not read the last write: the next one would wait in memory. */
  readonly isFull: () => boolean;
  /** Resolves when it is full no more, or the client has gone. */
  readonly drained: () => Promise<void>;
  /** The answer is whole. */
  readonly finish: () => void;
  /** Cuts the client off, which sees that the answer is not whole. */
  readonly cut: () => void;
}

/** An answer that is written as it is read, without an end or with one. */
export interface HttpStream {
  readonly type: 'text/event-stream' | 'application/jsonl';
  /** @returns what is to be disposed of when the reader has gone */
  readonly begin: (outlet: Outlet) => Disposable;
}

/** Handlers by method and path: `GET /metrics`. */
export type HttpRoutes = Readonly<Record<string, () => HttpResponse | Promise<HttpResponse>>>;

/** Routes as in `HttpRoutes`, which read the query too. */
export type QueryRoutes = Readonly<
  Record<string, (query: URLSearchParams) => HttpResponse | HttpStream | Promise<HttpResponse | HttpStream>>
>;

/** The client's request is wrong; the message says how. */
export class BadRequest extends Error {
  override readonly name = 'BadRequest';
}

/**
 * A route that refuses keys of a query which it does not read, as the command line refuses options. Metrics and health take all:
 * probes and Prometheus may add keys of their own.
 */
export const reading =
  <Answer>(keys: readonly string[], route: (query: URLSearchParams) => Answer): ((query: URLSearchParams) => Answer) =>
  query => {
    const unknown = [...new Set(query.keys())].filter(key => !keys.includes(key)).map(key => JSON.stringify(key));
    if (unknown.length === 0) return route(query);
    const known = keys.length === 0 ? 'it reads none' : `it reads ${keys.join(', ')}`;
    throw new BadRequest(`Cannot use ${unknown.join(', ')} in this query: ${known}`);
  };

/** Path of the socket on which commands ask the agent of a runtime folder. */
export const agentSocket = (runDir: string): string => join(runDir, 'agent.sock');

/** Milliseconds in which a request must have come, and then its answer must have been read. */
const TIMEOUT_MS = 10_000;
/**
 * The oldest gives way to one more. A probe asks as soon as it is connected, and libuv accepts one connection between two looks
 * at all others, so a probe is read long before so many others are accepted.
 */
const MOST_CONNECTIONS = 256;

const utf8 = (type: string): string => (type.startsWith('text/') ? `${type}; charset=utf-8` : type);

function untilDrained(response: ServerResponse): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const events = ['drain', 'close'] as const;
  const drained = (): void => {
    for (const event of events) response.off(event, drained);
    resolve();
  };
  for (const event of events) response.on(event, drained);
  return promise;
}

/** Streams for as long as the client reads. That a client does not read is the page's to notice, by the outlet. */
function beginStream({ type, begin }: HttpStream, response: ServerResponse): void {
  response.writeHead(200, { 'content-type': utf8(type), 'cache-control': 'no-store' });
  const isFull = (): boolean => response.writableNeedDrain && !response.destroyed;
  const begun = begin({
    write: text => response.write(text),
    isFull,
    drained: async () => {
      if (isFull()) await untilDrained(response);
    },
    finish: () => response.end(),
    cut: () => response.destroy(),
  });
  response.once('close', () => begun[Symbol.dispose]());
}

/** Milliseconds from one sign of life to the next while an answer is made, for a client that would give a silent server up. */
const SIGN_OF_LIFE = 1_000;

/** Sends "102 Processing" until it is disposed of. */
function showLife(response: ServerResponse): Disposable {
  const timer = setInterval(() => response.writable && response.writeProcessing(), SIGN_OF_LIFE).unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** The page's answer; the client gets signs of life while it is made. */
async function made(page: QueryRoutes[string], query: string | undefined, response: ServerResponse) {
  using _life = showLife(response);
  return await page(new URLSearchParams(query));
}

/** @returns whether the answer has an end */
export async function answer(
  pages: QueryRoutes,
  { method, url }: Pick<IncomingMessage, 'method' | 'url'>,
  response: ServerResponse,
): Promise<boolean> {
  const [path, query] = (url ?? '').split('?', 2);
  const page = pages[`${method} ${path}`];
  try {
    const given = page
      ? await made(page, query, response)
      : ({ status: 404, type: 'text/plain', text: `Nothing at ${method} ${path}\n` } as const);
    if ('begin' in given) {
      beginStream(given, response);
      return false;
    }
    response.writeHead(given.status ?? 200, { 'content-type': utf8(given.type) }).end(given.text);
  } catch (error) {
    const status = error instanceof BadRequest ? 400 : 500;
    response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${messageOf(error)}\n`);
  }
  return true;
}

/** Closes the oldest connection where there are too many. */
function keepRoom(server: Server): void {
  // Connections are kept in the order of their arrival.
  const sockets = new Set<Socket>();
  server.on('connection', socket => {
    sockets.add(socket.once('close', () => sockets.delete(socket)));
    const [oldest] = sockets;
    if (!oldest || sockets.size <= MOST_CONNECTIONS) return;
    // Taken out now: the socket closes only later, and many more may have come by then.
    sockets.delete(oldest);
    oldest.destroy();
  });
}

/** Closes the connection where the client takes too long, unless that is called off. */
function limitTime(socket: Socket): () => void {
  const timer = setTimeout(() => socket.destroy(), TIMEOUT_MS).unref();
  const callOff = (): void => clearTimeout(timer);
  socket.once('close', callOff);
  return callOff;
}

/** Checks each request before the routes see it, and adds headers to each answer. */
export interface HttpGuard {
  /** Headers of every answer. */
  readonly headers: Readonly<Record<string, string>>;
  /** The answer to a request that no route is to see. */
  readonly refuse: (request: IncomingMessage) => HttpResponse | undefined;
}

const unguarded: HttpGuard = { headers: {}, refuse: () => undefined };

/** Node would look for late connections once a second, where there are none, too. */
const noLooks = { requestTimeout: 0, headersTimeout: 0, connectionsCheckingInterval: 2 ** 31 - 1 };

function serverOf(pages: QueryRoutes, { headers, refuse }: HttpGuard = unguarded): Server {
  const limits = new WeakMap<Socket, () => void>();
  const server = createServer(noLooks, (request, response) => {
    limits.get(request.socket)?.();
    request.resume();
    response.shouldKeepAlive = false;
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    const refusal = refuse(request);
    const routes = refusal ? { [`${request.method} ${(request.url ?? '').split('?')[0]}`]: () => refusal } : pages;
    // The answer is on its way then, and is to be read.
    void answer(routes, request, response).then(hasEnd => hasEnd && limitTime(request.socket));
  });
  server.on('connection', socket => limits.set(socket, limitTime(socket)));
  keepRoom(server);
  return server;
}

export interface TcpPlace {
  readonly host: string;
  readonly port: number;
}

const closing = (server: Server): Disposable => ({
  [Symbol.dispose]() {
    server.close();
    server.closeAllConnections();
  },
});

/** Serves root on a Unix socket; the caller has made sure that there is no other agent. */
export async function serveAdmin(runDir: string, pages: QueryRoutes): Promise<Disposable> {
  const server = serverOf(pages);
  using undo = new DisposableStack();
  undo.use(closing(server));
  undo.use(await placeSocket(server, agentSocket(runDir)));
  return undo.move();
}

/** `127.0.0.1:9467`, `[::1]:9467`. @returns undefined where it is no address with a port */
export function parsePlace(text: string): TcpPlace | undefined {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? [];
  const [host, port] = [bracketed ?? plain ?? '', Number(digits)];
  return isIP(host) > 0 && port > 0 && port < 65536 ? { host, port } : undefined;
}

/** @throws Error where the address is taken, or is not this node's */
export async function serveGuarded(place: TcpPlace, routes: QueryRoutes, guard: HttpGuard): Promise<Disposable> {
  const server = serverOf(routes, guard);
  await started(server, place);
  return closing(server);
}

/** An address that is taken is logged, and keeps no pod from being plugged in. */
export async function serveMetrics(place: TcpPlace, routes: HttpRoutes, log: Log): Promise<Disposable | undefined> {
  try {
    return await serveGuarded(place, routes, unguarded);
  } catch (error) {
    log('warn', `Cannot show metrics on ${place.host} port ${place.port}: ${messageOf(error)}`);
    return undefined;
  }
}
