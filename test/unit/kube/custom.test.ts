/** Resources that a CustomResourceDefinition makes known: absent is empty, and nothing else is absent. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeEvent } from '../../../lib/kube/event.ts';
import { clusterPolicies } from '../../../lib/kube/object.ts';
import { watch } from '../../../lib/kube/watch.ts';
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

/** The events of a watch until the server says that it has no such resource. */
async function untilAbsent(events: AsyncGenerator<KubeEvent<unknown>, void>): Promise<void> {
  for (;;) if ((await events.next()).value?.type === 'absent') return;
}

/** With `random` being 1: milliseconds after which it is asked for in any case, and once its definition has changed. */
const [later, soon] = [60_000, 2_000];

test('a definition that comes is heard of: the resource is asked for within seconds', async () => {
  await using room = await Room.open();
  const events = watch(room.client, resource, { signal: room.signal, random: () => 1 });
  await untilAbsent(events);
  const coming = events.next();
  await room.api.watched('customresourcedefinitions');
  room.api.install(name);
  await room.clock.armed(soon);
  room.clock.advance(soon);
  assert.equal((await coming).value?.type, 'listing');
  assert.equal(room.clock.now(), soon);
});

test('a definition without the version that is asked for is heard of once, until it changes', async () => {
  await using room = await Room.open();
  room.api.define(name);
  const events = watch(room.client, resource, { signal: room.signal, random: () => 1 });
  await untilAbsent(events);
  const again = untilAbsent(events);
  await room.clock.armed(soon);
  room.clock.advance(soon);
  await again;
  const coming = events.next();
  await room.api.watched('customresourcedefinitions');
  await room.settle();
  room.clock.advance(later - 1);
  assert.equal(room.clock.now(), soon + later - 1);
  room.api.define(name);
  await room.clock.armed(soon);
  room.clock.advance(soon);
  assert.equal((await coming).value?.type, 'listing');
});

test('a server that has the resource in another version alone is asked for that one', async () => {
  await using room = await Room.open();
  const [old, other] = [name, `${name} of v1beta1`];
  room.api.install(other);
  room.api.put(other, object('x'));
  const listener = room.listen(resource);
  assert.deepEqual(await listener.upTo('watching'), [
    ...['listing', 'lost Unknown', 'listing', 'set x', 'listed', 'watching'],
  ]);
  await room.api.watched(other);
  room.api.install(old);
  room.api.uninstall(other);
  assert.deepEqual((await listener.upTo('watching')).slice(-2), ['listed', 'watching']);
  await room.api.watched(old);
});

test('another version that a server turns out to have is asked for within seconds, however long it was away before', async () => {
  await using room = await Room.open();
  room.api.refuseAll(true);
  const events = watch(room.client, resource, { signal: room.signal, random: () => 1 });
  const lost = async (): Promise<number> => {
    for (;;) {
      const { value } = await events.next();
      if (value?.type === 'lost') return value.retryIn;
    }
  };
  let wait = await lost();
  while (wait <= soon) {
    const next = lost();
    await room.clock.armed(wait);
    room.clock.advance(wait);
    wait = await next;
  }
  room.api.refuseAll(false);
  room.api.install(`${name} of v1beta1`);
  const next = lost();
  await room.clock.armed(wait);
  room.clock.advance(wait);
  assert.equal(await next, soon);
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
      ...{ kind: 'ClusterNetworkPolicy', name: 'real', resourceVersion: '102', tier: 'Admin', priority: 1 },
      subject: { kind: 'pods', namespace: { requirements: [] }, pods: { requirements: [] } },
      ...{ ingress: [], egress: [] },
    },
    isStaged: false,
  });
  assert.equal((found[1] as (typeof found)[number] & { isStaged: boolean }).isStaged, true);
});
