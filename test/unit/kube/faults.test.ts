/** List and watch where the server, or the way to it, fails: told, waited for, tried again, nothing lost. */
import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { test } from 'node:test';
import { refusalTimeoutMs } from '../../../lib/kube/client.ts';
import { systemClock } from '../../../lib/kube/clock.ts';
import { KubeError, longestRetryAfter } from '../../../lib/kube/error.ts';
import { watchTimeoutMs } from '../../../lib/kube/follow.ts';
import { nodes, pods } from '../../../lib/kube/object.ts';
import { refuse, type Seen, statusOf } from '../../support/fake-api.ts';
import { type Listener, nodeObject, podObject, Room } from '../../support/kube-world.ts';

const isWatch = ({ path, query }: Seen): boolean => path === '/api/v1/pods' && query['watch'] === 'true';
const isList = ({ path, query }: Seen): boolean => path === '/api/v1/pods' && !query['watch'];

async function watching(room: Room): Promise<Listener<unknown>> {
  const listener = room.listen(pods);
  await listener.upTo('watching');
  await room.api.watched('pods');
  return listener;
}

const line = (value: unknown): string => `${JSON.stringify(value)}\n`;

interface Fault {
  readonly what: string;
  /** What is done to the open watch. */
  readonly does: (room: Room) => void;
  readonly reason: string;
}

const faults: readonly Fault[] = [
  { what: 'a connection that is reset', does: ({ api }) => api.end('pods', 'reset'), reason: 'ECONNRESET' },
  {
    what: 'a connection that the server half-closes',
    does: ({ api }) => api.end('pods', 'half'),
    reason: 'ECONNRESET',
  },
  {
    what: 'a stream that ends in the middle of an event',
    does({ api, clock }) {
      clock.advance(1000);
      api.write('pods', '{"type":"ADDED","object":{"metadata":');
      api.end('pods');
    },
    reason: 'BrokenOff',
  },
  { what: 'a line that is no JSON', does: ({ api }) => api.write('pods', '<html>502</html>\n'), reason: 'Garbage' },
  { what: 'a line that is no event', does: ({ api }) => api.write('pods', '[]\n'), reason: 'Garbage' },
  {
    what: 'an event of a type that nobody knows',
    does: ({ api }) =>
      api.write('pods', line({ type: 'X', object: { metadata: { name: 'a', resourceVersion: '1' } } })),
    reason: 'Garbage',
  },
  {
    what: 'an event whose object has no name',
    does: ({ api }) => api.write('pods', line({ type: 'ADDED', object: { metadata: { resourceVersion: '1' } } })),
    reason: 'Garbage',
  },
  {
    what: 'an event without a version',
    does: ({ api }) => api.write('pods', line({ type: 'ADDED', object: { metadata: { name: 'a' } } })),
    reason: 'Garbage',
  },
  {
    what: 'a line without an end',
    does: ({ api }) => api.write('pods', Buffer.alloc(9 << 20, 'x')),
    reason: 'Garbage',
  },
  {
    what: 'an error of the server in the middle',
    does: ({ api }) => api.write('pods', line({ type: 'ERROR', object: statusOf(500, 'InternalError') })),
    reason: 'InternalError',
  },
  { what: 'a stream that ends as soon as it has begun', does: ({ api }) => api.end('pods'), reason: 'BrokenOff' },
];

for (const { what, does, reason } of faults)
  test(`${what}: lost, and taken up where it was`, async () => {
    await using room = await Room.open();
    const listener = await watching(room);
    room.api.put('pods', podObject('web'));
    await listener.upTo('set web');
    does(room);
    const lost = await listener.lost();
    assert.equal(lost.error.reason, reason);
    assert.match(lost.error.message, /^Cannot watch pods of http:\/\/127\.0\.0\.1:\d+: /);
    room.api.put('pods', podObject('db'));
    assert.deepEqual(await listener.upTo('set db'), ['watching', 'set db']);
    assert.equal(room.api.lists('pods').length, 1);
    assert.equal(room.api.watches('pods')[1]?.query['resourceVersion'], '101');
  });

test('what cannot be read twice at the same place is passed by with a list', async () => {
  await using room = await Room.open();
  const listener = await watching(room);
  for (const _ of [1, 2]) {
    room.api.write('pods', 'garbage\n');
    assert.equal((await listener.lost()).error.reason, 'Garbage');
    if (room.api.watches('pods').length < 2) await listener.upTo('watching');
    await room.api.until(() => room.api.watches('pods').length === 2);
  }
  room.api.put('pods', podObject('web'));
  assert.deepEqual(await listener.upTo('watching'), ['listing', 'set web', 'listed', 'watching']);
});

