/** The built executable in the places where runtimes and admins put it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { supportedVersions } from '../../lib/cni/version.ts';
import { config, environment, startHost } from '../support/cni.ts';
import { scratchFolder } from '../support/scratch.ts';

const executable = process.env['TOLLGATE'] ?? resolve(import.meta.dirname, '../../dist/tollgate');
const ipamExecutable = join(dirname(executable), 'tollgate-ipam');
assert.ok(existsSync(executable), `${executable} is not there: run ./build.sh first`);

const scratch = scratchFolder('executable');
const freshFolder = (): string => mkdtempSync(join(scratch, 'folder-'));

interface Options {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

function run(command: string, args: readonly string[], { cwd = scratch, env = {} }: Options = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, env, encoding: 'utf8', input: '' });
  if (error) throw error;
  return { status, stdout, stderr };
}

const version = { cniVersion: '1.1.0', supportedVersions };
const asking = { CNI_COMMAND: 'VERSION' };
const system = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };

function assertVersionAnswer({ status, stdout, stderr }: ReturnType<typeof run>): void {
  assert.equal(stderr, '');
  assert.deepEqual(JSON.parse(stdout), version);
  assert.equal(status, 0);
}

/** Paths below a folder, the folder itself left out. */
const listing = (folder: string): string[] => readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();

test('an environment with nothing but CNI_COMMAND is enough, and stderr stays empty', () => {
  assertVersionAnswer(run(executable, [], { env: asking }));
});

const environments: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'NODE_OPTIONS with a flag that does not exist': { NODE_OPTIONS: '--no-such-flag' },
  'NODE_OPTIONS with a preload that does not exist': { NODE_OPTIONS: '--require /nonexistent.js' },
  'NODE_OPTIONS that wants a debugger': { NODE_OPTIONS: '--inspect-brk=127.0.0.1:1' },
  'NODE_EXTRA_CA_CERTS with a file that does not exist': { NODE_EXTRA_CA_CERTS: '/nonexistent.pem' },
  'NODE_ICU_DATA with a folder that does not exist': { NODE_ICU_DATA: '/nonexistent' },
  'NODE_PATH, OPENSSL_CONF and SSL_CERT_FILE that do not exist': {
    NODE_PATH: '/nonexistent',
    OPENSSL_CONF: '/nonexistent',
    SSL_CERT_FILE: '/nonexistent',
  },
  'NODE_TLS_REJECT_UNAUTHORIZED and NODE_PENDING_DEPRECATION, which make Node warn': {
    NODE_TLS_REJECT_UNAUTHORIZED: '0',
    NODE_PENDING_DEPRECATION: '1',
  },
  'a HOME that does not exist': { HOME: '/nonexistent' },
  'a TMPDIR that does not exist': { TMPDIR: '/nonexistent' },
  'a locale that does not exist': { LANG: 'tlh_KX.UTF-8', LC_ALL: 'tlh_KX.UTF-8' },
};

for (const [name, env] of Object.entries(environments)) {
  test(`it is not impressed by ${name}`, () =>
    assertVersionAnswer(run(executable, [], { env: { ...env, ...asking } })));
}

test('a read-only /tmp does not matter', () => {
  const script = 'mount --bind /tmp /tmp && mount -o remount,bind,ro /tmp && ! touch /tmp/x 2>/dev/null && exec "$0"';
  assertVersionAnswer(run('unshare', ['--mount', 'sh', '-c', script, executable], { env: { ...system, ...asking } }));
});

test('it leaves no file in the working directory, HOME or TMPDIR, neither as a plugin nor as a command', () => {
  const [cwd, HOME, TMPDIR] = [freshFolder(), freshFolder(), freshFolder()];
  assertVersionAnswer(run(executable, [], { cwd, env: { HOME, TMPDIR, ...asking } }));
  assert.equal(run(executable, ['version'], { cwd, env: { HOME, TMPDIR } }).status, 0);
  for (const folder of [cwd, HOME, TMPDIR]) assert.deepEqual(listing(folder), []);
});

