/** containerd, by `ctr run --cni`: its own libcni, its own way to spell capabilities, containers by runc. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { cachedAddresses, startClientHost } from '../support/client.ts';
import { startContainerd } from '../support/engines.ts';
import type { Host } from '../support/host.ts';
import { busyboxImage } from '../support/image.ts';
import { links, tagged } from '../support/snapshot.ts';
import { until } from '../support/until.ts';

const image = 'docker.io/library/busybox:local';

async function startWithImage(host: Host): Promise<void> {
  await startContainerd(host);
  host.write('/run/image.tar', busyboxImage(image));
  await host.must(['ctr', 'images', 'import', '--snapshotter', 'native', '/run/image.tar']);
}

const container = (id: string, ...command: string[]): string[] => {
  const options = ['--cni', '--rm', '--snapshotter', 'native', '--cgroup', ''];
  return ['ctr', 'run', ...options, image, id, ...command];
};

test('containerd: a request from one container to another is answered, and nothing is left of either', async () => {
  using host = await startClientHost();
  await startWithImage(host);
  const web = host.spawn(container('web'));
  let said = '';
  web.stderr!.on('data', chunk => {
    said += chunk;
  });
  const ips = await until('the first container to be plugged in', () => {
    assert.equal(web.exitCode, null, said);
    return cachedAddresses(host).get('default-web');
  });
  assert.equal(ips.length, 2);
  assert.equal((await tagged(host)).length, 1);
  for (const [i, ip] of ips.entries()) {
    const url = ip.includes(':') ? `http://[${ip}]/` : `http://${ip}/`;
    const answer = await until(`an answer from ${url}`, async () => {
      const { exit, stdout } = await host.run(container(`asker${i}${Date.now()}`, '/bin/wget', '-qO-', url));
      // Of a container that ends at once ctr now and then shows nothing.
      return exit === 0 && stdout !== '' ? stdout : undefined;
    });
    assert.equal(answer, 'the answer\n');
  }
  await host.must(['ctr', 'task', 'kill', '-s', 'KILL', 'web']);
  await until('the first container to be gone', () => web.exitCode !== null);
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