test('a stream in which nothing comes is dead, whatever its connection says; bookmarks keep it', async () => {
  await using room = await Room.open();
  const { api, clock } = room;
  const listener = await watching(room);
  for (let i = 0; i < 3; i++) {
    const coming = listener.next();
    await clock.armed(watchTimeoutMs);
    clock.advance(watchTimeoutMs - 1);
    api.bookmark('pods');
    assert.equal((await coming)?.type, 'bookmark');
  }
  const coming = listener.lost();
  await clock.armed(watchTimeoutMs);
  clock.advance(watchTimeoutMs);
  assert.match((await coming).error.message, /Silent: no event, not even a bookmark, within 150 s$/);
  await listener.upTo('watching');
  await api.watched('pods');
});

test('a stream that is fed byte by byte and never brings an event to its end is dead, too', async () => {
  await using room = await Room.open();
  const { api, clock } = room;
  const listener = await watching(room);
  const coming = listener.lost();
  await clock.armed(watchTimeoutMs);
  for (const byte of '{"ty') {
    api.write('pods', byte);
    await room.settle();
    clock.advance(watchTimeoutMs / 4);
  }
  assert.equal((await coming).error.reason, 'Silent');
});

test('who reads slowly is not taken for a dead stream', async () => {
  await using room = await Room.open();
  const listener = await watching(room);
  room.api.put('pods', podObject('web'));
  await listener.upTo('set web');
  room.clock.advance(watchTimeoutMs * 10);
  room.api.put('pods', podObject('db'));
  assert.deepEqual(await listener.upTo('set db'), ['set db']);
});

test('a connection that is reset while nobody reads is lost to whoever reads next', async () => {
  await using room = await Room.open();
  const listener = await watching(room);
  room.api.end('pods', 'reset');
  await room.api.watched('pods', 0);
  await room.settle();
  await listener.lost();
  room.api.put('pods', podObject('web'));
  assert.deepEqual(await listener.upTo('set web'), ['watching', 'set web']);
});

test('a list that stops in the middle, or never begins, is dead after a minute', async () => {
  await using room = await Room.open();
  const pod = { ...podObject('web'), metadata: { ...podObject('web').metadata, resourceVersion: '7' } };
  const begin = (response: ServerResponse) => response.write(`{"items":[${JSON.stringify(pod)},{"metadata":`);
  room.api.next(isList, () => undefined);
  room.api.next(isList, begin);
  const listener = room.listen(pods);
  for (const expected of [['listing'], ['listing', 'set web']]) {
    for (const event of expected) await listener.upTo(event);
    const coming = listener.lost();
    await room.api.until(() => room.api.lists('pods').length === expected.length);
    await room.clock.armed(60_000);
    room.clock.advance(60_000);
    assert.equal((await coming).error.reason, 'Silent');
  }
  assert.deepEqual(await listener.upTo('listed'), ['listing', 'listed']);
});

for (const [what, text] of [
  ['is cut off', '{"metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a"}}'],
  ['is no JSON', '<html>'],
  ['has no version', '{"metadata":{},"items":[]}'],
  ['has items that are no objects', '{"metadata":{"resourceVersion":"7"},"items":[7]}'],
  ['has an object without a name', '{"metadata":{"resourceVersion":"7"},"items":[{}]}'],
] as const)
  test(`a list that ${what} is no list`, async () => {
    await using room = await Room.open();
    room.api.next(isList, response => response.end(text));
    const listener = room.listen(pods);
    const lost = await listener.lost();
    assert.equal(lost.error.reason, 'Garbage');
    assert.match(lost.error.message, /^Cannot list pods of /);
    assert.deepEqual(await listener.upTo('listed'), ['listing', 'listed']);
  });

test('a server that is too busy says how long to wait', async () => {
  await using room = await Room.open();
  const busy = statusOf(429, 'TooManyRequests', 'please try again later');
  room.api.next(isList, response => refuse(response, busy, { 'retry-after': '7' }));
  room.api.next(isList, response => refuse(response, { ...busy, details: { retryAfterSeconds: 3 } }));
  room.api.next(isWatch, response => refuse(response, busy, { 'retry-after': '1' }));
  const listener = room.listen(pods);
  for (const wait of [7000, 3000, 2000]) assert.equal((await listener.lost()).retryIn, wait);
  assert.deepEqual(await listener.upTo('watching'), ['watching']);
});

test('a server that asks for a day, or for longer than a timer can run, is asked again within a minute', async () => {
  await using room = await Room.open();
  const busy = statusOf(503, 'ServiceUnavailable');
  const answers = [
    (response: ServerResponse) => refuse(response, busy, { 'retry-after': '86400' }),
    (response: ServerResponse) => refuse(response, busy, { 'retry-after': '3000000' }),
    (response: ServerResponse) => refuse(response, busy, { 'retry-after': '9'.repeat(400) }),
    (response: ServerResponse) => refuse(response, { ...busy, details: { retryAfterSeconds: 1e300 } }),
  ];
  for (const answer of answers) room.api.next(isList, answer);
  const listener = room.listen(pods);
  for (const _ of answers) assert.equal((await listener.lost()).retryIn, longestRetryAfter);
  assert.deepEqual(await listener.upTo('listed'), ['listing', 'listed']);
});

