/** Disks that are full, read-only or spoilt, a machine that was rebooted, and callers who mean no good. */
import assert from 'node:assert/strict';
import test, { after, before, suite } from 'node:test';
import { startAgent } from '../support/agent-process.ts';
import { type } from '../support/cli-host.ts';
import {
  add,
  addresses,
  type Call,
  cni,
  config,
  errorOf,
  type Json,
  runDir,
  silently,
  startHost,
  stateDir,
  tollgate,
  warm,
} from '../support/cni.ts';
import type { Host } from '../support/host.ts';
import { assertNothingLeft, type Snapshot, snapshot, tagged } from '../support/snapshot.ts';
import { until } from '../support/until.ts';

const disk = `mkdir -p ${stateDir}; mount -t tmpfs -o size=256k tmpfs ${stateDir}`;
interface Plugged {
  readonly call: Call & { readonly netns: string };
  readonly ips: readonly string[];
}

const plug = async (host: Host, containerID: string, more: Partial<Call> = {}): Promise<Plugged> => {
  const call: Call & { netns: string } = { config: config(), containerID, netns: await host.pod(), ...more };
  return { call, ips: addresses(await add(host, call)) };
};

suite('a full disk', () => {
  test('ADD says so and changes nothing; DEL still closes and releases; with room again, ADD works', async () => {
    using host = await startHost({ setup: disk });
    await warm(host, config());
    const before = await snapshot(host);
    const { call, ips } = await plug(host, 'a');
    await host.sh(
      `dd if=/dev/zero of=${stateDir}/ballast bs=4k 2>/dev/null || true; : >${stateDir}/one-inode-more || true`,
    );
    const during = await snapshot(host);
    const next: Call = { config: config(), containerID: 'b', netns: await host.pod() };
    const { code, msg, details } = errorOf(await cni(host, 'ADD', next));
    assert.notEqual(code, 199);
    assert.match(`${msg} ${details}`, /ENOSPC|full|no space/i);
    await assertNothingLeft(host, during, 'after an ADD on a full disk');
    assert.ok(await host.pings(ips[0]!));
    await silently(host, 'DEL', next);
    await silently(host, 'DEL', call);
    await host.sh(`rm -f ${stateDir}/ballast ${stateDir}/one-inode-more`);
    await assertNothingLeft(host, before);
    await plug(host, 'c');
  });

  test('STATUS says 50 or 51, so that no pod is sent here', async () => {
    using host = await startHost({ setup: disk });
    await warm(host, config());
    await host.sh(`dd if=/dev/zero of=${stateDir}/ballast bs=4k 2>/dev/null || true`);
    const { code } = errorOf(await cni(host, 'STATUS', { config: config() }));
    assert.ok(code === 50 || code === 51, `code ${code}`);
  });
});

/** Fills the file system of the folder, to the last byte. */
const fill = (folder: string) =>
  `dd if=/dev/zero of=${folder}/ballast bs=4k 2>/dev/null || true; dd if=/dev/zero of=${folder}/crumbs bs=1 2>/dev/null || true`;

