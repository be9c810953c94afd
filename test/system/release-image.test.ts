/** The image of the release, loaded by the engines of nodes: the DaemonSet's two containers run from it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { after, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { parseAllDocuments } from 'yaml';
import { inNetns, Netns } from '../../lib/kernel/netns.ts';
import { startClientHost } from '../support/client.ts';
import { environment, type Json, tollgate } from '../support/cni.ts';
import { furnishPodman, podmanGroups, startContainerd } from '../support/engines.ts';
import { FakeApi } from '../support/fake-api.ts';
import type { Host } from '../support/host.ts';
import { arch, released, version } from '../support/release.ts';
import { tagged } from '../support/snapshot.ts';
import { until } from '../support/until.ts';

const archive = released(`tollgate-${version}-${arch}.oci.tar`);
const node = 'n1';

interface Container {
  readonly name: string;
  readonly command: readonly string[];
  readonly volumeMounts: readonly {
    readonly name: string;
    readonly mountPath: string;
    readonly mountPropagation?: string;
  }[];
}

/** As `tollgate install --kubernetes` prints them. */
function containersOfDaemonSet(): { readonly init: Container; readonly agent: Container } {
  const printed = execFileSync(tollgate, ['install', '--kubernetes'], { encoding: 'utf8' });
  const daemonSet = parseAllDocuments(printed)
    .map(document => document.toJS() as { kind: string; spec: { template: { spec: Record<string, Container[]> } } })
    .find(({ kind }) => kind === 'DaemonSet')!;
  const { initContainers, containers } = daemonSet.spec.template.spec;
  return { init: initContainers![0]!, agent: containers![0]! };
}

/** Whole blobs by their path in the archive. */
const inArchive = (path: string): Buffer => execFileSync('tar', ['-xOf', archive, path], { maxBuffer: 1 << 28 });
const jsonInArchive = (path: string) => JSON.parse(inArchive(path).toString());
const blobPath = (digest: string) => `blobs/${digest.replace(':', '/')}`;

test('the archive is an OCI layout whose manifest says by annotations what it is', () => {
  const [found] = jsonInArchive('index.json').manifests;
  assert.deepEqual(found.platform, { architecture: arch, os: 'linux' });
  const { annotations } = jsonInArchive(blobPath(found.digest));
  for (const key of ['title', 'description', 'version', 'licenses', 'created'])
    assert.ok(annotations[`org.opencontainers.image.${key}`], key);
});

test('the image is at most 150 MB, and 60 MB as it is pulled', t => {
  const [found] = jsonInArchive('index.json').manifests;
  const { layers } = jsonInArchive(blobPath(found.digest)) as { layers: { digest: string; size: number }[] };
  const size = layers.reduce((sum, { digest }) => sum + gunzipSync(inArchive(blobPath(digest))).length, 0);
  t.diagnostic(`${(size / 1e6).toFixed(1)} MB, ${(statSync(archive).size / 1e6).toFixed(1)} MB compressed`);
  assert.ok(size <= 150e6, String(size));
  assert.ok(statSync(archive).size <= 60e6);
});

after(podmanGroups());

interface Engine {
  readonly name: string;
  readonly load: (host: Host) => Promise<unknown>;
  /** The command line of a container that has the node's network and processes. */
  readonly run: (container: Container, more: readonly string[]) => readonly string[];
}

const propagationOf = ({ mountPropagation }: Container['volumeMounts'][number]): string =>
  mountPropagation === 'HostToContainer' ? 'rslave' : 'rprivate';

