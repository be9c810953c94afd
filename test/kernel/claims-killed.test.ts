import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { release } from '../../lib/state/claims.ts';
import { reserve } from '../../lib/state/disk-claims.ts';
import { collectNameless, collectOrphans } from '../../lib/state/leftovers.ts';
import { listAttachments } from '../../lib/state/listed.ts';
import type { Store } from '../../lib/state/store.ts';
import { tapFs } from '../support/fs-tap.ts';
import { random, seedOf } from '../support/random.ts';
import { adding, contents, existing, from, network, owner, poolsOf, room } from '../support/state-room.ts';

class Death extends Error {}

/**
 * Runs the action, whose process "dies" right before its file operation number `n`: neither that nor any later one
 * happens, and its open files are closed, which drops its locks. A write is torn in the middle instead.
 * @returns whether it came to that
 */
async function dyingBefore(n: number, action: () => Promise<void>): Promise<boolean> {
  const open = new Set<number>();
  let count = 0;
  {
    using _ = tapFs((operation, args, run) => {
      if (count++ >= n) {
        const [fd, data, , , position] = args as [number, Buffer, number, number, number];
        if (count === n + 1 && operation === 'writeSync' && Buffer.isBuffer(data))
          run(fd, data, 0, data.length >> 1, position);
        throw new Death();
      }
      const result = run();
      if (operation === 'openSync') open.add(result as number);
      if (operation === 'closeSync') open.delete(args[0] as number);
      return result;
    });
    await action().catch(error => {
      // What is thrown is what the last `finally` made of it.
      if (count <= n) throw error;
    });
  }
  for (const fd of open) closeSync(fd);
  return count > n;
}

/** GC by somebody who knows of no attachment but those to keep. */
async function collect(store: Store, keep: readonly string[]): Promise<void> {
  for (const { owner: whose } of listAttachments(store, network)) {
    if (!whose || keep.includes(whose.containerID)) continue;
    using held = await existing(store, whose);
    if (!held) continue;
    release(held);
    held.remove();
  }
  collectNameless(store, network);
  collectOrphans(store, network);
}

const pools = poolsOf('10.0.0.0/29', 'fd00::/126');

async function addAndDelete(store: Store, id: string): Promise<void> {
  {
    using held = await adding(store, owner(id));
    reserve(held, from(pools));
    held.append({ phase: 'ready' });
  }
  using held = await existing(store, owner(id));
  assert.ok(held);
  release(held);
  held.remove();
}

test('whoever dies before any one file operation of ADD and DEL leaves nothing that GC cannot clear', async () => {
  for (let n = 0; ; n++) {
    using at = room();
    {
      using other = await adding(at.store, owner('other'));
      reserve(other, from(poolsOf('10.0.0.0/29')));
      other.append({ phase: 'ready' });
    }
    const before = contents(at.store);
    const died = await dyingBefore(n, () => addAndDelete(at.store, 'x'));
    await collect(at.store, ['other']);
    assert.deepEqual(contents(at.store), before, `after operation ${n}`);
    // Nor is anything in the way of the same container's next ADD.
    await addAndDelete(at.store, 'x');
    if (died) continue;
    assert.ok(n > 40, `${n} operations in all`);
    return;
  }
});

test('whoever dies before any one file operation of a boot’s first ADD is in nobody’s way', async () => {
  for (let n = 0; ; n++) {
    using at = room();
    const died = await dyingBefore(n, () => addAndDelete(at.store, 'x'));
    await addAndDelete(at.store, 'y');
    await collect(at.store, []);
    assert.deepEqual(contents(at.store), { attachments: [], claims: [] });
    if (!died) return;
  }
});

interface Actor {
  readonly process: ChildProcess;
  readonly lines: AsyncIterator<string>;
  /** stderr, so far. */
  readonly complaints: () => string;
}

function actor(...args: string[]): Actor {
  const child = spawn(process.execPath, [join(import.meta.dirname, '../support/state-actor.ts'), ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let complaints = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaints += chunk.toString();
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { process: child, lines, complaints: () => complaints };
}

const heard = async ({ lines, complaints }: Actor): Promise<unknown> => {
  const { value, done } = await lines.next();
  assert.ok(!done, `actor ended: ${complaints()}`);
  return JSON.parse(value);
};

test('of 30 processes that race for 10 addresses, 10 have one each, and 20 are told that there is none', async t => {
  using at = room();
  const actors = Array.from({ length: 30 }, (_, i) => actor('race', at.stateDir, `p${i}`, '10.0.0.0/28', 'fd00::/64'));
  t.after(() => {
    for (const { process } of actors) process.kill('SIGKILL');
  });
  // Ten are left of thirteen.
  for (const id of ['x', 'y', 'z']) {
    using held = await adding(at.store, owner(id));
    reserve(held, from(poolsOf('10.0.0.0/28')));
  }
  await Promise.all(actors.map(heard));
  for (const { process } of actors) process.stdin?.write('go\n');
  const outcomes = await Promise.all(actors.map(heard));
  const given = outcomes.filter(outcome => Array.isArray(outcome)) as string[][];
  assert.equal(outcomes.filter(outcome => outcome === 'PoolExhausted').length, 20);
  assert.equal(new Set(given.map(([four]) => four)).size, 10);
  assert.equal(new Set(given.map(([, six]) => six)).size, 10);
  const kept = contents(at.store);
  assert.equal(kept.claims.length, 13 + 10, 'who got no IPv4 address gave its IPv6 one back');
  assert.equal(kept.attachments.length, 13);
});

test('60 processes killed at random instants: nothing held twice, nothing left after GC', {
  timeout: 600_000,
}, async t => {
  using at = room();
  const running = new Set<Actor>();
  t.after(() => {
    for (const { process } of running) process.kill('SIGKILL');
  });
  const seed = seedOf(t);
  const chance = random(seed);
  let next = 0;
  const live = async (verb: string): Promise<void> => {
    while (next++ < 60) {
      // Few names, so that the dead one's attachments meet the next one's calls.
      const name = `p${next % 4}`;
      const one = actor(verb, at.stateDir, name, '10.0.0.0/28', 'fd00::/125', `seed=${seed + next}`);
      running.add(one);
      await heard(one);
      await new Promise(resolve => setTimeout(resolve, chance() * 60));
      one.process.kill('SIGKILL');
      const [code, signal] = (await once(one.process, 'exit')) as [number | null, string | null];
      assert.equal(signal, 'SIGKILL', `exit ${code}: ${one.complaints()}`);
      running.delete(one);
    }
  };
  await Promise.all([live('churn'), live('churn'), live('churn'), live('sweep')]);
  await collect(at.store, []);
  assert.deepEqual(contents(at.store), { attachments: [], claims: [] });
  const whole = poolsOf('10.0.0.0/28');
  for (let i = 0; i < 13; i++) {
    using held = await adding(at.store, owner(`after${i}`));
    reserve(held, from(whole));
  }
});
