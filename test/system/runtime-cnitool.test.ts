/** The reference client: cnitool with libcni, as an admin types it. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { cachedAddresses, network, startClientHost } from '../support/client.ts';
import type { Exit, Host } from '../support/host.ts';
import { links, tagged } from '../support/snapshot.ts';

const cnitool = process.env['CNITOOL'] ?? fileURLToPath(new URL('../../dist/tools/cnitool', import.meta.url));
const skip = existsSync(cnitool) ? false : `no cnitool at ${cnitool}: test/setup.sh installs it where Go is`;
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

const run = (host: Host, verb: string, netns: string, env: Record<string, string> = {}): Promise<Exit> => {
  const paths = { CNI_PATH: '/opt/cni/bin', NETCONFPATH: '/etc/cni/net.d' };
  return host.run([cnitool, verb, network, `/run/netns/${netns}`], { env: { PATH, ...paths, ...env } });
};

async function must(host: Host, verb: string, netns: string, env?: Record<string, string>): Promise<string> {
  const { exit, stdout, stderr } = await run(host, verb, netns, env);
  assert.equal(exit, 0, `cnitool ${verb}: ${stdout}${stderr}`);
  return stdout;
}

test('cnitool: status, add, check, a request from pod to pod, del, gc', { skip }, async () => {
  using host = await startClientHost();
  const [first, second] = (await host.netns(2)) as [string, string];
  await must(host, 'status', first);
  const result = JSON.parse(await must(host, 'add', first)) as { readonly cniVersion: string; readonly ips: unknown[] };
  assert.deepEqual([result.cniVersion, result.ips.length], ['1.1.0', 2]);
  await must(host, 'add', second);
  const pods = [...cachedAddresses(host).values()];
  assert.equal(pods.length, 2);
  for (const family of [4, 6] as const) {
    await host.serve('second', 'tcp', 80, second, family);
    const [ask, answer] = pods.map(ips => ips.find(ip => ip.includes(':') === (family === 6))!);
    const isFirst = (await host.sh('ip addr', first)).includes(`${ask}/`);
    const [own, other] = isFirst ? [ask, answer] : [answer, ask];
    assert.equal(await host.ask('tcp', other!, 80, first), `second ${own}`);
  }
  await must(host, 'check', first);
  await must(host, 'check', second);
  assert.equal((await tagged(host)).length, 2);
  await must(host, 'del', first);
  await must(host, 'del', first);
  assert.equal((await tagged(host)).length, 1);
  await must(host, 'gc', second);
  await must(host, 'del', second);
  assert.deepEqual(
    (await links(host)).map(({ name }) => name),
    ['lo'],
  );
  assert.deepEqual(
    host.files('/var/lib/tollgate').filter(file => /\/(attachments|claims)\//.test(file)),
    [],
  );
});

test('cnitool: CAP_ARGS bring a host port, an address, a MAC and labels', { skip }, async () => {
  using host = await startClientHost();
  const [pod] = (await host.netns(1)) as [string];
  const capabilities = {
    portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }],
    ips: ['10.88.7.7', 'fd88::77'],
    mac: '02:aa:bb:cc:dd:ee',
    labels: { app: 'till' },
  };
  await must(host, 'add', pod, { CAP_ARGS: JSON.stringify(capabilities) });
  await host.serve('pod', 'tcp', 80, pod);
  assert.match((await host.ask('tcp', '127.0.0.1', 8080)) ?? 'nothing', /^pod /);
  assert.deepEqual([...cachedAddresses(host).values()], [['10.88.7.7', 'fd88::77']]);
  assert.equal((await links(host, pod)).find(({ name }) => name === 'eth0')?.mac, '02:aa:bb:cc:dd:ee');
  await must(host, 'del', pod, { CAP_ARGS: JSON.stringify(capabilities) });
  assert.equal(await host.ask('tcp', '127.0.0.1', 8080, undefined, 1000), undefined);
});

test('cnitool: an error of ours reaches the one who types, with its words', { skip }, async () => {
  using host = await startClientHost();
  const { exit, stdout, stderr } = await run(host, 'add', 'nowhere');
  assert.notEqual(exit, 0);
  assert.match(`${stdout}${stderr}`, /\/run\/netns\/nowhere/);
});