suite('to release takes no room', () => {
  const gc = ['gc', '--state-dir', stateDir, '--run-dir', runDir];
  for (const folder of [runDir, stateDir])
    test(`${folder} is full to the last byte: DEL, GC and \`tollgate gc\` release what pods hold; with room again, ADD works`, async () => {
      using host = await startHost({ setup: `mkdir -p ${folder}; mount -t tmpfs -o size=256k tmpfs ${folder}` });
      await warm(host, config());
      const before = await snapshot(host);
      const pods = [];
      for (const name of ['a', 'b', 'c', 'd', 'e']) pods.push(await plug(host, name));
      const [a, b, c, d, e] = pods as [Plugged, Plugged, Plugged, Plugged, Plugged];
      await host.sh(fill(folder));
      await silently(host, 'DEL', a.call);
      await host.removeNetns(b.call.netns);
      await host.sh(fill(folder));
      const swept = await host.run([tollgate, ...gc]);
      assert.equal(swept.exit, 0, swept.stdout + swept.stderr);
      assert.match(swept.stdout, /undone: .*b in network net: its interface is gone/);
      await host.sh(fill(folder));
      const kept = [d, e].map(({ call }) => ({ containerID: call.containerID, ifname: 'eth0' }));
      await silently(host, 'GC', { config: config({ 'cni.dev/valid-attachments': kept }) });
      assert.ok(await host.pings(d.ips[0]!));
      await host.sh(fill(folder));
      await silently(host, 'DEL', d.call);
      assert.ok(await host.pings(e.ips[0]!));
      const left = await tagged(host);
      assert.deepEqual(
        left.map(({ alias }) => alias),
        ['tollgate:default/e:e'],
      );
      await host.sh(`rm ${folder}/ballast ${folder}/crumbs`);
      const next = await plug(host, 'next');
      assert.ok(await host.pings(next.ips[0]!));
      await silently(host, 'DEL', next.call);
      await silently(host, 'DEL', c.call);
      await silently(host, 'DEL', e.call);
      await assertNothingLeft(host, before);
    });

  test(`an ADD for which ${runDir} has no room fails with a code of its own, and leaves nothing`, async () => {
    using host = await startHost({ setup: `mkdir -p ${runDir}; mount -t tmpfs -o size=256k tmpfs ${runDir}` });
    await warm(host, config());
    const { ips } = await plug(host, 'a');
    await host.sh(fill(runDir));
    const links = await tagged(host);
    const { code, msg } = errorOf(
      await cni(host, 'ADD', { config: config(), containerID: 'b', netns: await host.pod() }),
    );
    assert.equal(code, 105);
    assert.ok(msg.includes(runDir) && /ENOSPC/.test(msg), msg);
    assert.deepEqual(await tagged(host), links);
    assert.ok(await host.pings(ips[0]!));
  });
});

test('a runtime folder that is read-only: ADD and DEL say what to do, and what is deleted waits for it', async () => {
  using host = await startHost({ setup: `mkdir -p ${runDir}; mount -t tmpfs tmpfs ${runDir}` });
  await warm(host, config());
  const before = await snapshot(host);
  const { call } = await plug(host, 'a');
  await host.sh(`mount -o remount,ro ${runDir}`);
  const next: Call = { config: config(), containerID: 'b', netns: await host.pod() };
  for (const outcome of [await cni(host, 'ADD', next), await cni(host, 'DEL', call)]) {
    const { code, msg } = errorOf(outcome);
    assert.equal(code, 105);
    assert.match(msg, /read-only: mount it read-write, or set stateDir and runDir/);
    assert.ok(msg.includes(runDir), msg);
  }
  await host.sh(`mount -o remount,rw ${runDir}`);
  await silently(host, 'DEL', next);
  await silently(host, 'DEL', call);
  await assertNothingLeft(host, before);
});

test('a runtime folder that is read-only: no warm process begins, nothing is uninstalled, and both say why', async () => {
  using host = await startHost({
    setup: `mkdir -p ${runDir}; mount -t tmpfs tmpfs ${runDir}; mount -o remount,ro ${runDir}`,
  });
  for (const words of [
    ['agent', '--no-kubernetes'],
    ['uninstall', '--dry-run'],
  ]) {
    const { exit, stdout, stderr } = await type(host, words);
    assert.deepEqual([exit, stdout], [3, ''], stderr);
    assert.match(stderr, /^tollgate: Cannot lock \S+\/agent\.lock: the file system is read-only: mount it read-write/m);
  }
});

test('a runtime folder without room: a worker serves, and takes away what is there', async () => {
  using host = await startHost({ setup: `mkdir -p ${runDir}; mount -t tmpfs -o size=256k tmpfs ${runDir}` });
  await warm(host, config());
  const before = await snapshot(host);
  const { call } = await plug(host, 'a');
  await host.sh(fill(runDir));
  using worker = await startAgent(host);
  await silently(host, 'DEL', call);
  await until('the worker to tell of the DEL', () => worker.calls('DEL') === 1);
  await host.sh(`rm ${runDir}/ballast ${runDir}/crumbs`);
  await assertNothingLeft(host, before);
});

