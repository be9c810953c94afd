/** Kubeconfigs and a pod's own account: what becomes of them, and what is refused by name. */
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CredentialsError, inClusterCredentials } from '../../../lib/kube/credentials.ts';
import { kubeconfigCredentials } from '../../../lib/kube/kubeconfig.ts';
import { scratchFolder } from '../../support/scratch.ts';

const folder = scratchFolder('kube');

let count = 0;

/** A file of that text; files beside it can be named by it. */
function file(text: string, name = `config-${count++}`): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const pem = (what: string) => `-----BEGIN ${what}-----\nAA==\n-----END ${what}-----\n`;
const base64 = (text: string) => Buffer.from(text).toString('base64');

interface Parts {
  readonly cluster?: Readonly<Record<string, unknown>>;
  readonly user?: Readonly<Record<string, unknown>>;
}

const config = ({ cluster = {}, user = {} }: Parts) =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'x',
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    clusters: [{ name: 'c', cluster: { server: 'https://192.0.2.1:6443', ...cluster } }],
    users: [{ name: 'u', user }],
  });

file(pem('CA FILE'), 'ca.pem');
file(pem('CERT FILE'), 'cert.pem');
file(pem('KEY FILE'), 'key.pem');
file('from-file\n', 'token');

const accesses: readonly (readonly [what: string, parts: Parts, access: unknown])[] = [
  ['a token', { user: { token: 'abc' } }, { authorization: 'Bearer abc', tls: {} }],
  [
    'a tokenFile, beside the kubeconfig',
    { user: { tokenFile: 'token' } },
    { authorization: 'Bearer from-file', tls: {} },
  ],
  [
    'a tokenFile goes before a token',
    { user: { token: 'a', tokenFile: 'token' } },
    { authorization: 'Bearer from-file', tls: {} },
  ],
  [
    'certificate and key as data',
    { user: { 'client-certificate-data': base64(pem('CERT')), 'client-key-data': base64(pem('KEY')) } },
    { tls: { cert: pem('CERT'), key: pem('KEY') } },
  ],
  [
    'certificate and key as files',
    { user: { 'client-certificate': 'cert.pem', 'client-key': join(folder, 'key.pem') } },
    { tls: { cert: pem('CERT FILE'), key: pem('KEY FILE') } },
  ],
  ['a CA as data', { cluster: { 'certificate-authority-data': base64(pem('CA')) } }, { tls: { ca: pem('CA') } }],
  ['a CA as a file', { cluster: { 'certificate-authority': 'ca.pem' } }, { tls: { ca: pem('CA FILE') } }],
  [
    'data goes before a file',
    { cluster: { 'certificate-authority': 'nowhere', 'certificate-authority-data': base64(pem('CA')) } },
    { tls: { ca: pem('CA') } },
  ],
  [
    'a server that is not looked at',
    { cluster: { 'insecure-skip-tls-verify': true } },
    { tls: { rejectUnauthorized: false } },
  ],
  [
    "the certificate's own name",
    { cluster: { 'tls-server-name': 'kubernetes' } },
    { tls: { servername: 'kubernetes' } },
  ],
  ['nobody in particular', {}, { tls: {} }],
];

for (const [what, parts, access] of accesses)
  test(`kubeconfig: ${what}`, () => {
    const credentials = kubeconfigCredentials(file(config(parts)));
    assert.deepEqual([credentials.server, credentials.read()], ['https://192.0.2.1:6443', access]);
  });

const yaml = `
apiVersion: v1
kind: Config
current-context: b
clusters:
- {name: one, cluster: {server: "https://one.example:6443/prefix/"}}
- {name: two, cluster: {server: "https://[fd00::1]:6443"}}
contexts:
- {name: a, context: {cluster: one, user: yes-man}}
- {name: b, context: {cluster: two}}
users:
- name: yes-man
  user:
    token: abc
`;

test('kubeconfig: YAML, the current context or another, one without a user', () => {
  const path = file(yaml);
  const [current, other] = [kubeconfigCredentials(path), kubeconfigCredentials(path, 'a')];
  assert.deepEqual([current.server, current.read()], ['https://[fd00::1]:6443', { tls: {} }]);
  assert.deepEqual([other.server, other.read().authorization], ['https://one.example:6443/prefix', 'Bearer abc']);
});

