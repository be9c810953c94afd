/** The agent's HTTP server, asked on its socket. */
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { connect } from 'node:net';
import { test } from 'node:test';
import { agentSocket, type Outlet, serveAdmin } from '../../../lib/controller/http-server.ts';
import { scratchFolder } from '../../support/scratch.ts';

test('an answer that takes long shows signs of life until it comes', async () => {
  const runDir = scratchFolder();
  const { promise: isWaitedFor, resolve: goOn } = Promise.withResolvers<void>();
  using _server = await serveAdmin(runDir, {
    'GET /slow': async () => {
      await isWaitedFor;
      return { type: 'text/plain', text: 'at last' };
    },
  });
  // Where there are none, the answer comes without.
  setTimeout(goOn, 60_000).unref();
  const signs: number[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<{ readonly status: number; readonly text: string }>();
  request({ socketPath: agentSocket(runDir), path: '/slow', agent: false }, response => {
    let text = '';
    response.on('data', (chunk: Buffer) => {
      text += chunk;
    });
    response.on('end', () => resolve({ status: response.statusCode!, text }));
  })
    .on('information', ({ statusCode }) => {
      if (signs.push(statusCode) === 2) goOn();
    })
    .on('error', reject)
    .end();
  assert.deepEqual(await promise, { status: 200, text: 'at last' });
  assert.deepEqual(signs, [102, 102]);
});

test('a stream is full while its client does not read, and is not once it has read', async () => {
  const runDir = scratchFolder();
  const { promise: begun, resolve: begin } = Promise.withResolvers<Outlet>();
  const { promise: gone, resolve: go } = Promise.withResolvers<void>();
  using _server = await serveAdmin(runDir, {
    'GET /stream': () => ({
      type: 'application/jsonl',
      begin: outlet => {
        begin(outlet);
        return { [Symbol.dispose]: go };
      },
    }),
  });
  const client = connect(agentSocket(runDir));
  client.pause();
  client.write('GET /stream HTTP/1.1\r\nhost: agent\r\n\r\n');
  const outlet = await begun;
  let written = 0;
  for (const piece = 'x'.repeat(64 * 1024); !outlet.isFull(); written += piece.length) {
    assert.ok(written < 64 * 1024 * 1024, `${written} bytes wait for a client that does not read`);
    outlet.write(piece);
    await new Promise<void>(done => setImmediate(done));
  }
  let isDrained = false;
  const drained = outlet.drained().then(() => {
    isDrained = true;
  });
  await new Promise<void>(done => setImmediate(done));
  assert.equal(isDrained, false);
  client.resume();
  await drained;
  assert.equal(outlet.isFull(), false);
  client.destroy();
  await gone;
});
