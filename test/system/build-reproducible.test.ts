/** The build gives the same bytes wherever it runs and whoever runs it. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkOut } from '../support/checkout.ts';
import { tollgateDir } from '../support/places.ts';
import { scratchFolder } from '../support/scratch.ts';

/** Debian's `nobody`: a user without a home folder and without any right that root has. */
const NOBODY = 65534;

const folder = scratchFolder('build');

/** SHA-256 of the executable and of the launcher. */
const sumsIn = (dist: string): readonly string[] =>
  ['tollgate', 'tools/launcher'].map(file =>
    createHash('sha256')
      .update(readFileSync(join(dist, file)))
      .digest('hex'),
  );

test('a second build is equal byte for byte to the one that is tested, in another folder, by another user, with other locale, zone and NODE_OPTIONS', () => {
  const place = join(folder, 'another-folder/with a space');
  checkOut(place);
  execFileSync('chown', ['-R', '--no-dereference', `${NOBODY}:${NOBODY}`, folder]);
  const { status, stderr } = spawnSync('./build.sh', {
    ...{ cwd: place, encoding: 'utf8', uid: NOBODY, gid: NOBODY },
    env: {
      ...{ PATH: process.env['PATH'], HOME: '/nonexistent', NODE_OPTIONS: '--stack-trace-limit=3' },
      // None that a machine is likely to have.
      ...{ LANG: 'C.UTF-8', TZ: 'Asia/Kathmandu' },
    },
  });
  assert.equal(status, 0, stderr);
  assert.deepEqual(sumsIn(join(place, 'dist')), sumsIn(tollgateDir));
});
