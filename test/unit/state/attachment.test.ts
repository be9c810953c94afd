import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { test } from 'node:test';
import { LockTimeoutError } from '../../../lib/kernel/flock.ts';
import {
  type Attachment,
  lockAttachment,
  readFacts,
  recordPath,
  tryLockAttachment,
} from '../../../lib/state/attachment.ts';
import { StateError } from '../../../lib/state/error.ts';
import { tapFs } from '../../support/fs-tap.ts';
import { adding, contents, existing, network, owner, room } from '../../support/state-room.ts';

const a = owner('a');

test('a new record says whose it is, and is fresh just once', async () => {
  using at = room();
  const create = { phase: 'adding', netns: '/run/netns/x' } as const;
  const first = await lockAttachment(at.store, a, { timeoutMs: 0, create });
  assert.ok(first?.fresh);
  assert.deepEqual({ ...first.attachment.facts }, { ...a, ...create });
  first.attachment[Symbol.dispose]();
  const second = await lockAttachment(at.store, a, { timeoutMs: 0, create: { phase: 'ready' } });
  assert.ok(second && !second.fresh);
  assert.equal(second.attachment.facts.phase, 'adding', 'what was there stays');
  second.attachment[Symbol.dispose]();
});

test('facts are appended and read back', async () => {
  using at = room();
  {
    using held = await adding(at.store, a);
    held.append({ phase: 'ready', labels: { app: 'web' } });
    held.append({ identity: 7 });
    assert.deepEqual(held.facts['labels'], { app: 'web' });
  }
  const facts = readFacts(recordPath(at.store, a));
  assert.deepEqual({ ...facts }, { ...a, phase: 'ready', labels: { app: 'web' }, identity: 7 });
});

test('one call at a time: the second waits until the first lets go', async () => {
  using at = room();
  const held = await adding(at.store, a);
  let waited = false;
  const second = adding(at.store, a).then(attachment => {
    assert.ok(waited);
    attachment[Symbol.dispose]();
  });
  await new Promise(resolve => setImmediate(resolve));
  waited = true;
  held[Symbol.dispose]();
  await second;
});

test('beyond the deadline the wait is an error', async () => {
  using at = room();
  using _ = await adding(at.store, a);
  await assert.rejects(lockAttachment(at.store, a, { timeoutMs: 5 }), LockTimeoutError);
  assert.equal(tryLockAttachment(at.store, network, recordPath(at.store, a)), undefined);
});

test('a caller that hangs up ends the wait', async () => {
  using at = room();
  using _ = await adding(at.store, a);
  const caller = new AbortController();
  const wait = lockAttachment(at.store, a, { timeoutMs: 60_000, signal: caller.signal });
  caller.abort(new Error('hung up'));
  await assert.rejects(wait, /hung up/);
});

test('other containers and other interfaces do not wait', async () => {
  using at = room();
  using _1 = await adding(at.store, a);
  using _2 = await adding(at.store, owner('a', 'eth1'));
  using _3 = await adding(at.store, owner('b'));
  assert.deepEqual(contents(at.store).attachments, ['a:eth0', 'a:eth1', 'b:eth0']);
});

test('who waited for a DEL finds nothing, or begins anew', async () => {
  using at = room();
  const held = await adding(at.store, a);
  const del = existing(at.store, a);
  const add = adding(at.store, a);
  held.append({ old: true });
  held.remove();
  held[Symbol.dispose]();
  const found = await del;
  // Whichever of the two was first, what was removed is seen by neither.
  assert.equal(found?.facts['old'], undefined);
  found?.[Symbol.dispose]();
  using anew = await add;
  assert.equal(anew.facts['old'], undefined);
  assert.equal(anew.facts.containerID, 'a');
});

const garbage: [sentence: string, bytes: Buffer][] = [
  ['nothing', Buffer.alloc(0)],
  ['NULs', Buffer.alloc(5000)],
  ['half a line', Buffer.from('\n{"containerID":"a","ifn')],
  ['bytes that are no text', Buffer.from([0xff, 0xfe, 0x0a, 0x80])],
  ['more than any record', Buffer.alloc(3 << 20, 'x')],
];
for (const [sentence, bytes] of garbage)
  test(`a record that holds ${sentence} can be locked, begun anew, and removed`, async () => {
    using at = room();
    const path = recordPath(at.store, a);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
    {
      using found = await existing(at.store, a);
      assert.equal(found?.facts.containerID, undefined);
    }
    if (bytes.length < 1 << 20) {
      using held = await adding(at.store, a);
      assert.equal(held.facts.phase, 'adding');
      assert.equal(readFacts(path)?.containerID, 'a');
    }
    using found = await existing(at.store, a);
    found?.remove();
    assert.deepEqual(contents(at.store).attachments, []);
  });

test('a folder where a record should be is no record, and gives way to one', async () => {
  using at = room();
  mkdirSync(recordPath(at.store, a), { recursive: true });
  assert.equal(await existing(at.store, a), undefined);
  using held = await adding(at.store, a);
  assert.equal(held.facts.containerID, a.containerID);
});

/** The disk takes so many bytes more, and then no more. */
function fullAfter(bytes: number): Disposable {
  return tapFs((operation, args, run) => {
    if (operation !== 'writeSync') return run();
    const [fd, data, , , position] = args as [number, Buffer, number, number, number];
    if (bytes === 0) throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC', errno: -28 });
    const length = Math.min(bytes, data.length);
    run(fd, data, 0, length, position);
    bytes -= length;
    return length;
  });
}

for (const bytes of [0, 1, 10])
  test(`an append that the disk cuts short after ${bytes} bytes changes nothing`, async () => {
    using at = room();
    using held = await adding(at.store, a);
    held.append({ x: 1 });
    const before = readFileSync(held.path);
    {
      using _ = fullAfter(bytes);
      assert.throws(
        () => held.append({ x: 2, why: 'a line of some length' }),
        (error: unknown) => error instanceof StateError && error.code === 'ENOSPC',
      );
    }
    assert.deepEqual(readFileSync(held.path), before);
    assert.equal(held.facts['x'], 1);
    held.append({ x: 3 });
    assert.equal(readFacts(held.path)?.['x'], 3);
  });

test('a record that cannot even be begun is not left behind', async () => {
  using at = room();
  {
    using _ = fullAfter(7);
    await assert.rejects(adding(at.store, a), /Cannot write .*a:eth0: the disk is full/);
  }
  assert.deepEqual(contents(at.store).attachments, []);
  const again: Attachment = await adding(at.store, a);
  again[Symbol.dispose]();
});
