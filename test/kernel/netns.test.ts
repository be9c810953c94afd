import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { currentNetns, inNetns, Netns, type NetnsFault, sameNetns } from '../../lib/kernel/netns.ts';
import { makeNetns, run } from '../support/netns.ts';
import { scratchFolder } from '../support/scratch.ts';
import { PATIENCE } from '../support/until.ts';

const netns = makeNetns();
const folder = scratchFolder('test');
after(() => {
  netns[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

/** Of every thread of this process. */
const whereAll = () => readdirSync('/proc/self/task').map(task => readlinkSync(`/proc/self/task/${task}/ns/net`));

const plain = join(folder, 'plain');
writeFileSync(plain, 'text');
const empty = join(folder, 'empty');
writeFileSync(empty, '');
const fifo = join(folder, 'fifo');
run('mkfifo', [fifo]);

const faults: [string, string, NetnsFault][] = [
  ['nothing', join(folder, 'nothing'), 'missing'],
  ['a path below a file', join(plain, 'deeper'), 'missing'],
  ['the empty file that a reboot leaves', empty, 'empty'],
  ['a file with text', plain, 'foreign'],
  ['a folder', folder, 'foreign'],
  ['a FIFO that nobody writes to', fifo, 'foreign'],
  ['another file below /proc', '/proc/self/status', 'foreign'],
];
for (const [what, path, fault] of faults) {
  test(`Netns.open() takes ${what} for ${fault}`, () => {
    assert.throws(() => Netns.open(path), { name: 'NetnsError', fault, path });
  });
}

test('inNetns() takes a namespace of another kind for foreign, and stays at home', () => {
  const home = currentNetns();
  using uts = Netns.open('/proc/self/ns/uts');
  assert.throws(() => inNetns(uts, () => 1), { name: 'NetnsError', fault: 'foreign' });
  assert.deepEqual(currentNetns(), home);
});

test('a netns is known by device and inode, whatever path leads to it', () => {
  using byName = Netns.open(netns.path);
  using byDescriptor = Netns.open(`/proc/self/fd/${netns.fd}`);
  assert.ok(sameNetns(byName.identity, byDescriptor.identity));
  assert.ok(!sameNetns(byName.identity, currentNetns()));
  assert.equal(String(byName.identity.ino), netns.exec('stat', ['-L', '-c', '%i', '/proc/self/ns/net']).stdout.trim());
});

test('inNetns() runs fn inside and comes home, whether fn returns or throws', () => {
  const home = currentNetns();
  using there = Netns.open(netns.path);
  assert.deepEqual(inNetns(there, currentNetns), there.identity);
  assert.deepEqual(currentNetns(), home);
  assert.throws(
    () =>
      inNetns(there, () => {
        throw new Error('inside');
      }),
    /^Error: inside$/,
  );
  assert.deepEqual(currentNetns(), home);
  assert.deepEqual(
    inNetns(there, () => [inNetns(there, currentNetns), currentNetns()]),
    [there.identity, there.identity],
    'windows nest',
  );
});

test('inNetns() refuses a promise, and is home when it does', () => {
  const home = currentNetns();
  const dishonest: () => unknown = async () => 1;
  assert.throws(() => inNetns(netns, dishonest), TypeError);
  assert.deepEqual(currentNetns(), home);
});

test('after windows and file work in turn, every thread is at home', async () => {
  const [home] = whereAll();
  for (let i = 0; i < 20; i++) {
    inNetns(netns, currentNetns);
    await Promise.all(Array.from({ length: 8 }, () => readFile('/proc/self/status')));
  }
  assert.ok(whereAll().length > 4, 'the pool has threads');
  assert.deepEqual(new Set(whereAll()), new Set([home]));
});

test('a worker thread enters and leaves on its own, while the main thread stays', async () => {
  const home = currentNetns();
  const here = fileURLToPath(new URL('../../lib/kernel/netns.ts', import.meta.url));
  const worker = new Worker(
    `import(${JSON.stringify(here)}).then(({ inNetns, currentNetns, Netns }) => {
       const home = currentNetns();
       using there = Netns.open(${JSON.stringify(netns.path)});
       const inside = inNetns(there, currentNetns);
       require('node:worker_threads').parentPort.postMessage({ home, inside, after: currentNetns() });
     });`,
    { eval: true },
  );
  const seen = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  using there = Netns.open(netns.path);
  assert.deepEqual(seen, { home, inside: there.identity, after: home });
  assert.deepEqual(currentNetns(), home);
});

test('a process that cannot come home ends at once, and says so', () => {
  const here = fileURLToPath(new URL('../../lib/kernel/', import.meta.url));
  // Without the right to enter it, the way home is barred: capabilities go while the thread is inside.
  const program = `
    const { inNetns, Netns } = await import('${here}netns.ts');
    const { libc } = await import('${here}ffi.ts');
    using there = Netns.open('${netns.path}');
    process.on('exit', () => console.log('an exit handler ran'));
    inNetns(there, () => process.setuid(65534));
    console.log('went on');`;
  const done = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    timeout: PATIENCE,
  });
  assert.equal(done.stdout, '');
  assert.equal(done.signal, 'SIGKILL');
  assert.match(done.stderr, /^tollgate: cannot return from a pod's network namespace/);
});
