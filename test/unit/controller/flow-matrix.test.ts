/** The matrix of now: whatever is asked of it, it is what policies say, of so many pods, and made once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MatrixNow } from '../../../lib/controller/flow-matrix.ts';
import type { FlowScene } from '../../../lib/flows/attribution.ts';
import { Cluster, clusterOf } from '../../../lib/policy/evaluate/cluster.ts';
import { matrix, nameOf } from '../../../lib/policy/evaluate/matrix.ts';
import type { ShownMatrix } from '../../../lib/policy/evaluate/matrix-packed.ts';
import { worldAround } from '../../../lib/policy/evaluate/world-around.ts';
import type { Pod } from '../../../lib/policy/model/model.ts';
import { pod, sceneOf } from '../../support/flow-world.ts';
import { manifests, traffic, worldFrom } from '../../support/worlds.ts';

const http = { protocol: 'TCP', port: 80 } as const;

/** Counts how often pods are looked through: once for each matrix that is made. */
class CountedCluster extends Cluster {
  asked = 0;
  override members(): Generator<Pod> {
    this.asked++;
    return super.members();
  }
}

function manyPods(): { readonly scene: FlowScene; readonly cluster: CountedCluster } {
  const far = (i: number): Pod => ({ ...pod('far', `far-${i}`, `10.1.${i >> 8}.${i & 255}`, {}), local: false });
  const near = (i: number): Pod => pod('shop', `web-${i}`, `10.0.0.${i + 1}`, { app: 'web' });
  const cluster = new CountedCluster();
  for (let i = 0; i < 1000; i++) cluster.setPod(far(i));
  for (let i = 0; i < 20; i++) cluster.setPod(near(i));
  return { cluster, scene: { ...sceneOf([]), cluster } };
}

const shownBy = async (now: MatrixNow, filter = '', known = 0): Promise<ShownMatrix> =>
  JSON.parse(await now.textOf({ traffic: http, filter }, known));

test('of a thousand pods 200 are shown, those of this node before all others, and how many there are is told', async () => {
  const { scene } = manyPods();
  const { count, matrix: shown } = await shownBy(new MatrixNow(() => scene));
  assert.deepEqual([count, shown.pods.length], [1020, 200]);
  assert.equal(shown.pods.filter(({ name }) => name.startsWith('shop/')).length, 20);
});

test('a filter chooses pods by the words that tell pods apart', async () => {
  const { scene } = manyPods();
  const now = new MatrixNow(() => scene);
  const namesBy = async (filter: string) => (await shownBy(now, filter)).matrix.pods.map(({ name }) => name);
  assert.equal((await namesBy('ns:shop verdict:denied')).length, 20);
  assert.deepEqual(await namesBy('ip:10.1.0.7 -ns:shop'), ['far/far-7']);
  await assert.rejects(namesBy('prot:80'), { name: 'FilterError' });
});

test('it is made once for all who ask, and sent once to each', async () => {
  const { scene, cluster } = manyPods();
  const place = { now: scene, time: 0 };
  const now = new MatrixNow(
    () => place.now,
    () => place.time,
  );
  const [first, second] = await Promise.all([shownBy(now), shownBy(now)]);
  assert.equal(cluster.asked, 1);
  assert.deepEqual(first, second);
  assert.deepEqual(await shownBy(now, '', first.version), { version: first.version });
  // Whatever has changed: one of a moment ago is good enough, and no longer than that.
  place.now = { ...scene };
  place.time = 1_999;
  assert.deepEqual(await shownBy(now), first);
  assert.equal(cluster.asked, 1);
  place.time = 2_000;
  await shownBy(now);
  assert.equal(cluster.asked, 2);
});

test('other ports and filters take the place of those that were asked for long ago', async () => {
  const { scene, cluster } = manyPods();
  const now = new MatrixNow(() => scene);
  for (const ns of ['a', 'b', 'c', 'd', 'e', 'a', 'e']) await shownBy(now, `ns:${ns}`);
  assert.equal(cluster.asked, 6);
});

test('two pods fare in it as they do in the whole world', () => {
  const some = fc.tuple(manifests({ clusterPolicies: 3 }), fc.constantFrom(...traffic), fc.integer({ min: 0 }));
  fc.assert(
    fc.property(some, ([list, what, choice]) => {
      const world = worldFrom(list);
      const cluster = clusterOf(world);
      const all = [...cluster.members()];
      // Who claims an address of another is known as that one.
      const isAlone = ({ addresses }: Pod) =>
        addresses.every(address => world.pods.filter(each => each.addresses.includes(address)).length === 1);
      const chosen = all.filter((each, i) => (choice >> (i % 31)) & 1 && isAlone(each));
      const names = new Set(chosen.map(nameOf));
      const isChosen = ({ from, to }: { from: string; to: string }) => names.has(from) && names.has(to);
      const text = (rows: Iterable<object>) => [...rows].map(row => JSON.stringify(row)).sort();
      const whole = [...matrix(world, what)].filter(isChosen);
      assert.deepEqual(text(matrix(worldAround(cluster, chosen), what)), text(whole));
    }),
    { numRuns: 200 },
  );
});
