/** Events folded into what there is: the cluster is the same, whatever way it came to be so. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { KubeEvent } from '../../../lib/kube/event.ts';
import { createFold, type Fold, type ObjectChange } from '../../../lib/kube/fold.ts';
import { createIntern } from '../../../lib/kube/intern.ts';
import {
  type KubeNamespace,
  type KubeNode,
  type KubePod,
  namespaces,
  networkPolicies,
  nodes,
  pods,
  readPod,
} from '../../../lib/kube/object.ts';
import { Cluster } from '../../../lib/policy/evaluate/cluster.ts';
import type { NetworkPolicy } from '../../../lib/policy/model/model.ts';
import { type PodFields, podObject, Room } from '../../support/kube-world.ts';

interface ClusterFolds {
  readonly pods: Fold<KubePod>;
  readonly namespaces: Fold<KubeNamespace>;
  readonly policies: Fold<NetworkPolicy>;
  readonly nodes: Fold<KubeNode>;
}

function podsInto(cluster: Cluster): (change: ObjectChange<KubePod>) => void {
  return ({ before, after }) => {
    if (after) cluster.setPod(after);
    else if (before) cluster.deletePod(before);
  };
}

/** A fold for each resource, which keep the cluster as the API has it. */
function foldInto(cluster: Cluster, podSink = podsInto(cluster)): ClusterFolds {
  return {
    pods: createFold(pods, podSink),
    namespaces: createFold(namespaces, ({ before, after }) => {
      if (after) cluster.setNamespace(after.name, after.labels);
      else if (before) cluster.deleteNamespace(before.name);
    }),
    policies: createFold(networkPolicies, ({ before, after }) => {
      if (after) cluster.setPolicy(after);
      else if (before) cluster.deletePolicy(before);
    }),
    nodes: createFold(nodes, ({ before, after }) => {
      if (after) cluster.setNode(after);
      else if (before) cluster.deleteNode(before.name);
    }),
  };
}

const intern = createIntern();
const report = (): void => assert.fail('nothing is wrong with these objects');

const pod = (name: string, fields?: PodFields): KubePod => readPod(podObject(name, fields), { intern, report })!;
const set = <T>(object: T): KubeEvent<T> => ({ type: 'set', object, resourceVersion: '1' });
const deleted = <T>(object: T): KubeEvent<T> => ({ type: 'deleted', object, resourceVersion: '1' });
const listing = { type: 'listing' } as const;
const listed = { type: 'listed', resourceVersion: '1' } as const;

/** `+shop/a`, `-shop/a`, `~shop/a` */
const shown = ({ before, after }: ObjectChange<KubePod>): string =>
  `${!before ? '+' : after ? '~' : '-'}${(after ?? before)?.namespace}/${(after ?? before)?.name}`;

function folding(): { readonly apply: (event: KubeEvent<KubePod>) => readonly string[]; readonly told: string[] } {
  const told: string[] = [];
  const fold = createFold(pods, change => told.push(shown(change)));
  return { told, apply: event => fold.apply(event).map(shown) };
}

test('what a pod event changes', () => {
  const { apply, told } = folding();
  assert.deepEqual(apply(set(pod('a'))), ['+shop/a']);
  assert.deepEqual(apply(set(pod('a'))), [], 'all that policy sees is as it was');
  assert.deepEqual(apply(set(pod('a', { labels: { app: 'b' } }))), ['~shop/a']);
  assert.deepEqual(apply(set(pod('a', { namespace: 'other' }))), ['+other/a']);
  assert.deepEqual(apply(set(pod('a', { uid: 'second' }))), ['-shop/a', '+shop/a'], 'another pod of that name');
  assert.deepEqual(apply(deleted(pod('a'))), [], 'the one before it, which is gone already');
  assert.deepEqual(apply(deleted(pod('a', { uid: 'second' }))), ['-shop/a']);
  assert.deepEqual(apply(deleted(pod('b'))), [], 'never seen');
  assert.deepEqual(told, ['+shop/a', '~shop/a', '+other/a', '-shop/a', '+shop/a', '-shop/a']);
});

