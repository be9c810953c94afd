/**
 * The agent as seen from outside: HTTP on a Unix socket for root, who may ask for everything, and on a local TCP address
 * for Prometheus and for probes. Whoever asks slowly, or not at all, costs a deadline and nobody's patience.
 */
import { chmodSync, renameSync, rmSync, statSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { said } from './log.ts';

export interface Page {
  readonly status?: number;
  readonly type: 'application/json' | 'text/plain';
  readonly text: string;
}

/** By method and path: `GET /metrics`. */
export type Pages = Readonly<Record<string, () => Page | Promise<Page>>>;

/** Where a person's commands ask the agent of a runtime folder. */
export const agentSocket = (runDir: string): string => join(runDir, 'agent.sock');

/** Milliseconds in which a request must have come. */
const PATIENCE = 10_000;
const MOST_CONNECTIONS = 64;

async function answer(pages: Pages, { method, url }: IncomingMessage, response: ServerResponse): Promise<void> {
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
    response.writeHead(500, { 'content-type': 'text/plain; charset=utf-8' }).end(`${said(error)}\n`);
  }
}

function serverOf(pages: Pages): Server {
  const server = createServer({ requestTimeout: PATIENCE, headersTimeout: PATIENCE }, (request, response) => {
    request.resume();
    void answer(pages, request, response);
  });
  server.maxConnections = MOST_CONNECTIONS;
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
export async function showToRoot(runDir: string, pages: Pages): Promise<Disposable> {
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
export async function showToAll(
  place: { readonly host: string; readonly port: number },
  pages: Pages,
): Promise<Disposable> {
  const server = serverOf(pages);
  await started(server, place);
  return closing(server);
}
