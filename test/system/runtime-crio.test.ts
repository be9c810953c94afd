/** CRI-O's own CNI library (ocicni, as CRI-O 1.34 has it), called as CRI-O's server does: the README's lines, and pods' lives. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { network, startClientHost } from '../support/client.ts';
import { tollgateDir } from '../support/cni.ts';
import type { Exit, Host } from '../support/host.ts';
import { links, tagged } from '../support/snapshot.ts';

const ocicni = process.env['OCICNI'] ?? fileURLToPath(new URL('../../dist/tools/ocicni', import.meta.url));
const skip = existsSync(ocicni) ? false : `no ocicni at ${ocicni}: test/setup.sh installs it where Go is`;
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

/** struct PodNetwork of ocicni. */
interface PodNetwork {
  readonly Name: string;
  readonly Namespace: string;
  readonly ID: string;
  readonly UID: string;
  readonly NetNS: string;
  readonly Networks: readonly [];
  readonly RuntimeConfig: object;
}

/** As `newPodNetwork` of CRI-O's server/sandbox_network.go makes it: without PortMappings, which CRI-O carries out by itself. */
const podNetwork = (netns: string, name: string, annotations: Readonly<Record<string, string>> = {}): PodNetwork => ({
  Name: name,
  Namespace: 'default',
  ID: name.padEnd(64, '0'),
  UID: `0f0f0f0f-0000-4000-8000-${name.padStart(12, '0')}`,
  NetNS: `/run/netns/${netns}`,
  Networks: [],
  RuntimeConfig: {
    [network]: {
      Bandwidth: null,
      CgroupPath: `/kubepods/pod${name}`,
      'io.kubernetes.cri.pod-annotations': annotations,
    },
  },
});

const run = (host: Host, verb: string, of: unknown): Promise<Exit> =>
  host.run([ocicni, '/etc/cni/net.d', '/opt/cni/bin', verb], { env: { PATH }, input: JSON.stringify(of) });

async function must(host: Host, verb: string, of: unknown = {}): Promise<string> {
  const { exit, stdout, stderr } = await run(host, verb, of);
  assert.equal(exit, 0, `${verb}: ${stdout}${stderr}`);
  return stdout;
}

/** As the README says it, where CRI-O's own network is there. */
async function startCrioHost(): Promise<Host> {
  const host = await startClientHost();
  const plugins = [{ type: 'bridge', ipam: { type: 'host-local', ranges: [[{ subnet: '10.85.0.0/16' }]] } }];
  const theirs = { cniVersion: '1.0.0', name: 'crio', plugins };
  host.write('/etc/cni/net.d/10-crio-bridge.conflist', JSON.stringify(theirs));
  await host.sh(`rm /etc/cni/net.d/*tollgate* /opt/cni/bin/tollgate*
    ${tollgateDir}/tollgate install --bin-dir /opt/cni/bin --conf-dir /etc/cni/net.d || [ $? = 1 ]
    mkdir /run/aside; mv /etc/cni/net.d/*crio* /run/aside 2>/dev/null`);
  return host;
}

const labelsOf = (text: string): Readonly<Record<string, unknown>> => {
  const pods = JSON.parse(text) as readonly { readonly name: string; readonly labels: object }[];
  return Object.fromEntries(pods.map(({ name, labels }) => [name, labels]));
};

const addressesOf = (answer: string): string[] => {
  const [result] = JSON.parse(answer) as [{ Result: { ips: { address: string }[] } }];
  return result.Result.ips.map(({ address }) => address.split('/')[0]!);
};

test("CRI-O's library: status, pods of both families, labels by annotation, check, del, gc", { skip }, async () => {
  using host = await startCrioHost();
  await must(host, 'status');
  const [first, second, third] = (await host.netns(3)) as [string, string, string];
  const web = podNetwork(first, 'web', { 'tollgate.dev/labels': 'app=web' });
  const client = podNetwork(second, 'client');
  const lost = podNetwork(third, 'lost');
  const addresses = addressesOf(await must(host, 'add', web));
  assert.deepEqual(
    addresses.map(address => address.includes(':')),
    [false, true],
  );
  await must(host, 'add', client);
  await must(host, 'add', lost);
  for (const [address, family] of [
    [addresses[0]!, 4],
    [addresses[1]!, 6],
  ] as const) {
    await host.serve('web', 'tcp', 80, first, family);
    assert.match((await host.ask('tcp', address, 80, second)) ?? 'nothing', /^web /);
  }
  const plugged = await host.sh(`${tollgateDir}/tollgate pods -o json`);
  assert.deepEqual(labelsOf(plugged), { client: {}, lost: {}, web: { app: 'web' } });
  assert.deepEqual(addressesOf(await must(host, 'check', web)), addresses);
  assert.equal((await tagged(host)).length, 3);
  await must(host, 'gc', [web, client]);
  assert.equal((await tagged(host)).length, 2, 'what CRI-O no longer knows is taken away');
  for (const pod of [web, web, client, lost]) await must(host, 'del', pod);
  assert.deepEqual(
    (await links(host)).map(({ name }) => name),
    ['lo'],
  );
});

test("CRI-O's library: a pod whose namespace is gone is deleted, as after a reboot of its containers", {
  skip,
}, async () => {
  using host = await startCrioHost();
  const [netns] = (await host.netns(1)) as [string];
  const pod = podNetwork(netns, 'gone');
  await must(host, 'add', pod);
  await host.removeNetns(netns);
  await must(host, 'del', pod);
  assert.deepEqual(await tagged(host), []);
});