test('a timer longer than Node knows does not run out at once', async () => {
  let isCalled = false;
  const cancel = systemClock.after(3_000_000_000, () => {
    isCalled = true;
  });
  await new Promise(resolve => systemClock.after(20, () => resolve(undefined)));
  cancel();
  assert.equal(isCalled, false);
});

test('no time at all is the turn of the event loop that comes next, and can be called off', async () => {
  const called: string[] = [];
  systemClock.after(0, () => called.push('clock'));
  systemClock.after(0, () => called.push('called off'))();
  setImmediate(() => called.push('next turn'));
  await new Promise(resolve => setImmediate(() => setImmediate(resolve)));
  assert.deepEqual(called, ['clock', 'next turn']);
});

test('a refusal whose body never ends is a refusal all the same, for a list, a watch and a question', async () => {
  await using room = await Room.open();
  const { api, clock, client } = room;
  const endless = (response: ServerResponse) => response.writeHead(503).write('overloaded\n');
  api.next(isList, endless);
  const listener = room.listen(pods);
  await listener.upTo('listing');
  const listed = listener.lost();
  await clock.armed(refusalTimeoutMs);
  clock.advance(refusalTimeoutMs);
  const { error } = await listed;
  assert.deepEqual([error.status, error.message.endsWith('503 Unknown: overloaded')], [503, true], error.message);
  api.next(isWatch, endless);
  const watched = listener.lost();
  await clock.armed(refusalTimeoutMs);
  clock.advance(refusalTimeoutMs);
  assert.equal((await watched).error.status, 503);
  api.next(({ path }) => path === '/api/v1/nodes', endless);
  const asked = assert.rejects(
    client.json({ action: 'ask', path: '/api/v1/nodes', timeoutMs: 3000 }),
    (thrown: unknown) => thrown instanceof KubeError && ['Silent', 'Unknown'].includes(thrown.reason),
  );
  await clock.armed(3000);
  await api.until(() => api.requests.at(-1)?.path === '/api/v1/nodes');
  clock.advance(3000);
  await asked;
});

test('each failure is followed by a longer wait, half a minute at most, until the watch has stood for a while', async () => {
  await using room = await Room.open();
  const { api, clock } = room;
  const listener = await watching(room);
  const waits: number[] = [];
  for (let i = 0; i < 9; i++) {
    api.end('pods', 'reset');
    waits.push((await listener.lost()).retryIn);
    await listener.upTo('watching');
    await api.watched('pods');
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  clock.advance(10_000);
  api.end('pods', 'reset');
  assert.equal((await listener.lost()).retryIn, 500);
});

test('two agents do not wait for the same time', async () => {
  await using room = await Room.open();
  room.api.next(isList, response => refuse(response, statusOf(503, 'ServiceUnavailable')));
  room.api.next(isList, response => refuse(response, statusOf(503, 'ServiceUnavailable')));
  const randoms = [0, 0.5];
  const waits = await Promise.all(
    randoms.map(async random => (await room.listen(pods, { random: () => random }).lost()).retryIn),
  );
  assert.deepEqual(waits, [250, 375]);
});

test('a server that is away, or does not let us, is told of for as long as it is so; what is known is not listed anew', async () => {
  await using room = await Room.open();
  const listener = await watching(room);
  for (const status of [401, 403, 429, 503])
    room.api.next(isWatch, response => refuse(response, statusOf(status, `S${status}`)));
  room.api.end('pods', 'reset');
  for (const reason of ['ECONNRESET', 'S401', 'S403', 'S429', 'S503'])
    assert.equal((await listener.lost()).error.reason, reason);
  assert.deepEqual(await listener.upTo('watching'), ['watching']);
  assert.equal(room.api.lists('pods').length, 1);
});

test('a server that nobody reaches', async () => {
  const room = await Room.open();
  await room.api[Symbol.asyncDispose]();
  const { error } = await room.listen(pods).lost();
  assert.equal(error.reason, 'ECONNREFUSED');
  assert.equal(error.status, 0);
  room.stop();
});

test('each resource has a stream of its own: one that fails leaves the others', async () => {
  await using room = await Room.open();
  const others = room.listen(nodes);
  await others.upTo('watching');
  await room.api.watched('nodes');
  const listener = await watching(room);
  room.api.end('pods', 'reset');
  assert.equal((await listener.lost()).error.reason, 'ECONNRESET');
  room.api.put('nodes', nodeObject('n1'));
  assert.deepEqual(await others.upTo('set n1'), ['set n1']);
});
