/** The warm worker on a host of its own: calls are answered as in process, and nothing is lost, left or done twice. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import test from 'node:test';
import { type Agent, command, socket, startAgent } from '../../support/agent-process.ts';
import {
  add,
  addresses,
  type Call,
  cni,
  config,
  environment,
  errorOf,
  policies,
  runDir,
  silently,
  startHost,
  stateDir,
  tollgate,
  warm,
} from '../../support/cni.ts';
import type { Host } from '../../support/host.ts';
import { valueIn } from '../../support/sealed.ts';
import { assertNothingLeft, snapshot, tagged } from '../../support/snapshot.ts';
import { until } from '../../support/until.ts';
import type { Way } from '../../support/way.ts';
import { callOf, startWorkerHost } from '../../support/worker-host.ts';

/** A lock file that another process holds until this is disposed of. */
async function hold(host: Host, path: string): Promise<Disposable> {
  const holder = host.spawn(['flock', '-o', path, 'sh', '-c', 'echo held; read _']);
  await once(holder.stdout!, 'data');
  return {
    [Symbol.dispose]() {
      holder.kill('SIGKILL');
      // Its child ends with its stdin.
      holder.stdin!.destroy();
    },
  };
}

/** A file of the node's record, by the number of its network namespace. */
const recordFile = (host: Host, kind: string): string =>
  `${runDir}/${statSync(`/proc/${host.pid}/ns/net`).ino}.${kind}`;

/** The node's lock: an ADD gets as far as judging. */
const holdNode = (host: Host): Promise<Disposable> => hold(host, recordFile(host, 'lock'));

/** Whether the record tells what an executable needs to go on at the cost of its own change. */
function isForOthers(host: Host): boolean {
  const record = valueIn(readFileSync(host.path(recordFile(host, 'node')), 'utf8'));
  const { index, judging } = record as { readonly index?: number; readonly judging?: number };
  return index !== undefined && judging !== undefined;
}

