import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { IdleTimer } from '../../../lib/controller/idle-timer.ts';

/** A moment that nothing happens in, and how often it was made use of. */
function start({ mock }: TestContext) {
  mock.timers.enable({ apis: ['setTimeout'] });
  let runs = 0;
  const quiet = new IdleTimer(1_000, () => {
    runs++;
  });
  return { quiet, runs: () => runs, pass: (ms: number) => mock.timers.tick(ms) };
}

test('what is left for a quiet moment is done once nothing has been done for so long, and only once', async context => {
  const { quiet, runs, pass } = start(context);
  pass(5_000);
  assert.equal(runs(), 0);
  assert.equal(await quiet.during(async () => 7), 7);
  pass(900);
  await assert.rejects(
    quiet.during(async () => {
      throw new Error('refused');
    }),
    /refused/,
  );
  pass(999);
  assert.equal(runs(), 0);
  pass(1);
  assert.equal(runs(), 1);
  pass(5_000);
  assert.equal(runs(), 1);
});

test('while a task is under way no moment is quiet', async context => {
  const { quiet, runs, pass } = start(context);
  const { promise, resolve } = Promise.withResolvers<void>();
  const long = quiet.during(() => promise);
  await quiet.during(async () => undefined);
  pass(5_000);
  assert.equal(runs(), 0);
  resolve();
  await long;
  pass(1_000);
  assert.equal(runs(), 1);
});

test('nothing is done any more once it is over', async context => {
  const { quiet, runs, pass } = start(context);
  await quiet.during(async () => undefined);
  quiet[Symbol.dispose]();
  pass(5_000);
  assert.equal(runs(), 0);
});