suite('a state folder that is read-only', () => {
  test('ADD and STATUS say so and name it; what is not there is deleted in silence; what is there, once it can be', async () => {
    using host = await startHost({ setup: disk });
    await warm(host, config());
    const before = await snapshot(host);
    const { call } = await plug(host, 'a');
    await host.sh(`mount -o remount,ro ${stateDir}`);
    const during = await snapshot(host);
    const next: Call = { config: config(), containerID: 'b', netns: await host.pod() };
    const { code, msg, details } = errorOf(await cni(host, 'ADD', next));
    assert.notEqual(code, 199);
    assert.ok(`${msg} ${details}`.includes(stateDir), msg);
    assert.match(`${msg} ${details}`, /EROFS|read-only/i);
    await assertNothingLeft(host, during, 'after an ADD on a read-only disk');
    const status = errorOf(await cni(host, 'STATUS', { config: config() }));
    assert.ok(status.code === 50 || status.code === 51, `code ${status.code}`);
    await silently(host, 'DEL', next);
    const kept = errorOf(await cni(host, 'DEL', call));
    assert.ok(`${kept.msg} ${kept.details}`.includes(stateDir), kept.msg);
    await host.sh(`mount -o remount,rw ${stateDir}`);
    await silently(host, 'DEL', call);
    await assertNothingLeft(host, before);
  });

  for (const [key, folder] of [
    ['runDir', '/proc/nowhere'],
    ['runDir', '/etc/passwd/run'],
    ['stateDir', '/proc/nowhere'],
    ['stateDir', '/etc/passwd/state'],
  ] as const) {
    test(`a ${key} that cannot be made (${folder}) is named`, async () => {
      using host = await startHost();
      const call: Call = { config: config({ [key]: folder }), containerID: 'a', netns: await host.pod() };
      const { code, msg, details } = errorOf(await cni(host, 'ADD', call));
      assert.notEqual(code, 199);
      assert.ok(`${msg} ${details}`.includes(folder), msg);
      assert.deepEqual(await tagged(host), []);
    });
  }
});

