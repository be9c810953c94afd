/** `logFile` and `logLevel`: what is written, how much of it, and that a log never fails a call. */
import assert from 'node:assert/strict';
import test, { after, suite } from 'node:test';
import { add, cni, config, errorOf, type Json, silently, startHost } from '../support/cni.ts';

const host = await startHost();
after(() => host[Symbol.dispose]());

const logFile = '/run/test/tollgate.log';
const lines = async () => (await host.sh(`cat ${logFile} 2>/dev/null || true`)).split('\n').filter(line => line !== '');
const levelsOf = (found: readonly string[]) => [...new Set(found.map(line => line.split(' ')[1]))];

/** An ADD with a warning (a key that is misspelt), its DEL, and an ADD that fails. */
async function calls(more: Json): Promise<void> {
  const call = { config: config({ ipMasque: true, ...more }), containerID: 'logged', netns: await host.pod() };
  await add(host, call);
  await silently(host, 'DEL', call);
  errorOf(await cni(host, 'ADD', { ...call, netnsPath: '/run/netns/nowhere' }));
}

const levels: readonly (readonly [level: string | undefined, said: readonly string[]])[] = [
  ['silent', []],
  ['error', ['error']],
  ['warn', ['warn', 'error']],
  [undefined, ['warn', 'error']],
  ['info', ['warn', 'info', 'error']],
  ['debug', ['debug', 'warn', 'info', 'error']],
];
suite('each level has what it should', () => {
  for (const [level, said] of levels)
    test(level ?? 'the default', async () => {
      await host.sh(`rm -f ${logFile}`);
      await calls({ logFile, ...(level ? { logLevel: level } : {}) });
      const found = await lines();
      assert.deepEqual(levelsOf(found), said);
      for (const line of found)
        assert.match(line, /^\d{4}-\d\d-\d\dT[\d:.]+Z (debug|info|warn|error) (ADD|DEL) logged eth0 in net: /);
    });
});

test('info is for what changes something: STATUS is asked every few seconds, and has no line', async () => {
  for (const [logLevel, number] of [
    ['info', 0],
    ['debug', 2],
  ] as const) {
    await host.sh(`rm -f ${logFile}; touch ${logFile}`);
    await silently(host, 'STATUS', { config: config({ logFile, logLevel }) });
    assert.equal((await lines()).length, number, logLevel);
  }
});

test('an error has its code, and what the runtime was told', async () => {
  await host.sh(`rm -f ${logFile}`);
  await calls({ logFile, logLevel: 'error' });
  assert.match(
    (await lines()).join('\n'),
    /ADD logged eth0 in net: failed after \d+ ms, code 8: Cannot enter .*nowhere/,
  );
});

test('stderr says what it says without a log file', async () => {
  const call = {
    config: config({ ipMasque: true, logFile, logLevel: 'silent' }),
    containerID: 'x',
    netns: await host.pod(),
  };
  const { stderr } = await cni(host, 'ADD', call);
  assert.match(stderr, /did you mean "ipMasq"/);
  await silently(host, 'DEL', call);
});

suite('a log that cannot be written fails no call', () => {
  const places: readonly (readonly [what: string, path: string, setup: string])[] = [
    ['in a folder that is not there', '/run/test/nowhere/log', ':'],
    ['a folder', '/run/test/folder', 'mkdir -p /run/test/folder'],
    ['on a full disk', '/dev/full', ':'],
    ['a pipe that nobody reads', '/run/test/pipe', 'mkfifo /run/test/pipe'],
    ['read-only', '/proc/version', ':'],
  ];
  for (const [what, path, setup] of places)
    test(what, async () => {
      await host.sh(setup);
      await calls({ logFile: path, logLevel: 'debug' });
    });
});
