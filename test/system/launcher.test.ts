/** cmd/launcher.c against agents that do what they are told: never a call lost, and never one run twice. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { type CallRequest, decodeRequest, encodeAnswer, encodeTimeout, GREATEST_BODY } from '../../lib/rpc/protocol.ts';
import { afterGo, agentThat, beforeGo, until as frame, type Manner, PATIENCE } from '../support/agent-manners.ts';
import { assertRunByNode, call, config, end, environment, folder, place, start, verbs } from '../support/launched.ts';
import { until } from '../support/until.ts';

suite('before GO tollgate-node carries the call out, with the whole of it, and knows who was asked', {
  concurrency: true,
}, () => {
  for (const [what, manner] of Object.entries(beforeGo))
    test(`an agent that ${what}`, async () => {
      await using agent = await agentThat(manner, folder);
      await Promise.all(
        verbs.map(async verb => {
          const where = place(`${agent.runDir}\n`);
          const [word, runDir, why] = assertRunByNode(where, await call(where, verb));
          assert.deepEqual([word, runDir], ['--not-handed-over', agent.runDir]);
          assert.match(
            why!,
            /^(it hung up|no answer came in time|it speaks another protocol|this agent serves others)$/,
          );
        }),
      );
    });
});

suite('after GO nobody knows what was done: code 11, and only DEL is carried out', () => {
  for (const [what, manner] of Object.entries(afterGo))
    test(`an agent that ${what}`, async () => {
      await using agent = await agentThat(manner, folder);
      await Promise.all(
        verbs.map(async verb => {
          const where = place(agent.runDir);
          const ended = await call(where, verb);
          if (verb === 'DEL') {
            assertRunByNode(where, ended);
            return;
          }
          assert.equal(ended.exit, 1);
          const { cniVersion, code, msg, details } = JSON.parse(ended.stdout) as Record<string, unknown>;
          assert.deepEqual([cniVersion, code], ['1.0.0', 11]);
          assert.match(String(msg), new RegExp(`what became of the ${verb}: the agent took it over, and then`));
          assert.match(
            String(details),
            verb === 'ADD' ? /DEL, GC or the next agent clears what it left/ : /tries again/,
          );
          assert.equal(existsSync(where.path('runs')), false, 'and it ran here as well');
        }),
      );
    });
});

const answered =
  (got: CallRequest[], answer = encodeAnswer({ stdout: '{"ips":[]}\n', exitCode: 0, lines: ['one', 'two'] })): Manner =>
  async talk => {
    got.push(decodeRequest((await frame(talk, 'request')).body));
    talk.send('ready');
    await frame(talk, 'go');
    await talk.finish('answer', answer, PATIENCE);
  };

test('the agent gets the call, and its answer comes out: stdout, stderr, exit code', async () => {
  const got: CallRequest[] = [];
  await using agent = await agentThat(answered(got), folder);
  const { dev, ino } = statSync('/proc/self/ns/net');
  for (const role of ['tollgate', 'tollgate-ipam'] as const) {
    const ended = await call(place(agent.runDir, { name: role }), 'ADD', { stdin: '{"ä": 1}' });
    assert.deepEqual(ended, { exit: 0, signal: null, stdout: '{"ips":[]}\n', stderr: 'one\ntwo\n' });
    const { env, ...rest } = got.pop()!;
    assert.deepEqual({ ...env }, environment('ADD'));
    assert.deepEqual(rest, { role, netns: { dev, ino }, stdin: '{"ä": 1}' });
  }
  const failed = encodeAnswer({ stdout: '{"code":7}\n', exitCode: 1, lines: [] });
  await using other = await agentThat(answered(got, failed), folder);
  const { exit, stdout } = await call(place(other.runDir), 'ADD');
  assert.deepEqual([exit, stdout], [1, '{"code":7}\n']);
});

const sizes: readonly (readonly [what: string, size: number, isTaken: boolean])[] = [
  ['nothing', 0, true],
  ['one megabyte', 1 << 20, true],
  ['nearly all that a frame holds', GREATEST_BODY - 2000, true],
  ['just what a frame holds with nothing else in it', GREATEST_BODY, false],
  ['more than a frame holds twice', 2 * GREATEST_BODY + 1, false],
];
for (const [what, size, isTaken] of sizes)
  test(`stdin of ${what} is ${isTaken ? 'handed over' : 'for tollgate-node'}, whole`, async () => {
    const got: CallRequest[] = [];
    await using agent = await agentThat(answered(got), folder);
    const stdin = Buffer.alloc(size, 'tollgate ');
    const where = place(agent.runDir);
    const ended = await call(where, 'ADD', { stdin });
    if (isTaken) assert.equal(got[0]!.stdin, stdin.toString());
    else assert.match(assertRunByNode(where, ended, stdin)[2]!, /larger than a frame/);
    assert.equal(got.length, isTaken ? 1 : 0);
  });

test('an answer as large as a frame comes out whole', async () => {
  const stdout = 'x'.repeat(GREATEST_BODY - 8);
  await using agent = await agentThat(answered([], encodeAnswer({ stdout, exitCode: 0, lines: [] })), folder);
  assert.equal((await call(place(agent.runDir), 'ADD')).stdout, stdout);
});

test('an environment that no frame holds is for tollgate-node', async () => {
  const got: CallRequest[] = [];
  await using agent = await agentThat(answered(got), folder);
  const env = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`LONG${i}`, 'x'.repeat(100_000)]));
  const where = place(agent.runDir);
  await call(where, 'ADD', { env, stdin: Buffer.alloc(GREATEST_BODY - 1_000_000) });
  assert.equal(got.length, 0);
  assert.equal(readFileSync(where.path('runs'), 'latin1'), '\n');
});

suite('nobody is called where nobody can be: tollgate-node alone', () => {
  const lines: Readonly<Record<string, string | undefined>> = {
    'no tollgate.rundir': undefined,
    'an empty one': '',
    'an empty line': '\n',
    'a relative path': 'run/tollgate\n',
    'two lines': '/run/tollgate\n/run/other\n',
    'a NUL': '/run/toll\0gate\n',
    'a path that no socket can have': `/${'x'.repeat(98)}\n`,
    'a path longer than any': `/${'x'.repeat(5000)}\n`,
  };
  for (const [what, line] of Object.entries(lines))
    test(what, async () => {
      const where = place(line);
      assert.deepEqual(assertRunByNode(where, await call(where, 'ADD')), []);
    });
  test('the longest path that a socket can have, where none is', async () => {
    const where = place(`/${'x'.repeat(97)}\n`);
    assert.match(assertRunByNode(where, await call(where, 'ADD'))[2]!, /nobody listens/);
  });
  test('a socket that is left of an agent that died', async () => {
    const agent = await agentThat(() => {}, folder);
    const stale = join(agent.runDir, 'cni.sock');
    const where = place(agent.runDir);
    await agent[Symbol.asyncDispose]();
    writeFileSync(stale, 'no socket');
    assert.match(assertRunByNode(where, await call(where, 'ADD'))[2]!, /nobody listens/);
  });
});

test('what is not for the agent goes to tollgate-node as it came, its stdin unread', async () => {
  const got: CallRequest[] = [];
  await using agent = await agentThat(answered(got), folder);
  for (const verb of ['', 'UPDATE', 'add', 'ADDS', undefined]) {
    const where = place(agent.runDir);
    const args = ['policy', 'lint', '-f', '-'];
    assert.deepEqual(assertRunByNode(where, await call(where, verb, { args })), args);
  }
  const where = place(agent.runDir);
  const child = start(where, 'VERSION');
  assert.equal((await end(child)).stdout, 'from node\n');
  child.stdin!.destroy();
  assert.equal(got.length, 0);
});

test('it finds what lies beside it from anywhere, through a link, and while it is being replaced', async () => {
  const where = place(undefined);
  const link = join(mkdtempSync(join(folder, 'link-')), 'tollgate');
  const script = `cd /; ln -s "$1" "$2"; "$2" <&-; cd "\${1%/*}"; ./tollgate; PATH=$PWD; exec tollgate`;
  const child = spawn('sh', ['-c', script, 'sh', where.launcher, link], { env: environment('ADD'), stdio: 'pipe' });
  child.stdin!.end('');
  assert.equal((await end(child)).stdout, 'from node\n'.repeat(3));
  const waiting = start(where, 'ADD');
  rmSync(where.launcher);
  waiting.stdin!.end(config);
  assert.equal((await end(waiting)).stdout, 'from node\n');
});

test('without tollgate-node a runtime gets an error object, and a person a line', async () => {
  const where = place(undefined);
  rmSync(where.path('tollgate-node'));
  const { exit, stdout } = await call(where, 'DEL');
  const { code, msg, details } = JSON.parse(stdout) as Record<string, unknown>;
  assert.deepEqual([exit, code, details], [1, 5, 'it is missing: run `tollgate install` again']);
  assert.equal(msg, `Cannot execute ${where.path('tollgate-node')}`);
  const typed = await call(where, undefined);
  assert.equal(typed.exit, 3);
  assert.match(typed.stderr, /^tollgate: Cannot execute .*tollgate-node: it is missing/);
});

const versions: readonly (readonly [stdin: string, version: string])[] = [
  ['{"name":"x", "cniVersion" : "0.3.1"}', '0.3.1'],
  ['{"cniVersion":"9.9.9"}', '1.1.0'],
  ['{"cniVersion":"1.0.0-rc1"}', '1.1.0'],
  ['{"cniVersion":1}', '1.1.0'],
  ['{"cniVersion', '1.1.0'],
  ['{"cniVersion"', '1.1.0'],
  ['', '1.1.0'],
];
test('its own errors speak the config’s version, where that is one', async () => {
  await using agent = await agentThat(afterGo['dies']!, folder);
  for (const [stdin, version] of versions) {
    const { stdout } = await call(place(agent.runDir), 'ADD', { stdin });
    assert.equal((JSON.parse(stdout) as { cniVersion: string }).cniVersion, version, stdin);
  }
});

suite('stdout and stdin that are closed', () => {
  test('whom nobody listens to says so by its exit code, and is not killed', async () => {
    const stdout = 'x'.repeat(1 << 20);
    await using agent = await agentThat(answered([], encodeAnswer({ stdout, exitCode: 0, lines: [] })), folder);
    const child = start(place(agent.runDir), 'ADD');
    child.stdout!.destroy();
    child.stdin!.end(config);
    const [exit, signal] = (await once(child, 'exit')) as [number, string];
    assert.deepEqual([exit, signal], [1, null]);
  });
  test('an answer goes nowhere else, where there is no stdout at all', async () => {
    const got: CallRequest[] = [];
    await using agent = await agentThat(answered(got), folder);
    const { launcher } = place(agent.runDir);
    const shell = spawn('sh', ['-c', '"$1" <&- >&- 2>&-; echo $?', 'sh', launcher], { env: environment('ADD') });
    assert.equal((await end(shell)).stdout, '0\n');
    assert.equal(got[0]!.stdin, '');
  });
  test('a stdin that cannot be read is an error object', async () => {
    await using agent = await agentThat(answered([]), folder);
    const child = spawn(place(agent.runDir).launcher, [], {
      env: environment('ADD'),
      stdio: [openSync(folder, 'r'), 'pipe', 'pipe'],
    });
    const { exit, stdout } = await end(child);
    assert.deepEqual([exit, (JSON.parse(stdout) as { code: number }).code], [1, 5]);
  });
  test('a stdout that its reader made non-blocking gets all of it', async () => {
    const stdout = 'x'.repeat(1 << 20);
    await using agent = await agentThat(answered([], encodeAnswer({ stdout, exitCode: 0, lines: [] })), folder);
    const { launcher } = place(agent.runDir);
    const script = 'use Fcntl; fcntl(STDOUT, F_SETFL, O_WRONLY | O_NONBLOCK); exec @ARGV';
    const child = spawn('perl', ['-e', script, launcher], { env: environment('ADD') });
    child.stdin!.end(config);
    assert.equal((await end(child)).stdout, stdout);
  });
});

suite('a signal at each step', () => {
  /** An agent that goes as far as asked and says so, then waits for what becomes of its caller. */
  const steps = ['connected', 'requested', 'ready', 'gone'] as const;
  type Step = (typeof steps)[number];
  interface Seen {
    readonly reached: Promise<void>;
    readonly hungUp: Promise<void>;
    readonly go: () => void;
    hasGone: boolean;
  }
  function pausing(step: Step): readonly [Manner, Seen] {
    const reached = Promise.withResolvers<void>();
    const hungUp = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    const seen: Seen = { reached: reached.promise, hungUp: hungUp.promise, go: go.resolve, hasGone: false };
    const pause = async (here: Step): Promise<void> => {
      if (here !== step) return;
      reached.resolve();
      await go.promise;
    };
    const manner: Manner = async talk => {
      talk.hungUp.addEventListener('abort', () => hungUp.resolve());
      await pause('connected');
      await frame(talk, 'request');
      await pause('requested');
      talk.send('ready', encodeTimeout(60_000));
      await pause('ready');
      await frame(talk, 'go');
      seen.hasGone = true;
      await pause('gone');
      await talk.finish('answer', encodeAnswer({ stdout: 'answer', exitCode: 0, lines: [] }), PATIENCE);
    };
    return [manner, seen];
  }

  for (const step of steps)
    for (const signal of ['SIGKILL', 'SIGTERM', 'SIGINT'] as const)
      test(`${signal} when it is ${step}: the agent hears that its caller is gone`, async () => {
        const [manner, seen] = pausing(step);
        await using agent = await agentThat(manner, folder);
        const where = place(agent.runDir);
        const child = start(where, 'ADD');
        child.stdin!.end(config);
        await seen.reached;
        child.kill(signal);
        assert.equal((await end(child)).signal, signal);
        await seen.hungUp;
        assert.equal(existsSync(where.path('runs')), false);
        if (step !== 'ready') assert.equal(seen.hasGone, step === 'gone');
      });

  for (const step of steps)
    test(`stopped and continued when it is ${step}: it is answered as if nothing had been`, async () => {
      const [manner, seen] = pausing(step);
      await using agent = await agentThat(manner, folder);
      const where = place(agent.runDir);
      const child = start(where, 'ADD');
      child.stdin!.end(config);
      await seen.reached;
      child.kill('SIGSTOP');
      await until('it to stop', () => / T /.test(readFileSync(`/proc/${child.pid}/stat`, 'utf8')));
      child.kill('SIGCONT');
      seen.go();
      const { exit, stdout } = await end(child);
      assert.deepEqual([exit, stdout], [0, 'answer']);
    });
});
