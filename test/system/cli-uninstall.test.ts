/** `tollgate uninstall`: nothing of ours is left, nothing else is touched, and no pod that is plugged in is ungated. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readlinkSync } from 'node:fs';
import test, { suite } from 'node:test';
import { type Agent, startAgent } from '../support/agent-process.ts';
import { type Call, environment, policies, runDir, startHost, stateDir, tollgate } from '../support/cni.ts';
import type { Host } from '../support/host.ts';
import { until } from '../support/until.ts';

const bin = '/run/work/bin';
const conf = '/run/work/net.d';
const conflist = `${conf}/10-tollgate.conflist`;
const places = ['--bin-dir', bin, '--conf-dir', conf, '--run-dir', runDir];

interface Uninstalled {
  readonly dryRun: boolean;
  readonly steps: readonly string[];
  readonly obstacle: { readonly why: string; readonly fix: string } | null;
  readonly done: boolean;
}

/** With a table of another program, a policy of an admin, and what `tollgate install` writes. */
async function start(): Promise<Host> {
  const host = await startHost();
  await host.sh(
    `nft add table inet other; echo '{apiVersion: v1, kind: Namespace, metadata: {name: shop}}' >${policies}/mine.yaml`,
  );
  await host.must([tollgate, 'install', ...places]);
  return host;
}

async function uninstall(host: Host, expected: 0 | 1, ...more: string[]): Promise<Uninstalled> {
  const command = [tollgate, 'uninstall', ...places, '--state-dir', stateDir, '--policies', policies, '-o', 'json'];
  const { exit, stdout, stderr } = await host.run([...command, ...more]);
  assert.equal(exit, expected, stdout + stderr);
  return JSON.parse(stdout) as Uninstalled;
}

/** The pod of a network with the installed conflist's name, called as a runtime calls it: through the launcher. */
async function podCall(host: Host): Promise<Call> {
  const ipam = { type: 'tollgate-ipam', ranges: [[{ subnet: '10.77.0.0/24' }]] };
  const config = { cniVersion: '1.0.0', name: 'tollgate', type: 'tollgate', stateDir, runDir, policies, ipam };
  return { config, containerID: 'web', netns: await host.pod(), args: 'K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web' };
}

async function callInstalled(host: Host, verb: 'ADD' | 'DEL', call: Call): Promise<void> {
  const { exit, stdout } = await host.run([`${bin}/tollgate`], {
    input: JSON.stringify(call.config),
    env: environment(verb, call),
  });
  assert.equal(exit, 0, stdout);
}

const tables = async (host: Host): Promise<string[]> => (await host.sh('nft list tables')).trim().split('\n').sort();

async function assertUninstalled(host: Host): Promise<void> {
  assert.deepEqual(host.files('/run/work'), []);
  for (const folder of [runDir, stateDir])
    assert.deepEqual(existsSync(host.path(folder)) ? host.files(folder) : undefined, undefined);
  assert.deepEqual(await tables(host), ['table inet other']);
  assert.deepEqual(host.files(policies), [`${policies}/mine.yaml`]);
}

test('what was installed is gone, and what is another’s stays', async () => {
  using host = await start();
  const { done, obstacle } = await uninstall(host, 0);
  assert.deepEqual({ done, obstacle }, { done: true, obstacle: null });
  await assertUninstalled(host);
  assert.deepEqual((await uninstall(host, 0)).steps, []);
});

test('a folder of ours that a volume is mounted at is emptied, and stays', async () => {
  using host = await startHost();
  await host.sh(`mkdir -p ${stateDir}; mount -t tmpfs tmpfs ${stateDir}`);
  await host.must([tollgate, 'install', ...places]);
  const call = await podCall(host);
  await callInstalled(host, 'ADD', call);
  await callInstalled(host, 'DEL', call);
  const { done } = await uninstall(host, 0);
  assert.equal(done, true);
  assert.deepEqual([host.files('/run/work/bin'), host.files(stateDir)], [[], []]);
});

test('so is one whose name the kernel writes with escapes', async () => {
  using host = await startHost();
  const folder = '/run/test/my \\ state';
  await host.sh(`mkdir -p '${folder}'; mount -t tmpfs tmpfs '${folder}'; mkdir '${folder}/boot-1'`);
  await host.must([tollgate, 'uninstall', ...places, '--state-dir', folder, '--policies', policies]);
  assert.equal(await host.sh(`ls -A '${folder}'`), '');
});

test('--dry-run says the same steps and takes none', async () => {
  using host = await start();
  const before = host.files('/run/work');
  const { done, dryRun, obstacle, steps } = await uninstall(host, 0, '--dry-run');
  assert.deepEqual({ done, dryRun, obstacle }, { done: false, dryRun: true, obstacle: null });
  assert.deepEqual(host.files('/run/work'), before);
  assert.deepEqual((await uninstall(host, 0)).steps.slice(0, 3), steps.slice(0, 3));
});

