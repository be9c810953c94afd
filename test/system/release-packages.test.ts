/** .deb and .rpm: installed, upgraded and removed in a copy of this system that the test throws away, with pods plugged in. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { environment, type Json } from '../support/cni.ts';
import { Host, until } from '../support/host.ts';
import { arch, releaseDir, version } from '../support/release.ts';

/** The copy: what is written to it goes to memory, what is read and was not written is this system's. */
const system = '/var/lib/tree/root';
const setup = `mkdir -p /var/lib/tree/up /var/lib/tree/work ${system}
  mount -t overlay overlay -o lowerdir=/,upperdir=/var/lib/tree/up,workdir=/var/lib/tree/work ${system}
  mount --make-shared /run
  for d in run proc sys dev; do mount --rbind /$d ${system}/$d; done
  rm -rf ${system}/etc/cni ${system}/etc/tollgate ${system}/opt/cni ${system}/var/lib/tollgate ${system}/var/lib/rpm
  mkdir -p ${system}/etc/tollgate/policies ${system}/var/lib/rpm /run/systemd/system`;

/** What the packages' scripts ask of systemd stands in /run/systemctl. */
const stub = `${system}/usr/bin/systemctl`;
const systemctl = '#!/bin/sh\\necho "$@" >>/run/systemctl\\n';

const conflist = '/etc/cni/net.d/10-tollgate.conflist';
const plugin = ['tollgate', 'tollgate-ipam', 'tollgate-node', 'tollgate.rundir'].map(name => `/opt/cni/bin/${name}`);

class Packaged implements Disposable {
  readonly host: Host;
  readonly #pods = new Map<string, { readonly netns: string; readonly address: string }>();

  private constructor(host: Host) {
    this.host = host;
  }

  static async start(): Promise<Packaged> {
    const host = await Host.start({ setup });
    await host.sh(`rm -f ${stub}; printf '${systemctl}' >${stub}; chmod +x ${stub}`);
    return new Packaged(host);
  }

  sh(script: string): Promise<string> {
    return this.host.must(['chroot', system, 'bash', '-ec', script]);
  }

  read(file: string): string {
    return readFileSync(this.host.path(`${system}${file}`), 'utf8');
  }

  files(folder: string): readonly string[] {
    return this.host.files(`${system}${folder}`).map(file => file.slice(system.length));
  }