const shut = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: shut, namespace: default }
spec: { podSelector: {} }
`;
const isShut = async (host: Host): Promise<boolean> => /shut/.test(await host.sh('nft list table inet tollgate'));

/** A worker whose folder is made by one script, with a pod and no policy in force. */
async function watching(way: Way, script: string): Promise<{ host: Host; agent: Agent } & Disposable> {
  using undo = new DisposableStack();
  const host = undo.use(await startHost({ way }));
  await host.sh(`rm -rf ${policies}; mkdir -p /run/test/src; ${script}`);
  const agent = undo.use(await startAgent(host));
  await add(host, await callOf(host, 'c1'));
  assert.equal(await isShut(host), false);
  const both = undo.move();
  return { host, agent, [Symbol.dispose]: () => both.dispose() };
}

const put = `printf '%s' '${shut}' >`;
const links: readonly (readonly [what: string, before: string, change: string])[] = [
  [
    'a folder that is a link and is exchanged',
    `mkdir /run/test/src/r1 /run/test/src/r2; ${put}/run/test/src/r2/p.yaml; ln -s /run/test/src/r1 ${policies}`,
    `ln -s /run/test/src/r2 ${policies}.next; mv -T ${policies}.next ${policies}`,
  ],
  [
    'a link above the folder that is exchanged',
    `mkdir -p /run/test/src/r1/p /run/test/src/r2/p; ${put}/run/test/src/r2/p/p.yaml
     ln -s r1 /run/test/src/now; ln -s /run/test/src/now/p ${policies}`,
    'ln -s r2 /run/test/src/next; mv -T /run/test/src/next /run/test/src/now',
  ],
  [
    'a file that is a link to a file that is written in place',
    `mkdir ${policies}; : >/run/test/src/p.yaml; ln -s /run/test/src/p.yaml ${policies}/p.yaml`,
    `${put}/run/test/src/p.yaml`,
  ],
  [
    'a file that is a link to a file that is exchanged',
    `mkdir ${policies}; : >/run/test/src/p.yaml; ln -s /run/test/src/p.yaml ${policies}/p.yaml`,
    `${put}/run/test/src/next; mv /run/test/src/next /run/test/src/p.yaml`,
  ],
  [
    'a file that has another name elsewhere and is written by that',
    `mkdir ${policies}; : >/run/test/src/p.yaml; ln /run/test/src/p.yaml ${policies}/p.yaml`,
    `${put}/run/test/src/p.yaml`,
  ],
  [
    'a ConfigMap, as the kubelet exchanges it',
    `mkdir -p ${policies}/..1; : >${policies}/..1/p.yaml; ln -s ..1 ${policies}/..data; ln -s ..data/p.yaml ${policies}/p.yaml`,
    `mkdir ${policies}/..2; ${put}${policies}/..2/p.yaml
     ln -s ..2 ${policies}/..data_tmp; mv -T ${policies}/..data_tmp ${policies}/..data`,
  ],
  [
    'what a link leads to goes, and comes again as another',
    `mkdir /run/test/src/r; ln -s /run/test/src/r ${policies}`,
    `rm -r /run/test/src/r; mkdir /run/test/src/next; ${put}/run/test/src/next/p.yaml; mv /run/test/src/next /run/test/src/r`,
  ],
];

export function workerServes(way: Way): void {
  test('every verb is carried out by the worker, with the answers of the executable alone', async () => {
    const alone = await startHost({ way });
    using both = await startWorkerHost({ way });
    const { host, agent } = both;
    const results: unknown[] = [];
    for (const place of [alone, host]) {
      const pod = await callOf(place, 'c1');
      const added = await add(place, pod);
      const check = { ...pod, config: config({ prevResult: added }) };
      results.push([
        { ...added, interfaces: added.interfaces?.map(({ name, mac, mtu }) => ({ name, mac, mtu })) },
        await silently(place, 'CHECK', check).then(({ stdout, exit }) => ({ stdout, exit })),
        errorOf(await cni(place, 'ADD', pod)),
        (await silently(place, 'STATUS', { config: config() })).stdout,
        (
          await silently(place, 'GC', {
            config: config({ 'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'eth0' }] }),
          })
        ).stdout,
        (await silently(place, 'DEL', pod)).stdout,
        (await silently(place, 'DEL', pod)).stdout,
        errorOf(await cni(place, 'ADD', { ...pod, netnsPath: '/run/netns/none' })),
        errorOf(await cni(place, 'ADD', { ...pod, config: config({ mtu: 'huge' }) })),
        (await cni(place, 'VERSION', { config: { cniVersion: '1.1.0' } })).json,
      ]);
    }
    assert.deepEqual(results[1], results[0]);
    assert.deepEqual(
      ['ADD', 'CHECK', 'STATUS', 'GC', 'DEL', 'VERSION'].map(verb => agent.calls(verb)),
      // A configuration that cannot be read is refused by the process that reads it, which a launcher is not.
      [way === 'alone' ? 3 : 4, 1, 1, 1, 2, 0],
    );
    alone[Symbol.dispose]();
  });

  test('30 ADDs at once through the worker: 30 addresses, 30 pods, all live; 30 DELs: nothing left', async () => {
    using both = await startWorkerHost({ way });
    const { host, agent } = both;
    await warm(host, config());
    const before = await snapshot(host);
    const calls = (await host.netns(30)).map((netns, i): Call => ({ config: config(), containerID: `c${i}`, netns }));
    const results = await Promise.all(calls.map(each => add(host, each)));
    assert.equal(new Set(results.flatMap(addresses)).size, 30);
    assert.equal((await tagged(host)).length, 30);
    assert.ok(await host.pings(addresses(results[7]!)[0]!, calls[3]!.netns));
    await Promise.all(calls.map(each => silently(host, 'DEL', each)));
    await assertNothingLeft(host, before, 'after 30 DELs');
    assert.deepEqual([agent.calls('ADD'), agent.calls('DEL')], [31, 31]);
  });

  test('a call whose folders are not the worker’s, or whose enforcer is another, is not taken', async () => {
    using both = await startWorkerHost({ way });
    const { host, agent } = both;
    const pod = await callOf(host, 'c1');
    const elsewhere = [{ stateDir: '/run/test/other' }, { policies: '/run/test/none' }, { runDir: `${runDir}/` }];
    for (const more of elsewhere) {
      await add(host, { ...pod, config: config(more) });
      await silently(host, 'DEL', { ...pod, config: config(more) });
    }
    await add(host, { ...pod, config: config({ enforcer: 'none' }) });
    await silently(host, 'DEL', { ...pod, config: config({ enforcer: 'none' }) });
    assert.deepEqual([agent.calls('ADD'), agent.calls('DEL')], [0, 0]);
  });

  test('a caller in another network namespace is told so before anything is done, and serves himself', async () => {
    using both = await startWorkerHost({ way });
    const { host, agent } = both;
    const outside = await host.pod();
    const pod = await callOf(host, 'c1', { run: { netns: outside } });
    const before = await snapshot(host);
    await add(host, pod);
    assert.equal(agent.calls('ADD'), 0);
    assert.deepEqual((await snapshot(host)).rules, before.rules, 'the worker’s table has changed');
    assert.match(await host.sh('nft list tables', outside), /inet tollgate/);
    await silently(host, 'DEL', pod);
    assert.equal(agent.calls('DEL'), 0);
  });

  test('whoever is not root is sent away, and it is said', async () => {
    using both = await startWorkerHost({ way });
    const { host, agent } = both;
    assert.equal(statSync(host.path(socket)).mode & 0o777, 0o600);
    await host.sh(`chmod 777 /run/test ${runDir} ${socket}`);
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    const { stdout } = await host.run([...nobody, 'socat', '-u', `UNIX-CONNECT:${socket}`, '-']);
    assert.equal(stdout, '');
    await until('the worker to say so', () => agent.said(/uid 65534 may not call/));
    await add(host, await callOf(host, 'c1'));
    assert.equal(agent.calls('ADD'), 1);
  });

  test('a caller that hangs up in mid-ADD: the ADD is undone, and nothing is left', async () => {
    using both = await startWorkerHost({ way });
    const { host, agent } = both;
    await warm(host, config());
    await add(host, await callOf(host, 'stays'));
    const before = await snapshot(host);
    const pod = await callOf(host, 'goes');
    {
      using _ = await holdNode(host);
      const caller = host.spawn([tollgate], { env: environment('ADD', pod) });
      caller.stdin!.end(JSON.stringify(pod.config));
      await until('the pod to be plugged in', async () => (await tagged(host)).length === 2);
      caller.kill('SIGKILL');
      await once(caller, 'exit');
      // An answer to a later call: by then the worker has seen, too, that the earlier caller is gone.
      await silently(host, 'STATUS', { config: config() });
    }
    await until('the ADD to end', () => agent.lines.some(({ verb, code }) => verb === 'ADD' && code === 11));
    await assertNothingLeft(host, before, 'after the ADD that nobody waited for');
    await silently(host, 'DEL', pod);
    await assertNothingLeft(host, before);
  });

  test('a pod’s end that the kernel refuses, by when the pod is judged: all is undone, as by the executable alone', async () => {
    const alone = await startHost({ way });
    using both = await startWorkerHost({ way });
    const routes = [{ dst: '10.99.0.0/16', gw: '224.0.0.1' }];
    const errors: unknown[] = [];
    for (const host of [alone, both.host]) {
      await warm(host, config());
      const before = await snapshot(host);
      const pod = await callOf(host, 'c1', { config: config({ ipam: { ...(config()['ipam'] as object), routes } }) });
      errors.push(errorOf(await cni(host, 'ADD', pod)));
      assert.deepEqual(await tagged(host), []);
      await silently(host, 'DEL', pod);
      await assertNothingLeft(host, before);
    }
    assert.deepEqual(errors[1], errors[0]);
    assert.match(JSON.stringify(errors[0]), /10\.99\.0\.0\/16.*invalid gateway/);
    alone[Symbol.dispose]();
  });

  test('a DEL that comes while the ADD is under way waits for it, in the worker and in process', async () => {
    using both = await startWorkerHost({ way });
    const { host, agent } = both;
    await warm(host, config());
    await add(host, await callOf(host, 'stays'));
    const before = await snapshot(host);
    for (const [where, more] of [
      ['in the worker', {}],
      // No worker is reached by this name of the folder, whose files are the same.
      ['in process', { runDir: `${runDir}/.` }],
    ] as const) {
      const pod = await callOf(host, `both-${Object.keys(more).length}`);
      const held = await holdNode(host);
      const adding = cni(host, 'ADD', pod);
      await until('the pod to be plugged in', async () => (await tagged(host)).length === 2);
      let isOver = false;
      const deleting = silently(host, 'DEL', { ...pod, config: config(more) }).then(() => {
        isOver = true;
      });
      assert.equal((await tagged(host)).length, 2);
      assert.equal(isOver, false, where);
      held[Symbol.dispose]();
      assert.equal((await adding).exit, 0, where);
      await deleting;
      await assertNothingLeft(host, before, `after a DEL ${where}`);
    }
    assert.equal(agent.calls('DEL'), 2);
  });

  test('pods do not wait for one another: one ADD waits for its attachment, and another is answered', async () => {
    using both = await startWorkerHost({ way });
    const { host } = both;
    await warm(host, config());
    const waiting = await callOf(host, 'c1');
    await add(host, waiting);
    const [record] = host.files(stateDir).filter(file => file.includes('/attachments/'));
    const held = await hold(host, record!);
    let isOver = false;
    const slow = cni(host, 'ADD', waiting).then(outcome => {
      isOver = true;
      return outcome;
    });
    await add(host, await callOf(host, 'c2'));
    assert.equal(isOver, false);
    held[Symbol.dispose]();
    assert.equal(errorOf(await slow).code, 101);
  });

  test('the policies folder is watched: what it says is in force without a call, also where it was not there at first', async () => {
    using host = await startHost({ way });
    const folder = '/run/test/later/policies';
    const args = command.map(word => (word === policies ? folder : word));
    using agent = await startAgent(host, args);
    await add(host, { ...(await callOf(host, 'c1')), config: config({ policies: folder, labels: { app: 'web' } }) });
    assert.doesNotMatch(await host.sh('nft list table inet tollgate'), /shut/);
    await host.sh(`mkdir -p ${folder}`);
    host.write(`${folder}/shut.yaml`, shut);
    await until('the policy to be in force', async () => /shut/.test(await host.sh('nft list table inet tollgate')));
    await host.sh(`rm ${folder}/shut.yaml`);
    await until('it to be out of force', async () => !/shut/.test(await host.sh('nft list table inet tollgate')));
    host.write(`${folder}/broken.yaml`, 'kind: [');
    await until('the worker to complain', () => agent.said(/broken\.yaml/));
  });

  for (const [what, before, change] of links)
    test(`${what}: the worker sees it at once, and does not wait for its look each minute`, async () => {
      using both = await watching(way, before);
      const { host } = both;
      await host.sh(change);
      await until('the policy to be in force', () => isShut(host), 40_000);
    });

  test('a file that becomes empty stays in force until the worker has looked at it twice', async () => {
    using both = await watching(way, `mkdir ${policies}`);
    const { host, agent } = both;
    await host.sh(`${put}${policies}/p.yaml`);
    await until('the policy to be in force', () => isShut(host));
    await host.sh(`: >${policies}/p.yaml`);
    await until('the worker to doubt it', () => agent.said(/p\.yaml.*has become empty/));
    await until('it to be out of force', async () => !(await isShut(host)), 40_000);
    assert.ok(agent.lines.findIndex(({ message }) => /become empty/.test(message)) >= 0);
  });

  test('a worker that rests, and one that ends, leaves executables what they need to go on from its table', async () => {
    using both = await startWorkerHost({ way });
    const { host, agent } = both;
    await add(host, await callOf(host, 'c1'));
    await until('the worker to rest', () => isForOthers(host));
    await silently(host, 'DEL', await callOf(host, 'c1'));
    await add(host, await callOf(host, 'c2'));
    agent.child.kill('SIGTERM');
    await until('it to end', () => agent.said(/^stopped/));
    assert.ok(isForOthers(host));
    await add(host, await callOf(host, 'c3'));
    assert.equal(agent.calls('ADD'), 2);
  });

  test('SIGTERM: the call under way is answered, new ones are carried out without it, rules stay, the socket goes', async () => {
    using both = await startWorkerHost({ way });
    const { host, agent } = both;
    await add(host, await callOf(host, 'stays'));
    const held = await holdNode(host);
    const adding = add(host, await callOf(host, 'c1'));
    await until('the pod to be plugged in', async () => (await tagged(host)).length === 2);
    const ended = once(agent.child, 'exit');
    agent.child.kill('SIGTERM');
    await until('the worker to accept no more', () => !existsSync(host.path(`${socket}.${agent.child.pid}`)));
    held[Symbol.dispose]();
    await adding;
    assert.deepEqual(await ended, [0, null]);
    assert.equal(existsSync(host.path(socket)), false);
    assert.match(await host.sh('nft list tables'), /inet tollgate/);
    await add(host, await callOf(host, 'c2'));
    assert.equal(agent.calls('ADD'), 2);
  });

  test('by default what only asks has no line, and what changes something has one', async () => {
    using host = await startHost({ way });
    using agent = await startAgent(host, command.slice(0, command.indexOf('--log-level')));
    const pod = await callOf(host, 'c1');
    const added = await add(host, pod);
    for (let i = 0; i < 3; i++) await silently(host, 'STATUS', { config: config() });
    await silently(host, 'CHECK', { ...pod, config: { ...(pod.config as object), prevResult: added } });
    await silently(host, 'DEL', pod);
    await until('the DEL to have its line', () => agent.calls('DEL') === 1);
    assert.deepEqual(
      agent.lines.map(({ message, verb }) => verb ?? message),
      ['serving', 'ADD', 'DEL'],
    );
  });

  test('--log-level: what is worth no line is not said, and done all the same', async () => {
    using host = await startHost({ way });
    const child = host.spawn([...command.slice(0, command.indexOf('--log-level')), '--log-level', 'warn']);
    let said = '';
    child.stderr!.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    await until('the worker to listen', () => existsSync(host.path(socket)));
    await add(host, await callOf(host, 'c1'));
    await add(host, await callOf(host, 'c2'));
    const broken = await cni(host, 'ADD', { ...(await callOf(host, 'c3')), netnsPath: '/run/netns/none' });
    assert.equal(errorOf(broken).code, 8);
    await until('the worker to tell of the call that failed', () => said.includes('"code":8'));
    assert.doesNotMatch(said, /"info"/);
    child.kill('SIGKILL');
  });

  test('SIGUSR1 opens no debugger', async () => {
    using both = await startWorkerHost({ way });
    const { host, agent } = both;
    agent.child.kill('SIGUSR1');
    await add(host, await callOf(host, 'c1'));
    assert.deepEqual(
      agent.lines.filter(({ level }) => level === 'raw'),
      [],
    );
    assert.doesNotMatch(await host.sh('ss -Htln'), /9229/);
  });

  test('there is one worker for a folder: the second says who the first is; a socket that nobody answers is replaced', async () => {
    using both = await startWorkerHost({ way });
    const { host, agent } = both;
    const second = await host.run(command);
    assert.equal(second.exit, 3);
    assert.match(second.stderr, /Cannot be the agent of .*: process \d+ is/);
    agent.child.kill('SIGKILL');
    await once(agent.child, 'exit');
    assert.ok(existsSync(host.path(socket)));
    const pod = await callOf(host, 'c1');
    await add(host, pod);
    using next = await startAgent(host);
    await silently(host, 'DEL', pod);
    assert.equal(next.calls('DEL'), 1);
  });

  test('a socket that somebody else answers is left alone', async () => {
    using host = await startHost({ way });
    await host.sh(`mkdir -p ${runDir}`);
    const other = createServer(caller => caller.destroy()).listen(host.path(socket));
    await once(other, 'listening');
    const { exit, stderr } = await host.run(command);
    assert.equal(exit, 3);
    assert.match(stderr, /another process does already/);
    assert.ok(existsSync(host.path(socket)));
    other.close();
  });

  test('systemd’s socket: served on the descriptor that was handed over, and left where it is', async () => {
    using host = await startHost({ way });
    await host.sh(`mkdir -p ${runDir}`);
    const script = 'exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"';
    // Stands still meanwhile, since it would take connections itself otherwise.
    const listener = `const server = require('node:net').createServer().listen(process.argv[1], () => {
      const { status } = require('node:child_process').spawnSync('sh',
        ['-c', ${JSON.stringify(script)}, 'sh', ...process.argv.slice(2)],
        { stdio: [server._handle.fd, 'inherit', 'inherit'] });
      process.exit(status); });`;
    using agent = await startAgent(host, [process.execPath, '-e', listener, socket, ...command]);
    const pod = await callOf(host, 'c1');
    await add(host, pod);
    await silently(host, 'DEL', pod);
    assert.deepEqual([agent.calls('ADD'), agent.calls('DEL')], [1, 1]);
    const pid = (await host.sh(`cat ${runDir}/agent.lock`)).trim();
    await host.sh(`kill -TERM ${pid}`);
    await until('it to end', () => agent.said(/^stopped/));
    assert.ok(existsSync(host.path(socket)));
  });

  test('under "enforcer": "agent" this worker takes nothing: ADD is code 11, DEL and CHECK run, STATUS is 50', async () => {
    using both = await startWorkerHost({ way });
    const { host } = both;
    const judged = config({ enforcer: 'agent' });
    const pod = await callOf(host, 'c1', { config: judged });
    const { code, details } = errorOf(await cni(host, 'ADD', pod));
    assert.equal(code, 11);
    assert.match(`${details}`, /tollgate agent/);
    assert.equal(errorOf(await cni(host, 'STATUS', { config: judged })).code, 50);
    await silently(host, 'DEL', pod);
    await silently(host, 'GC', { config: judged });
    await host.sh(`touch ${runDir}/agent.seen`);
    await silently(host, 'STATUS', { config: judged });
    await host.sh(`touch -d '90 seconds ago' ${runDir}/agent.seen`);
    const away = errorOf(await cni(host, 'STATUS', { config: judged }));
    assert.equal(away.code, 50);
    const [, ago] =
      /last seen (\d+) s ago; agentGrace is 60 s/.exec(`${away.details}`) ?? assert.fail(`${away.details}`);
    assert.ok(Number(ago) >= 90, `${ago} s`);
    await silently(host, 'STATUS', { config: config({ enforcer: 'agent', agentGrace: 900 }) });
  });
}
