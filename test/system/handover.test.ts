/** The caller's rules, each against an agent that does what it is told: before GO the call runs here, after GO it does not. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { CallForAgent } from '../../lib/pod/plugin.ts';
import { handOver } from '../../lib/rpc/client.ts';
import { Conversation } from '../../lib/rpc/connection.ts';
import {
  type CallAnswer,
  type CallRequest,
  decodePlace,
  encodeFrame,
  encodeRequest,
  GREATEST_BODY,
} from '../../lib/rpc/protocol.ts';
import { type Caller, CallServer, type ServerOptions } from '../../lib/rpc/server.ts';
import {
  afterGo,
  agentThat,
  answersAfter,
  beforeGo,
  type Listening,
  listening,
  startLoneAgent,
} from '../support/agent-manners.ts';
import { scratchFolder } from '../support/scratch.ts';
import { until } from '../support/until.ts';

const folder = scratchFolder('agent');

const verbs = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS'] as const;
/** For agents that are not to answer in time. */
const timeouts = { silence: 300, turn: 300, answer: 300 };
/** For those that answer, on however busy a machine. */
const patient = { silence: 120_000, turn: 120_000, answer: 120_000 };
const here = statSync('/proc/thread-self/ns/net');
const netns = { dev: here.dev, ino: here.ino };

const call = (more: Partial<CallForAgent> = {}): CallForAgent => ({
  role: 'tollgate',
  verb: 'ADD',
  env: { CNI_COMMAND: 'ADD', TRACEPARENT: '00-1' },
  stdin: '{"cniVersion":"1.0.0"}',
  enforcer: 'inline',
  runDir: folder,
  enforceTimeout: 60,
  agentGrace: 60,
  ...more,
});

suite('before GO the call runs here, save for an ADD that only the agent may judge: code 11', () => {
  for (const [what, manner] of Object.entries(beforeGo))
    test(`an agent that ${what}`, async () => {
      await using agent = await agentThat(manner, folder);
      const { runDir } = agent;
      for (const verb of verbs) assert.equal(await handOver(call({ verb, runDir }), timeouts), undefined, verb);
      writeFileSync(join(runDir, 'agent.seen'), '');
      for (const verb of verbs) {
        const given = await handOver(call({ verb, runDir, enforcer: 'agent' }), timeouts);
        const code = given && (JSON.parse(given.stdout) as { code: number }).code;
        assert.equal(code, verb === 'ADD' ? 11 : undefined, verb);
      }
    });
});

suite('before GO a living agent is waited for; one that gives no sign of life is not', { concurrency: true }, () => {
  const attentive = { silence: 1_000, turn: 60_000, answer: 60_000 };
  const makeRunDir = (): string => mkdtempSync(join(folder, 'run-'));

  test('it computes for longer than it may be silent', async () => {
    const runDir = makeRunDir();
    using _agent = await startLoneAgent(runDir, 'computes');
    assert.equal((await handOver(call({ runDir }), attentive))?.stdout, 'answered\n');
  });
  test('it tells the place in its queue', async () => {
    await using agent = await agentThat(answersAfter(3), folder);
    assert.equal((await handOver(call({ runDir: agent.runDir }), attentive))?.stdout, 'answered\n');
  });
  test('it sleeps although it is called', async () => {
    const runDir = makeRunDir();
    using _agent = await startLoneAgent(runDir, 'sleeps');
    assert.equal(await handOver(call({ runDir }), attentive), undefined);
  });
  test('it is stopped', async () => {
    const runDir = makeRunDir();
    using agent = await startLoneAgent(runDir, 'computes');
    agent.kill('SIGSTOP');
    const given = await handOver(call({ runDir, enforcer: 'agent' }), attentive);
    assert.match(given!.stdout, /"code":11,.*it gave no sign of life for 1000 ms/);
  });
  test('it lives, and the call’s turn does not come', async () => {
    await using agent = await agentThat(answersAfter(60), folder);
    const given = await handOver(call({ runDir: agent.runDir, enforcer: 'agent' }), { ...attentive, turn: 10_000 });
    assert.match(given!.stdout, /"code":11,.*it was busy for too long \(the call was number \d+ in its queue\)/);
  });
  test('it is being replaced: an ADD that only it may judge waits', async () => {
    const runDir = makeRunDir();
    writeFileSync(join(runDir, 'agent.seen'), '');
    const waiting = handOver(call({ runDir, enforcer: 'agent' }), attentive);
    assert.equal(await Promise.race([waiting, pause(1_000, 'waits')]), 'waits');
    await using _agent = await agentThat(answersAfter(0), folder, runDir);
    assert.equal((await waiting)?.stdout, 'answered\n');
  });
  test('it is being replaced: whatever else does not wait', async () => {
    const runDir = makeRunDir();
    writeFileSync(join(runDir, 'agent.seen'), '');
    for (const verb of ['DEL', 'CHECK', 'GC', 'STATUS'] as const)
      assert.equal(await handOver(call({ runDir, verb, enforcer: 'agent' }), attentive), undefined, verb);
    assert.equal(await handOver(call({ runDir }), attentive), undefined);
  });
  test('it is away for longer than agentGrace: code 11 at once', async () => {
    const runDir = makeRunDir();
    const given = await handOver(call({ runDir, enforcer: 'agent' }), attentive);
    assert.match(given!.stdout, /"code":11,/);
  });
});

