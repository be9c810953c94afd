/** Which calls are worth a line of the agent's log, and at which level. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CallLog, type CallOutcome } from '../../../lib/controller/call-log.ts';
import type { CallAnswer, CallRequest } from '../../../lib/rpc/protocol.ts';

const request = (verb: string): CallRequest => ({
  ...{ role: 'tollgate', netns: { dev: 1, ino: 1 }, stdin: '' },
  env: { CNI_COMMAND: verb, CNI_CONTAINERID: 'c1' },
});
const answer = (code: number): CallAnswer =>
  code === 0
    ? { stdout: '', exitCode: 0, lines: [] }
    : { stdout: JSON.stringify({ code, msg: 'no' }), exitCode: 1, lines: [] };

const rows: readonly (readonly [verb: string, code: number, level: string])[] = [
  ['ADD', 0, 'info'],
  ['DEL', 0, 'info'],
  ['GC', 0, 'info'],
  ['ADD', 11, 'warn'],
  ['ADD', 11, 'warn'],
  ['CHECK', 0, 'debug'],
  ['CHECK', 100, 'warn'],
  ['CHECK', 100, 'warn'],
  ['STATUS', 0, 'debug'],
  ['STATUS', 50, 'warn'],
  ['STATUS', 50, 'debug'],
  ['STATUS', 51, 'warn'],
  ['STATUS', 0, 'info'],
  ['STATUS', 0, 'debug'],
];

test('info is for what changes something, and for each turn of STATUS; all are counted', async () => {
  const levels: string[] = [];
  const outcomes: CallOutcome[] = [];
  const log = new CallLog(
    level => void levels.push(level),
    outcome => void outcomes.push(outcome),
  );
  for (const [verb, code] of rows)
    assert.deepEqual(await log.tell(request(verb), async () => answer(code)), answer(code));
  assert.deepEqual(
    rows.map(([verb, code], i) => [verb, code, levels[i]]),
    rows,
  );
  assert.deepEqual(
    outcomes.map(({ verb, code }) => [verb, code]),
    rows.map(([verb, code]) => [verb, code]),
  );
});
