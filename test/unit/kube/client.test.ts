/** Requests over real connections: TLS, certificates, tokens that change, connections that are kept; and one object at a time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClient } from '../../../lib/kube/client.ts';
import { type Access, type Credentials, CredentialsError } from '../../../lib/kube/credentials.ts';
import { KubeError } from '../../../lib/kube/error.ts';
import { pods } from '../../../lib/kube/object.ts';
import { getPod, setNodeCondition } from '../../../lib/kube/single.ts';
import { watch } from '../../../lib/kube/watch.ts';
import { createAuthority } from '../../support/certificate.ts';
import { FakeApi, refuse, statusOf } from '../../support/fake-api.ts';
import { nodeObject, podObject, Room } from '../../support/kube-world.ts';

const authority = createAuthority('cluster CA');
const stranger = createAuthority('another CA');
const serverPair = authority.issue('kubernetes', '127.0.0.1');
const agentPair = authority.issue('agent');
const tls = { cert: serverPair.cert, key: serverPair.key, ca: authority.cert };

const request = { action: 'look', path: '/api/v1/nodes' };

/** What the server has seen after one request with that access, or why there was none. */
async function ask(api: FakeApi, access: Access): Promise<unknown> {
  using client = createClient({ server: api.url, read: () => access });
  try {
    await client.json(request);
    return api.requests.at(-1);
  } catch (error) {
    assert.ok(error instanceof KubeError, String(error));
    return error.reason;
  }
}

test('a server is known by the CA, and by nothing else unless told so', async () => {
  await using api = await FakeApi.start({ tls });
  const rows: readonly (readonly [what: string, tls: Access['tls'], isKnown: boolean])[] = [
    ['its CA', { ca: authority.cert }, true],
    ['another CA', { ca: stranger.cert }, false],
    ['none, so those of the system', {}, false],
    ['not looked at', { rejectUnauthorized: false }, true],
    ['one of its names', { ca: authority.cert, servername: 'kubernetes' }, true],
    ['a name that is not its own', { ca: authority.cert, servername: 'elsewhere' }, false],
  ];
  for (const [what, access, isKnown] of rows) {
    const seen = await ask(api, { tls: access });
    assert.equal(typeof seen === 'object', isKnown, `${what}: ${JSON.stringify(seen)}`);
  }
});

test('a client certificate says who we are; one that was renewed is used without a restart', async () => {
  await using api = await FakeApi.start({ tls: { ...tls, requestCert: true, rejectUnauthorized: true } });
  let pair = agentPair;
  const read = (): Access => ({ tls: { ca: authority.cert, cert: pair.cert, key: pair.key } });
  using client = createClient({ server: api.url, read });
  await client.json(request);
  await client.json(request);
  pair = authority.issue('renewed');
  await client.json(request);
  assert.deepEqual(
    api.requests.map(({ commonName }) => commonName),
    ['agent', 'agent', 'renewed'],
  );
  assert.equal(api.requests[0]?.port, api.requests[1]?.port, 'a connection is kept for the next request');
  assert.equal(typeof (await ask(api, { tls: { ca: authority.cert } })), 'string', 'nobody is let in without');
});

/** Tokens of which each `read` takes the next; the last one stays. */
function tokens(server: string, ...values: readonly string[]): Credentials {
  const left = [...values];
  return { server, read: () => ({ authorization: `Bearer ${left.length > 1 ? left.shift() : left[0]}`, tls: {} }) };
}

test('a token that was rotated under the request is read again, once', async () => {
  await using api = await FakeApi.start({ accepts: authorization => authorization === 'Bearer new' });
  using client = createClient(tokens(api.url, 'old', 'new'));
  await client.json(request);
  assert.deepEqual(
    api.requests.map(({ headers }) => headers.authorization),
    ['Bearer old', 'Bearer new'],
  );
});

