/** The build gives the same bytes wherever it runs and whoever runs it. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chownSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkOut } from '../support/checkout.ts';
import { scratchFolder } from '../support/scratch.ts';

/** Debian's `nobody`: a user without a home folder and without any right that root has. */
const NOBODY = 65534;

const folder = scratchFolder('build');

interface Place {
  readonly name: string;
  readonly uid?: number;
  readonly env: Readonly<Record<string, string>>;
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
