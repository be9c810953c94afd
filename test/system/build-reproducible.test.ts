/** The build gives the same bytes wherever it runs and whoever runs it. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chownSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';

const root = resolve(import.meta.dirname, '../..');
/** Debian's `nobody`: a user without a home folder and without any right that root has. */
const NOBODY = 65534;

// Not in TMPDIR, which other users may not enter.
const folder = mkdtempSync('/var/tmp/tollgate-build-');
test.after(() => rmSync(folder, { recursive: true }));

interface Place {
  readonly name: string;
  readonly uid?: number;
  readonly env: Readonly<Record<string, string>>;
}

/** Copies what the build reads of this checkout, dependencies as a link. */
function checkOut(to: string): void {
  const tracked = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  });
  for (const file of tracked.split('\0').filter(name => /^(cmd|lib|conf|\.build)\/|^[^/]+$/.test(name))) {
    mkdirSync(dirname(join(to, file)), { recursive: true });
    copyFileSync(join(root, file), join(to, file));
  }
  symlinkSync(join(root, 'node_modules'), join(to, 'node_modules'));
}

/** Builds a checkout of its own. @returns SHA-256 of the executable and of the launcher */
function build({ name, uid, env }: Place): readonly string[] {
  const place = join(folder, name);
  checkOut(place);
  if (uid !== undefined) {
    chownSync(folder, uid, uid);
    execFileSync('chown', ['-R', '--no-dereference', `${uid}:${uid}`, place]);
  }
  const done = spawnSync('./build.sh', {
    cwd: place,
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], ...env },
    ...(uid !== undefined && { uid, gid: uid }),
  });
  assert.equal(done.status, 0, done.stderr);
  const sums = ['dist/tollgate', 'dist/tools/launcher'].map(file =>
    createHash('sha256')
      .update(readFileSync(join(place, file)))
      .digest('hex'),
  );
  return sums;
}

test('two builds are equal byte for byte, in two folders, by two users, with other locales, zones and NODE_OPTIONS', () => {
  const first = build({ name: 'a', env: { HOME: folder, LANG: 'C', TZ: 'UTC' } });
  const second = build({
    name: 'another-folder/with a space',
    uid: NOBODY,
    env: { HOME: '/nonexistent', LANG: 'C.UTF-8', TZ: 'Asia/Kathmandu', NODE_OPTIONS: '--stack-trace-limit=3' },
  });
  assert.deepEqual(second, first);
});
