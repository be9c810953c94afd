import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { LockTimeoutError, lock, tryLock } from '../../lib/kernel/flock.ts';
import { activityOf } from '../../lib/kernel/process.ts';
import { scratchFolder } from '../support/scratch.ts';
import { until } from '../support/until.ts';

const folder = scratchFolder('test');
const file = (name: string) => join(folder, name);
const library = fileURLToPath(new URL('../../lib/kernel/flock.ts', import.meta.url));
const descriptors = () => readdirSync('/proc/self/fd').length;

test('tryLock() gives the lock to one, also within one process, and to the next when it is released', () => {
  const before = descriptors();
  {
    using held = tryLock(file('a'));
    assert.ok(held);
    assert.equal(tryLock(file('a')), undefined);
    using another = tryLock(file('b'));
    assert.ok(another);
  }
  using next = tryLock(file('a'));
  assert.ok(next);
  next[Symbol.dispose] satisfies () => void;
  assert.equal(descriptors(), before + 1);
});

test('the peer flock(1) sees the lock', () => {
  using held = tryLock(file('peer'));
  assert.ok(held);
  assert.equal(spawnSync('flock', ['-n', file('peer'), 'true']).status, 1);
});

test('lock() waits for the holder, and not longer than its deadline', async () => {
  const held = tryLock(file('c'));
  assert.ok(held);
  const start = performance.now();
  await assert.rejects(lock(file('c'), 60), { name: 'LockTimeoutError', path: file('c') });
  assert.ok(performance.now() - start >= 60);
  const waiting = lock(file('c'), 10_000);
  setImmediate(() => held[Symbol.dispose]());
  using got = await waiting;
  assert.equal(got.path, file('c'));
});

test('lock() gives up when its signal aborts', async () => {
  using held = tryLock(file('d'));
  assert.ok(held);
  const controller = new AbortController();
  const waiting = lock(file('d'), 10_000, controller.signal);
  controller.abort(new Error('the caller hung up'));
  await assert.rejects(waiting, /the caller hung up/);
});

/** A process that has the lock for as long as it lives. */
async function startHolder(path: string): Promise<ChildProcess> {
  const program = `const { tryLock } = await import(${JSON.stringify(library)}); globalThis.held = tryLock(${JSON.stringify(path)}); console.log('held'); setInterval(() => {}, 1000);`;
  const holder = spawn(process.execPath, ['--input-type=module', '-e', program, 'verify'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(holder.stdout!, 'data');
  return holder;
}

test('the kernel releases the lock of a holder that is killed', async () => {
  const holder = await startHolder(file('e'));
  assert.equal(tryLock(file('e')), undefined);
  holder.kill('SIGKILL');
  using got = await lock(file('e'), 10_000);
  assert.ok(got);
});

test('who waited in vain is told which process holds the lock, and whether it is stopped', async () => {
  const said = async (path: string): Promise<string> => {
    const error = await lock(path, 5).catch((error: unknown) => error);
    assert.ok(error instanceof LockTimeoutError);
    return error.message.replace(/^.* ms: /, '');
  };
  const holder = await startHolder(file('h'));
  const { pid } = holder;
  try {
    assert.match(await said(file('h')), new RegExp(`^process ${pid} \\(node --input-type=module .*\\) holds it$`));
    holder.kill('SIGSTOP');
    await until('the holder to be stopped', () => activityOf(pid!)?.state === 'T');
    assert.match(
      await said(file('h')),
      new RegExp(`^process ${pid} \\(.*\\) holds it and is stopped; let it go on by \`kill -CONT ${pid}\`, or end it$`),
    );
  } finally {
    holder.kill('SIGKILL');
  }
  using _held = await lock(file('h'), 10_000);
  assert.equal(await said(file('h')), 'another call holds it');
});

test('of several processes that count under the lock, none loses a step', async () => {
  writeFileSync(file('count'), '0');
  const program = `
    const { lock } = await import(${JSON.stringify(library)});
    const { readFileSync, writeFileSync } = await import('node:fs');
    for (let i = 0; i < 25; i++) {
      using held = await lock(${JSON.stringify(file('f'))}, 60000);
      writeFileSync(${JSON.stringify(file('count'))}, String(Number(readFileSync(${JSON.stringify(file('count'))})) + 1));
    }`;
  const counters = Array.from({ length: 4 }, () =>
    spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'inherit' }),
  );
  const ends = await Promise.all(counters.map(counter => once(counter, 'exit')));
  assert.deepEqual(
    ends.map(([status]) => status),
    [0, 0, 0, 0],
  );
  assert.equal(readFileSync(file('count'), 'utf8'), '100');
});

test('within a process it goes by turns, and who gives up keeps nobody waiting', async () => {
  const order: number[] = [];
  const held = tryLock(file('g'));
  assert.ok(held);
  const hungUp = new AbortController();
  const calls = Array.from({ length: 50 }, async (_, i) => {
    using _held = await lock(file('g'), 60_000, i === 7 ? hungUp.signal : undefined);
    await new Promise(resolve => setTimeout(resolve, i % 3));
    order.push(i);
  });
  const late = lock(file('g'), 5);
  hungUp.abort(new Error('the caller hung up'));
  await assert.rejects(calls[7]!, /the caller hung up/);
  await assert.rejects(late, { name: 'LockTimeoutError' });
  held[Symbol.dispose]();
  await Promise.all(calls.filter((_, i) => i !== 7));
  assert.deepEqual(
    order,
    Array.from({ length: 50 }, (_, i) => i).filter(i => i !== 7),
  );
});
