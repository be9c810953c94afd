/** `tollgate demo`: every step goes as it should, and nothing is left, however it ends. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import test, { after } from 'node:test';
import { startHost, tollgate } from '../support/cni.ts';
import { until } from '../support/until.ts';

const host = await startHost({ pids: true, setup: 'mount -t tmpfs tmpfs /tmp' });
after(() => host[Symbol.dispose]());

/** What the machine has that a demonstration might touch; tests beside this one mount their namespaces, which a host sees go. */
const machine = () =>
  host.sh(`ip -o link | sed 's/^[0-9]*: //'; ip route show table all; nft -s list ruleset; find /run /var/lib /tmp -maxdepth 2 | sort
    cut -d' ' -f5 /proc/self/mountinfo | grep -v '^/run/netns/tg-' | sort; cat /proc/sys/net/ipv4/ip_forward`);
const processes = async () => (await host.sh("pgrep -af '[t]ollgate (demo|test-pod)' || true")).trim();

test('it shows all steps, ends with 0, and leaves the machine as it was', async () => {
  const before = await machine();
  const { exit, stdout, stderr } = await host.run([tollgate, 'demo']);
  assert.equal(exit, 0, stdout + stderr);
  assert.equal(stderr, '');
  assert.match(stdout, /stranger\s+-> shop\/web .* refused/);
  assert.match(stdout, /Everything went as it should/);
  assert.ok(!stdout.includes('\u001b'), 'colour where there is no terminal');
  assert.equal(await machine(), before);
  assert.equal(await processes(), '');
});

test('-o json gives the steps, and says that all is well', async () => {
  const { exit, stdout } = await host.run([tollgate, 'demo', '-o', 'json']);
  assert.equal(exit, 0);
  const { ok, steps } = JSON.parse(stdout) as { ok: boolean; steps: { title: string; ok: boolean; lines: string[] }[] };
  assert.equal(ok, true);
  assert.ok(steps.length >= 8);
  assert.ok(steps.every(step => step.ok && step.lines.length > 0));
});

for (const signal of ['SIGINT', 'SIGKILL'] as const)
  test(`${signal} in the middle leaves nothing: no process, no namespace, no file`, async () => {
    const before = await machine();
    const child = host.spawn([tollgate, 'demo']);
    let said = '';
    child.stdout!.on('data', chunk => {
      said += String(chunk);
    });
    await until('the pods are plugged in', () => said.includes('2. '));
    const closed = once(child, 'close');
    await host.sh(`kill -${signal.slice(3)} $(pgrep -of '[t]ollgate demo')`);
    await closed;
    await until('every process has ended', async () => (await processes()) === '');
    assert.equal(await machine(), before);
  });

test('a step that goes wrong is told, and the exit code is 3', async () => {
  const child = host.spawn([tollgate, 'demo']);
  let said = '';
  child.stdout!.on('data', chunk => {
    said += String(chunk);
  });
  await until('the pods are plugged in', () => said.includes('2. '));
  const closed = once(child, 'close') as Promise<[number]>;
  await host.sh("kill -KILL $(pgrep -of '[t]ollgate test-pod')");
  const [exit] = await closed;
  assert.equal(exit, 3, said);
  assert.match(said, /Expected answer|Cannot talk to pod shop\/web/);
  assert.match(said, /The demonstration failed/);
  assert.equal(await processes(), '');
});

test('without the right to make namespaces it fails', async () => {
  const script = 'echo 0 >/proc/sys/user/max_net_namespaces; exec "$0" demo';
  const { exit, stderr } = await host.run(['unshare', '--user', '--map-root-user', 'sh', '-c', script, tollgate]);
  assert.equal(exit, 3);
  assert.match(stderr, /Cannot make a network namespace/);
});

test('without root it says so, with exit code 3', async () => {
  const { exit, stdout, stderr } = await host.run([
    'setpriv',
    '--reuid=65534',
    '--regid=65534',
    '--clear-groups',
    tollgate,
    'demo',
  ]);
  assert.equal(exit, 3, stderr);
  assert.equal(stdout, '');
  assert.match(stderr, /root/);
});
