/** The agent's HTTP server, asked on its socket. */
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { test } from 'node:test';
import { agentSocket, serveAdmin } from '../../../lib/controller/http-server.ts';
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