test('what vanished while nobody was listening is gone once the list is whole, not before', () => {
  const { apply } = folding();
  for (const event of [listing, set(pod('a')), set(pod('b')), set(pod('c')), listed]) apply(event);
  assert.deepEqual(apply(listing), []);
  assert.deepEqual(apply(set(pod('b'))), []);
  assert.deepEqual(apply(set(pod('d'))), ['+shop/d']);
  const error = undefined as never;
  assert.deepEqual(apply({ type: 'lost', error, retryIn: 0 }), []);
  assert.deepEqual(apply(listing), [], 'begun anew');
  assert.deepEqual(apply(set(pod('c', { uid: 'new' }))), ['-shop/c', '+shop/c']);
  assert.deepEqual(apply(listed), ['-shop/a', '-shop/b', '-shop/d']);
  assert.deepEqual(apply(listed), [], 'of no list');
});

test('a change that the sink did not take is told again by the next list, and keeps nothing else back', () => {
  const refused = new Set<string>();
  const told: string[] = [];
  const fold = createFold(pods, change => {
    const text = shown(change);
    if (refused.has(text)) throw new Error(text);
    told.push(text);
  });
  const tryOut = (...events: KubeEvent<KubePod>[]): readonly string[] =>
    events.flatMap(event => {
      try {
        return fold.apply(event).map(shown);
      } catch (error) {
        return [`refused ${(error as Error).message}`];
      }
    });
  refused.add('+shop/a');
  assert.deepEqual(tryOut(listing, set(pod('a')), set(pod('b')), listed), ['refused +shop/a', '+shop/b']);
  assert.equal(fold.isComplete, false, 'something is there that the sink does not know');
  refused.clear();
  assert.deepEqual(tryOut(listing, set(pod('a')), set(pod('b')), listed), ['~shop/a']);
  assert.equal(fold.isComplete, true);
  refused.add('-shop/a');
  assert.deepEqual(tryOut(listing, listed), ['refused -shop/a']);
  assert.deepEqual(told, ['+shop/b', '~shop/a', '-shop/b']);
  refused.clear();
  assert.deepEqual(tryOut(listing, listed), ['-shop/a']);
});

test('a fold says whether a list was whole, how many there are, and which', () => {
  const fold = createFold(pods, () => undefined);
  for (const event of [listing, set(pod('a')), set(pod('b'))]) fold.apply(event);
  assert.deepEqual([fold.isComplete, fold.size], [false, 2]);
  fold.apply(listed);
  fold.apply(listing);
  fold.apply(deleted(pod('b')));
  assert.deepEqual([fold.isComplete, fold.size], [true, 1], 'what was whole once stays known');
  assert.equal(fold.get({ namespace: 'shop', name: 'a' })?.uid, 'uid-a');
  assert.deepEqual(
    [...fold.objects()].map(({ name }) => name),
    ['a'],
  );
});

/** What a cluster answers, as plain values. */
function contents(cluster: Cluster): unknown {
  const names = ['shop', 'other'];
  const labels = ['a', 'b', 'c'];
  const texts = (members: Iterable<{ readonly namespace: string; readonly name: string; readonly uid?: string }>) =>
    [...members].map(({ namespace, name, uid }) => `${namespace}/${name}/${uid}`).sort();
  return {
    pods: [...cluster.pods()].map(({ namespace, name, uid }) => `${namespace}/${name}/${uid}`).sort(),
    byNamespace: names.map(name => texts(cluster.inNamespace(name))),
    byLabel: labels.map(value => texts(cluster.withLabel('app', value))),
    owners: [1, 2, 3].map(i => cluster.ownerOf(`10.0.0.${i}`)?.name),
    policies: names.map(name => [...cluster.policiesIn(name)].map(policy => policy.name).sort()),
    namespaces: names.map(name => [...cluster.namespaceLabels(name)]),
    nodes: ['n1', 'n2'].map(name => cluster.node(name)),
    places: ['192.0.2.1', '192.0.2.2'].map(address => cluster.nodeWith(address)),
  };
}