test('a token that is refused and is still the same is not tried again; nor is a second one', async () => {
  await using api = await FakeApi.start({ accepts: () => false });
  for (const [expected, values] of [
    [1, ['old']],
    [3, ['old', 'newer', 'newest']],
  ] as const) {
    using client = createClient(tokens(api.url, ...values));
    await assert.rejects(client.json(request), { name: 'KubeError', status: 401, reason: 'Unauthorized' });
    assert.equal(api.requests.length, expected);
  }
});

test('a token that is rotated in the life of a watch: the next request has the new one, and nothing is listed anew', async () => {
  let valid = 'first';
  await using room = await Room.open({ accepts: authorization => authorization === `Bearer ${valid}` });
  const { api, clock } = room;
  let onDisk = 'first';
  using client = createClient(
    { server: api.url, read: () => ({ authorization: `Bearer ${onDisk}`, tls: {} }) },
    { clock },
  );
  const stop = new AbortController();
  const events = watch(client, pods, { signal: stop.signal });
  for (let event = await events.next(); event.value?.type !== 'watching'; ) event = await events.next();
  await api.watched('pods');
  valid = onDisk = 'second';
  clock.advance(1000);
  const coming = events.next();
  api.end('pods');
  assert.equal((await coming).value?.type, 'watching');
  assert.deepEqual(
    api.requests.map(({ headers }) => headers.authorization),
    ['Bearer first', 'Bearer first', 'Bearer second'],
  );
  stop.abort();
});

test('credentials that cannot be read are waited for like a server that is away', async () => {
  await using room = await Room.open();
  let isThere = false;
  const read = (): Access => {
    if (!isThere) throw new CredentialsError('Cannot read the token');
    return { tls: {} };
  };
  using client = createClient({ server: room.api.url, read }, { clock: room.clock });
  const events = watch(client, pods, { signal: new AbortController().signal, random: () => 1 });
  assert.equal((await events.next()).value?.type, 'listing');
  const lost = (await events.next()).value;
  assert.equal(lost?.type === 'lost' && lost.error.reason, 'Credentials');
  isThere = true;
  const coming = events.next();
  await room.clock.armed(500);
  room.clock.advance(500);
  assert.equal((await coming).value?.type, 'listing');
  assert.equal((await events.next()).value?.type, 'listed');
  await events.return();
});

test('a kept connection that the server has closed meanwhile costs nothing but another one', async () => {
  await using room = await Room.open();
  const { api, client } = room;
  await client.json(request);
  // The next request meets the reset: it was on its way before the client could know.
  api.next(
    ({ path }) => path === '/api/v1/nodes',
    response => response.socket?.resetAndDestroy(),
  );
  await client.json(request);
  assert.equal(api.requests.length, 3);
  assert.equal(api.requests[0]?.port, api.requests[1]?.port);
  assert.notEqual(api.requests[1]?.port, api.requests[2]?.port);
});

test('a new connection that is reset is a failure', async () => {
  await using room = await Room.open();
  room.api.next(
    () => true,
    response => response.socket?.resetAndDestroy(),
  );
  await assert.rejects(room.client.json(request), { reason: 'ECONNRESET', status: 0 });
});

test('lists come packed where that is asked for', async () => {
  for (const gzip of [false, true]) {
    await using room = await Room.open({ gzip });
    for (let i = 0; i < 2000; i++) room.api.put('pods', podObject(`web-${i}`));
    const events = await room.listen(pods).upTo('listed');
    assert.equal(events.length, 2002);
    assert.equal(room.api.requests[0]?.headers['accept-encoding'], gzip ? 'gzip' : 'identity');
  }
});