/** The shared libraries that the dynamic linker finds for the executable, by name; the kernel's vdso has no file. */
function libraries(): ReadonlyMap<string, string> {
  const { stdout } = run('ldd', [executable], { env: system });
  const found = [...stdout.matchAll(/^\s+(\/\S+|\S+ => (\/\S+)) \(0x/gm)].map(([, path = '', target = path]) => target);
  return new Map(found.map(path => [basename(path), path]));
}

test('it needs libraries of libc6, libstdc++6 and libgcc-s1 only', () => {
  const names = [...libraries().keys()];
  assert.ok(names.includes('libc.so.6') && names.includes('libstdc++.so.6'), names.join(' '));
  for (const name of names) {
    // Debian's packages name other paths than the linker does, since /lib is a link to /usr/lib.
    const { stdout } = run('dpkg-query', ['--search', `*/${name}`], { env: system });
    assert.match(stdout, /^(libc6|libstdc\+\+6|libgcc-s1):/m, name);
  }
});

/** What a node mounts, whatever else is in its root. */
const mounted = ['proc', 'dev', 'run'];

/** A folder with the executable and these libraries, and with nothing else but the places to mount a node's things. */
function makeRoot(): string {
  const folder = freshFolder();
  for (const path of libraries().values()) {
    mkdirSync(join(folder, dirname(path)), { recursive: true });
    copyFileSync(path, join(folder, path));
  }
  copyFileSync(executable, join(folder, 'tollgate'));
  for (const place of mounted) mkdirSync(join(folder, place));
  assert.ok(!listing(folder).some(path => path.includes('libatomic')));
  return folder;
}

test('a root folder with these libraries and nothing else is enough, and nothing is added to it', () => {
  const folder = makeRoot();
  const before = listing(folder);
  const { status, stdout, stderr } = run('chroot', [folder, '/tollgate', '--help'], { env: system });
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
  assert.match(stdout, /tollgate <command>/);
  const script = 'mount --bind /proc "$0/proc" && exec chroot "$0" /tollgate';
  assertVersionAnswer(run('unshare', ['--mount', 'sh', '-c', script, folder], { env: { ...system, ...asking } }));
  assert.deepEqual(listing(folder), before);
});

test('in such a root folder a pod is plugged in, reaches its gateway, and is plugged out; only state is left', async () => {
  const folder = makeRoot();
  using host = await startHost();
  const netns = await host.pod();
  await host.sh(mounted.map(place => `mount --rbind /${place} ${folder}/${place}`).join('; '));
  // The host's mounts are not seen from here, so that only what is really in the folder is listed.
  const before = listing(folder);
  const call = { config: config({ stateDir: '/state' }), containerID: 'alone', ifname: 'eth0', netns };
  const cni = (verb: 'ADD' | 'DEL') =>
    host.run(['chroot', folder, '/tollgate'], { env: environment(verb, call), input: JSON.stringify(call.config) });
  const added = await cni('ADD');
  assert.deepEqual({ exit: added.exit, stderr: added.stderr }, { exit: 0, stderr: '' }, added.stdout);
  const [ip] = JSON.parse(added.stdout).ips;
  assert.ok(await host.pings(ip.gateway, netns), `${ip.gateway} does not answer`);
  const { exit, stdout, stderr } = await cni('DEL');
  assert.deepEqual({ exit, stdout, stderr }, { exit: 0, stdout: '', stderr: '' });
  assert.deepEqual(
    listing(folder).filter(path => !/^state\b/.test(path)),
    before,
  );
});

test('it asks for nothing newer than glibc 2.28 and the libstdc++ of GCC 8', () => {
  const text = readFileSync(executable, 'latin1');
  const minors = (prefix: string) =>
    [...text.matchAll(new RegExp(`\\0${prefix}(\\d+)(?:\\.\\d+)?\\0`, 'g'))].map(([, minor]) => Number(minor));
  const glibc = minors('GLIBC_2\\.');
  const libstdcxx = minors('GLIBCXX_3\\.4\\.');
  assert.ok(glibc.length > 5 && libstdcxx.length > 5, 'no symbol versions found');
  assert.ok(Math.max(...glibc) <= 28, `GLIBC_2.${Math.max(...glibc)}`);
  assert.ok(Math.max(...libstdcxx) <= 25, `GLIBCXX_3.4.${Math.max(...libstdcxx)}`);
});

test('tollgate-ipam is the same file by another name', () => {
  assert.equal(statSync(ipamExecutable).ino, statSync(executable).ino);
  assertVersionAnswer(run(ipamExecutable, [], { env: asking }));
});

test('by the name tollgate-ipam it is a plugin even where no CNI_COMMAND is set', () => {
  const { status, stdout, stderr } = run(ipamExecutable, ['version']);
  assert.deepEqual({ status, stdout }, { status: 0, stdout: '' });
  assert.match(stderr, /^CNI tollgate-ipam plugin v/);
});

test('wrong usage exits with 2 and says on stderr what is wrong', () => {
  for (const [args, message] of [
    [[], /What to do\?/],
    [['fly'], /^tollgate: Unknown command: fly; see --help\n$/],
    [['fly', '-o', 'json', '--state-dir', '/run'], /^tollgate: Unknown command: fly; see --help\n$/],
    [['verson'], /^tollgate: Unknown command: verson; did you mean version\?\n$/],
    [['Pods'], /^tollgate: Unknown command: Pods; did you mean pods\?\n$/],
    [['lint'], /^tollgate: Unknown command: lint; did you mean tollgate policy lint\?\n$/],
    [['policy', 'lst'], /^tollgate: Unknown command: lst; did you mean list\?\n$/],
    [['test-pood'], /^tollgate: Unknown command: test-pood; see --help\n$/],
    [['version', 'now'], /^tollgate: Unknown argument: now; see --help\n$/],
    [['policy', 'lint', 'web.yaml'], /^tollgate: Unknown argument: web\.yaml; did you mean -f web\.yaml\?\n$/],
    [['version', '--fast'], /^tollgate: Unknown option: --fast; see --help\n$/],
    [['pods', '--stte-dir', '/run'], /^tollgate: Unknown option: --stte-dir; did you mean --state-dir\?\n$/],
    [['policy', 'explain', '--form', 'a/b'], /^tollgate: Unknown option: --form; did you mean --from\?\n$/],
    [['policy', 'explain', '--from', 'a/b'], /^tollgate: Missing required arguments: to, port\n$/],
    [['gc', '--state-dir', 'a', '--state-dir', 'b'], /^tollgate: Cannot use --state-dir more than once\n$/],
    [['version', '-o', 'yaml'], /yaml/],
    [['version', '-oyaml'], /yaml/],
    [['flows', '--denied', 'port:443', '-pod:web'], /Cannot filter here/],
  ] as const) {
    const { status, stdout, stderr } = run(executable, args);
    assert.deepEqual({ status, stdout }, { status: 2, stdout: '' }, args.join(' '));
    assert.match(stderr, message);
  }
});

test('version prints the version of package.json, as JSON too', () => {
  const manifest = JSON.parse(readFileSync(resolve(import.meta.dirname, '../../package.json'), 'utf8'));
  for (const format of [['-o', 'json'], ['-ojson'], ['--output=json']])
    assert.equal(JSON.parse(run(executable, ['version', ...format]).stdout).version, manifest.version);
  assert.match(
    run(executable, ['version']).stdout,
    new RegExp(`^tollgate ${manifest.version.replaceAll('.', '\\.')} `),
  );
});

for (const name of ['tollgate', 'kubectl-tollgate'])
  for (const [what, write, exit, said] of [
    [
      'an answer that the disk has no room for is a failure that one line tells of',
      '>/dev/full',
      3,
      'tollgate: Cannot write the answer to stdout: ENOSPC: no space left on device, write\n',
    ],
    ['a reader that closes its pipe is none', '| true', 0, ''],
  ] as const)
    test(`${name}: ${what}`, () => {
      const program = join(freshFolder(), name);
      symlinkSync(executable, program);
      const { stderr } = run('/bin/sh', ['-c', `{ ${program} --help; echo exit $? >&2; } ${write}`]);
      assert.equal(stderr, `${said}exit ${exit}\n`);
    });

test('its start is timed beside that of Node itself (printed, not judged)', t => {
  const times: Record<'bare Node' | 'CNI VERSION' | 'tollgate version', number[]> = {
    'bare Node': [],
    'CNI VERSION': [],
    'tollgate version': [],
  };
  const timed = (name: keyof typeof times, ...call: Parameters<typeof run>) => {
    const start = performance.now();
    assert.equal(run(...call).status, 0);
    times[name].push(performance.now() - start);
  };
  for (let round = 0; round < 11; round++) {
    timed('bare Node', process.execPath, ['--eval', '']);
    timed('CNI VERSION', executable, [], { env: asking });
    timed('tollgate version', executable, ['version']);
  }
  for (const [name, each] of Object.entries(times)) {
    t.diagnostic(`${name}: median ${each.sort((a, b) => a - b)[5]?.toFixed(1)} ms`);
  }
});

test('in a working directory that has been deleted a person is answered all the same', () => {
  const folder = freshFolder();
  const script = `cd ${folder}; rmdir ${folder}; exec ${executable} version`;
  const { status, stdout, stderr } = run('/bin/sh', ['-c', script]);
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
  assert.match(stdout, /^tollgate /);
});
