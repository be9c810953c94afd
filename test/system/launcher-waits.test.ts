/** Whom cmd/launcher.c waits for before GO, and what it does where there is nobody to wait for. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { agentThat, answersAfter, until as frame, startLoneAgent } from '../support/agent-manners.ts';
import { assertRunByNode, call, type Ended, end, environment, folder, place, verbs } from '../support/launched.ts';
import { until } from '../support/until.ts';

const answered: Ended = { exit: 0, signal: null, stdout: 'answered\n', stderr: '' };
const makeRunDir = (): string => mkdtempSync(join(folder, 'run-'));

suite('before GO a living agent is waited for', { concurrency: true }, () => {
  test('one that computes for longer than an agent may be silent', async () => {
    const runDir = makeRunDir();
    using _agent = await startLoneAgent(runDir, 'computes');
    const where = place(runDir);
    const calls = await Promise.all(verbs.map(verb => call(where, verb)));
    for (const ended of calls) assert.deepEqual(ended, answered);
    assert.equal(existsSync(where.path('runs')), false, 'and tollgate-node ran');
  });

  test('one whose process cannot be seen, as long as it tells the place in its queue', async () => {
    await using agent = await agentThat(answersAfter(7), folder);
    const where = place(agent.runDir);
    const child = spawn('unshare', ['--pid', '--fork', '--mount-proc', where.launcher], { env: environment('ADD') });
    child.stdin.end('{}');
    assert.deepEqual(await end(child), answered);
    assert.equal(existsSync(where.path('runs')), false, 'and tollgate-node ran');
  });
});

suite('before GO an agent that gives no sign of life is left to itself, and tollgate-node carries the call out', {
  concurrency: true,
}, () => {
  test('one that sleeps although it is called', async () => {
    const runDir = makeRunDir();
    using _agent = await startLoneAgent(runDir, 'sleeps');
    const where = place(runDir);
    assert.match(assertRunByNode(where, await call(where, 'ADD'))[2]!, /no answer came in time/);
  });

  test('one that is stopped', async () => {
    const runDir = makeRunDir();
    using agent = await startLoneAgent(runDir, 'computes');
    agent.kill('SIGSTOP');
    const where = place(runDir);
    assert.match(assertRunByNode(where, await call(where, 'ADD'))[2]!, /no answer came in time/);
  });

  test('one whose process cannot be seen, and that says nothing', async () => {
    await using agent = await agentThat(() => {}, folder);
    const where = place(agent.runDir);
    const child = spawn('unshare', ['--pid', '--fork', '--mount-proc', where.launcher], { env: environment('ADD') });
    child.stdin.end('{}');
    assert.match(assertRunByNode(where, await end(child), '{}')[2]!, /no answer came in time/);
  });
});

/** Notes how many of its kind run at once, itself included. */
const counting = `#!/bin/sh
folder=\${0%/*}
cat >/dev/null
echo >"$folder/running.$$"
set -- "$folder"/running.*
echo $# >>"$folder/counts"
sleep .3
rm "$folder/running.$$"
`;

test('where no agent is, many calls at once run a few processes of tollgate-node at a time, and all of them are carried out', async () => {
  const where = place(makeRunDir(), { node: counting });
  const calls = await Promise.all(Array.from({ length: 40 }, (_, i) => call(where, i % 2 ? 'ADD' : 'DEL')));
  assert.deepEqual([...new Set(calls.map(({ exit }) => exit))], [0]);
  const counts = readFileSync(where.path('counts'), 'latin1').trim().split('\n').map(Number);
  assert.equal(counts.length, 40);
  assert.ok(Math.max(...counts) <= 8, `${Math.max(...counts)} ran at once`);
  assert.deepEqual(
    readdirSync(join(where.path('.'))).filter(name => name.startsWith('running')),
    [],
  );
});

test('a process that was killed leaves its place to another', async () => {
  const runDir = makeRunDir();
  const where = place(runDir, { node: `#!/bin/sh\necho >>"\${0%/*}/started"\nexec sleep 1000\n` });
  const started = (): number => (existsSync(where.path('started')) ? readFileSync(where.path('started')).length : 0);
  const children = Array.from({ length: 9 }, () => spawn(where.launcher, { env: environment('ADD'), stdio: 'pipe' }));
  for (const child of children) child.stdin.end('{}');
  await until('eight to run', () => started() === 8);
  const waiting = children.find(({ pid }) => readFileSync(`/proc/${pid}/comm`, 'latin1') === 'tollgate\n')!;
  children.find(child => child !== waiting)!.kill('SIGKILL');
  await until('the ninth to run', () => started() === 9);
  for (const child of children) child.kill('SIGKILL');
});

suite('an ADD that only an agent may judge waits for one that is being replaced', { concurrency: true }, () => {
  const stdin = '{"cniVersion":"1.0.0", "name":"net",\n "enforcer" : "agent"}';
  const seen = (runDir: string, secondsAgo = 0): void => {
    const path = join(runDir, 'agent.seen');
    writeFileSync(path, '');
    utimesSync(path, Date.now() / 1000, Date.now() / 1000 - secondsAgo);
  };

  test('it gets its answer as soon as the agent is back', async () => {
    const runDir = makeRunDir();
    seen(runDir, 20);
    const where = place(runDir);
    const waiting = call(where, 'ADD', { stdin });
    assert.equal(await Promise.race([waiting, pause(1_500, 'waits')]), 'waits');
    await using _agent = await agentThat(answersAfter(0), folder, runDir);
    assert.deepEqual(await waiting, answered);
    assert.equal(existsSync(where.path('runs')), false, 'and tollgate-node ran');
  });

  test('also where the agent stops when it has the request, but has not said READY', async () => {
    const runDir = makeRunDir();
    seen(runDir);
    const asked = Promise.withResolvers<void>();
    const stopping = await agentThat(
      async talk => {
        await frame(talk, 'request');
        asked.resolve();
      },
      folder,
      runDir,
    );
    const where = place(runDir);
    const waiting = call(where, 'ADD', { stdin });
    await asked.promise;
    await stopping[Symbol.asyncDispose]();
    rmSync(join(runDir, 'cni.sock'), { force: true });
    await using _agent = await agentThat(answersAfter(0), folder, runDir);
    assert.deepEqual(await waiting, answered);
    assert.equal(existsSync(where.path('runs')), false, 'and tollgate-node ran');
  });

  const others: readonly (readonly [what: string, verb: string, stdin: string, secondsAgo: number | undefined])[] = [
    ['another verb', 'DEL', stdin, 0],
    ['another enforcer', 'ADD', '{"enforcer":"inline"}', 0],
    ['no enforcer at all', 'ADD', '{"name":"enforcer"}', 0],
    ['an agent that never was here', 'ADD', stdin, undefined],
    ['an agent that is away for longer than agentGrace', 'ADD', stdin, 62],
    ['a shorter agentGrace', 'ADD', '{"agentGrace": 5, "enforcer":"agent"}', 7],
    ['no agentGrace', 'ADD', '{"agentGrace":0,"enforcer":"agent"}', 2],
  ];
  for (const [what, verb, text, secondsAgo] of others)
    test(`it does not wait with ${what}`, async () => {
      const runDir = makeRunDir();
      if (secondsAgo !== undefined) seen(runDir, secondsAgo);
      const where = place(runDir);
      assert.match(assertRunByNode(where, await call(where, verb, { stdin: text }), text)[2]!, /nobody listens/);
    });
});
