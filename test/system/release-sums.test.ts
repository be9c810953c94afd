/** The release as a whole: sums, signature, inventory, and the same bytes in another place. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { checkOut, root } from '../support/checkout.ts';
import { tollgateDir } from '../support/cni.ts';
import { arch, releaseDir, released, version } from '../support/release.ts';
import { scratchFolder } from '../support/scratch.ts';

const folder = scratchFolder('release');

const sums = readFileSync(released('SHA256SUMS'), 'utf8');
const sumOf = (name: string) =>
  sums
    .split('\n')
    .find(line => line.endsWith(`  ${name}`))
    ?.split(' ')[0];

test('SHA256SUMS is right about every file, and names every one', () => {
  execFileSync('sha256sum', ['--check', '--strict', '--status', 'SHA256SUMS'], { cwd: releaseDir });
  const named = [...sums.matchAll(/^[0-9a-f]{64} {2}(.+)$/gm)].map(([, name]) => name!);
  assert.deepEqual(
    [...named, 'SHA256SUMS'].sort(),
    readdirSync(releaseDir)
      .filter(name => !name.endsWith('.sig'))
      .sort(),
  );
});

/** In another folder, of another name, with other settings, and without any network. */
function releaseElsewhere(...options: readonly string[]): string {
  const place = mkdtempSync(join(folder, 'another place '));
  checkOut(place);
  mkdirSync(join(place, 'dist/tools'), { recursive: true });
  for (const file of ['tollgate', 'tools/launcher']) copyFileSync(join(tollgateDir, file), join(place, 'dist', file));
  const gitDir = execFileSync('git', ['rev-parse', '--absolute-git-dir'], { cwd: root, encoding: 'utf8' }).trim();
  const env = {
    ...{
      PATH: process.env['PATH'],
      HOME: place,
      LANG: 'C.UTF-8',
      TZ: 'Asia/Kathmandu',
      NODE_OPTIONS: '--stack-trace-limit=3',
    },
    ...{
      GIT_DIR: gitDir,
      TMPDIR: folder,
      CI: process.env['CI'] ?? '',
      TOLLGATE_RELEASE_CACHE: process.env['TOLLGATE_RELEASE_CACHE'] ?? '',
      XDG_CACHE_HOME: process.env['XDG_CACHE_HOME'] ?? '',
    },
  };
  const script = 'umask 077; exec unshare --net .build/release.sh --no-build "$@"';
  const { status, stdout, stderr } = spawnSync('bash', ['-c', script, 'release', ...options], {
    cwd: place,
    encoding: 'utf8',
    env,
  });
  assert.equal(status, 0, stderr + stdout);
  assert.equal(stderr, '', 'progress is for terminals');
  return join(place, 'dist/release');
}

test('a second release in another folder, offline, is equal byte for byte; its signature holds for it and for nothing else', () => {
  const key = join(folder, 'key');
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'tollgate', '-f', key]);
  const second = releaseElsewhere('--key', key);
  assert.equal(readFileSync(join(second, 'SHA256SUMS'), 'utf8'), sums);
  execFileSync('sha256sum', ['--check', '--strict', '--status', 'SHA256SUMS'], { cwd: second });

  const signers = join(folder, 'signers');
  writeFileSync(signers, `tollgate ${readFileSync(`${key}.pub`, 'utf8')}`);
  const isSigned = (text: string): boolean => {
    const signature = join(second, 'SHA256SUMS.sig');
    const args = ['-Y', 'verify', '-f', signers, '-I', 'tollgate', '-n', 'tollgate-release', '-s', signature];
    return spawnSync('ssh-keygen', args, { input: text }).status === 0;
  };
  assert.equal(isSigned(sums), true);
  assert.equal(isSigned(sums.replace(/^./, digit => (digit === '0' ? '1' : '0'))), false);
});