test('while a pod is plugged in no new one comes, and it keeps its gate and its DEL', async () => {
  using host = await start();
  const call = await podCall(host);
  await callInstalled(host, 'ADD', call);
  const table = await host.sh('nft list table inet tollgate');
  const { obstacle, steps } = await uninstall(host, 1);
  assert.match(obstacle!.why, /shop\/web/);
  assert.deepEqual(steps, [`remove ${conflist}`]);
  assert.equal(await host.sh('nft list table inet tollgate'), table);
  await callInstalled(host, 'DEL', call);
  await uninstall(host, 0);
  await assertUninstalled(host);
});

test('an ADD that comes once the conflist is gone keeps its gate: uninstall waits for the table, and then sees its pod', async () => {
  using host = await start();
  const call = await podCall(host);
  await callInstalled(host, 'ADD', { ...call, containerID: 'first' });
  await callInstalled(host, 'DEL', { ...call, containerID: 'first' });
  const netns = readlinkSync(`/proc/${host.pid}/ns/net`).match(/\d+/)![0];
  const lock = host.spawn(['flock', '--close', `${runDir}/${netns}.lock`, 'sh', '-c', 'echo held; read line']);
  await once(lock.stdout!, 'data');
  const uninstalling = uninstall(host, 1);
  await until('the conflist to be gone', () => !existsSync(host.path(conflist)));
  const adding = callInstalled(host, 'ADD', { ...call, netns: await host.pod() });
  const begun = () => host.files(stateDir).some(path => path.includes('/attachments/'));
  await Promise.race([until('the ADD to have begun', begun), adding, uninstalling]);
  lock.stdin!.end('\n');
  assert.match((await uninstalling).obstacle!.why, /web/);
  await adding;
  assert.deepEqual(await tables(host), ['table inet other', 'table inet tollgate']);
});

test('while an agent is running nothing is done', async () => {
  using host = await start();
  using agent: Agent = await startAgent(host);
  const before = host.files('/run/work');
  const { obstacle, steps } = await uninstall(host, 1);
  assert.match(obstacle!.why, /running/);
  assert.match(obstacle!.fix, /systemctl disable --now/);
  assert.deepEqual(steps, []);
  assert.deepEqual(host.files('/run/work'), before);
  agent.child.kill('SIGTERM');
  await once(agent.child, 'exit');
  await uninstall(host, 0);
  await assertUninstalled(host);
});

interface Kept {
  readonly what: string;
  readonly script: string;
  readonly left: readonly string[];
}

const kept: readonly Kept[] = [
  {
    what: 'a conflist that an admin changed is kept where no runtime reads it',
    script: `sed -i s/10.88/10.99/ ${conflist}`,
    left: [`${conflist}.uninstalled`],
  },
  {
    what: 'an older one that was kept is not overwritten',
    script: `sed -i s/10.88/10.99/ ${conflist}; echo old >${conflist}.uninstalled`,
    left: [`${conflist}.uninstalled`, `${conflist}.uninstalled.2`],
  },
  {
    what: 'a network that tollgate had taken the place of comes back',
    script: `echo '{"name":"b","type":"bridge"}' >${conf}/05-bridge.conf.before-tollgate`,
    left: [`${conf}/05-bridge.conf`],
  },
  {
    what: 'a network of others stays',
    script: `echo '{"name":"b","type":"bridge"}' >${conf}/20-bridge.conf`,
    left: [`${conf}/20-bridge.conf`],
  },
  {
    what: 'a program of others in the same folder stays',
    script: `cp /bin/true ${bin}/bridge`,
    left: [`${bin}/bridge`],
  },
  {
    what: 'a file of others in the state folder stays',
    script: `mkdir -p ${stateDir}; echo mine >${stateDir}/mine`,
    left: [],
  },
];

suite('what an admin or another program put there is kept', () => {
  for (const { what, script, left } of kept)
    test(what, async () => {
      using host = await start();
      await host.sh(script);
      await uninstall(host, 0);
      assert.deepEqual(host.files('/run/work'), left);
      if (script.includes('mine')) assert.equal(await host.sh(`cat ${stateDir}/mine`), 'mine\n');
    });
});

test('the agent’s routes to pods of other nodes go, and those of a routing daemon stay', async () => {
  using host = await start();
  await host.sh(`ip link add wire type veth peer name far; ip addr add 192.0.2.1/24 dev wire; ip link set wire up; ip link set far up
    ip route add 10.99.1.0/24 via 192.0.2.2 proto 116; ip route add 10.99.2.0/24 via 192.0.2.2 proto bird`);
  await uninstall(host, 0);
  const routes = await host.sh('ip route');
  assert.doesNotMatch(routes, /10\.99\.1\.0/);
  assert.match(routes, /10\.99\.2\.0/);
});

test('what is told to a person says what was done and what stays', async () => {
  using host = await start();
  const said = await host.must([tollgate, 'uninstall', ...places, '--state-dir', stateDir, '--policies', policies]);
  assert.match(said, new RegExp(`did: remove ${conflist}`));
  assert.match(said, /Your policies stay in/);
});

test('where there is no policies folder, none is said to stay', async () => {
  using host = await start();
  await host.sh(`rm -rf ${policies}`);
  const said = await host.must([tollgate, 'uninstall', ...places, '--state-dir', stateDir, '--policies', policies]);
  assert.doesNotMatch(said, /Your policies/);
});
