/**
 * The page of flows and what it asks for, over HTTP on an address of the node. Every process of the node can connect there,
 * and so can pages of others in an admin's browser: an answer is given to those alone that know the token, and ask for this
 * host by its own name.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { type HttpGuard, type HttpResponse, type QueryRoutes, reading, serveGuarded } from './http-server.ts';

export interface UiSettings {
  readonly host: string;
  readonly port: number;
  /** HTML, with its style and script in it. */
  readonly page: string;
  /** File of the token, which outlives the agent: a page that is open goes on with the next one. */
  readonly token: string;
}

export interface FlowUi extends Disposable {
  /** With the token behind `#`: browsers send no server that part of an address. */
  readonly url: string;
}

const no = (status: number, text: string): HttpResponse => ({ status, type: 'text/plain', text: `${text}\n` });

/** `127.0.0.1` of `127.0.0.1:9468`; `::1` of `[::1]:9468`. */
const hostIn = (header: string): string =>
  /^(?:\[([^\]]+)\]|([^:]*))(?::\d+)?$/.exec(header)?.slice(1).find(Boolean) ?? '';

/** A port-forward is another port of the asker's own machine, so only names count. */
const isOwnHost = (header: string | undefined, host: string): boolean =>
  header !== undefined && ['localhost', '127.0.0.1', '::1', host].includes(hostIn(header).toLowerCase());

function isToken(header: string | undefined, token: string): boolean {
  const [given, wanted] = [header ?? '', `Bearer ${token}`].map(text => createHash('sha256').update(text).digest());
  return timingSafeEqual(given!, wanted!);
}

/** Hashes of what stands in the elements of that name, as a content-security policy wants them. */
const hashesOf = (page: string, element: 'script' | 'style'): string =>
  [...page.matchAll(new RegExp(`<${element}>([\\s\\S]*?)</${element}>`, 'g'))]
    .map(([, text]) => `'sha256-${createHash('sha256').update(text!).digest('base64')}'`)
    .join(' ');

const headersFor = (page: string): Readonly<Record<string, string>> => ({
  'content-security-policy': [
    "default-src 'none'",
    `script-src ${hashesOf(page, 'script')}`,
    `style-src ${hashesOf(page, 'style')}`,
    "connect-src 'self'",
    // The icon, which is none: else browsers would ask for one, without the token.
    'img-src data:',
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  ].join('; '),
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'cache-control': 'no-store',
});

/** The page itself tells nothing, and no proof tells the token: both may be had without it. */
const isPublic = ({ url }: Pick<IncomingMessage, 'url'>): boolean =>
  ['/', '/proof'].includes((url ?? '').split('?')[0]!);

/** @returns why the request is refused; undefined where it is not */
export function refusalOf(
  request: Pick<IncomingMessage, 'method' | 'url' | 'headers'>,
  { host, token }: { readonly host: string; readonly token: string },
): HttpResponse | undefined {
  const { method, headers } = request;
  if (!isOwnHost(headers.host, host)) return no(403, 'This host is not called so');
  if (headers['sec-fetch-site'] !== undefined && !['same-origin', 'none'].includes(headers['sec-fetch-site'] as string))
    return no(403, 'No page of another site may ask this');
  if (method !== 'GET') return no(405, 'Only GET is answered');
  if (isPublic(request) || isToken(headers.authorization, token)) return undefined;
  return no(401, 'Who may ask this has the token: `tollgate flows --open` shows the address with it');
}

/** The token in this file; a new one where there is none, or others may have read it. @throws Error it cannot be written */
function keptToken(path: string): string {
  try {
    const isOwn = (statSync(path).mode & 0o077) === 0;
    const kept = readFileSync(path, 'latin1');
    if (isOwn && /^[0-9a-f]{32}$/.test(kept)) return kept;
  } catch {}
  const token = randomBytes(16).toString('hex');
  rmSync(path, { force: true });
  writeFileSync(path, token, { mode: 0o600, flag: 'wx' });
  return token;
}

/**
 * Proves to a page that this is an agent which knows the token: while the agent is away any process of the node may listen
 * here, and is not to be sent it.
 */
const proofOf = (token: string, nonce: string): string => createHmac('sha256', token).update(nonce).digest('hex');

/** @throws Error where the address is taken, or is not this node's */
export async function serveUi({ host, port, page, token: path }: UiSettings, routes: QueryRoutes): Promise<FlowUi> {
  const token = keptToken(path);
  const guard: HttpGuard = {
    headers: headersFor(page),
    refuse: request => refusalOf(request, { host, token }),
  };
  const all: QueryRoutes = {
    ...routes,
    'GET /': () => ({ type: 'text/html', text: page }),
    'GET /proof': reading(['nonce'], query => ({
      type: 'text/plain',
      text: proofOf(token, query.get('nonce') ?? ''),
    })),
  };
  const served = await serveGuarded({ host, port }, all, guard);
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}/#${token}`,
    [Symbol.dispose]: () => served[Symbol.dispose](),
  };
}