suite('after GO nobody knows what was done: code 11, and only DEL runs here', () => {
  for (const [what, manner] of Object.entries(afterGo))
    test(`an agent that ${what}`, async () => {
      await using agent = await agentThat(manner, folder);
      for (const enforcer of ['inline', 'agent'] as const)
        for (const verb of verbs) {
          const given = await handOver(call({ verb, runDir: agent.runDir, enforcer }), { ...patient, answer: 300 });
          const code = given && (JSON.parse(given.stdout) as { code: number; cniVersion: string }).code;
          assert.equal(code, verb === 'DEL' ? undefined : 11, verb);
        }
    });
});

test('a call larger than a frame is not handed over', async () => {
  let isAsked = false;
  await using agent = await agentThat(() => {
    isAsked = true;
  }, folder);
  const huge = call({ runDir: agent.runDir, stdin: ' '.repeat(GREATEST_BODY) });
  assert.equal(await handOver(huge, timeouts), undefined);
  assert.equal(isAsked, false);
});

type Run = (request: CallRequest, caller: Caller) => Promise<CallAnswer>;

/** The real server, with calls of the test's own. */
async function serving({
  run = () => Promise.resolve({ stdout: '', exitCode: 0, lines: [] }),
  refused,
  ...options
}: Partial<ServerOptions> & {
  readonly run?: Run;
  readonly refused?: string;
}): Promise<Listening & { readonly server: CallServer }> {
  const server = new CallServer({
    netns,
    receive: request => ({ run: caller => run(request, caller), ...(refused === undefined ? {} : { refused }) }),
    log: () => {},
    timeouts: { request: 5_000, go: 5_000, answer: 5_000 },
    ...options,
  });
  const place = await listening(server.server, folder);
  return { ...place, server, [Symbol.asyncDispose]: place[Symbol.asyncDispose] };
}

test('what the worker gets is the call, and what it answers comes back', async () => {
  const answer = { stdout: '{"cniVersion":"1.0.0"}\n', exitCode: 0, lines: ['one', 'two'] } as const;
  let got: unknown;
  await using place = await serving({
    run: request => {
      got = { ...request, env: { ...request.env } };
      return Promise.resolve(answer);
    },
  });
  const given = call({ runDir: place.runDir });
  assert.deepEqual(await handOver(given, patient), answer);
  assert.deepEqual(got, { role: given.role, env: given.env, stdin: given.stdin, netns });
});

test('a server of another network namespace, or of another owner, runs nothing', async () => {
  let runs = 0;
  const run: Run = () => {
    runs++;
    return Promise.resolve({ stdout: '', exitCode: 0, lines: [] });
  };
  await using abroad = await serving({ run, netns: { ...netns, ino: netns.ino + 1 } });
  await using others = await serving({ run, refused: 'it is another’s' });
  for (const { runDir } of [abroad, others]) assert.equal(await handOver(call({ runDir }), patient), undefined);
  assert.equal(runs, 0);
});

test('callers that send nothing, one byte, garbage, too much or no GO are let go, and another is served meanwhile', async () => {
  const complaints: string[] = [];
  let runs = 0;
  await using place = await serving({
    log: what => void complaints.push(what),
    run: () => {
      runs++;
      return Promise.resolve({ stdout: 'x', exitCode: 0, lines: [] });
    },
  });
  const request = encodeFrame('request', encodeRequest({ role: 'tollgate', netns, env: {}, stdin: '' }));
  const much = encodeFrame('request');
  new DataView(much.buffer).setUint32(4, GREATEST_BODY + 1);
  const bad = [new Uint8Array(), request.subarray(0, 1), Buffer.from('GET / HTTP/1.1'), much, request];
  const closed = bad.map(
    bytes =>
      new Promise<void>(resolve => {
        const socket = connect(join(place.runDir, 'cni.sock'), () => void socket.write(bytes));
        socket
          .on('error', () => {})
          .on('close', () => resolve())
          .resume();
      }),
  );
  assert.equal((await handOver(call({ runDir: place.runDir }), patient))?.stdout, 'x');
  await Promise.all(closed);
  assert.equal(runs, 1);
  assert.equal(complaints.length, bad.length);
});