const refusals: readonly (readonly [what: string, text: string, message: RegExp])[] = [
  [
    'programs',
    config({ user: { exec: { command: 'aws' } } }),
    /users\[0\]\.user\.exec: programs that make credentials are not run/,
  ],
  [
    'auth providers',
    config({ user: { 'auth-provider': { name: 'gcp' } } }),
    /auth-provider: such programs are not run/,
  ],
  ['passwords', config({ user: { username: 'a', password: 'b' } }), /username: API servers no longer take passwords/],
  ['impersonation', config({ user: { as: 'root' } }), /as: impersonation is not supported/],
  [
    'proxies',
    config({ cluster: { 'proxy-url': 'http://p' } }),
    /clusters\[0\]\.cluster\.proxy-url: proxies are not supported/,
  ],
  ['a key alone', config({ user: { 'client-key': 'key.pem' } }), /client-certificate and client-key need each other/],
  [
    'data that is no PEM',
    config({ cluster: { 'certificate-authority-data': 'AAAA' } }),
    /certificate-authority-data: no PEM in base64/,
  ],
  [
    'a CA that would not be asked',
    config({ cluster: { 'certificate-authority': 'ca.pem', 'insecure-skip-tls-verify': true } }),
    /beside insecure-skip-tls-verify: remove either/,
  ],
  ['a file that is not there', config({ user: { tokenFile: 'nowhere' } }), /Cannot read tokenFile .*nowhere: ENOENT/],
  [
    'an address that is none',
    config({ cluster: { server: '192.0.2.1:6443' } }),
    /"192\.0\.2\.1:6443" is no URL such as https/,
  ],
  ['another scheme', config({ cluster: { server: 'ftp://192.0.2.1' } }), /is no URL such as/],
  [
    'an address that is a number',
    config({ cluster: { server: 7 } }),
    /clusters\[0\]\.cluster\.server: 7 where the API server's URL is expected/,
  ],
  ['no current context', '{"clusters": []}', /it has no current-context/],
  [
    'a context that is not there',
    '{"current-context": "x", "contexts": [{"name": "y"}]}',
    /contexts: there is no "x": known are "y"/,
  ],
  [
    'a cluster that is not there',
    '{"current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "c"}}]}',
    /clusters: there is no "c": known are none at all/,
  ],
  ['no kubeconfig', '[]', /it has no current-context/],
  ['no YAML', 'a: [', /^Cannot read kubeconfig /],
  ['an empty file', '', /it is empty/],
];

for (const [what, text, message] of refusals)
  test(`kubeconfig, refused: ${what}`, () => {
    assert.throws(() => kubeconfigCredentials(file(text)), { name: 'CredentialsError', message });
  });

function account(): string {
  const path = join(folder, `account-${count++}`);
  mkdirSync(path);
  writeFileSync(join(path, 'token'), 'first\n');
  writeFileSync(join(path, 'ca.crt'), pem('CA'));
  return path;
}

const service = { KUBERNETES_SERVICE_HOST: '10.96.0.1', KUBERNETES_SERVICE_PORT: '443' };

const servers: readonly (readonly [what: string, env: Readonly<Record<string, string>>, server: string])[] = [
  ["the service's address", service, 'https://10.96.0.1'],
  [
    'an IPv6 address',
    { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443' },
    'https://[fd00::1]:6443',
  ],
  [
    'our own variable goes first, since it needs no kube-proxy',
    { ...service, TOLLGATE_API_SERVER: 'https://192.0.2.1:6443' },
    'https://192.0.2.1:6443',
  ],
  ['an empty variable is none', { ...service, TOLLGATE_API_SERVER: '' }, 'https://10.96.0.1'],
];

for (const [what, env, server] of servers)
  test(`in a cluster: ${what}`, () => {
    const credentials = inClusterCredentials(env, account());
    assert.deepEqual(
      [credentials.server, credentials.read()],
      [server, { authorization: 'Bearer first', tls: { ca: pem('CA') } }],
    );
  });

test('in a cluster: nobody says where, or who we are', () => {
  assert.throws(() => inClusterCredentials({}, account()), {
    name: 'CredentialsError',
    message: /^Cannot find the API server/,
  });
  assert.throws(() => inClusterCredentials(service, join(folder, 'nowhere')), CredentialsError);
  assert.throws(
    () => inClusterCredentials({ TOLLGATE_API_SERVER: 'here' }, account()),
    /in TOLLGATE_API_SERVER: "here" is no URL/,
  );
});

test('a token that is rotated is the new one at once; while its file is empty or away the old one stands', () => {
  const path = account();
  const credentials = inClusterCredentials(service, path);
  const token = (): string | undefined => credentials.read().authorization;
  writeFileSync(join(path, 'token'), '');
  assert.equal(token(), 'Bearer first');
  rmSync(join(path, 'token'));
  assert.equal(token(), 'Bearer first');
  writeFileSync(join(path, 'token'), 'second');
  assert.equal(token(), 'Bearer second');
});
