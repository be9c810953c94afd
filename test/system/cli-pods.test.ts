/** What `tollgate pods` says of pods in every standing. */
import assert from 'node:assert/strict';
import test, { after } from 'node:test';
import { labelled, named, type, typeJson } from '../support/cli-host.ts';
import { add, type Call, config, policies, silently, startHost, stateDir } from '../support/cni.ts';
import { tagged } from '../support/snapshot.ts';

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
  readonly ingress: Count | null;
  readonly egress: Count | null;
}

interface Count {
  readonly tried: { readonly packets: number; readonly bytes: number };
  readonly denied: { readonly packets: number; readonly bytes: number; readonly identities: number } | null;
}

const nobodyCame: Count = { tried: { packets: 0, bytes: 0 }, denied: null };

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
    ingress: nobodyCame,
    egress: nobodyCame,
  });
  const wide = (await type(host, ['pods', '-o', 'wide'])).stdout;
  for (const text of ['shop/web', 'web-012345678 ', '0x74670001', 'shop app=web', '10.77.0.2', 'fd77::2', '1952907265'])
    assert.ok(wide.includes(text), `${text} is not in ${wide}`);
  assert.ok(wide.includes('8080->80/tcp') && wide.includes(link!.name), wide);
  await silently(host, 'DEL', call);
  assert.deepEqual(await pods(), []);
});

const closed = (app: string) => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { namespace: 'shop', name: `closed-${app}` },
  spec: { podSelector: { matchLabels: { app } }, policyTypes: ['Ingress'] },
});
const port80 = (app: string) => ({
  ...closed(app),
  metadata: { namespace: 'shop', name: `open-${app}` },
  spec: { ...closed(app).spec, ingress: [{ ports: [{ port: 80 }] }] },
});

test('what the gate let through and denied is shown for each identity, and whose denials are told together', async () => {
  for (const policy of [closed('db'), closed('cache'), port80('web')])
    host.write(`${policies}/${policy.metadata.name}.json`, JSON.stringify(policy));
  const [web, db, cache] = [await plug('web'), await plug('db'), await plug('cache')];
  const addressOf = async (name: string) => (await pods()).find(({ pod }) => pod === `shop/${name}`)!.addresses[0]!;
  /** One datagram. */
  const send = async (to: string, port: number) =>
    host.sh(`echo hello >/dev/udp/${await addressOf(to)}/${port}`, web.netns);
  await send('db', 53);
  await send('db', 54);
  await send('cache', 53);
  await host.sh(`exec 3<>/dev/tcp/${await addressOf('web')}/80 || true`, cache.netns);
  const rows = new Map((await pods()).map(({ pod, ingress, egress }) => [pod, { ingress, egress }]));
  const told = (name: string, direction: 'ingress' | 'egress') => {
    const { tried, denied } = rows.get(`shop/${name}`)![direction]!;
    return denied ? [tried.packets, denied.packets, denied.identities] : [tried.packets];
  };
  assert.deepEqual(told('web', 'egress'), [3]);
  assert.deepEqual(told('web', 'ingress'), [1, 0, 1]);
  assert.deepEqual(told('db', 'ingress'), [2, 3, 2], 'db and cache have the same rules');
  assert.deepEqual(told('cache', 'ingress'), [1, 3, 2]);
  assert.deepEqual(told('cache', 'egress'), [1]);
  const wide = (await type(host, ['pods', '-o', 'wide'])).stdout.split('\n');
  const line = (name: string) => wide.find(text => text.startsWith(`shop/${name} `))!;
  assert.match(line('db'), /2 tried, 3 denied of 2 identities +0 tried *$/);
  assert.match(line('web'), /1 tried, 0 denied +3 tried *$/);
  for (const call of [web, db, cache]) await silently(host, 'DEL', call);
  await host.sh(`rm ${policies}/*`);
});

test('a pod whose namespace has gone is dead; one whose group was changed is in quarantine, or untagged', async () => {
  const dead = await plug('dead');
  const closed = await plug('closed');
  await host.removeNetns(dead.netns);
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