test('a caller that hangs up aborts his call, and nobody else’s', async () => {
  const { promise: aborted, resolve } = Promise.withResolvers<void>();
  await using place = await serving({
    run: async (request, { signal }) => {
      if (request.stdin === 'wait') await new Promise<void>(done => signal.addEventListener('abort', () => done()));
      if (signal.aborted) resolve();
      return { stdout: request.stdin, exitCode: 0, lines: [] };
    },
  });
  const { runDir } = place;
  const slow = handOver(call({ runDir, stdin: 'wait' }), { ...patient, answer: 300 });
  assert.equal((await handOver(call({ runDir, stdin: 'quick' }), patient))?.stdout, 'quick');
  assert.equal(JSON.parse((await slow)!.stdout).code, 11);
  await aborted;
});

test('stop() sends away whoever was not told READY or has not said GO, and answers the others', async () => {
  const { promise: finish, resolve } = Promise.withResolvers<void>();
  const { promise: started, resolve: start } = Promise.withResolvers<void>();
  await using place = await serving({
    run: async () => {
      start();
      await finish;
      return { stdout: 'done', exitCode: 0, lines: [] };
    },
  });
  const { runDir, server } = place;
  const running = handOver(call({ runDir }), patient);
  await started;
  const idle = new Promise<void>(done => {
    const socket = connect(join(runDir, 'cni.sock'));
    socket
      .on('error', () => {})
      .on('close', () => done())
      .resume();
  });
  const stopped = server.stop();
  await idle;
  resolve();
  assert.equal((await running)?.stdout, 'done');
  await stopped;
});

/** Resolves when so many callers have been told their places. */
async function queuedCalls(runDir: string, number: number): Promise<readonly Conversation[]> {
  const talks: Conversation[] = [];
  for (let i = 0; i < number; i++) {
    const talk = new Conversation(connect(join(runDir, 'cni.sock')));
    talk.send('request', encodeRequest({ role: 'tollgate', netns, env: { CNI_COMMAND: 'ADD' }, stdin: '' }));
    assert.equal(decodePlace((await talk.receive(['queued'], 60_000)).body), i + 1);
    talks.push(talk);
  }
  return talks;
}

test('so many calls are carried out at once; the others are told their places, keep their order, and STATUS waits for none', async () => {
  const started: string[] = [];
  const { promise: finish, resolve } = Promise.withResolvers<void>();
  await using place = await serving({
    atOnce: 2,
    timeouts: { request: 60_000, go: 60_000, answer: 60_000 },
    run: async ({ env, stdin }) => {
      started.push(stdin);
      if (env['CNI_COMMAND'] === 'ADD') await finish;
      return { stdout: stdin, exitCode: 0, lines: [] };
    },
  });
  const { runDir } = place;
  const patient = { silence: 60_000, turn: 60_000, answer: 60_000 };
  const first = [1, 2].map(number => handOver(call({ runDir, stdin: String(number) }), patient));
  await until('two to run', () => started.length === 2);
  const talks = await queuedCalls(runDir, 3);
  const status = call({ runDir, verb: 'STATUS', env: { CNI_COMMAND: 'STATUS' }, stdin: 'status' });
  assert.equal((await handOver(status, patient))?.stdout, 'status');
  // The one in front goes: those behind it move up, and are told with the next reminder.
  talks[0]![Symbol.dispose]();
  const places: number[] = [];
  for (const talk of talks.slice(1)) {
    let moved = 0;
    await until('it to move up', async () => {
      moved = decodePlace((await talk.receive(['queued'], 60_000)).body);
      return moved === places.length + 1;
    });
    places.push(moved);
  }
  assert.deepEqual(places, [1, 2]);
  resolve();
  assert.deepEqual(
    (await Promise.all(first)).map(given => given?.stdout),
    ['1', '2'],
  );
  for (const talk of talks.slice(1)) {
    await until('it to be its turn', async () => (await talk.receive(['queued', 'ready'], 60_000)).kind === 'ready');
    talk[Symbol.dispose]();
  }
});

test('a request that lies there is not too late, though the server computed beyond the timeout', async () => {
  const request = encodeFrame('request', encodeRequest({ role: 'tollgate', netns, env: {}, stdin: '' }));
  const timeout = 2_000;
  await using place = await serving({ timeouts: { request: timeout, go: 60_000, answer: 60_000 } });
  const accepted = once(place.server.server, 'connection');
  const socket = connect(join(place.runDir, 'cni.sock'));
  await Promise.all([accepted, once(socket, 'connect')]);
  // The server has the connection, and nothing of the request; this process is the server's as well.
  socket.write(request);
  for (const end = performance.now() + timeout + 100; performance.now() < end; );
  const talk = new Conversation(socket);
  assert.equal((await talk.receive(['ready'], 60_000)).kind, 'ready');
  talk[Symbol.dispose]();
});
