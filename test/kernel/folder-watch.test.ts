/** A folder that is watched, and one that cannot be. */
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { FolderWatch } from '../../lib/controller/folder-watch.ts';
import { run } from '../support/netns.ts';
import { scratchFolder } from '../support/scratch.ts';
import { until } from '../support/until.ts';

for (const [what, watched, late] of [
  ['the folder', 'net.d', 'net.d'],
  ['its folder of staged policies', '.', 'staged'],
] as const)
  test(`what happens in ${what} rings, also where ${what} appears later`, async () => {
    const room = scratchFolder('watch');
    const folder = join(room, late);
    let rings = 0;
    using watch = new FolderWatch(
      join(room, watched),
      () => rings++,
      error => assert.fail(String(error)),
    );
    watch.renew();
    mkdirSync(folder);
    await until(`${what} to be heard`, () => rings > 0);
    watch.renew();
    rings = 0;
    writeFileSync(join(folder, 'a'), 'a');
    await until('the file in it to be heard', () => rings > 0);
    rmSync(room, { recursive: true });
  });

test('where the kernel has no watch to give, that is told once, and whoever looks goes on', () => {
  const script = `
    import { FolderWatch } from ${JSON.stringify(new URL('../../lib/controller/folder-watch.ts', import.meta.url).href)};
    const told = [];
    const watch = new FolderWatch('/tmp', () => undefined, error => told.push(error.code));
    for (let i = 0; i < 3; i++) watch.renew();
    console.log(told.join());`;
  const none = 'echo 0 >/proc/sys/user/max_inotify_watches; exec "$0" --input-type=module -e "$1"';
  const done = run('unshare', ['--user', '--map-root-user', 'sh', '-c', none, process.execPath, script]);
  assert.deepEqual([done.status, done.stdout.trim()], [0, 'ENOSPC'], done.stderr);
});
