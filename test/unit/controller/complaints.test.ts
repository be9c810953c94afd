/** What tenants write must not fill the agent's log, and must not move its cursor. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Complaints } from '../../../lib/controller/complaints.ts';
import { withoutRepeats } from '../../../lib/controller/repeats.ts';
import { createIntern } from '../../../lib/kube/intern.ts';
import { networkPolicies } from '../../../lib/kube/object.ts';
import type { LineLevel } from '../../../lib/rpc/log.ts';
import { ManualClock } from '../../support/manual-clock.ts';

function listen() {
  const lines: [LineLevel, string][] = [];
  const clock = new ManualClock();
  const log = (level: LineLevel, message: string): void => void lines.push([level, message]);
  const complaints = new Complaints(log, clock);
  const read = async (name: string, cidrs: readonly string[]): Promise<void> => {
    const from = cidrs.map(cidr => ({ ipBlock: { cidr } }));
    networkPolicies.read(
      { metadata: { namespace: 'a', name }, spec: { podSelector: {}, ingress: [{ from }] } },
      { intern: createIntern(), report: complaints.take },
    );
    await Promise.resolve();
  };
  return { lines, clock, log, read };
}

const odd = Array.from({ length: 10_000 }, (_, i) => `odd ${i}`);

test('a policy of 10,000 odd CIDRs is one short line, however often it changes within a minute', async () => {
  const { lines, clock, read } = listen();
  for (let i = 0; i < 5; i++) await read('p', odd);
  assert.equal(lines.length, 1);
  const [level, line] = lines[0]!;
  assert.equal(level, 'warn');
  assert.match(
    line,
    /^NetworkPolicy\/a\/p spec\.ingress\[0\]\.from\[0\]\.ipBlock\.cidr: "odd 0" .*and 9999 more like it/,
  );
  assert.ok(line.length < 500, `${line.length} characters`);
  clock.advance(60_000);
  assert.match(lines[1]![1], /Something is wrong with 1 objects/);
  await read('p', odd);
  assert.equal(lines.length, 3, 'a minute later it is told again');
});

test('a thousand odd policies are twenty lines a minute, and a count', async () => {
  const { lines, clock, read } = listen();
  for (let i = 0; i < 1_000; i++) await read(`p${i}`, ['odd']);
  assert.equal(lines.length, 20);
  clock.advance(60_000);
  assert.match(lines[20]![1], /with 980 objects/);
});

test('what is wrong counts before what is odd', async () => {
  const { lines, read } = listen();
  await read('p', ['010.0.0.0/8', 'odd']);
  assert.deepEqual(
    lines.map(([level]) => level),
    ['warn'],
  );
  assert.match(lines[0]![1], /"odd" is no CIDR/);
});

test('no line has an escape sequence or a second line in it', async () => {
  const { lines, read } = listen();
  await read('p\x1b[2J\n\u202e', ['\x1b]0;x\x07\n\u009b']);
  assert.deepEqual(lines.length, 1);
  assert.match(lines[0]![1], /^[\x20-\x7e]+$/);
});

test('a warning that is said every few seconds is said once in five minutes; what is no warning always', async () => {
  const { lines, clock, log } = listen();
  const quiet = withoutRepeats(log, clock);
  for (let i = 0; i < 10; i++) {
    quiet('warn', 'the same');
    quiet('info', 'applied');
    clock.advance(5_000);
  }
  quiet('warn', 'another');
  clock.advance(300_000);
  quiet('warn', 'the same');
  assert.deepEqual(
    lines.filter(([level]) => level === 'warn').map(([, line]) => line),
    ['the same', 'another', 'the same'],
  );
  assert.equal(lines.filter(([level]) => level === 'info').length, 10);
});
