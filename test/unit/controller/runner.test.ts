/** The runner: rings merge, failures are tried again, and nobody waits for ever. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Runner } from '../../../lib/controller/runner.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const intervals = { least: 10, retry: 100, greatest: 1000 };

function started() {
  const clock = new ManualClock();
  const state = { runs: 0, failures: 0, isFailing: false };
  const runner = new Runner({
    clock,
    intervals,
    failed: () => void state.failures++,
    work: async () => {
      state.runs++;
      if (state.isFailing) throw new Error('not now');
    },
  });
  const pass = async (milliseconds: number): Promise<number> => {
    clock.advance(milliseconds);
    await nextTurn();
    return state.runs;
  };
  return { runner, state, pass };
}

test('it runs at once, then at the greatest interval', async () => {
  const { pass } = started();
  assert.equal(await pass(0), 1);
  assert.equal(await pass(999), 1);
  assert.equal(await pass(1), 2);
});

test('many rings are one run, not before the least interval is over', async () => {
  const { runner, pass } = started();
  await pass(0);
  for (let i = 0; i < 5; i++) runner.ring();
  assert.equal(await pass(9), 1);
  assert.equal(await pass(1), 2);
  assert.equal(await pass(500), 2);
  runner.ring();
  assert.equal(await pass(0), 3);
});

test('what failed is tried again after the retry interval, or sooner where it is rung for', async () => {
  const { runner, state, pass } = started();
  state.isFailing = true;
  assert.equal(await pass(0), 1);
  assert.equal(await pass(99), 1);
  assert.equal(await pass(1), 2);
  runner.ring();
  assert.equal(await pass(10), 3);
  assert.equal(state.failures, 3);
});

test('after stop() nothing runs', async () => {
  const { runner, pass } = started();
  await pass(0);
  await runner.stop();
  runner.ring();
  assert.equal(await pass(5000), 1);
});

test('a run that does not end shows, and for how long it has been at it', async () => {
  const clock = new ManualClock();
  const hung = Promise.withResolvers<void>();
  const runner = new Runner({
    clock,
    intervals,
    failed: error => assert.fail(String(error)),
    work: () => hung.promise,
  });
  assert.equal(runner.busy, undefined);
  clock.advance(0);
  clock.advance(200_000);
  assert.equal(runner.busy, 200_000);
  runner.ring();
  assert.equal(runner.busy, 200_000);
  hung.resolve();
  await nextTurn();
  assert.equal(runner.busy, undefined);
});
