/** `tollgate install` on a machine that has other networks, an older version of ours, or nothing. */
import assert from 'node:assert/strict';
import { existsSync, statSync } from 'node:fs';
import test, { after, beforeEach } from 'node:test';
import { startHost, tollgate } from '../support/cni.ts';

const host = await startHost({ setup: 'mkdir -p /run/etc; cp -a /etc/. /run/etc; mount --bind /run/etc /etc' });
after(() => host[Symbol.dispose]());

const bin = '/run/work/bin';
const conf = '/run/work/net.d';
const folders = ['--bin-dir', bin, '--conf-dir', conf];

interface Installed {
  readonly executables: readonly { readonly path: string; readonly isNew: boolean }[];
  readonly conflist: { readonly path: string; readonly isNew: boolean; readonly why?: string };
  readonly dropIns: readonly string[];
  readonly next: readonly string[];
}

async function install(...more: string[]): Promise<Installed> {
  return JSON.parse(await host.must([tollgate, 'install', ...folders, '-o', 'json', ...more])) as Installed;
}

beforeEach(() => host.sh('rm -rf /run/work'));

test('executables and conflist are there afterwards, and nothing else', async () => {
  const { executables, conflist } = await install();
  assert.deepEqual(executables, [
    { path: `${bin}/tollgate-node`, isNew: true },
    { path: `${bin}/tollgate.rundir`, isNew: true },
    { path: `${bin}/tollgate`, isNew: true },
    { path: `${bin}/tollgate-ipam`, isNew: true },
  ]);
  assert.deepEqual(conflist, { path: `${conf}/10-tollgate.conflist`, isNew: true });
  const files = [...executables.map(({ path }) => path), conflist.path].sort();
  assert.deepEqual(host.files('/run/work'), files);
  for (const name of ['tollgate', 'tollgate-ipam', 'tollgate-node'])
    assert.equal(statSync(host.path(`${bin}/${name}`)).mode & 0o7777, 0o755);
  assert.equal(await host.sh(`cat ${bin}/tollgate.rundir`), '/run/tollgate\n');
  assert.equal(statSync(host.path(conflist.path)).mode & 0o7777, 0o644);
  assert.equal(
    await host.sh(`cat ${conflist.path}`),
    await host.sh(`cat ${new URL('../../conf/10-tollgate.conflist', import.meta.url).pathname}`),
  );
});

test('with --no-conflist there are executables only', async () => {
  const { executables, conflist, next } = await install('--no-conflist');
  assert.equal(conflist, undefined);
  assert.deepEqual(host.files('/run/work'), executables.map(({ path }) => path).sort());
  assert.match(next.join(), /tollgate agent --conf-dir/);
});

test('what is installed works as a plugin, by both names', async () => {
  await install();
  for (const name of ['tollgate', 'tollgate-ipam']) {
    const { stdout } = await host.run([`${bin}/${name}`], { env: { CNI_COMMAND: 'VERSION' } });
    assert.ok((JSON.parse(stdout) as { supportedVersions: string[] }).supportedVersions.includes('1.1.0'));
  }
});

test('an older executable is replaced while it runs, and the new one installs itself a second time', async () => {
  await host.sh(`mkdir -p ${bin}; cp /bin/sleep ${bin}/tollgate`);
  const running = host.spawn([`${bin}/tollgate`, '3600']);
  const { executables } = await install();
  assert.equal(executables.find(({ path }) => path === `${bin}/tollgate`)?.isNew, true);
  assert.equal(running.exitCode, null);
  running.kill('SIGKILL');
  const again = await host.must([`${bin}/tollgate`, 'install', ...folders, '-o', 'json']);
  assert.deepEqual(
    (JSON.parse(again) as Installed).executables.map(({ isNew }) => isNew),
    [false, false, false, false],
  );
});

test('an executable that was copied there by hand installs itself, and makes room for the launcher', async () => {
  await host.sh(`mkdir -p ${bin}; cp ${tollgate} ${bin}/tollgate`);
  await host.must([`${bin}/tollgate`, 'install', ...folders]);
  assert.ok(statSync(host.path(`${bin}/tollgate`)).size < 1 << 15, 'the launcher is no small program');
  assert.equal(statSync(host.path(`${bin}/tollgate-node`)).size, statSync(tollgate).size);
});