interface Bill {
  readonly metadata: { readonly component: { readonly 'bom-ref': string } };
  readonly components: readonly {
    readonly 'bom-ref': string;
    readonly name: string;
    readonly version: string;
    readonly purl: string;
  }[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[];
}

test('the bill of materials lists what the executable carries, what Node is made of, and the packages of the image', () => {
  const bill = JSON.parse(readFileSync(released(`tollgate-${version}-${arch}.cdx.json`), 'utf8')) as Bill;
  const names = new Set(bill.components.map(({ name, version: of }) => `${name} ${of}`));
  const carried = JSON.parse(
    execFileSync(join(tollgateDir, 'tollgate'), ['licenses', '-o', 'json'], { encoding: 'utf8' }),
  ) as {
    name: string;
    version: string;
  }[];
  for (const { name, version: of } of carried.filter(each => !/^(tollgate$|node-linux-)/.test(each.name)))
    assert.ok(names.has(`${name} ${of}`), name);
  for (const name of ['node', 'openssl', 'v8']) assert.ok(names.has(`${name} ${process.versions[name]}`), name);
  const pinned = readFileSync(join(root, '.build/release/debian.sha256'), 'utf8');
  for (const [, name, of] of pinned.matchAll(new RegExp(` ([^ _]+)_([^_]+)_${arch}\\.deb`, 'g')))
    assert.ok(names.has(`${name} ${of}`), name!);
  const refs = new Set([...bill.components, bill.metadata.component].map(each => each['bom-ref']));
  assert.equal(refs.size, bill.components.length + 1, 'each is named once');
  for (const { ref, dependsOn } of bill.dependencies)
    for (const each of [ref, ...dependsOn]) assert.ok(refs.has(each), each);
});

test('the manifest of krew names the tarball, and files that are in it', () => {
  const { metadata, spec } = JSON.parse(readFileSync(released('tollgate.yaml'), 'utf8'));
  const [platform] = spec.platforms;
  const tarball = `tollgate-${version}-linux-${arch}.tar.gz`;
  assert.deepEqual(
    [metadata.name, spec.version, platform.uri, platform.sha256],
    ['tollgate', `v${version}`, tarball, sumOf(tarball)],
  );
  assert.deepEqual(platform.selector.matchLabels, { os: 'linux', arch });
  const listed = execFileSync('tar', ['-tzf', released(tarball)], { encoding: 'utf8' }).split('\n');
  for (const { from } of platform.files) assert.ok(listed.includes(from), from);
  assert.ok(platform.files.some(({ from }: { from: string }) => from.endsWith(`/${platform.bin}`)));
  // krew links the program by the plugin's name.
  const linked = join(folder, 'kubectl-tollgate');
  symlinkSync(join(tollgateDir, 'tollgate'), linked);
  assert.match(execFileSync(linked, ['--help'], { encoding: 'utf8' }), /^kubectl tollgate /);
});

test('the workflow of a tag calls scripts of the package, with options that they have', () => {
  const { jobs } = parse(readFileSync(join(root, '.github/workflows/release.yaml'), 'utf8')) as {
    jobs: { release: { steps: readonly { run?: string }[] } };
  };
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  const lines = jobs.release.steps.flatMap(({ run = '' }) => run.split('\n'));
  const calls = lines.flatMap(line => [...line.matchAll(/npm (?:run )?([a-z:]+)(?: -- (.*))?/g)]);
  assert.deepEqual([...new Set(calls.map(([, name]) => name!))], ['test', 'release']);
  const script = readFileSync(join(root, '.build/release.sh'), 'utf8');
  for (const [, name, options = ''] of calls) {
    assert.ok(scripts[name!], name!);
    for (const [option] of options.matchAll(/--[a-z-]+/g)) assert.ok(script.includes(`    ${option})`), option);
  }
});

test('an option that there is not is named', () => {
  const { status, stderr } = spawnSync('bash', [join(root, '.build/release.sh'), '--nobuild'], { encoding: 'utf8' });
  assert.notEqual(status, 0);
  assert.match(stderr, /unknown option --nobuild; there are/);
});
