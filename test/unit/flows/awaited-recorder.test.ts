/** `flows --denied` beside an agent that has just been started: it reads the node's log itself only where none will. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { awaitRecorder } from '../../../lib/cli/flows/show-denials.ts';

const NEVER = new AbortController().signal;

/** What the agent says each time that it is asked; the last one from then on. */
const rows = {
  'no agent records': [['none'], false, 1],
  'an agent records': [['records'], true, 1],
  'an agent begins to record, and then does': [['begins', 'begins', 'records'], true, 3],
  'an agent begins, and cannot': [['begins', 'none'], false, 2],
  'an agent begins for longer than is waited for it': [['begins'], false, 5],
} as const;

suite('an agent is waited for that begins to record', { concurrency: true }, () => {
  for (const [what, [said, isThere, times]] of Object.entries(rows))
    test(`${what}: ${isThere ? 'its record' : 'the log'}`, async () => {
      let asked = 0;
      const recording = async () => said[Math.min(asked++, said.length - 1)]!;
      assert.deepEqual([await awaitRecorder(recording, NEVER, 2_000), asked], [isThere, times]);
    });

  test('not once the command is over', async () => {
    assert.equal(await awaitRecorder(async () => 'begins', AbortSignal.abort(), 3_600_000), false);
  });
});