test('with another run-dir launchers look there, and the conflist names it', async () => {
  await install('--run-dir', '/run/other');
  assert.equal(await host.sh(`cat ${bin}/tollgate.rundir`), '/run/other\n');
  const list = JSON.parse(await host.sh(`cat ${conf}/10-tollgate.conflist`)) as { plugins: { runDir?: string }[] };
  assert.equal(list.plugins[0]?.runDir, '/run/other');
  const again = await host.must([`${bin}/tollgate`, 'install', ...folders, '-o', 'json']);
  assert.deepEqual(
    (JSON.parse(again) as Installed).executables.filter(({ isNew }) => isNew).map(({ path }) => path),
    [`${bin}/tollgate.rundir`],
  );
  for (const path of ['relative', `/${'x'.repeat(99)}`])
    assert.equal((await host.run([tollgate, 'install', ...folders, '--run-dir', path])).exit, 2, path);
});

test('a conflist that is there stays, unless it is forced', async () => {
  await host.sh(`mkdir -p ${conf}; echo mine >${conf}/10-tollgate.conflist`);
  const { conflist } = await install();
  assert.equal(conflist.isNew, false);
  assert.match(conflist.why!, /--force/);
  assert.equal(await host.sh(`cat ${conf}/10-tollgate.conflist`), 'mine\n');
  assert.equal((await install('--force')).conflist.isNew, true);
  assert.match(await host.sh(`cat ${conf}/10-tollgate.conflist`), /"type": "tollgate"/);
});

const kept: readonly (readonly [what: string, file: string, text: object])[] = [
  ['a network of that name', '20-other.conflist', { name: 'tollgate', plugins: [{ type: 'bridge' }] }],
  ['a list with tollgate in it', '20-own.conflist', { name: 'pods', plugins: [{ type: 'ptp' }, { type: 'tollgate' }] }],
  ['a single configuration of tollgate', '20-own.conf', { name: 'pods', type: 'tollgate' }],
];
for (const [what, file, text] of kept)
  test(`where there is ${what}, none is written`, async () => {
    await host.sh(`mkdir -p ${conf}`);
    host.write(`${conf}/${file}`, JSON.stringify(text));
    const { conflist } = await install();
    assert.equal(conflist.isNew, false);
    assert.equal(conflist.path, `${conf}/${file}`);
    assert.deepEqual(host.files(conf), [`${conf}/${file}`]);
  });

test('another network that runtimes would take first is named', async () => {
  await host.sh(`mkdir -p ${conf}`);
  host.write(`${conf}/05-bridge.conflist`, JSON.stringify({ name: 'bridge', plugins: [{ type: 'bridge' }] }));
  const { conflist, next } = await install();
  assert.equal(conflist.isNew, true);
  assert.ok(
    next.some(line => line.includes('05-bridge.conflist')),
    next.join('\n'),
  );
});

test('drop-ins are written for the daemons that run here, once they are asked for', async () => {
  await host.sh(
    'rm -f /etc/systemd/network/05-tollgate.network; mkdir -p /run/systemd/netif/links /run/NetworkManager',
  );
  const { dropIns, next } = await install();
  assert.deepEqual(dropIns, []);
  assert.deepEqual(
    next.filter(line => line.includes('--drop-ins')),
    [
      '`tollgate install --drop-ins` writes /etc/systemd/network/05-tollgate.network, /etc/systemd/networkd.conf.d/tollgate.conf, /etc/NetworkManager/conf.d/tollgate.conf; then: networkctl reload; systemctl restart systemd-networkd; systemctl reload NetworkManager',
    ],
  );
  const written = (await install('--drop-ins')).dropIns;
  assert.equal(written.length, 3);
  for (const path of written) assert.match(await host.sh(`cat ${path}`), /tg\?{13}|ManageForeign/);
  assert.ok(!(await install()).next.some(line => line.includes('--drop-ins')));
});