suite('garbage in a state file', () => {
  const kinds: readonly (readonly [what: string, spoil: (host: Host, file: string) => Promise<unknown>])[] = [
    ['empty', async (host, file) => host.write(file, '')],
    ['words', async (host, file) => host.write(file, 'garbage\n')],
    ['NUL bytes', async (host, file) => host.write(file, new Uint8Array(4096))],
    ['half of what was there', (host, file) => host.sh(`truncate -s $(($(stat -c %s ${file}) / 2)) ${file}`)],
    [
      'JSON of the wrong shape',
      async (host, file) => host.write(file, '{"network":7,"addresses":{"a":1},"pod":[],"phase":null}\n'),
    ],
    [
      'JSON that leads elsewhere',
      async (host, file) =>
        host.write(file, '{"network":"../..","containerID":"../../x","ifname":"/","addresses":["../../etc/passwd"]}\n'),
    ],
    ['a megabyte', async (host, file) => host.write(file, 'x'.repeat(1 << 20))],
    ['null', async (host, file) => host.write(file, 'null\n')],
    ['a list of null', async (host, file) => host.write(file, '[null]\n')],
    ['a folder', (host, file) => host.sh(`rm ${file}; mkdir ${file}`)],
    ['a link that leads nowhere', (host, file) => host.sh(`rm ${file}; ln -s /run/nowhere ${file}`)],
    ['a link to itself', (host, file) => host.sh(`rm ${file}; ln -s ${file} ${file}`)],
    ['a pipe', (host, file) => host.sh(`rm ${file}; mkfifo ${file}`)],
  ];
  for (const [what, spoil] of kinds) {
    test(`${what}, in each of them: DEL clears everything, and other pods come and go`, async () => {
      using host = await startHost();
      await warm(host, config());
      const before = await snapshot(host);
      const { call } = await plug(host, 'a');
      const files = [...host.files(stateDir), ...host.files(runDir)].filter(file => !file.endsWith('.lock'));
      assert.ok(files.length > 1, files.join());
      for (const file of files) await spoil(host, file);
      const other = await plug(host, 'b');
      assert.ok(await host.pings(other.ips[0]!));
      await silently(host, 'DEL', other.call);
      await silently(host, 'DEL', call);
      await assertNothingLeft(host, before);
    });

    test(`${what}, in each of them: GC clears everything`, async () => {
      using host = await startHost();
      await warm(host, config());
      const before = await snapshot(host);
      await plug(host, 'a');
      const files = [...host.files(stateDir), ...host.files(runDir)].filter(file => !file.endsWith('.lock'));
      for (const file of files) await spoil(host, file);
      await silently(host, 'GC', { config: config({ 'cni.dev/valid-attachments': [] }) });
      await assertNothingLeft(host, before, 'after GC');
    });
  }

  test('a folder with something in it is moved aside, and what a link leads to is left alone', async () => {
    using host = await startHost({ setup: 'echo precious >/run/precious' });
    await warm(host, config());
    const { call } = await plug(host, 'a');
    const files = [...host.files(stateDir), ...host.files(runDir)];
    await host.sh(files.map(file => `rm ${file}; mkdir ${file}; echo theirs >${file}/kept`).join('; '));
    const other = await plug(host, 'b');
    await silently(host, 'DEL', other.call);
    await silently(host, 'DEL', call);
    const kept = [...host.files(stateDir), ...host.files(runDir)].filter(file => file.endsWith('/kept'));
    assert.ok(kept.length > 0);
    const links = await plug(host, 'c');
    const now = [...host.files(stateDir), ...host.files(runDir)].filter(file => !file.endsWith('/kept'));
    await host.sh(now.map(file => `rm ${file}; ln -s /run/precious ${file}`).join('; '));
    await silently(host, 'DEL', links.call);
    assert.equal(await host.sh('cat /run/precious'), 'precious\n');
    assert.deepEqual(await tagged(host), []);
  });

  test('files and folders that nobody knows harm nobody, and what they link to is left alone', async () => {
    using host = await startHost({ setup: 'echo precious >/run/precious' });
    await warm(host, config());
    const folders = `$(find ${stateDir} ${runDir} -type d)`;
    await host.sh(
      `for d in ${folders}; do echo x >"$d/.strange"; ln -s /run/precious "$d/.link"; mkdir "$d/.folder"; done`,
    );
    const { files: _, ...before } = await snapshot(host);
    const { call } = await plug(host, 'a');
    await silently(host, 'STATUS', { config: config() });
    await silently(host, 'DEL', call);
    await silently(host, 'GC', { config: config({ 'cni.dev/valid-attachments': [] }) });
    await plug(host, 'b');
    await silently(host, 'GC', { config: config({ 'cni.dev/valid-attachments': [] }) });
    const { files, ...after } = await snapshot(host);
    assert.deepEqual(after, before);
    assert.deepEqual(
      files.filter(file => file.includes('/claims/10.')),
      [],
    );
    assert.equal(await host.sh('cat /run/precious'), 'precious\n');
  });
});

