/** The control plane: etcd and Kubernetes' servers, in the namespaces of the test itself, where nodes' wires end. */
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';
import { createAuthority } from '../certificate.ts';
import type { Host } from '../host.ts';
import { Api, type KubeObject } from './api.ts';
import { Daemon, kubernetes } from './daemon.ts';

/** On the link that all nodes share. */
const address = '192.0.2.1';
/** Of the API. */
export const place = `${address}:6443`;
const server = `https://${place}`;
const folder = '/run/control';
const bridge = 'nodes';

/** Who may come, with which token: a name, and its groups. */
const users = { admin: 'system:masters', tollgate: 'tollgate-agents' } as const;
export type User = keyof typeof users;

const sh = (script: string): string => execFileSync('bash', ['-ec', script], { encoding: 'utf8' });

function kubeconfigOf(user: User): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster: { server, 'certificate-authority-data': base64(authority.cert) } }],
    users: [{ name: user, user: { token: `${user}-token` } }],
    contexts: [{ name: user, context: { cluster: 'test', user } }],
    'current-context': user,
  });
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const authority = createAuthority('test cluster');

function writeFiles(): void {
  mkdirSync(folder, { recursive: true });
  const write = (name: string, text: string) => writeFileSync(`${folder}/${name}`, text, { mode: 0o600 });
  const { cert, key } = authority.issue(address, '127.0.0.1');
  const signing = generateKeyPairSync('rsa', { modulusLength: 2048 });
  write('ca.crt', authority.cert);
  write('server.crt', cert);
  write('server.key', key);
  write('account.key', signing.privateKey.export({ type: 'pkcs1', format: 'pem' }).toString());
  write('account.pub', signing.publicKey.export({ type: 'spki', format: 'pem' }).toString());
  write(
    'tokens.csv',
    Object.entries(users)
      .map(([user, group]) => `${user}-token,${user},${user},"${group}"\n`)
      .join(''),
  );
  write('admin.conf', kubeconfigOf('admin'));
}

const flags = (values: Readonly<Record<string, string | boolean | number>>): string[] =>
  Object.entries(values).map(([flag, value]) => `--${flag}=${value}`);

const etcdFlags = flags({
  'data-dir': `${folder}/etcd`,
  'listen-client-urls': 'http://127.0.0.1:2379',
  'advertise-client-urls': 'http://127.0.0.1:2379',
  'listen-peer-urls': 'http://127.0.0.1:2380',
});

const apiFlags = flags({
  'etcd-servers': 'http://127.0.0.1:2379',
  'tls-cert-file': `${folder}/server.crt`,
  'tls-private-key-file': `${folder}/server.key`,
  'advertise-address': address,
  'secure-port': 6443,
  'token-auth-file': `${folder}/tokens.csv`,
  'authorization-mode': 'RBAC',
  'service-account-key-file': `${folder}/account.pub`,
  'service-account-signing-key-file': `${folder}/account.key`,
  'service-account-issuer': 'https://kubernetes.default.svc',
  'service-cluster-ip-range': '10.96.0.0/16',
  'allow-privileged': true,
  'disable-admission-plugins': 'ServiceAccount',
});

const clientFlags = {
  kubeconfig: `${folder}/admin.conf`,
  'leader-elect': false,
  // A hundred pods at once are the test's patience, not the servers'.
  'kube-api-qps': 500,
  'kube-api-burst': 1000,
};

const controllerFlags = flags({
  ...clientFlags,
  'allocate-node-cidrs': true,
  'cluster-cidr': '10.244.0.0/16',
  'service-account-private-key-file': `${folder}/account.key`,
  'root-ca-file': `${folder}/ca.crt`,
});

const rbac = { apiVersion: 'rbac.authorization.k8s.io/v1' } as const;
/** As it is shipped. */
const [agentRole] = parseAllDocuments(
  readFileSync(new URL('../../conf/kubernetes/rbac.yaml', import.meta.url), 'utf8'),
).map(document => document.toJS() as KubeObject);
const agentBinding = {
  ...rbac,
  kind: 'ClusterRoleBinding',
  metadata: { name: 'tollgate-agent' },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'tollgate' },
  subjects: [{ kind: 'Group', name: users.tollgate, apiGroup: 'rbac.authorization.k8s.io' }],
} as const;

export class ControlPlane implements Disposable {
  readonly api = new Api({ server, token: 'admin-token', authority: authority.cert });
  readonly etcd = new Daemon({ name: 'etcd', command: ['etcd', ...etcdFlags] });
  readonly apiServer = new Daemon({ name: 'kube-apiserver', command: [`${kubernetes}/kube-apiserver`, ...apiFlags] });
  readonly #controllers = new Daemon({
    name: 'kube-controller-manager',
    command: [`${kubernetes}/kube-controller-manager`, ...controllerFlags],
  });
  readonly #scheduler = new Daemon({
    name: 'kube-scheduler',
    command: [`${kubernetes}/kube-scheduler`, ...flags(clientFlags)],
  });

  async start(): Promise<void> {
    writeFiles();
    sh(`ip link add ${bridge} type bridge; ip addr add ${address}/24 dev ${bridge}; ip link set ${bridge} up`);
    this.etcd.start();
    await this.startApiServer();
    // No more than an agent needs: what it may not do would show.
    await Promise.all([agentRole!, agentBinding].map(async object => await this.api.apply(object)));
    this.#controllers.start();
    this.#scheduler.start();
  }

  async startApiServer(): Promise<void> {
    this.apiServer.start();
    await this.apiServer.until('ready', () => this.api.isReady());
  }

  /** For a node's programs. */
  kubeconfig(user: User): string {
    return kubeconfigOf(user);
  }

  /** Plugs a machine into the link that all nodes share: `eth0` there, and the way to everywhere. */
  plug(host: Host, name: string, hostAddress: string): void {
    sh(`ip link add ${name} type veth peer name eth0 netns ${host.pid}
      ip link set ${name} master ${bridge} up
      nsenter --net=/proc/${host.pid}/ns/net sh -ec 'ip addr add ${hostAddress}/24 dev eth0; ip link set eth0 up
        ip route add default via ${address}'`);
  }

  /** Cuts a node off, or joins it again: what is under way is lost, and nobody is told. */
  wire(name: string, state: 'up' | 'down'): void {
    sh(`ip link set ${name} ${state}`);
  }

  [Symbol.dispose](): void {
    this.api[Symbol.dispose]();
  }
}
