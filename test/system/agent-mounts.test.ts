/** An agent in a container: its callers' paths are those of the node, and what they name here is another file or none. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, readFileSync, statSync } from 'node:fs';
import test, { after, suite } from 'node:test';
import { hasOurMounts, isSamePathFor, openAsSeenBy } from '../../lib/kernel/mount-namespace.ts';
import { Netns, type NetnsFault } from '../../lib/kernel/netns.ts';
import {
  add,
  addresses,
  type Call,
  cni,
  config,
  errorOf,
  policies,
  runDir,
  silently,
  startHost,
  stateDir,
  tollgate,
} from '../support/cni.ts';
import type { Host } from '../support/host.ts';
import { until } from '../support/until.ts';

/** What the agent's container does not share with the node. */
const hidden = '/run/hidden';

class Agent implements Disposable {
  readonly #child: ChildProcess;
  #said = '';

  static async start(host: Host, covered: readonly string[]): Promise<Agent> {
    const folders = ['--run-dir', runDir, '--state-dir', stateDir, '--policies', policies];
    const cover = covered.map(folder => `mount -t tmpfs tmpfs ${folder}`).join('; ');
    const script = `set -e; ${cover}; exec ${tollgate} agent --no-kubernetes --log-level debug ${folders.join(' ')}`;
    const agent = new Agent(host.spawn(['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script]));
    await until('the agent to serve', () => agent.#said.includes('"serving"'));
    return agent;
  }

  private constructor(child: ChildProcess) {
    this.#child = child;
    for (const stream of [child.stdout!, child.stderr!])
      stream.on('data', (chunk: Buffer) => {
        this.#said += chunk.toString();
      });
  }

  /** Calls that it has carried out. */
  calls(verb: string): number {
    return this.#said.split('\n').filter(line => line.includes('"call"') && line.includes(`"${verb}"`)).length;
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }
}

suite('A caller from another mount namespace', () => {
  let host!: Host;
  after(() => host?.[Symbol.dispose]());
  const setup = `mkdir -p ${hidden}/bin ${stateDir} ${runDir}; ln -s /run/netns /run/absolute; ln -s ../run/netns /run/relative`;
  const start = async (covered: readonly string[]): Promise<Agent> => {
    host?.[Symbol.dispose]();
    host = await startHost({ setup });
    return Agent.start(host, covered);
  };

  test('has his pod’s namespace opened as he sees it, by whatever path', async () => {
    using agent = await start(['/run/netns', hidden]);
    const netns = await host.pod();
    const holder = host.spawn(['sleep', 'infinity'], { netns });
    await until('the pod’s process', () => {
      const pod = statSync(host.path(`/run/netns/${netns}`)).ino;
      return statSync(`/proc/${holder.pid}/ns/net`).ino === pod;
    });
    const paths = ['/run/netns', '/run/absolute', '/run/relative', '/run/../run/absolute/../absolute'];
    const all = [...paths.map(folder => `${folder}/${netns}`), `/proc/${holder.pid}/ns/net`];
    for (const [index, netnsPath] of all.entries()) {
      const call = { config: config(), containerID: `c${index}`, netnsPath };
      const result = await add(host, call);
      assert.equal(await host.pings(addresses(result)[0]!), true, netnsPath);
      await silently(host, 'CHECK', { ...call, config: config({ prevResult: result }) });
      await silently(host, 'DEL', call);
    }
    assert.deepEqual([agent.calls('ADD'), agent.calls('CHECK'), agent.calls('DEL')], [5, 5, 5]);
    holder.kill('SIGKILL');
  });

  test('is told of a path that is no namespace as if he had looked himself', async () => {
    using agent = await start(['/run/netns']);
    await host.sh('touch /run/netns/plain');
    const cases: readonly (readonly [path: string, msg: RegExp])[] = [
      ['/run/netns/none', /nothing is there/],
      ['/run/netns/plain', /an empty file/],
      ['/run/absolute', /not a namespace/],
      ['/proc/self/status', /not a namespace/],
      ['/proc/self/ns/net', /it is the network namespace of the node itself/],
    ];
    for (const [netnsPath, msg] of cases) {
      const error = errorOf(await cni(host, 'ADD', { config: config(), containerID: 'c1', netnsPath }));
      assert.match(error.msg, msg, netnsPath);
    }
    assert.equal(agent.calls('ADD'), cases.length);
  });

  test('has resolvConf read and logFile written where he has them', async () => {
    using agent = await start(['/run/netns', hidden]);
    await host.sh(`echo nameserver 192.0.2.53 >${hidden}/resolv.conf`);
    const ipam = { type: 'tollgate-ipam', ranges: [[{ subnet: '10.77.0.0/24' }]], resolvConf: `${hidden}/resolv.conf` };
    const network = config({ ipam, logFile: `${hidden}/log`, logLevel: 'info' });
    const result = await add(host, { config: network, containerID: 'c1', netns: await host.pod() });
    assert.deepEqual(result.dns, { nameservers: ['192.0.2.53'] });
    assert.match(readFileSync(host.path(`${hidden}/log`), 'utf8'), /info ADD c1 eth0 in net: done/);
    assert.equal(agent.calls('ADD'), 1);
  });

  test('carries out himself what the agent would keep elsewhere', async () => {
    using agent = await start([stateDir]);
    const call: Call = { config: config(), containerID: 'c1', netns: await host.pod() };
    await add(host, call);
    assert.ok(host.files(stateDir).length > 0);
    await silently(host, 'DEL', call);
    assert.deepEqual([agent.calls('ADD'), agent.calls('DEL')], [0, 0]);
  });

  test('runs himself another IPAM plugin that the agent does not have, and has it run where it does', async () => {
    using agent = await start(['/run/netns', hidden]);
    const given = JSON.stringify({ cniVersion: '1.1.0', ips: [{ address: '10.9.0.7/24', gateway: '10.9.0.1' }] });
    for (const folder of [`${hidden}/bin`, '/run/shared'])
      await host.sh(
        `mkdir -p ${folder}; printf '#!/bin/sh\\necho "%s"\\n' '${given.replaceAll('"', '\\"')}' >${folder}/own-ipam; chmod 755 ${folder}/own-ipam`,
      );
    for (const [folder, taken] of [
      [`${hidden}/bin`, 0],
      ['/run/shared', 1],
    ] as const) {
      const network = config({ ipam: { type: 'own-ipam' } });
      const call: Call = { config: network, containerID: 'c1', netns: await host.pod(), env: { CNI_PATH: folder } };
      assert.deepEqual(addresses(await add(host, call)), ['10.9.0.7']);
      await silently(host, 'DEL', call);
      assert.deepEqual([agent.calls('ADD'), agent.calls('DEL')], [taken, taken]);
    }
  });
});

suite('A path as another process sees it', () => {
  /** With a root of its own: /tmp is empty there but for what the script makes. */
  async function other(script: string): Promise<ChildProcess> {
    const lines = `set -e; mount -t tmpfs tmpfs /tmp; ${script}; echo ready; exec sleep infinity`;
    const args = ['--pdeathsig', 'KILL', 'unshare', '--mount', '--propagation', 'private', 'sh', '-c', lines];
    const child = spawn('setpriv', args, { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    return child;
  }

  test('links and dots end at its root; one that is gone sees nothing', async () => {
    const child = await other('mkdir /tmp/a; echo its >/tmp/a/file; ln -s /tmp/a /tmp/b');
    const pid = child.pid!;
    try {
      for (const path of ['/tmp/a/file', '/tmp/b/file', '/../../tmp/b/../b/file']) {
        const fd = openAsSeenBy(pid, path);
        assert.equal(readFileSync(fd, 'utf8'), 'its\n', path);
        closeSync(fd);
      }
      assert.throws(() => openAsSeenBy(pid, '/tmp/b/none'), { code: 'ENOENT' });
      assert.deepEqual([hasOurMounts(pid), hasOurMounts(process.pid)], [false, true]);
      assert.deepEqual(
        ['/tmp', '/usr', '/nowhere'].map(path => isSamePathFor(pid, path)),
        [false, true, true],
      );
    } finally {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    assert.throws(() => openAsSeenBy(pid, '/tmp/a/file'), { code: 'ESRCH' });
    assert.equal(hasOurMounts(pid), false);
    assert.throws(() => Netns.open('/run/netns/x', pid), {
      fault: 'missing' satisfies NetnsFault,
      message: /its caller is gone/,
    });
  });

  test('a link of /proc, which openat2 does not follow, is followed', () => {
    const fd = openAsSeenBy(process.pid, `/proc/${process.pid}/ns/net`);
    assert.equal(fstatSync(fd).ino, statSync('/proc/self/ns/net').ino);
    closeSync(fd);
    using netns = Netns.open('/proc/self/ns/net', process.pid);
    assert.equal(netns.identity.ino, statSync('/proc/self/ns/net').ino);
  });
});