const anyPod = fc
  .record({
    name: fc.constantFrom('p', 'q', 'r'),
    namespace: fc.constantFrom('shop', 'other'),
    uid: fc.constantFrom('1', '2'),
    app: fc.constantFrom('a', 'b', 'c'),
  })
  // An address of its own for each, since who claimed a shared one last depends on the way.
  .map(({ name, namespace, uid, app }) =>
    pod(name, {
      namespace,
      uid,
      labels: { app },
      ips: namespace === 'shop' ? [`10.0.0.${'pqr'.indexOf(name) + 1}`] : [],
    }),
  );

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('set' as const), object: anyPod }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('deleted' as const), object: anyPod }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('away' as const), left: fc.array(anyPod, { maxLength: 5 }) }) },
);

test('after any history the cluster is the one that the last state makes at once', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), steps => {
      const cluster = new Cluster();
      const { pods: fold } = foldInto(cluster);
      let truth = new Map<string, KubePod>();
      const key = ({ namespace, name }: KubePod): string => `${namespace}/${name}`;
      for (const one of steps) {
        if (one.kind === 'set') {
          truth.set(key(one.object), one.object);
          fold.apply(set(one.object));
        } else if (one.kind === 'deleted') {
          if (truth.get(key(one.object))?.uid === one.object.uid) truth.delete(key(one.object));
          fold.apply(deleted(one.object));
        } else {
          truth = new Map(one.left.map(object => [key(object), object]));
          for (const event of [listing, ...[...truth.values()].map(set), listed]) fold.apply(event);
        }
      }
      const world = { namespaces: new Map(), pods: [...truth.values()], policies: [] };
      assert.deepEqual(contents(cluster), contents(new Cluster(world)));
      assert.equal(fold.size, truth.size);
    }),
  );
});

test('namespaces, policies and nodes come and go in the cluster', () => {
  const cluster = new Cluster();
  const folds = foldInto(cluster);
  const namespace = { name: 'shop', labels: new Map([['team', 'a']]) };
  const policy = networkPolicies.read(
    { metadata: { name: 'web', namespace: 'shop' }, spec: { podSelector: {} } },
    { intern, report },
  )!;
  const node: KubeNode = { name: 'n1', labels: new Map(), addresses: ['192.0.2.1'], podCidrs: [] };
  const empty = contents(new Cluster());
  folds.namespaces.apply(set(namespace));
  folds.policies.apply(set(policy));
  folds.nodes.apply(set(node));
  const world = { namespaces: new Map([['shop', namespace.labels]]), pods: [], policies: [policy], nodes: [node] };
  assert.deepEqual(contents(cluster), contents(new Cluster(world)));
  assert.notDeepEqual(contents(cluster), empty);
  folds.namespaces.apply(deleted(namespace));
  folds.policies.apply(deleted(policy));
  folds.nodes.apply(deleted(node));
  assert.deepEqual(contents(cluster), empty);
});

test('a node that only says that it is alive changes nothing; one that got its range does', () => {
  const { nodes: fold } = foldInto(new Cluster());
  const node = (podCidrs: KubeNode['podCidrs']): KubeNode => ({
    name: 'n',
    labels: new Map(),
    addresses: [],
    podCidrs,
  });
  assert.equal(fold.apply(set(node([]))).length, 1);
  assert.equal(fold.apply(set(node([]))).length, 0);
  assert.equal(fold.apply(set(node([{ family: 4, value: 1n, length: 24 }]))).length, 1);
  assert.equal(fold.apply(set(node([{ family: 4, value: 1n, length: 24 }]))).length, 0);
});

test('whoever knows better of a pod may put in a word of his own', () => {
  const seen: string[] = [];
  const folds = foldInto(new Cluster(), change => seen.push(shown(change)));
  folds.pods.apply(set(pod('a')));
  assert.deepEqual(seen, ['+shop/a']);
});