suite("a node's end that was renamed", () => {
  const renamings: readonly (readonly [what: string, more: string])[] = [
    ['and nothing else', ''],
    ['and its record is gone', `rm ${stateDir}/boot-*/net/attachments/*`],
    ['and both folders are gone', `rm -rf ${stateDir} ${runDir}`],
    ['and its alias is gone', 'ip link set other0 alias ""'],
  ];
  for (const [what, more] of renamings)
    test(`${what}: GC leaves the living pod alone where its runtime does, and DEL takes it away with its route`, async () => {
      using host = await startHost();
      const { call, ips } = await plug(host, 'a');
      const [link] = await tagged(host);
      await host.sh(`ip link set ${link!.name} name other0; ${more}`);
      const kept = [{ containerID: 'a', ifname: 'eth0' }];
      await silently(host, 'GC', { config: config({ 'cni.dev/valid-attachments': kept }) });
      assert.deepEqual(
        (await tagged(host)).map(({ name }) => name),
        ['other0'],
      );
      await silently(host, 'DEL', call);
      const left = await snapshot(host);
      assert.deepEqual(
        left.links.map(({ name }) => name),
        ['lo'],
      );
      assert.doesNotMatch(left.routes, new RegExp(ips[0]!.replaceAll('.', '\\.')));
      assert.doesNotMatch(left.rules, /tollgate/);
    });

  test('CHECK and `verify` know it under its new name', async () => {
    using host = await startHost();
    const call: Call & { netns: string } = { config: config(), containerID: 'a', netns: await host.pod() };
    const prevResult = await add(host, call);
    const [link] = await tagged(host);
    await host.sh(`ip link set ${link!.name} name other0`);
    await silently(host, 'CHECK', { ...call, config: config({ prevResult }) });
    const { exit, stdout } = await host.run([tollgate, 'verify', '--state-dir', stateDir, '--run-dir', runDir]);
    assert.doesNotMatch(stdout, /Differs/);
    assert.notEqual(exit, 3, stdout);
    const pods = JSON.parse(
      await host.must([tollgate, 'pods', '-o', 'json', '--state-dir', stateDir, '--run-dir', runDir]),
    );
    assert.equal(pods[0].interface, 'other0');
    assert.equal(pods[0].standing, 'plugged');
  });
});

test('after a reboot, what the last boot held is free', async () => {
  using host = await startHost();
  const one = config({}, { v4: '10.78.0.0/30' });
  const { call, ips } = await plug(host, 'a', { config: one });
  errorOf(await cni(host, 'ADD', { config: one, containerID: 'b', netns: await host.pod() }));
  // What a reboot takes away is everything but the disk; what it changes is the boot id, which names the folder.
  await host.sh(`ip link delete eth0; cd ${stateDir}; mv boot-* boot-00000000-0000-0000-0000-000000000000`, call.netns);
  await host.sh(`rm -rf ${runDir}; nft delete table inet tollgate`);
  const next = await plug(host, 'b', { config: one });
  assert.deepEqual(next.ips, ips);
  assert.ok(await host.pings(ips[0]!));
  await silently(host, 'DEL', call);
  assert.ok(await host.pings(ips[0]!), "DEL of the last boot's pod does not harm the one that has its address now");
  await silently(host, 'DEL', next.call);
  assert.deepEqual(
    host.files(stateDir).filter(file => file.includes('boot-0000')),
    [],
    'the old folder is cleared away',
  );
});

