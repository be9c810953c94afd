/**
 * Credentials from a kubeconfig, YAML or JSON. Programs that make credentials (exec, auth-provider), passwords and
 * proxies are refused by name, never left out in silence: an agent must not depend on a program that needs the network.
 * @see https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
 */
import { dirname, resolve } from 'node:path';
import { type Field, flagOf, isAbsent, itemsOf, member, shown, textOf } from '../policy/manifest/field.ts';
import { readYaml } from '../policy/manifest/yaml.ts';
import { type Access, type Credentials, CredentialsError, fileText, serverOf } from './credentials.ts';

/** Fields of a user or cluster that would change our identity or the server that we talk to. */
const refused: Readonly<Record<string, string>> = {
  exec: 'programs that make credentials are not run: use a token, a tokenFile or a client certificate',
  'auth-provider': 'such programs are not run: use a token, a tokenFile or a client certificate',
  username: 'API servers no longer take passwords: use a token or a client certificate',
  as: 'impersonation is not supported: use the credentials themselves',
  'proxy-url': 'proxies are not supported: name a server that can be reached directly',
};

function refuseOthers(field: Field): void {
  for (const [key, advice] of Object.entries(refused)) {
    const found = member(field, key);
    if (!isAbsent(found)) found.report('error', found.path, advice);
  }
}

const optionalText = (field: Field): string | undefined =>
  isAbsent(field) || field.value === '' ? undefined : textOf(field, 'a text');

/** The member of the list's entry of that name: `clusters: [{name, cluster: {…}}]`. */
function namedEntry(root: Field, list: string, entry: string, name: string): Field {
  const items = itemsOf(member(root, list)) ?? [];
  const found = items.find(item => member(item, 'name').value === name);
  if (found) return member(found, entry);
  const known = items.map(item => shown(member(item, 'name').value)).join(', ') || 'none at all';
  root.report('error', list, `there is no "${name}": known are ${known}`);
  return member(root, list);
}

/** PEM from `<key>-data` (base64, goes first) or from the file that `<key>` names. */
function pemOf(field: Field, key: string, folder: string): (() => string) | undefined {
  const data = optionalText(member(field, `${key}-data`));
  const path = optionalText(member(field, key));
  if (data !== undefined) {
    const pem = Buffer.from(data, 'base64').toString('latin1');
    if (!pem.includes('-----BEGIN ')) {
      const at = member(field, `${key}-data`);
      at.report('error', at.path, 'no PEM in base64');
    }
    return () => pem;
  }
  return path === undefined ? undefined : fileText(resolve(folder, path), key);
}

/** A tokenFile goes before a token, as in client-go. */
function tokenOf(user: Field, folder: string): (() => string) | undefined {
  const [path, token] = [optionalText(member(user, 'tokenFile')), optionalText(member(user, 'token'))];
  if (path !== undefined) return fileText(resolve(folder, path), 'tokenFile');
  return token === undefined ? undefined : () => token;
}

interface Parts {
  readonly ca: (() => string) | undefined;
  readonly cert: (() => string) | undefined;
  readonly key: (() => string) | undefined;
  readonly token: (() => string) | undefined;
  readonly servername: string | undefined;
  readonly insecure: boolean;
}

const accessOf = ({ ca, cert, key, token, servername, insecure }: Parts): Access => ({
  ...(token ? { authorization: `Bearer ${token().trim()}` } : {}),
  tls: {
    ...(ca ? { ca: ca() } : {}),
    ...(cert && key ? { cert: cert(), key: key() } : {}),
    ...(servername === undefined ? {} : { servername }),
    ...(insecure ? { rejectUnauthorized: false } : {}),
  },
});

function credentialsOf(root: Field, folder: string, where: string, contextName?: string): Credentials {
  const name = contextName ?? optionalText(member(root, 'current-context'));
  if (name === undefined) throw new CredentialsError(`Cannot use ${where}: it has no current-context`);
  const context = namedEntry(root, 'contexts', 'context', name);
  const cluster = namedEntry(root, 'clusters', 'cluster', optionalText(member(context, 'cluster')) ?? '');
  const userName = optionalText(member(context, 'user'));
  const user = userName === undefined ? { ...root, value: {} } : namedEntry(root, 'users', 'user', userName);
  refuseOthers(cluster);
  refuseOthers(user);
  const parts: Parts = {
    ca: pemOf(cluster, 'certificate-authority', folder),
    cert: pemOf(user, 'client-certificate', folder),
    key: pemOf(user, 'client-key', folder),
    token: tokenOf(user, folder),
    servername: optionalText(member(cluster, 'tls-server-name')),
    insecure: flagOf(member(cluster, 'insecure-skip-tls-verify')) ?? false,
  };
  if (parts.insecure && parts.ca)
    cluster.report('error', cluster.path, 'a certificate-authority beside insecure-skip-tls-verify: remove either');
  if (!parts.cert !== !parts.key)
    user.report('error', user.path, 'client-certificate and client-key need each other: give both');
  const server = serverOf(textOf(member(cluster, 'server'), "the API server's URL") ?? '', where);
  accessOf(parts);
  return { server, read: () => accessOf(parts) };
}

/**
 * The credentials of a context of the kubeconfig, of the current one where none is named. Paths in it are relative to it.
 * @throws {CredentialsError} it, or a file that it names, cannot be read or used
 */
export function kubeconfigCredentials(path: string, context?: string): Credentials {
  const { documents, problems } = readYaml(fileText(path, 'kubeconfig')(), path);
  if (problems[0]) throw new CredentialsError(`Cannot read kubeconfig ${path}: ${problems[0].message}`);
  const report = (_: string, field: string, message: string): void => {
    throw new CredentialsError(`Cannot use kubeconfig ${path}: ${field}: ${message}`);
  };
  const root: Field = { value: documents[0]?.value, path: '', report };
  return credentialsOf(root, dirname(resolve(path)), `kubeconfig ${path}`, context);
}