const engines: readonly Engine[] = [
  {
    name: 'podman',
    load: async host => {
      await furnishPodman(host);
      await host.must(['podman', 'load', '-q', '-i', archive]);
    },
    run: ({ name, command, volumeMounts }, more) => [
      ...['podman', 'run', '--rm', '--name', name, '--privileged', '--network=host', '--pid=host'],
      ...['--entrypoint=[]', '-e', `NODE_NAME=${node}`],
      ...volumeMounts.map(mount => `--volume=${mount.mountPath}:${mount.mountPath}:${propagationOf(mount)}`),
      ...['--volume=/run/test:/run/test', `docker.io/library/tollgate:${version}`, ...command, ...more],
    ],
  },
  {
    name: 'ctr',
    load: async host => {
      await startContainerd(host);
      await host.must(['ctr', '-n', 'k8s.io', 'images', 'import', '--snapshotter', 'native', archive]);
    },
    run: ({ name, command, volumeMounts }, more) => [
      ...[
        'ctr',
        '-n',
        'k8s.io',
        'run',
        '--rm',
        '--snapshotter',
        'native',
        '--cgroup',
        '',
        '--privileged',
        '--net-host',
      ],
      ...['--with-ns', 'pid:/proc/1/ns/pid', '--env', `NODE_NAME=${node}`],
      ...[...volumeMounts, { name: 'test', mountPath: '/run/test' }].flatMap(mount => [
        '--mount',
        `type=bind,src=${mount.mountPath},dst=${mount.mountPath},options=rbind:${propagationOf(mount)}:rw`,
      ]),
      ...[`docker.io/library/tollgate:${version}`, name, ...command, ...more],
    ],
  },
];

async function startApi(host: Host): Promise<FakeApi> {
  using place = Netns.open(`/proc/${host.pid}/ns/net`);
  const api = await FakeApi.start({ inside: listen => inNetns(place, listen) });
  for (const name of ['default', 'kube-system']) api.put('namespaces', { metadata: { name, labels: {} } });
  api.put('nodes', {
    metadata: { name: node },
    spec: { podCIDR: '10.99.0.0/24', podCIDRs: ['10.99.0.0/24'] },
    status: {},
  });
  const pod = { name: 'web', namespace: 'default', uid: 'uid-web', labels: {} };
  api.put('pods', { metadata: pod, spec: { nodeName: node, containers: [] }, status: { phase: 'Running' } });
  await host.sh('mkdir -p /run/test');
  const cluster = `clusters: [{name: c, cluster: {server: "http://127.0.0.1:${api.port}"}}]\nusers: [{name: u, user: {token: t}}]`;
  const context = 'contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x';
  host.write('/run/test/kubeconfig', `apiVersion: v1\nkind: Config\n${cluster}\n${context}\n`);
  return api;
}

for (const engine of engines)
  test(`${engine.name} loads it; the init container installs the plugin, and the agent serves its calls`, async () => {
    using host = await startClientHost();
    await host.sh(
      'rm -rf /opt/cni /etc/cni/net.d/*; mkdir -p /opt/cni/bin /run/tollgate /var/lib/tollgate /var/lib/cni',
    );
    await using _api = await startApi(host);
    await engine.load(host);
    const { init, agent } = containersOfDaemonSet();
    await host.must(engine.run(init, []));
    const names = ['tollgate', 'tollgate-ipam', 'tollgate-node', 'tollgate.rundir'];
    assert.deepEqual(
      host.files('/opt/cni/bin'),
      names.map(name => `/opt/cni/bin/${name}`),
    );

    const running = host.spawn(engine.run(agent, ['--kubeconfig=/run/test/kubeconfig']));
    let said = '';
    for (const stream of [running.stdout!, running.stderr!])
      stream.on('data', (chunk: Buffer) => {
        said += chunk.toString();
      });
    const conflist = '/etc/cni/net.d/10-tollgate.conflist';
    await until('the agent to write the conflist', () => {
      assert.equal(running.exitCode, null, said);
      return host.files('/etc/cni/net.d').includes(conflist);
    });
    const { cniVersion, name, plugins } = JSON.parse(readFileSync(host.path(conflist), 'utf8')) as Json & {
      plugins: Json[];
    };
    const args = 'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=uid-web';
    const env = environment('ADD', { containerID: 'web', netns: await host.pod(), args });
    const input = JSON.stringify({ cniVersion, name, ...plugins[0] });
    const { exit, stdout, stderr } = await host.run(['/opt/cni/bin/tollgate'], { input, env });
    assert.equal(exit, 0, `${stdout}${stderr}${said}`);
    assert.match(JSON.parse(stdout).ips[0].address, /^10\.99\.0\./);
    assert.equal((await tagged(host)).length, 1);
    // It ends as a DaemonSet's does.
    running.kill('SIGTERM');
  });
