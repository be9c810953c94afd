/** The control plane: etcd and Kubernetes' servers, in the namespaces of the test itself, where nodes' wires end. */
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { parseAllDocuments } from 'yaml';
import { createAuthority } from '../support/certificate.ts';
import type { Host } from '../support/host.ts';
import { until } from '../support/until.ts';
import { apiService, control, linkPrefix, type Place } from './addresses.ts';
import { Api, type KubeObject, type Node } from './api.ts';
import { Daemon, flagsOf, kubernetes } from './daemon.ts';
import { proxyBinding } from './proxy.ts';
import { release } from './release.ts';

const address = control.v4;
/** Of the API. */
export const place = `${address}:6443`;
const server = `https://${place}`;
const folder = '/run/control';
const bridge = 'nodes';
/** A kubeconfig. */
export const adminConfig = `${folder}/admin.conf`;
export const authorityFile = `${folder}/ca.crt`;

/** Who may come, with which token: a name, and its group. */
const users: Readonly<Record<string, string>> = {
  admin: 'system:masters',
  tollgate: 'tollgate-agents',
  'system:kube-proxy': 'kube-proxies',
  ...Object.fromEntries([1, 2, 3, 4].map(number => [`system:node:node${number}`, 'system:nodes'])),
};

const sh = (script: string): string => execFileSync('bash', ['-ec', script], { encoding: 'utf8' });

function kubeconfigOf(user: string): string {
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

const apiNames = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc'] as const;
const issueServer = () => authority.issue(address, '127.0.0.1', apiService, ...apiNames);

function writeFiles(): void {
  mkdirSync(folder, { recursive: true });
  const write = (name: string, text: string) => writeFileSync(`${folder}/${name}`, text, { mode: 0o600 });
  const { cert, key } = issueServer();
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

const etcdFlags = flagsOf({
  'data-dir': `${folder}/etcd`,
  'listen-client-urls': 'http://127.0.0.1:2379',
  'advertise-client-urls': 'http://127.0.0.1:2379',
  'listen-peer-urls': 'http://127.0.0.1:2380',
});

const apiFlags = flagsOf({
  'etcd-servers': 'http://127.0.0.1:2379',
  'tls-cert-file': `${folder}/server.crt`,
  'tls-private-key-file': `${folder}/server.key`,
  'advertise-address': address,
  'secure-port': 6443,
  'token-auth-file': `${folder}/tokens.csv`,
  'service-account-key-file': `${folder}/account.pub`,
  'service-account-signing-key-file': `${folder}/account.key`,
  'service-account-issuer': 'https://kubernetes.default.svc',
  'allow-privileged': true,
  // A hundred pods are deleted by one request.
  'request-timeout': '300s',
  ...release.apiServer,
});

const clientFlags = {
  kubeconfig: `${folder}/admin.conf`,
  'leader-elect': false,
  // A hundred pods at once are the test's patience, not the servers'.
  'kube-api-qps': 500,
  'kube-api-burst': 1000,
};

const controllerFlags = flagsOf({
  ...clientFlags,
  'allocate-node-cidrs': true,
  // A kubelet that is held, or has no processor, is no dead node, whose pods count as not ready.
  'node-monitor-grace-period': '300s',
  'service-account-private-key-file': `${folder}/account.key`,
  'root-ca-file': `${folder}/ca.crt`,
  ...release.controllers,
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
  subjects: [{ kind: 'Group', name: users['tollgate'], apiGroup: 'rbac.authorization.k8s.io' }],
} as const;

export class ControlPlane implements Disposable {
  readonly api = new Api({ server, token: 'admin-token', authority: authority.cert });
  readonly etcd = new Daemon({ name: 'etcd', command: [release.programs.etcd, ...etcdFlags] });
  readonly apiServer = new Daemon({ name: 'kube-apiserver', command: [`${kubernetes}/kube-apiserver`, ...apiFlags] });
  readonly #controllers = new Daemon({
    name: 'kube-controller-manager',
    command: [`${kubernetes}/kube-controller-manager`, ...controllerFlags],
  });
  readonly #scheduler = new Daemon({
    name: 'kube-scheduler',
    command: [`${kubernetes}/kube-scheduler`, ...flagsOf(clientFlags)],
  });

  async start(): Promise<void> {
    writeFiles();
    sh(`ip link add ${bridge} type bridge; ip addr add ${control.v4}/${linkPrefix.v4} dev ${bridge}
      ip addr add ${control.v6}/${linkPrefix.v6} dev ${bridge} nodad; ip link set ${bridge} up`);
    this.etcd.start();
    await this.startApiServer();
    // No more than an agent needs: what it may not do would show.
    const objects = release.agent === 'program' ? [agentRole!, agentBinding] : [proxyBinding];
    await Promise.all(objects.map(async object => await this.api.apply(object)));
    this.#controllers.start();
    this.#scheduler.start();
  }

  async startApiServer(): Promise<void> {
    this.apiServer.start();
    await this.apiServer.until('ready', () => this.api.isReady());
  }

  /** For a node's programs. */
  kubeconfig(user: string): string {
    return kubeconfigOf(user);
  }

  /** Plugs a machine into the link that all nodes share: `eth0` there, and the way to everywhere. */
  async plug(host: Host, name: string, place: Place): Promise<void> {
    await this.#isUnplugged(name);
    sh(`ip link add ${name} type veth peer name eth0 netns ${host.pid}
      ip link set ${name} master ${bridge} up
      nsenter --net=/proc/${host.pid}/ns/net sh -ec 'ip addr add ${place.v4}/${linkPrefix.v4} dev eth0
        ip addr add ${place.v6}/${linkPrefix.v6} dev eth0 nodad; ip link set eth0 up
        ip route add default via ${control.v4}; ip -6 route add default via ${control.v6}'`);
  }

  /** The API server's way to the node's pods, which it asks for those who may ask it: `pods/proxy`. */
  async route(node: Node): Promise<void> {
    for (const range of node.spec.podCIDRs ?? []) {
      const via = node.status.addresses!.find(
        ({ type, address }) => type === 'InternalIP' && isIP(address) === isIP(range.split('/')[0]!),
      );
      if (via) sh(`ip route replace ${range} via ${via.address}`);
    }
  }

  /** A wire goes with the namespace of its machine, which the kernel takes away in its own time. */
  async #isUnplugged(name: string): Promise<void> {
    await until(`the wire ${name} to be gone`, () => sh(`ip -o link show dev ${name} 2>/dev/null || true`) === '');
  }

  /** Undoes `plug` and `route` of a machine that has ended. */
  async unplug(node: Node): Promise<void> {
    for (const range of node.spec.podCIDRs ?? []) sh(`ip route del ${range} 2>/dev/null || true`);
    await this.#isUnplugged(node.metadata.name);
  }

  /** Of the API server, by the same authority. It looks at its files each minute. */
  renewCertificate(): void {
    const { cert, key } = issueServer();
    writeFileSync(`${folder}/server.key`, key, { mode: 0o600 });
    writeFileSync(`${folder}/server.crt`, cert, { mode: 0o600 });
  }

  /** Sets what the node's wire takes in one piece (bytes), at both ends. */
  narrow({ name, host }: { readonly name: string; readonly host: Host }, mtu: number): void {
    sh(`ip link set ${name} mtu ${mtu}; nsenter --net=/proc/${host.pid}/ns/net ip link set eth0 mtu ${mtu}`);
  }

  [Symbol.dispose](): void {
    this.api[Symbol.dispose]();
  }
}