test('a refusal says what the server says', async () => {
  await using room = await Room.open();
  const message = 'nodes is forbidden: User "system:anonymous" cannot list resource "nodes"';
  room.api.next(
    () => true,
    response => refuse(response, statusOf(403, 'Forbidden', message)),
  );
  await assert.rejects(room.client.json(request), {
    status: 403,
    reason: 'Forbidden',
    message: `Cannot look: 403 Forbidden: ${message}`,
  });
  room.api.next(
    () => true,
    response => response.writeHead(502).end('<html>\nBad Gateway'),
  );
  await assert.rejects(room.client.json(request), { status: 502, message: 'Cannot look: 502 Unknown: <html>' });
});

test('an answer that never ends, is no JSON, or is longer than any object', async () => {
  await using room = await Room.open();
  const { api, client, clock } = room;
  api.next(
    () => true,
    response => response.write('{'),
  );
  const coming = assert.rejects(client.json({ ...request, timeoutMs: 5000 }), { reason: 'Silent' });
  await api.until(() => api.requests.length === 1);
  await room.settle();
  await clock.armed(5000);
  clock.advance(5000);
  await coming;
  api.next(
    () => true,
    response => response.end('<html>'),
  );
  await assert.rejects(client.json(request), { reason: 'Garbage' });
  api.next(
    () => true,
    response => response.end(Buffer.alloc(17 << 20, ' ')),
  );
  await assert.rejects(client.json(request), { reason: 'Garbage', message: /more than 16777216 bytes/ });
});

test('one pod: as it is now, finished ones too; none; and neither yes nor no', async () => {
  await using room = await Room.open();
  const { api, client, clock } = room;
  api.put('pods', podObject('web', { labels: { app: 'web' }, phase: 'Failed' }));
  const web = { namespace: 'shop', name: 'web' };
  const pod = await getPod(client, web);
  assert.deepEqual([pod?.labels, pod?.finished], [new Map([['app', 'web']]), true]);
  assert.equal(api.requests[0]?.path, '/api/v1/namespaces/shop/pods/web');
  assert.deepEqual(api.requests[0]?.query, {}, 'not from a cache');
  assert.equal(await getPod(client, { namespace: 'shop', name: 'a/../b' }), undefined);
  assert.equal(api.requests[1]?.path, '/api/v1/namespaces/shop/pods/a%2F..%2Fb');
  api.next(
    () => true,
    response => response.end(JSON.stringify(podObject('other'))),
  );
  await assert.rejects(getPod(client, web), { reason: 'Garbage', message: /^Cannot get pod shop\/web of http/ });
  api.next(
    () => true,
    () => undefined,
  );
  const coming = assert.rejects(getPod(client, web, { timeoutMs: 3000 }), { reason: 'Silent' });
  await api.until(() => api.requests.length === 4);
  clock.advance(3000);
  await coming;
  const stop = new AbortController();
  api.next(
    () => true,
    () => stop.abort(),
  );
  await assert.rejects(getPod(client, web, { signal: stop.signal }), { reason: 'ABORT_ERR' });
});

test("a node's condition is merged by its type", async () => {
  await using room = await Room.open();
  const { api, client } = room;
  api.put('nodes', nodeObject('n1'));
  const condition = {
    type: 'NetworkUnavailable',
    status: 'False',
    reason: 'RoutesStand',
    message: 'all there',
  } as const;
  const at = new Date(Date.UTC(2026, 0, 2, 3, 4, 5, 6));
  await setNodeCondition(client, 'n1', { condition, at });
  const seen = api.requests[0]!;
  assert.deepEqual(
    [seen.method, seen.path, seen.headers['content-type']],
    ['PATCH', '/api/v1/nodes/n1/status', 'application/strategic-merge-patch+json'],
  );
  const times = { lastHeartbeatTime: '2026-01-02T03:04:05Z', lastTransitionTime: '2026-01-02T03:04:05Z' };
  assert.deepEqual(JSON.parse(seen.body), { status: { conditions: [{ ...condition, ...times }] } });
  await assert.rejects(setNodeCondition(client, 'n2', { condition, at }), { status: 404, reason: 'NotFound' });
});
