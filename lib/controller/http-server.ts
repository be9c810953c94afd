/**
 * The agent as seen from outside: HTTP on a Unix socket for root, who may ask for everything, and on a local TCP address
 * for Prometheus and for probes. Every process of the node can connect there, so a connection lasts for one answer and a few seconds,
 * and a new one always has room: kubelet restarts an agent whose probes find none.
 */

import { chmodSync, renameSync, rmSync, statSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { isIP, type Socket } from 'node:net';
import { join } from 'node:path';
import { messageOf } from '../cni/error.ts';

export interface HttpResponse {
  readonly status?: number;
  readonly type: 'application/json' | 'text/plain';
  readonly text: string;
}

/** By method and path: `GET /metrics`. */
export type HttpRoutes = Readonly<Record<string, () => HttpResponse | Promise<HttpResponse>>>;

/** Where a person's commands ask the agent of a runtime folder. */
export const agentSocket = (runDir: string): string => join(runDir, 'agent.sock');

/** Milliseconds in which a request must have come, and then its answer must have been read. */
const TIMEOUT_MS = 10_000;
/** Milliseconds between two looks for connections that are late. */
const LOOK = 1_000;
/**
 * The oldest gives way to one more. A probe asks as soon as it is connected, and libuv accepts one connection between two looks at all others,
 * so a probe is read long before so many others are accepted.
 */
const MOST_CONNECTIONS = 256;

async function answer(pages: HttpRoutes, { method, url }: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = (url ?? '').split('?')[0];
  const page = pages[`${method} ${path}`];
  try {
    const {
      status = 200,
      type,
      text,
    } = page ? await page() : ({ status: 404, type: 'text/plain', text: `Nothing at ${method} ${path}\n` } as const);
    response
      .writeHead(status, { 'content-type': type === 'text/plain' ? 'text/plain; charset=utf-8' : type })
      .end(text);
  } catch (error) {
    response.writeHead(500, { 'content-type': 'text/plain; charset=utf-8' }).end(`${messageOf(error)}\n`);
  }
}

/** Closes the oldest connection where there are too many. */
function keepRoom(server: Server): void {
  // In the order of their arrival.
  const sockets = new Set<Socket>();
  server.on('connection', socket => {
    sockets.add(socket.once('close', () => sockets.delete(socket)));
    const [oldest] = sockets;
    if (sockets.size > MOST_CONNECTIONS) oldest?.destroy();
  });
}

/** Closes the connection where the answer, which is on its way, is not read. */
function limitReading({ socket }: ServerResponse): void {
  if (!socket) return;
  const timer = setTimeout(() => socket.destroy(), TIMEOUT_MS);
  socket.once('close', () => clearTimeout(timer));
}

function serverOf(pages: HttpRoutes): Server {
  const options = { requestTimeout: TIMEOUT_MS, headersTimeout: TIMEOUT_MS, connectionsCheckingInterval: LOOK };
  const server = createServer(options, (request, response) => {
    request.resume();
    response.shouldKeepAlive = false;
    void answer(pages, request, response).then(() => limitReading(response));
  });
  keepRoom(server);
  return server;
}

const started = (server: Server, where: { readonly path: string } | { readonly host: string; readonly port: number }) =>
  new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(where, () => {
      server.off('error', reject);
      resolve();
    });
  });

const closing = (server: Server): Disposable => ({
  [Symbol.dispose]() {
    server.close();
    server.closeAllConnections();
  },
});

/** In place in one piece, for root alone; the caller has made sure that there is no other agent. */
export async function serveAdmin(runDir: string, pages: HttpRoutes): Promise<Disposable> {
  const path = agentSocket(runDir);
  const aside = `${path}.${process.pid}`;
  rmSync(aside, { force: true });
  const server = serverOf(pages);
  const umask = process.umask(0o177);
  const listening = started(server, { path: aside });
  process.umask(umask);
  await listening;
  chmodSync(aside, 0o600);
  renameSync(aside, path);
  const { ino } = statSync(path);
  const closed = closing(server);
  return {
    [Symbol.dispose]() {
      if (statSync(path, { throwIfNoEntry: false })?.ino === ino) rmSync(path, { force: true });
      closed[Symbol.dispose]();
    },
  };
}

/** `127.0.0.1:9467`, `[::1]:9467`. @returns undefined where it is no address with a port */
export function parsePlace(text: string): { readonly host: string; readonly port: number } | undefined {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? [];
  const [host, port] = [bracketed ?? plain ?? '', Number(digits)];
  return isIP(host) > 0 && port > 0 && port < 65536 ? { host, port } : undefined;
}

/** @throws Error where the address is taken, or is not this node's */
export async function serveMetrics(
  place: { readonly host: string; readonly port: number },
  pages: HttpRoutes,
): Promise<Disposable> {
  const server = serverOf(pages);
  await started(server, place);
  return closing(server);
}