  async call(verb: 'ADD' | 'DEL', namespace: string, name: string, netns: string): Promise<string> {
    const { cniVersion, name: network, plugins } = JSON.parse(this.read(conflist)) as Json & { plugins: Json[] };
    const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${name}`;
    const env = { ...environment(verb, { containerID: name, netns, args }), CNI_PATH: '/opt/cni/bin' };
    const input = JSON.stringify({ cniVersion, name: network, ...plugins[0] });
    return await this.host.must(['chroot', system, '/opt/cni/bin/tollgate'], { env, input });
  }

  async plugIn(namespace: string, name: string): Promise<void> {
    const netns = await this.host.pod();
    const { ips } = JSON.parse(await this.call('ADD', namespace, name, netns)) as { ips: { address: string }[] };
    this.#pods.set(name, { netns, address: ips[0]!.address.split('/')[0]! });
  }

  async unplug(namespace: string, name: string): Promise<void> {
    await this.call('DEL', namespace, name, this.#pods.get(name)!.netns);
  }

  reaches(from: string, to: string): Promise<boolean> {
    return this.host.pings(this.#pods.get(to)!.address, this.#pods.get(from)!.netns, 5);
  }

  async asked(): Promise<readonly string[]> {
    const lines = (await this.sh('cat /run/systemctl; rm /run/systemctl')).trim().split('\n');
    return lines;
  }

  [Symbol.dispose](): void {
    this.host[Symbol.dispose]();
  }
}

interface Packager {
  readonly suffix: 'deb' | 'rpm';
  /** Shell lines that make /run/old of the package at /run/new: an older version, as far as the tool can make one. */
  readonly older: string;
  readonly install: string;
  readonly upgrade: string;
  readonly remove: string;
}

const packagers: readonly Packager[] = [
  {
    suffix: 'deb',
    older: `dpkg-deb -R /run/new.deb /tmp/old; sed -i 's/^Version: .*/Version: 0.0.1/' /tmp/old/DEBIAN/control
      echo old >/tmp/old/usr/share/doc/tollgate/only-old; dpkg-deb -Znone -b /tmp/old /run/old.deb; rm -r /tmp/old`,
    install: 'dpkg -i /run/old.deb',
    upgrade: 'dpkg -i /run/new.deb',
    remove: 'dpkg -P tollgate',
  },
  {
    suffix: 'rpm',
    older: 'cp /run/new.rpm /run/old.rpm',
    // The copy of this system has no database of rpm's that knows a C library.
    install: 'rpm -i --nodeps /run/old.rpm',
    upgrade: 'rpm -U --nodeps --replacepkgs /run/new.rpm',
    remove: 'rpm -e tollgate',
  },
];

const closed = JSON.stringify({
  ...{ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name: 'deny', namespace: 'closed' } },
  spec: { podSelector: {}, policyTypes: ['Ingress'] },
});
const restarts = ['daemon-reload', 'try-restart tollgate-agent.service tollgate-kubernetes-agent.service'];
const stops = ['--quiet disable --now tollgate-agent.socket tollgate-agent.service tollgate-kubernetes-agent.service'];

/** Calls the plugin again and again. @returns what ends it, and says how often it was called and how often it failed */
function callAllTheTime({ host }: Packaged): () => Promise<{ readonly calls: number; readonly failures: number }> {
  const script = `calls=0 failures=0; trap 'echo $calls $failures; exit' TERM
    while :; do calls=$((calls + 1)); CNI_COMMAND=VERSION /opt/cni/bin/tollgate </dev/null >/dev/null 2>&1 || failures=$((failures + 1)); done`;
  const child = host.spawn(['chroot', system, 'bash', '-c', script]);
  let said = '';
  child.stdout!.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  return async () => {
    child.kill('SIGTERM');
    await until('the caller to end', () => said.includes('\n'));
    const [calls, failures] = said.trim().split(' ').map(Number);
    return { calls: calls!, failures: failures! };
  };
}

for (const { suffix, older, install, upgrade, remove } of packagers) {
  const file = `${releaseDir}/tollgate-${version}-${arch}.${suffix}`;
  // Made where Go is there.
  const skip = process.env['CI'] !== 'true' && !existsSync(file) && `${file} is not there`;
  test(`.${suffix}: an upgrade leaves pods and the admin's conflist alone; a removal leaves gates closed, and nothing else once pods are gone`, {
    skip,
  }, async () => {
    using node = await Packaged.start();
    await node.host.sh(`cp ${file} /run/new.${suffix}`);
    await node.sh(older);
    await node.sh(install);
    assert.deepEqual(node.files('/opt/cni/bin'), plugin);
    assert.deepEqual(node.files('/etc/cni'), [], 'the network is for the admin to choose');
    assert.deepEqual(await node.asked(), restarts);

    assert.match(await node.sh('kubectl-tollgate --help'), /^kubectl tollgate /);
    await node.sh('tollgate install');
    const changed = node.read(conflist).replace('"ipMasq": true', '"ipMasq": true, "mtu": 1400');
    await node.sh(`cat >${conflist} <<'E'\n${changed}E`);
    await node.sh(`cat >/etc/tollgate/policies/deny.yaml <<'E'\n${closed}\nE`);
    await node.plugIn('closed', 'web');
    await node.plugIn('open', 'client');
    assert.equal(await node.reaches('client', 'web'), false);

    const ended = callAllTheTime(node);
    await node.sh(upgrade);
    const { calls, failures } = await ended();
    assert.ok(calls > 0);
    assert.equal(failures, 0, `of ${calls} calls during the upgrade`);
    assert.deepEqual(await node.asked(), restarts);
    assert.equal(node.read(conflist), changed);
    assert.ok(!node.files('/usr/share/doc/tollgate').includes('/usr/share/doc/tollgate/only-old'));
    assert.equal(await node.reaches('client', 'web'), false);
    await node.plugIn('open', 'late');
    assert.deepEqual([await node.reaches('client', 'late'), await node.reaches('late', 'web')], [true, false]);

    assert.match(await node.sh(`${remove} 2>&1`), /^Plugged in here: .*closed\/web/m);
    assert.deepEqual(await node.asked(), stops);
    assert.ok(!existsSync(node.host.path(`${system}/usr/bin/tollgate`)));
    assert.equal(node.read(conflist), changed);
    assert.deepEqual([await node.reaches('client', 'late'), await node.reaches('client', 'web')], [true, false]);

    for (const [namespace, name] of [
      ['closed', 'web'],
      ['open', 'client'],
      ['open', 'late'],
    ] as const)
      await node.unplug(namespace, name);
    await node.sh('/opt/cni/bin/tollgate uninstall --no-conflist');
    assert.deepEqual(node.files('/opt/cni/bin'), []);
    assert.equal((await node.host.sh('nft list tables')).trim(), '');

    await node.sh(upgrade);
    await node.sh(remove);
    assert.deepEqual(node.files('/opt/cni/bin'), []);
    assert.equal(node.read(conflist), changed);
  });
}
