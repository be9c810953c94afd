/** The agent's HTTP server among connections that ask nothing, ask slowly, or do not read: probes are answered all the same. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { agentSocket, type HttpRoutes, serveAdmin } from '../../lib/controller/http-server.ts';
import { scratchFolder } from '../support/scratch.ts';
import { until } from '../support/until.ts';

const root = scratchFolder('outside');
const makeFolder = (): string => mkdtempSync(join(root, 'run-'));

/** Larger than what the kernel takes in for a reader that does not read. */
const large = 'x'.repeat(8 << 20);
const pages: HttpRoutes = {
  'GET /livez': () => ({ type: 'text/plain', text: 'ok\n' }),
  'GET /large': () => ({ type: 'text/plain', text: large }),
};

function get(folder: string, path: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  request({ socketPath: agentSocket(folder), path, agent: false }, response => {
    let text = '';
    response.on('data', (piece: Buffer) => {
      text += piece.toString();
    });
    response.on('end', () => resolve(text)).on('error', reject);
  })
    .on('error', reject)
    .end();
  return promise;
}

/** So many connections that say this, and read nothing. */
async function crowd(folder: string, number: number, says: string): Promise<readonly Socket[]> {
  return await Promise.all(
    Array.from(
      { length: number },
      () =>
        new Promise<Socket>((resolve, reject) => {
          const socket = connect(agentSocket(folder), () => {
            socket.write(says, () => resolve(socket));
          });
          socket.on('error', reject).pause();
        }),
    ),
  );
}

/** Connections that the server has; the path is the one that it was bound to before it was put in place. */
const served = (folder: string): number =>
  readFileSync('/proc/net/unix', 'latin1')
    .split('\n')
    .filter(line => line.includes(` 03 `) && line.includes(agentSocket(folder))).length;

const crowds: readonly (readonly [what: string, says: string])[] = [
  ['ask nothing', ''],
  ['ask by half', 'GET /livez HT'],
  ['keep their connection after an answer', 'GET /livez HTTP/1.1\r\nhost: x\r\nconnection: keep-alive\r\n\r\n'],
  ['do not read their answer', 'GET /large HTTP/1.1\r\nhost: x\r\n\r\n'],
];
// Each waits for ten seconds until the server has had enough.
suite('a crowd takes nothing from probes', { concurrency: true }, () => {
  for (const [what, says] of crowds)
    test(`beside 300 connections that ${what}, probes are answered, and these are closed in the end`, async () => {
      const folder = makeFolder();
      using _ = await serveAdmin(folder, pages);
      const sockets = await crowd(folder, 300, says);
      for (let i = 0; i < 20; i++) assert.equal(await get(folder, '/livez'), 'ok\n');
      await until('all of them to be closed', () => served(folder) === 0);
      for (const socket of sockets) socket.destroy();
    });
});

/** Probes, each with so many connections behind it that ask nothing. Prints the probes' answers, or why there is none. */
const probesInACrowd = `
  const { connect } = require('node:net');
  const { writeFileSync } = require('node:fs');
  const [path, probes, crowd, done] = process.argv.slice(1);
  const open = says => new Promise((resolve, reject) => {
    const socket = connect(path, () => says ? socket.write(says, () => resolve(socket)) : resolve(socket));
    socket.on('error', reject);
  });
  const answered = async socket => {
    let said = '';
    socket.on('data', piece => said += piece).on('error', ({ code }) => said += code);
    await new Promise(resolve => socket.on('close', resolve));
    return said;
  };
  void (async () => {
    const asking = [];
    for (let i = 0; i < Number(probes); i++) {
      asking.push(await open('GET /livez HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n'));
      for (let j = 0; j < Number(crowd); j++) (await open('')).on('error', () => {}).resume();
    }
    writeFileSync(done, '');
    console.log(JSON.stringify(await Promise.all(asking.map(answered))));
    process.exit();
  })();`;

test('probes are answered where a process that was busy finds more connections at once than it keeps', async () => {
  const folder = makeFolder();
  using _ = await serveAdmin(folder, pages);
  const done = join(folder, 'connected');
  const child = spawn(process.execPath, ['-e', probesInACrowd, agentSocket(folder), '4', '100', done]);
  let said = '';
  child.stdout.on('data', (piece: Buffer) => {
    said += piece.toString();
  });
  // Nothing is accepted until all of them wait for it.
  const still = new Int32Array(new SharedArrayBuffer(4));
  for (const end = Date.now() + 300_000; !existsSync(done); Atomics.wait(still, 0, 0, 10)) assert.ok(Date.now() < end);
  await once(child, 'close');
  const answers = JSON.parse(said) as string[];
  assert.equal(answers.length, 4);
  for (const answer of answers) assert.match(answer, /^HTTP\/1\.1 200 [\s\S]*ok\n/);
});