test('from a server to a cluster, over a lost connection and an expired version', async () => {
  await using room = await Room.open();
  const { api } = room;
  for (const name of ['a', 'b', 'c']) api.put('pods', podObject(name, { labels: { app: name } }));
  const listener = room.listen(pods);
  const cluster = new Cluster();
  const { pods: fold } = foldInto(cluster);
  const follow = async (last: string): Promise<void> => {
    for (;;) {
      const event = await listener.next();
      assert.ok(event);
      fold.apply(event);
      if (event.type === last) return;
    }
  };
  await follow('watching');
  await api.watched('pods');
  api.end('pods', 'reset');
  await follow('lost');
  api.remove('pods', 'a', 'shop');
  api.put('pods', podObject('b', { uid: 'again', labels: { app: 'c' } }));
  api.compact();
  await follow('listed');
  assert.deepEqual([...cluster.pods()].map(({ name, uid }) => `${name} ${uid}`).sort(), ['b again', 'c uid-c']);
  assert.equal(cluster.withLabel('app', 'c').size, 2);
  assert.equal(cluster.withLabel('app', 'b').size, 0);
});

test('pods that say the same share one value of it', () => {
  const shared = createIntern();
  const read = (name: string, labels: Readonly<Record<string, string>>) =>
    readPod(podObject(name, { labels }), { intern: shared, report })!;
  const [a, b, c] = [
    read('a', { app: 'web', tier: 'x' }),
    read('b', { app: 'web', tier: 'x' }),
    read('c', { app: 'web' }),
  ];
  assert.equal(a.labels, b.labels);
  assert.equal(a.namedPorts, b.namedPorts);
  assert.notEqual(a.labels, c.labels);
  assert.deepEqual(c.labels, new Map([['app', 'web']]));
});

test('what is shared is forgotten when nobody has asked for long, and kept while somebody does', () => {
  const few = createIntern({ values: 10 });
  const asked = few.labels(new Map([['app', 'asked']]));
  const forgotten = few.labels(new Map([['app', 'forgotten']]));
  for (let i = 0; i < 100; i++) {
    few.labels(new Map([['app', `other-${i}`]]));
    assert.equal(few.labels(new Map([['app', 'asked']])), asked);
  }
  assert.notEqual(few.labels(new Map([['app', 'forgotten']])), forgotten);
});

/** As many labels as that take so many bytes, each as long as the API allows. */
const manyLabels = (seed: string, bytes: number): ReadonlyMap<string, string> =>
  new Map(
    Array.from({ length: Math.ceil(bytes / 126) }, (_, i) => [
      `${seed}-${i}-`.padEnd(63, 'k'),
      `${seed}-${i}-`.padEnd(63, 'v'),
    ]),
  );

test('what is shared is bounded in bytes, and large labels of one pod drive out nothing that others share', () => {
  const intern = createIntern();
  const web = intern.labels(new Map([['app', 'web']]));
  for (let i = 0; i < 200; i++) {
    const large = intern.labels(manyLabels(`l${i}`, 98 << 10));
    assert.equal(large.size, manyLabels('', 98 << 10).size, 'the pod itself has all of them');
  }
  assert.ok(intern.bytes < 1 << 20, `${intern.bytes} bytes`);
  assert.equal(intern.labels(new Map([['app', 'web']])), web);
  for (let i = 0; i < 3000; i++) intern.labels(manyLabels(`m${i}`, 8 << 10));
  assert.ok(intern.bytes < 48 << 20, `${intern.bytes} bytes of three kinds in two generations`);
});

test('a text that is longer than any of a label is given back, and not kept', () => {
  const intern = createIntern();
  for (let i = 0; i < 100; i++) assert.equal(intern.text(`${i}`.padEnd(98 << 10, 'x')).length, 98 << 10);
  assert.equal(intern.bytes, 0);
});

test('what was kept goes once others have been asked for often enough, however small they are', () => {
  const intern = createIntern({ values: 100 });
  for (let i = 0; i < 50; i++) intern.labels(manyLabels(`x${i}`, 1000));
  const full = intern.bytes;
  for (let i = 0; i < 3000; i++) intern.labels(new Map([['app', 'web']]));
  assert.ok(intern.bytes < full / 4, `${intern.bytes} of ${full}`);
});
