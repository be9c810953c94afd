/** Resources that a CustomResourceDefinition makes known: absent is empty, and nothing else is absent. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterPolicies } from '../../../lib/kube/object.ts';
import { refuse, statusOf } from '../../support/fake-api.ts';
import { Room } from '../../support/kube-world.ts';

const [resource] = clusterPolicies as [(typeof clusterPolicies)[number]];
const { name, path } = resource;
const spec = { tier: 'Admin', priority: 1, subject: { namespaces: {} } };
const object = (of: string, annotations = {}) => ({ metadata: { name: of, annotations }, spec });

test('a server that has no such resource has an empty list of it, and is asked again until it has', async () => {
  await using room = await Room.open();
  const listener = room.listen(resource);
  assert.deepEqual(await listener.upTo('absent'), ['listing', 'listed', 'absent']);
  assert.deepEqual(await listener.upTo('absent'), ['listing', 'listed', 'absent']);
  room.api.install(name);
  room.api.put(name, object('x'));
  assert.deepEqual(await listener.upTo('watching'), ['listing', 'set x', 'listed', 'watching']);
});

test('once a server has had it, it must say three times that it has not', async () => {
  await using room = await Room.open();
  room.api.install(name);
  const listener = room.listen(resource);
  await listener.upTo('watching');
  await room.api.watched(name);
  room.api.put(name, object('x'));
  room.api.uninstall(name);
  const events = await listener.upTo('absent');
  assert.deepEqual(events.slice(0, 2), ['set x', 'deleted x']);
  assert.deepEqual(events.slice(-7), [
    ...['listing', 'lost Unknown', 'listing', 'lost Unknown', 'listing', 'listed', 'absent'],
  ]);
  room.api.install(name);
  assert.deepEqual(await listener.upTo('watching'), ['listing', 'listed', 'watching']);
});

const refusals = [
  ['says that it is forbidden', statusOf(403, 'Forbidden')],
  ['answers 404, as proxies do', statusOf(404, 'NotFound')],
] as const;

for (const [what, status] of refusals) {
  test(`a server that ${what} and has the resource is no server without it`, async () => {
    await using room = await Room.open();
    room.api.install(name);
    room.api.next(
      seen => seen.path === path,
      response => refuse(response, status),
    );
    const listener = room.listen(resource);
    assert.deepEqual(await listener.upTo('watching'), [
      ...['listing', `lost ${status.reason}`, 'listing', 'listed', 'watching'],
    ]);
  });

  test(`a server that ${what}, of which it cannot be known what it has, is no server without it`, async () => {
    await using room = await Room.open();
    room.api.next(
      seen => seen.path === path,
      response => refuse(response, status),
    );
    room.api.next(
      seen => seen.path === '/apis',
      response => response.end('<html>'),
    );
    const listener = room.listen(resource);
    assert.deepEqual(await listener.upTo('absent'), [
      ...['listing', `lost ${status.reason}`, 'listing', 'listed', 'absent'],
    ]);
  });
}

test('a policy comes with its version and as the model has it; its annotation says whether it is staged', async () => {
  await using room = await Room.open();
  room.api.install(name);
  room.api.put(name, object('real'));
  room.api.put(name, object('tried', { 'tollgate.dev/staged': 'true' }));
  const listener = room.listen(resource);
  await listener.upTo('listing');
  const found = [await listener.next(), await listener.next()].map(event =>
    event?.type === 'set' ? event.object : event,
  );
  assert.deepEqual(found[0], {
    policy: {
      ...{ kind: 'ClusterNetworkPolicy', name: 'real', resourceVersion: '101', tier: 'Admin', priority: 1 },
      subject: { kind: 'pods', namespace: { requirements: [] }, pods: { requirements: [] } },
      ...{ ingress: [], egress: [] },
    },
    isStaged: false,
  });
  assert.equal((found[1] as (typeof found)[number] & { isStaged: boolean }).isStaged, true);
});