suite('hostile input', () => {
  let host: Host;
  let neighbour: Plugged;
  let untouched: Snapshot;
  before(async () => {
    host = await startHost();
    await warm(host, config());
    neighbour = await plug(host, 'neighbour');
    await host.sh('nft add table inet bystander');
    untouched = await snapshot(host);
  });
  after(() => host[Symbol.dispose]());

  const shell = `$(touch /run/pwned); \`touch /run/pwned\` | touch /run/pwned & '"\\`;
  const nft = `"; } flush ruleset; table inet x { chain c { comment "`;
  const long = 'x'.repeat(300);
  const tests: readonly (readonly [what: string, more: Partial<Call>])[] = [
    [
      'nft in the name of the pod',
      { args: `IgnoreUnknown=1;K8S_POD_NAMESPACE=a;K8S_POD_NAME=${nft.replaceAll(';', ' ').replaceAll('=', ' ')}` },
    ],
    [
      'shell in the namespace of the pod',
      { args: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${shell.replaceAll(';', ' ')};K8S_POD_NAME=a` },
    ],
    ['a path for a pod', { args: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=../..;K8S_POD_NAME=../../../etc/passwd' }],
    ['%d for a pod', { args: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=%d;K8S_POD_NAME=%s%n' }],
    ['300 characters, a pod', { args: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${long};K8S_POD_NAME=${long}` }],
    [
      'characters of four bytes, a pod',
      { args: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${'😀'.repeat(90)};K8S_POD_NAME=ä` },
    ],
    ['a containerID of 300 characters', { containerID: long }],
    ['a network name of 300 characters', { config: config({ name: long }) }],
    ['a megabyte that nobody asked for', { config: config({ unheardOf: 'x'.repeat(1 << 20) }) }],
    [
      'labels of nft and shell',
      { config: config({ labels: { [nft]: shell, [shell]: nft, [long]: long, 'a\0b': 'c\0d', '../..': '%d' } }) },
    ],
    [
      'annotations of nft and shell',
      {
        config: config({
          runtimeConfig: {
            'io.kubernetes.cri.pod-annotations': {
              'tollgate.dev/labels': `${nft}=${shell}`,
              [nft]: shell,
              [long]: long,
            },
          },
        }),
      },
    ],
    [
      'args of nft and shell',
      {
        config: config({
          args: {
            cni: {
              labels: [
                { key: nft, value: shell },
                { key: 'a\0', value: long },
              ],
            },
          },
        }),
      },
    ],
    [
      'a key named __proto__',
      {
        config: JSON.stringify(config()).replace('{', '{"__proto__":{"mtu":1},"constructor":{"prototype":{"mtu":1}},'),
      },
    ],
    [
      '20,000 brackets',
      { config: `{"x":${'['.repeat(20_000)}${']'.repeat(20_000)},${JSON.stringify(config()).slice(1)}` },
    ],
  ];
  for (const [what, more] of tests) {
    test(`${what}: served, or refused with an error object; nobody is harmed, nothing is left`, async () => {
      const call: Call = { config: config(), containerID: 'hostile', netns: await host.pod(), ...more };
      const outcome = await cni(host, 'ADD', call);
      if (outcome.exit === 0) {
        assert.equal((await tagged(host)).length, 2);
        await host.sh('nft list ruleset');
        const prevResult = outcome.json;
        if (typeof call.config === 'object')
          await silently(host, 'CHECK', { ...call, config: { ...call.config, prevResult } as Json });
      } else {
        assert.notEqual(errorOf(outcome).code, 199);
        await assertNothingLeft(host, untouched, 'after a refusal');
      }
      await silently(host, 'DEL', call);
      await assertNothingLeft(host, untouched);
      assert.deepEqual(
        host.files('/run').filter(file => file.includes('pwned')),
        [],
      );
      assert.ok(await host.pings(neighbour.ips[0]!));
    });
  }

  const refused: readonly (readonly [what: string, more: Partial<Call>])[] = [
    ['a megabyte of garbage', { config: 'x'.repeat(1 << 20) }],
    ['a megabyte of open brackets', { config: '['.repeat(1 << 20) }],
    ['bytes that are not UTF-8', { config: Buffer.from([0xff, 0xfe, 0x00, 0x80]) }],
    ['a network name with NUL in it', { config: config({ name: 'a\0b' }) }],
    ['a network name that is a path', { config: config({ name: '../../run/pwned' }) }],
    ['a netns path with shell in it', { netnsPath: '/run/netns/$(touch /run/pwned)' }],
    ['a netns path of 5,000 characters', { netnsPath: `/run/netns/${'x/'.repeat(2500)}` }],
    ['a stateDir that is not absolute', { config: config({ stateDir: '../state' }) }],
    ['a stateDir with NUL in it', { config: config({ stateDir: '/run/a\0b' }) }],
    ['an IPAM with a path for a name', { config: config({ ipam: { type: '../../../bin/sh' } }) }],
    ['a MAC with nft in it', { config: config({ runtimeConfig: { mac: nft } }) }],
    [
      'a port of 70,000',
      {
        config: config({ runtimeConfig: { portMappings: [{ hostPort: 70_000, containerPort: 80, protocol: 'tcp' }] } }),
      },
    ],
    ['an MTU of a billion', { config: config({ mtu: 1e9 }) }],
    ['numbers that no integer holds', { config: config({ mtu: 1500.5 }) }],
  ];
  for (const [what, more] of refused) {
    test(`${what} is refused with an error object, and nothing changes`, async () => {
      const call: Call = { config: config(), containerID: 'hostile', netns: await host.pod(), ...more };
      const { code } = errorOf(await cni(host, 'ADD', call));
      assert.notEqual(code, 199);
      await assertNothingLeft(host, untouched, 'after a refusal');
      assert.deepEqual(
        host.files('/run').filter(file => file.includes('pwned')),
        [],
      );
    });
  }
});
