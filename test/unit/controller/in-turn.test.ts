/** Work on several namespaces: calls go on in between. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inTurn, LONGEST_WAIT_MS, stillWaiting } from '../../../lib/controller/in-turn.ts';
import { systemClock } from '../../../lib/kube/clock.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const turn = (): Promise<void> => new Promise(done => setImmediate(done));

test('a call that comes while one namespace is settled is answered before the next one, however many turns it takes', async () => {
  const done: string[] = [];
  const server = { calls: 0 };
  async function call(name: string): Promise<void> {
    server.calls++;
    for (let i = 0; i < 20; i++) await turn();
    done.push(name);
    server.calls--;
  }
  const settle = async (namespace: string): Promise<void> => {
    done.push(namespace);
    void call(`call after ${namespace}`);
  };
  await inTurn(['a', 'b', 'c'], settle, server, systemClock);
  assert.deepEqual(done, ['a', 'call after a', 'b', 'call after b', 'c']);
});

test('calls that never end hold no namespace back', async () => {
  const clock = new ManualClock();
  const done: string[] = [];
  const settle = async (namespace: string): Promise<void> => void done.push(namespace);
  const settled = inTurn(['a', 'b'], settle, { calls: 1 }, clock);
  for (let spent = 0; spent < LONGEST_WAIT_MS; spent++) {
    await turn();
    assert.deepEqual(done, ['a']);
    clock.advance(1);
  }
  await settled;
  assert.deepEqual(done, ['a', 'b']);
});

test('what was settled along with another namespace has no turn of its own, and waits for no call', async () => {
  const waiting = new Set(['a', 'b', 'c', 'd']);
  const done: string[] = [];
  const server = { calls: 0 };
  const settle = async (namespace: string): Promise<void> => {
    done.push(namespace);
    for (const each of namespace === 'a' ? ['a', 'b', 'd'] : [namespace]) waiting.delete(each);
  };
  await inTurn(
    stillWaiting(() => new Set(waiting)),
    settle,
    server,
    systemClock,
  );
  assert.deepEqual(done, ['a', 'c']);
  assert.equal(waiting.size, 0);
});
