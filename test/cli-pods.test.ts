/** What `tollgate pods` says of pods in every standing. */
import assert from 'node:assert/strict';
import test, { after } from 'node:test';
import { labelled, named, type, typeJson } from './cli-host.ts';
import { add, type Call, config, silently, startHost, stateDir } from './cni.ts';
import { tagged } from './snapshot.ts';

const host = await startHost();
after(() => host[Symbol.dispose]());

interface PodRow {
  readonly pod: string | null;
  readonly network: string | null;
  readonly containerID: string;
  readonly standing: string;
  readonly why: string | null;
  readonly interface: string | null;
  readonly tag: { readonly hex: string; readonly decimal: number } | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: readonly string[];
  readonly hostPorts: readonly unknown[];
}

const pods = () => typeJson<PodRow[]>(host, ['pods'], 0);

async function plug(name: string, more = {}): Promise<Call & { netns: string }> {
  const call = {
    config: labelled({ app: name }, more),
    containerID: `${name}-0123456789abcdef0123456789abcdef0123456789`,
    netns: await host.pod(),
    args: named('shop', name),
  };
  await add(host, call);
  return call;
}

test('where nothing is plugged in, it says so, and JSON is an empty list', async () => {
  assert.deepEqual(await pods(), []);
  assert.match((await type(host, ['pods'])).stdout, /^No pod is plugged in/);
});

test('a pod is shown with tag, identity, addresses and hostPorts', async () => {
  const ports = [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }];
  const call = await plug('web', { runtimeConfig: { labels: { app: 'web' }, portMappings: ports } });
  const [row] = await pods();
  const [link] = await tagged(host);
  assert.deepEqual(row, {
    pod: 'shop/web',
    namespace: 'shop',
    name: 'web',
    network: 'net',
    containerID: call.containerID,
    ifname: 'eth0',
    standing: 'plugged',
    why: null,
    interface: link!.name,
    tag: { hex: '0x74670001', decimal: 0x74670001 },
    labels: { app: 'web' },
    namedPorts: [],
    addresses: ['10.77.0.2', 'fd77::2'],
    hostPorts: ports,
    netns: `/run/netns/${call.netns}`,
  });
  const wide = (await type(host, ['pods', '-o', 'wide'])).stdout;
  for (const text of ['shop/web', 'web-012345678 ', '0x74670001', 'shop app=web', '10.77.0.2', 'fd77::2', '1952907265'])
    assert.ok(wide.includes(text), `${text} is not in ${wide}`);
  assert.ok(wide.includes('8080->80/tcp') && wide.includes(link!.name), wide);
  await silently(host, 'DEL', call);
  assert.deepEqual(await pods(), []);
});

test('a pod whose namespace has gone is dead; one whose group was changed is in quarantine, or untagged', async () => {
  const dead = await plug('dead');
  const closed = await plug('closed');
  await host.sh(`ip netns delete ${dead.netns}`);
  const standings = async () => Object.fromEntries((await pods()).map(({ pod, standing }) => [pod, standing]));
  const [link] = await tagged(host);
  await host.sh(`ip link set ${link!.name} group ${0x74670000}`);
  assert.deepEqual(await standings(), { 'shop/dead': 'dead', 'shop/closed': 'quarantined' });
  await host.sh(`ip link set ${link!.name} group ${0x7467ffff}`);
  assert.deepEqual(await standings(), { 'shop/dead': 'dead', 'shop/closed': 'condemned' });
  await host.sh(`ip link set ${link!.name} group default`);
  assert.deepEqual(await standings(), { 'shop/dead': 'dead', 'shop/closed': 'untagged' });
  for (const call of [dead, closed]) await silently(host, 'DEL', call);
});

test('a link of ours without a record is shown by its alias', async () => {
  const call = await plug('lost');
  await host.sh(`rm ${stateDir}/boot-*/net/attachments/*`);
  const [row] = await pods();
  assert.equal(row?.pod, 'shop/lost');
  assert.equal(row?.standing, 'unrecorded');
  await silently(host, 'DEL', call);
});

test('addresses that tollgate-ipam gave for another plugin are shown as such', async () => {
  const call = { config: config(), containerID: 'other', netns: await host.pod(), plugin: 'tollgate-ipam' };
  await add(host, { ...call, config: { ...config(), ipam: { ...(config()['ipam'] as object), dataDir: stateDir } } });
  const [row] = await pods();
  assert.equal(row?.standing, 'addresses');
  assert.deepEqual(row?.addresses, ['10.77.0.2']);
});
