/** podman with its CNI backend: names for networks, published ports, addresses by request. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test, { after } from 'node:test';
import { addressesIn, cachedAddresses, conflist, network, startClientHost } from '../support/client.ts';
import { furnishPodman, podmanGroups } from '../support/engines.ts';
import type { Host } from '../support/host.ts';
import { busyboxImage } from '../support/image.ts';
import { links, tagged } from '../support/snapshot.ts';
import { until } from '../support/until.ts';

const image = 'localhost/busybox:local';

after(podmanGroups());

const podman = (host: Host, ...args: string[]): Promise<string> => host.must(['podman', ...args]);

async function startPodman(): Promise<Host> {
  const host = await startClientHost();
  await furnishPodman(host);
  host.write('/run/image.tar', busyboxImage(image));
  await podman(host, 'load', '-q', '-i', '/run/image.tar');
  return host;
}

test('podman: a request from one container to another, and to a published port, is answered', async () => {
  using host = await startPodman();
  assert.match(await podman(host, 'network', 'ls'), new RegExp(`\\b${network}\\b`));
  const run = ['run', '--network', network];
  const id = (await podman(host, ...run, '-d', '--name', 'web', '-p', '8080:80', image)).trim();
  const ips = cachedAddresses(host).get(id)!;
  assert.equal(ips.length, 2);
  assert.equal((await tagged(host)).length, 1);
  for (const ip of ips) {
    const url = ip.includes(':') ? `http://[${ip}]/` : `http://${ip}/`;
    const answer = await until(`an answer from ${url}`, async () => {
      const { exit, stdout } = await host.run(['podman', ...run, '--rm', image, '/bin/wget', '-qO-', url]);
      return exit === 0 && stdout;
    });
    assert.equal(answer, 'the answer\n');
  }
  const published = await host.must(['busybox', 'wget', '-qO-', 'http://127.0.0.1:8080/']);
  assert.equal(published, 'the answer\n');
  await podman(host, 'rm', '-f', '-t', '0', 'web');
  assert.deepEqual([...cachedAddresses(host)], []);
  assert.deepEqual(
    (await links(host)).map(({ name }) => name),
    ['lo'],
  );
  assert.deepEqual(
    host.files('/var/lib/tollgate').filter(file => /\/(attachments|claims)\//.test(file)),
    [],
  );
});

test('podman: --ip and --mac-address are honoured', async () => {
  using host = await startPodman();
  const wish = ['--ip', '10.88.9.9', '--mac-address', '02:11:22:33:44:55'];
  const said = await podman(
    host,
    'run',
    '--rm',
    '--network',
    network,
    ...wish,
    image,
    '/bin/ip',
    'addr',
    'show',
    'eth0',
  );
  assert.match(said, /inet 10\.88\.9\.9\//);
  assert.match(said, /02:11:22:33:44:55/);
});

test('podman: a container in two networks is reached in each, and in the one that is left when the other is disconnected', async () => {
  using host = await startPodman();
  const second = conflist
    .replace(`"${network}"`, '"second"')
    .replaceAll('10.88.', '10.89.')
    .replaceAll('fd88:', 'fd89:');
  assert.notEqual(second, conflist);
  host.write('/etc/cni/net.d/20-second.conflist', second);
  const run = ['run', '-d', '--network', `${network},second`, '-p', '8080:80', '--name', 'web', image];
  const id = (await podman(host, ...run)).trim();
  const ips = host
    .files('/var/lib/cni/results')
    .filter(file => file.includes(id))
    .flatMap(file => addressesIn(readFileSync(host.path(file), 'utf8')));
  assert.equal(ips.length, 4, ips.join());
  const isReached = async (name: string, prefix: RegExp, when: string) => {
    for (const ip of ips.filter(address => prefix.test(address))) {
      const url = ip.includes(':') ? `http://[${ip}]/` : `http://${ip}/`;
      await until(`an answer from ${url} in ${name} ${when}`, async () => {
        const ask = ['podman', 'run', '--network', name, '--rm', image, '/bin/wget', '-qO-', url];
        return (await host.run(ask)).stdout === 'the answer\n';
      });
    }
  };
  const isPublished = async () =>
    assert.equal(await host.must(['busybox', 'wget', '-qO-', 'http://127.0.0.1:8080/']), 'the answer\n');
  await isReached(network, /^10\.88\.|^fd88:/, 'beside the other');
  await isPublished();
  await isReached('second', /^10\.89\.|^fd89:/, 'beside the other');
  await podman(host, 'network', 'disconnect', network, 'web');
  await isPublished();
  await isReached('second', /^10\.89\.|^fd89:/, 'alone');
  await podman(host, 'rm', '-f', '-t', '0', 'web');
  assert.deepEqual([...cachedAddresses(host)], []);
});