for (const [what, option, folder, code, says] of [
  ['a file', '--bin-dir', '/etc/passwd', 3, /^tollgate: Cannot make folder \/etc\/passwd: .*EEXIST/],
  ['of a file system without files', '--bin-dir', '/proc/bin', 3, /^tollgate: Cannot make folder \/proc\/bin: ENOENT/],
  ['of a file system without files', '--conf-dir', '/proc', 3, /^tollgate: Cannot write \/proc\/10-tollgate.*: ENOENT/],
  ['without a name', '--conf-dir', '', 2, /^tollgate: Cannot use an empty path/],
  ['without a name', '--bin-dir', '', 2, /^tollgate: Cannot use an empty path/],
] as const)
  test(`${option} of a folder that is ${what} ends with exit code ${code}`, async () => {
    const places = { '--bin-dir': bin, '--conf-dir': conf, [option]: folder };
    const { exit, stdout, stderr } = await host.run([tollgate, 'install', ...Object.entries(places).flat()]);
    assert.match(stderr, says);
    assert.deepEqual({ exit, stdout }, { exit: code, stdout: '' });
  });

test('a folder that cannot be written is exit code 3, and nothing is left aside', async () => {
  await host.sh(`mkdir -p ${bin}; mount -t tmpfs -o size=1m tmpfs ${bin}`);
  const { exit, stderr } = await host.run([tollgate, 'install', ...folders]);
  assert.equal(exit, 3);
  assert.match(stderr, /^tollgate: .*ENOSPC/m);
  assert.deepEqual(host.files(bin), []);
  await host.sh(`umount ${bin}`);
});

const unwritable: readonly (readonly [what: string, prepare: string, args: readonly string[], says: RegExp])[] = [
  [
    'the folder of executables is read-only',
    `mkdir -p ${bin}; mount -t tmpfs none ${bin}; mount -o remount,ro ${bin}`,
    folders,
    /^tollgate: Cannot write \/run\/work\/bin\/tollgate-node: the file system is read-only: .* --bin-dir, .*\(EROFS\)$/m,
  ],
  [
    'the folder of executables has no room',
    `mkdir -p ${bin}; mount -t tmpfs -o size=1m none ${bin}`,
    folders,
    /^tollgate: Cannot write \/run\/work\/bin\/tollgate-node: the disk is full .*\(ENOSPC\)$/m,
  ],
  [
    'a folder has the name of an executable',
    `mkdir -p ${bin}/tollgate/sub`,
    folders,
    /^tollgate: Cannot write \/run\/work\/bin\/tollgate: EISDIR/m,
  ],
  [
    'the folder of conflists is read-only',
    `mkdir -p ${conf}; mount -t tmpfs none ${conf}; mount -o remount,ro ${conf}`,
    folders,
    /^tollgate: Cannot write \/run\/work\/net.d\/10-tollgate.conflist: .*read-only: .* --conf-dir \(EROFS\)$/m,
  ],
  [
    'systemd-networkd runs, and /etc/systemd is read-only',
    'mkdir -p /run/systemd/netif/links; mount -t tmpfs none /etc/systemd; mount -o remount,ro /etc/systemd',
    [...folders, '--drop-ins'],
    /^tollgate: Cannot make folder \/etc\/systemd\/network: .*read-only: .*\(EROFS\)$/m,
  ],
];
for (const [what, prepare, args, says] of unwritable)
  test(`where ${what}: exit code 3, the file and what to do`, async () => {
    const words = `${prepare}; exec ${tollgate} install ${args.join(' ')}`;
    const { exit, stdout, stderr } = await host.run(['unshare', '-m', 'sh', '-c', words]);
    assert.equal(exit, 3, stdout + stderr);
    assert.match(stderr, says);
  });

for (const option of [
  ...['--with-crds', '--no-cel', '--image=x', '--api-server=192.0.2.1:6443', '--state-dir=/var/lib/x', '--mtu=1400'],
  ...['--no-ip-masq', '--take-over', '--flows', '--ui=127.0.0.1:9468', '--flow-accounting'],
])
  test(`install ${option} without --kubernetes writes nothing, and says what to write`, async () => {
    const { exit, stderr } = await host.run([tollgate, 'install', ...folders, option]);
    assert.equal(exit, 2);
    assert.ok(
      stderr.includes(`with ${option.split('=')[0]}, which is for the manifests of a cluster: write --kubernetes too`),
      stderr,
    );
    assert.equal(existsSync(host.path('/run/work')), false);
  });
