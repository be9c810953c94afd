/**
 * Credentials that we show to the API server, and CAs by which we verify it. Tokens, certificates and CAs that lie in files are
 * read for every request (requests are few: a watch lasts minutes), so a program that rotates them need not tell us.
 */
import { readFileSync, statSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { join } from 'node:path';

/** Authorization and TLS options of one request. */
export interface Access {
  /** The Authorization header. */
  readonly authorization?: string;
  readonly tls: {
    readonly ca?: string;
    readonly cert?: string;
    readonly key?: string;
    readonly servername?: string;
    readonly rejectUnauthorized?: boolean;
  };
}

export interface Credentials {
  /** Scheme, host and port, perhaps a path; no slash at its end. */
  readonly server: string;
  /** @throws {CredentialsError} a file cannot be read, and never could */
  read(): Access;
}

/** The configured credentials cannot be used. */
export class CredentialsError extends Error {
  override readonly name = 'CredentialsError';
}

/** The text of a file, read anew at each call. While it cannot be read or is empty (amid a rotation) its last text stands. */
export function fileText(path: string, what: string): () => string {
  let last = '';
  return () => {
    try {
      if (!statSync(path).isFile()) throw new Error('it is no regular file');
      const text = readFileSync(path, 'utf8');
      if (text.trim() !== '') last = text;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (last === '') throw new CredentialsError(`Cannot read ${what} ${path}: ${reason}`, { cause: error });
    }
    if (last === '') throw new CredentialsError(`Cannot use ${what} ${path}: it is empty`);
    return last;
  };
}

/** @throws {CredentialsError} no http or https URL, or one with more in it than a place */
export function serverOf(text: string, where: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isPlace = url && url.username === '' && url.search === '' && url.hash === '';
  if (isPlace && ['https:', 'http:'].includes(url.protocol)) return `${url.origin}${url.pathname}`.replace(/\/+$/, '');
  throw new CredentialsError(
    `Cannot use the API server's address in ${where}: "${text}" is no URL such as https://10.0.0.1:6443`,
  );
}

export type ProcessEnvironment = Readonly<Record<string, string | undefined>>;

/** Folder in which kubelet mounts a pod's own account. */
const accountFolder = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * The API server's address for a pod. KUBERNETES_SERVICE_HOST is a service's address, which needs a kube-proxy that may
 * need us first: TOLLGATE_API_SERVER goes before it.
 */
function serverInCluster(env: ProcessEnvironment): string {
  const own = env['TOLLGATE_API_SERVER'] ?? '';
  if (own !== '') return serverOf(own, 'TOLLGATE_API_SERVER');
  const [host, port] = [env['KUBERNETES_SERVICE_HOST'] ?? '', env['KUBERNETES_SERVICE_PORT'] ?? ''];
  if (host !== '')
    return serverOf(
      `https://${isIPv6(host) ? `[${host}]` : host}:${port || '443'}`,
      'KUBERNETES_SERVICE_HOST and _PORT',
    );
  throw new CredentialsError(
    'Cannot find the API server: neither --kubeconfig nor TOLLGATE_API_SERVER nor KUBERNETES_SERVICE_HOST is given',
  );
}

/**
 * A pod's own credentials: its service account's token, which kubelet rotates, and the cluster's CA.
 * @throws {CredentialsError} no address, or no account mounted
 */
export function inClusterCredentials(env: ProcessEnvironment, folder: string = accountFolder): Credentials {
  const server = serverInCluster(env);
  const token = fileText(join(folder, 'token'), "the service account's token");
  const ca = fileText(join(folder, 'ca.crt'), "the cluster's CA");
  const read = (): Access => ({ authorization: `Bearer ${token().trim()}`, tls: { ca: ca() } });
  read();
  return { server, read };
}
