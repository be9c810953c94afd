/** List and watch against a server that behaves: what is asked, and what comes of the answers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { namespaces, networkPolicies, nodes, pods } from '../../../lib/kube/object.ts';
import { refuse, statusOf } from '../../support/fake-api.ts';
import { nodeObject, podObject, Room } from '../../support/kube-world.ts';

test('what there is comes first, then what changes', async () => {
  await using room = await Room.open();
  const { api } = room;
  api.put('pods', podObject('web', { ips: ['10.0.0.7', 'fd00::7'] }));
  const listener = room.listen(pods);
  assert.deepEqual(await listener.upTo('watching'), ['listing', 'set web', 'listed', 'watching']);
  await api.watched('pods');
  api.put('pods', podObject('db'));
  api.put('pods', podObject('web', { labels: { app: 'web', tier: 'front' } }));
  api.remove('pods', 'db', 'shop');
  api.bookmark('pods');
  assert.deepEqual(await listener.upTo('bookmark'), ['set db', 'set web', 'deleted db', 'bookmark']);
});

test('a pod keeps what policy needs, and nothing else', async () => {
  await using room = await Room.open();
  const ips = ['10.0.0.7', 'FD00:0::7'];
  room.api.put('pods', podObject('web', { ips, deletionTimestamp: '2026-01-01T00:00:00Z' }));
  const listener = room.listen(pods);
  await listener.upTo('listing');
  assert.deepEqual(await listener.next(), {
    type: 'set',
    resourceVersion: '101',
    object: {
      namespace: 'shop',
      name: 'web',
      uid: 'uid-web',
      labels: new Map([['app', 'web']]),
      addresses: ['10.0.0.7', 'fd00::7'],
      namedPorts: [{ name: 'http', port: 8080, protocol: 'TCP' }],
      hostNetwork: false,
      finished: false,
      nodeName: 'node-1',
      terminating: true,
    },
  });
});

test('a node keeps its addresses, its pod CIDRs and whether its network is said to be unavailable', async () => {
  await using room = await Room.open();
  room.api.put('nodes', nodeObject('n1', ['10.244.1.0/24', 'fd00:1::/64']));
  const status = { conditions: [{ type: 'NetworkUnavailable', status: 'True' }] };
  room.api.put('nodes', { metadata: { name: 'n2' }, spec: { podCIDR: '10.244.2.0/24' }, status });
  const listener = room.listen(nodes);
  await listener.upTo('listing');
  const [first, second] = [await listener.next(), await listener.next()];
  assert.deepEqual(first?.type === 'set' && first.object, {
    name: 'n1',
    labels: new Map([['kubernetes.io/hostname', 'n1']]),
    addresses: ['192.0.2.1'],
    podCidrs: [
      { family: 4, value: 0x0af40100n, length: 24 },
      { family: 6, value: 0xfd00_0001n << 96n, length: 64 },
    ],
  });
  assert.deepEqual(second?.type === 'set' && second.object, {
    name: 'n2',
    labels: new Map(),
    addresses: [],
    podCidrs: [{ family: 4, value: 0x0af40200n, length: 24 }],
    networkUnavailable: 'True',
  });
});

test('namespaces and policies come as the model has them; what a policy says that is not known is told and closed', async () => {
  await using room = await Room.open();
  room.api.put('namespaces', { metadata: { name: 'shop', labels: { team: 'a' } } });
  const spec = { podSelector: {}, policyTypes: ['Ingress'], ingress: [{ from: [{ realm: 'x' }] }] };
  room.api.put('networkpolicies', { metadata: { name: 'web', namespace: 'shop' }, spec });
  const complaints: string[] = [];
  const listener = room.listen(networkPolicies, {
    report: ({ object, field, message }) => complaints.push(`${object} ${field}: ${message.split(',')[0]}`),
  });
  await listener.upTo('listing');
  const policy = await listener.next();
  assert.deepEqual(policy?.type === 'set' && policy.object, {
    kind: 'NetworkPolicy',
    namespace: 'shop',
    name: 'web',
    resourceVersion: '102',
    subject: { requirements: [] },
    ingress: [{ index: 0, peers: [], ports: 'any' }],
  });
  assert.deepEqual(complaints, ['NetworkPolicy/shop/web spec.ingress[0].from[0].realm: Unknown field']);
  const others = room.listen(namespaces);
  await others.upTo('listing');
  const namespace = await others.next();
  assert.deepEqual(namespace?.type === 'set' && namespace.object, { name: 'shop', labels: new Map([['team', 'a']]) });
});

test('the first list may come from the cache; the watch goes on from its version, with bookmarks, for five to ten minutes', async () => {
  await using room = await Room.open();
  const listener = room.listen(pods, { random: () => 0.5 });
  await listener.upTo('watching');
  await room.api.watched('pods');
  const fieldSelector = 'status.phase!=Succeeded,status.phase!=Failed';
  const [list, watch] = [room.api.lists('pods')[0]!, room.api.watches('pods')[0]!];
  assert.deepEqual(list.query, { limit: '500', resourceVersion: '0', fieldSelector });
  const timeoutSeconds = '450';
  const resourceVersion = '100';
  assert.deepEqual(watch.query, {
    watch: 'true',
    allowWatchBookmarks: 'true',
    resourceVersion,
    timeoutSeconds,
    fieldSelector,
  });
  assert.equal(watch.headers.accept, 'application/json');
});

test('a server that pages is asked for page after page of one version', async () => {
  await using room = await Room.open({ alwaysPages: true });
  for (let i = 0; i < 1201; i++) room.api.put('nodes', nodeObject(`n${i}`));
  const listener = room.listen(nodes);
  const events = await listener.upTo('listed');
  assert.equal(new Set(events).size, 1201 + 2);
  assert.deepEqual(
    room.api.lists('nodes').map(({ query }) => query),
    [
      { limit: '500', resourceVersion: '0' },
      { limit: '500', continue: '1301:500' },
      { limit: '500', continue: '1301:1000' },
    ],
  );
});

test('changes between two pages come by the watch', async () => {
  await using room = await Room.open({ alwaysPages: true });
  for (let i = 0; i < 501; i++) room.api.put('nodes', nodeObject(`n${i}`));
  const listener = room.listen(nodes);
  await listener.upTo('set n400');
  room.api.put('nodes', nodeObject('late'));
  room.api.remove('nodes', 'n500');
  const events = await listener.upTo('listed');
  assert.ok(events.includes('set n500') && !events.includes('set late'), 'both pages are of one version');
  assert.deepEqual(await listener.upTo('deleted n500'), ['watching', 'set late', 'deleted n500']);
});

test('pages that have expired are asked for anew, from what there is now', async () => {
  await using room = await Room.open({ alwaysPages: true });
  for (let i = 0; i < 501; i++) room.api.put('nodes', nodeObject(`n${i}`));
  const listener = room.listen(nodes);
  await listener.upTo('set n400');
  room.api.compact();
  const events = await listener.upTo('listed');
  assert.deepEqual(events.slice(99, 102), ['lost Expired', 'listing', 'set n0']);
  assert.deepEqual(room.api.lists('nodes')[2]?.query, { limit: '500' });
});

test('five thousand nodes in one answer', async () => {
  await using room = await Room.open();
  for (let i = 0; i < 5000; i++) room.api.put('nodes', nodeObject(`n${i}`, [`10.${i >> 8}.${i & 255}.0/24`]));
  const events = await room.listen(nodes).upTo('watching');
  assert.equal(new Set(events).size, 5000 + 3);
  assert.equal(room.api.lists('nodes').length, 1);
});

for (const ignoresSelectors of [false, true]) {
  const server = ignoresSelectors ? 'knows no field selectors' : 'selects them';
  test(`finished pods do not come, and one that finishes is deleted, from a server that ${server}`, async () => {
    await using room = await Room.open({ ignoresSelectors });
    const { api } = room;
    api.put('pods', podObject('job-1', { phase: 'Succeeded', ips: ['10.0.0.1'] }));
    api.put('pods', podObject('job-2', { phase: 'Pending' }));
    api.put('pods', podObject('web'));
    const listener = room.listen(pods);
    assert.deepEqual(await listener.upTo('watching'), ['listing', 'set job-2', 'set web', 'listed', 'watching']);
    await api.watched('pods');
    api.put('pods', podObject('job-2', { phase: 'Failed' }));
    api.put('pods', podObject('web', { labels: {} }));
    assert.deepEqual(await listener.upTo('set web'), ['deleted job-2', 'set web']);
  });
}

test('a watch that the server ends is taken up where it was, at once and without a list', async () => {
  await using room = await Room.open();
  const { api, clock } = room;
  const listener = room.listen(pods);
  await listener.upTo('watching');
  await api.watched('pods');
  api.put('pods', podObject('web'));
  await listener.upTo('set web');
  clock.advance(1000);
  api.end('pods');
  assert.deepEqual(await listener.upTo('watching'), ['watching']);
  api.put('pods', podObject('db'));
  assert.deepEqual(await listener.upTo('set db'), ['set db']);
  assert.equal(api.lists('pods').length, 1);
  assert.deepEqual(
    api.watches('pods').map(({ query }) => query['resourceVersion']),
    ['100', '101'],
  );
});

test('bookmarks alone move the place from which a watch is taken up', async () => {
  await using room = await Room.open();
  const { api, clock } = room;
  const listener = room.listen(pods);
  await listener.upTo('watching');
  await api.watched('pods');
  for (let i = 0; i < 50; i++) api.put('nodes', nodeObject(`n${i}`));
  api.bookmark('pods');
  await listener.upTo('bookmark');
  api.compact();
  clock.advance(1000);
  api.end('pods');
  assert.deepEqual(await listener.upTo('watching'), ['watching'], 'without them it would have expired');
  assert.deepEqual(
    api.watches('pods').map(({ query }) => query['resourceVersion']),
    ['100', '150'],
  );
});

test('a version too old in the middle of a watch: everything anew, at least as new as what is known', async () => {
  await using room = await Room.open();
  const { api } = room;
  api.put('pods', podObject('web'));
  const listener = room.listen(pods);
  await listener.upTo('watching');
  await api.watched('pods');
  api.write('pods', `${JSON.stringify({ type: 'ERROR', object: statusOf(410, 'Expired', 'too old') })}\n`);
  assert.deepEqual(await listener.upTo('watching'), ['lost Expired', 'listing', 'set web', 'listed', 'watching']);
  const fieldSelector = 'status.phase!=Succeeded,status.phase!=Failed';
  assert.deepEqual(api.lists('pods')[1]?.query, { resourceVersion: '101', fieldSelector });
});

test('a version too old when a watch begins, by event or by status', async () => {
  await using room = await Room.open();
  const { api, clock } = room;
  const listener = room.listen(pods);
  await listener.upTo('watching');
  await api.watched('pods');
  api.put('nodes', nodeObject('n1'));
  api.compact();
  clock.advance(1000);
  api.end('pods');
  assert.deepEqual(await listener.upTo('listed'), ['watching', 'lost Expired', 'listing', 'listed']);
  api.next(
    ({ query }) => query['watch'] === 'true',
    response => refuse(response, statusOf(410, 'Gone')),
  );
  assert.deepEqual(await listener.upTo('watching'), ['lost Gone', 'listing', 'listed', 'watching']);
});

test('a server that is behind what we know is asked for the latest', async () => {
  await using room = await Room.open();
  const { api } = room;
  const listener = room.listen(pods);
  await listener.upTo('watching');
  await api.watched('pods');
  const object = { kind: 'Pod', apiVersion: 'v1', metadata: { resourceVersion: '100000' } };
  api.write('pods', `${JSON.stringify({ type: 'BOOKMARK', object })}\n`);
  await listener.upTo('bookmark');
  api.write('pods', `${JSON.stringify({ type: 'ERROR', object: statusOf(410, 'Expired', 'too old') })}\n`);
  assert.deepEqual(await listener.upTo('listed'), [
    'lost Expired',
    'listing',
    'lost ResourceVersionTooLarge',
    'listing',
    'listed',
  ]);
  assert.deepEqual(
    api.lists('pods').map(({ query }) => [query['limit'], query['resourceVersion']]),
    [
      ['500', '0'],
      [undefined, '100000'],
      ['500', undefined],
    ],
  );
});

test('aborting ends the events quietly, in a list, a watch and a pause, and closes the connections', async () => {
  for (const place of ['listing', 'watching', 'lost Unknown']) {
    await using room = await Room.open();
    room.api.next(
      ({ query }) => place === 'lost Unknown' && query['watch'] === 'true',
      response => response.writeHead(500).end(),
    );
    const listener = room.listen(pods);
    await listener.upTo(place);
    const coming = listener.next();
    if (place === 'watching') await room.api.watched('pods');
    room.stop();
    assert.equal(await coming, undefined, place);
    await room.api.watched('pods', 0);
  }
});

test('whoever stops listening closes the connection, also just when it has come up', async () => {
  for (const last of ['watching', 'set web']) {
    await using room = await Room.open();
    const events = room.listen(pods);
    await events.upTo('watching');
    await room.api.watched('pods');
    room.api.put('pods', podObject('web'));
    if (last === 'set web') await events.upTo(last);
    await events.leave();
    await room.api.watched('pods', 0);
  }
});

test('aborting while nobody reads ends nothing but the events', async () => {
  for (const last of ['watching', 'set web']) {
    await using room = await Room.open();
    const listener = room.listen(pods);
    await listener.upTo('watching');
    await room.api.watched('pods');
    room.api.put('pods', podObject('web'));
    if (last === 'set web') await listener.upTo(last);
    room.stop();
    await room.api.watched('pods', 0);
    assert.equal(await listener.next(), undefined);
  }
});
