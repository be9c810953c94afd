import type { IncomingHttpHeaders } from 'node:http';
import { isMapping } from '../policy/manifest/field.ts';

/**
 * The longest wait that a server may ask for, in milliseconds. API servers ask for a few seconds; who asks for a day is
 * a proxy with an error page, and meanwhile no change would reach the node.
 */
export const longestRetryAfter = 60_000;

/** A request to the API that failed, or a stream of it that ended badly. */
export class KubeError extends Error {
  override readonly name = 'KubeError';
  /** The HTTP status, also of an ERROR event in a watch; 0 where no answer came, or it broke off or cannot be read. */
  readonly status: number;
  /**
   * The API's own word (`Expired`, `Forbidden`, `ResourceVersionTooLarge`), an errno or TLS code (`ECONNREFUSED`), or
   * one of ours: `Silent` (a deadline passed), `BrokenOff` (ended in the middle), `Garbage` (cannot be read).
   */
  readonly reason: string;
  /** How long the server asks to wait, in milliseconds; at most `longestRetryAfter`. */
  readonly retryAfter: number;

  constructor(
    action: string,
    why: { readonly status?: number; readonly reason: string; readonly message: string; readonly retryAfter?: number },
    cause?: unknown,
  ) {
    const status = why.status ? `${why.status} ` : '';
    super(`Cannot ${action}: ${status}${why.reason}: ${why.message}`, { cause });
    this.status = why.status ?? 0;
    this.reason = why.reason;
    this.retryAfter = Math.min(why.retryAfter ?? 0, longestRetryAfter);
  }
}

/** The resourceVersion (or the page's continue token) is older than what the server still knows. */
export const isExpired = ({ status, reason }: KubeError): boolean =>
  status === 410 || reason === 'Expired' || reason === 'Gone';

/** The one cause that asks for something else than its status and reason (504 Timeout) do. */
const tooLarge = 'ResourceVersionTooLarge';

function hasCause(details: unknown, reason: string): boolean {
  const causes = isMapping(details) ? details['causes'] : undefined;
  return Array.isArray(causes) && causes.some(cause => isMapping(cause) && cause['reason'] === reason);
}

/** HTTP status and Retry-After of the answer that holds a Status. */
interface Around {
  readonly status?: number;
  /** Milliseconds. */
  readonly retryAfter?: number;
}

/**
 * The error that an API object of kind Status tells of; whatever is no Status says nothing.
 * @see https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
 */
export function errorOfStatus(action: string, value: unknown, { status, retryAfter }: Around = {}): KubeError {
  const { code, reason, message, details }: Readonly<Record<string, unknown>> = isMapping(value) ? value : {};
  const seconds = isMapping(details) ? details['retryAfterSeconds'] : undefined;
  return new KubeError(action, {
    status: status ?? (typeof code === 'number' ? code : 500),
    reason: hasCause(details, tooLarge) ? tooLarge : typeof reason === 'string' && reason !== '' ? reason : 'Unknown',
    message: typeof message === 'string' && message !== '' ? message : 'the server does not say why',
    retryAfter: retryAfter || (typeof seconds === 'number' && seconds > 0 ? seconds * 1000 : 0),
  });
}

/** The error that a refusal's headers and body tell of; a proxy in between answers in words of its own. */
export function errorOfResponse(
  action: string,
  { status, headers, text }: { readonly status: number; readonly headers: IncomingHttpHeaders; readonly text: string },
): KubeError {
  const retryAfter = /^\d+$/.test(headers['retry-after'] ?? '') ? Number(headers['retry-after']) * 1000 : 0;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = { message: text.trim().split('\n')[0]!.slice(0, 200) };
  }
  return errorOfStatus(action, value, { status, retryAfter });
}

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'Failed';

/** A failure below HTTP: names, sockets, TLS; and what is a KubeError already. */
export function errorOfTransport(action: string, error: unknown): KubeError {
  if (error instanceof KubeError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new KubeError(action, { reason: codeOf(error), message }, error);
}

/** The server sent what no API server sends. */
export const garbage = (action: string, message: string): KubeError =>
  new KubeError(action, { reason: 'Garbage', message });
