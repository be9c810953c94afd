/**
 * Requests to the API server over Node's own http and https.
 *
 * Why not @kubernetes/client-node: it holds a list whole, as text, as JSON and as instances of generated classes, before
 * the first object can be trimmed, where the agent may have 150 MiB in all for a cluster of 50,000 pods; and its watch
 * passes over lines that it cannot read, asks for no bookmarks, and waits for ever on a stream that has gone silent
 * (its src/watch.ts and src/cache.ts), so that what an agent needs most would be written around it all the same.
 */
import http, { type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import https from 'node:https';
import { pipeline, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { type Clock, deadline, systemClock } from './clock.ts';
import type { Access, Credentials } from './credentials.ts';
import { errorOfResponse, errorOfTransport, garbage, KubeError } from './error.ts';

export interface ApiRequest {
  /** For messages: `list pods`. */
  readonly action: string;
  readonly method?: 'GET' | 'PATCH';
  /** From the server's root, escaped. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: { readonly type: string; readonly value: unknown };
  readonly signal?: AbortSignal;
  /** Milliseconds until the answer begins; for `json`, until it has ended. */
  readonly timeoutMs?: number;
}

export interface ApiResponse {
  /** The caller reads it to its end or breaks it off, since it holds a connection. To leave a `for await` early breaks it off. */
  readonly body: AsyncIterable<Buffer>;
  /** Closes the connection; a pending read of the body gets the error. Nothing happens after the end. */
  breakOff(error?: KubeError): void;
}

export interface Client extends Disposable {
  readonly server: string;
  readonly clock: Clock;
  /**
   * The answer, once its headers are there and it is a success.
   * @throws {KubeError} refused, or no answer; a 401 is tried again once where the credentials' files have changed meanwhile
   * @throws {CredentialsError} their files cannot be read
   */
  send(request: ApiRequest): Promise<ApiResponse>;
  /** The whole answer, parsed. @throws {KubeError} as `send`, or no JSON */
  json(request: ApiRequest): Promise<unknown>;
}

export interface ClientOptions {
  readonly clock?: Clock;
  readonly userAgent?: string;
  /**
   * Whether lists may come compressed. Off: of 50,000 pods (249 MiB) it was a tenth more work for us and a third more for
   * the server, which a node's network within a cluster does not pay back. For a slow line to the server.
   */
  readonly gzip?: boolean;
}

/** Longest answer that is read as a single object, in bytes. */
const longestAnswer = 16 << 20;

const defaultTimeoutMs = 30_000;

/** Limits for the body of a refusal: a Status takes a few hundred bytes, and the HTTP status alone says what to do next. */
const longestRefusal = 64 << 10;
export const refusalTimeoutMs = 5_000;

async function textOf(body: AsyncIterable<Buffer>, action: string): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > longestAnswer) throw garbage(action, `more than ${longestAnswer} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

/** As much of a refusal's body as comes within the limits; a body that never ends or breaks off must not hide its status. */
async function refusalOf(
  answer: ApiResponse,
  { action, timeoutMs = defaultTimeoutMs }: ApiRequest,
  clock: Clock,
): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  const waiting = deadline(clock, Math.min(timeoutMs, refusalTimeoutMs), () =>
    answer.breakOff(garbage(action, 'too late')),
  );
  waiting.start();
  try {
    for await (const chunk of answer.body) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > longestRefusal) break;
    }
  } catch (error) {
    if (!(error instanceof KubeError)) throw error;
  } finally {
    waiting.stop();
  }
  return Buffer.concat(chunks).toString();
}

async function* bodyOf(stream: Readable, action: string): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of stream) yield chunk as Buffer;
  } catch (error) {
    throw errorOfTransport(action, error);
  }
}

function unpacked(response: IncomingMessage): Readable {
  if (response.headers['content-encoding'] !== 'gzip') return response;
  return pipeline(response, createGunzip(), () => undefined);
}

interface Sent {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly answer: ApiResponse;
}

interface Wire {
  readonly url: URL;
  readonly options: https.RequestOptions;
  readonly body: string | undefined;
}

/** One request on the wire, until its answer begins. */
function exchange(asked: ApiRequest, wire: Wire, clock: Clock): Promise<Sent> {
  const { action, timeoutMs = defaultTimeoutMs } = asked;
  const { url, options, body } = wire;
  const { promise, resolve, reject } = Promise.withResolvers<Sent>();
  const request = (url.protocol === 'https:' ? https : http).request(url, options);
  const late = { reason: 'Silent', message: `no answer within ${timeoutMs / 1000} s` };
  const waiting = deadline(clock, timeoutMs, () => request.destroy(new KubeError(action, late)));
  waiting.start();
  // A peer that is gone without a word shows within half a minute, whatever is or is not being sent.
  request.once('socket', socket => socket.setKeepAlive(true, 15_000));
  request.once('close', () => waiting.stop());
  request.on('error', error => reject(errorOfTransport(action, error)));
  request.once('response', response => {
    waiting.stop();
    const stream = unpacked(response);
    const answer = { body: bodyOf(stream, action), breakOff: (error?: KubeError) => void stream.destroy(error) };
    resolve({ status: response.statusCode ?? 0, headers: response.headers, answer });
  });
  request.end(body);
  return promise.catch((error: KubeError) => {
    // The server closed a kept connection just as we used it again (RFC 9112, 9.3.1). All that we ask may be asked twice.
    if (!request.reusedSocket || error.reason !== 'ECONNRESET') throw error;
    return exchange(asked, { ...wire, options: { ...options, agent: false } }, clock);
  });
}

/** A client that keeps connections for the next request; disposing of it closes them all. */
export function createClient(
  credentials: Credentials,
  { clock = systemClock, userAgent = 'tollgate', gzip = false }: ClientOptions = {},
): Client {
  const { server } = credentials;
  const kept = { keepAlive: true, maxFreeSockets: 2, timeout: 60_000 };
  const agent = server.startsWith('https:') ? new https.Agent(kept) : new http.Agent(kept);

  function wireOf(request: ApiRequest, { authorization, tls }: Access): Wire {
    const url = new URL(server + request.path);
    for (const [key, value] of Object.entries(request.query ?? {})) url.searchParams.set(key, value);
    const body = request.body && JSON.stringify(request.body.value);
    const headers = {
      accept: 'application/json',
      'accept-encoding': gzip ? 'gzip' : 'identity',
      'user-agent': userAgent,
      ...(authorization === undefined ? {} : { authorization }),
      ...(request.body ? { 'content-type': request.body.type, 'content-length': Buffer.byteLength(body ?? '') } : {}),
    };
    const { method = 'GET', signal } = request;
    return { url, body, options: { method, agent, headers, ...tls, ...(signal ? { signal } : {}) } };
  }

  async function send(request: ApiRequest): Promise<ApiResponse> {
    const access = credentials.read();
    let { status, headers, answer } = await exchange(request, wireOf(request, access), clock);
    const renewed = status === 401 ? credentials.read() : access;
    if (renewed.authorization !== access.authorization) {
      await refusalOf(answer, request, clock);
      ({ status, headers, answer } = await exchange(request, wireOf(request, renewed), clock));
    }
    if (status >= 200 && status < 300) return answer;
    const text = await refusalOf(answer, request, clock);
    throw errorOfResponse(request.action, { status, headers, text });
  }

  /** One deadline for all of it, whatever is tried again in between. */
  async function json(request: ApiRequest): Promise<unknown> {
    const { action, timeoutMs = defaultTimeoutMs, signal } = request;
    const late = new AbortController();
    const waiting = deadline(clock, timeoutMs, () => late.abort());
    waiting.start();
    try {
      const signals = signal ? [signal, late.signal] : [late.signal];
      const answer = await send({ ...request, signal: AbortSignal.any(signals) });
      return JSON.parse(await textOf(answer.body, action));
    } catch (error) {
      if (late.signal.aborted)
        throw new KubeError(
          action,
          { reason: 'Silent', message: `no whole answer within ${timeoutMs / 1000} s` },
          error,
        );
      if (error instanceof SyntaxError) throw garbage(action, `no JSON: ${error.message}`);
      throw error;
    } finally {
      waiting.stop();
    }
  }

  return { server, clock, send, json, [Symbol.dispose]: () => agent.destroy() };
}
