/** Whose connections are looked at, how often, and that others have their turn meanwhile; on a kernel's own table. */
import assert from 'node:assert/strict';
import { after, beforeEach, test } from 'node:test';
import type { Judgement } from '../../lib/enforce/connection-judge.ts';
import { type CutPlace, cutForbidden, Look } from '../../lib/enforce/cut.ts';
import { Cutter } from '../../lib/enforce/cutter.ts';
import { parseAddress } from '../../lib/ip/address.ts';
import type { NetlinkChannel } from '../../lib/kernel/channel.ts';
import { Conntrack } from '../../lib/kernel/conntrack.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { inNetns } from '../../lib/kernel/netns.ts';
import { Cluster } from '../../lib/policy/evaluate/cluster.ts';
import { readManifests } from '../../lib/policy/manifest/manifest.ts';
import { conntrackBy, type Inside, poolIn } from '../support/conntrack.ts';
import { forgetFlows, listFlows } from '../support/listed-flows.ts';
import { makeNetns } from '../support/netns.ts';
import { manyFlows, openFlows } from '../support/tracked-flows.ts';
import { documentsOf } from '../support/worlds.ts';

const netns = makeNetns();
const inside: Inside = work => inNetns(netns, work);
const socket = inNetns(netns, () => NetlinkSocket.open('netfilter'));
const pool = poolIn(inside);
const conntrack = conntrackBy(pool, inside);
after(() => {
  pool[Symbol.dispose]();
  socket[Symbol.dispose]();
  netns[Symbol.dispose]();
});
beforeEach(() => forgetFlows(socket.exchange));

const address = (text: string) => parseAddress(text) ?? assert.fail(text);
const [busy, quiet, friend, stranger] = ['10.0.0.2', '10.0.0.3', '10.0.0.4', '198.51.100.9'].map(address);
const outside = ['10.9.0.9', 'fd00::9'].map(address);

const pod = (name: string, role: string, ...ips: string[]) => ({
  ...{ apiVersion: 'v1', kind: 'Pod', metadata: { namespace: 'default', name, labels: { role } } },
  ...{ spec: { containers: [{ name: 'c' }] }, status: { podIPs: ips.map(ip => ({ ip })) } },
});

const policy = (name: string, spec: object) => ({
  ...{ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { namespace: 'default', name } },
  spec,
});

const allPods = [
  pod('busy', 'busy', '10.0.0.2', 'fd00::2'),
  pod('quiet', 'quiet', '10.0.0.3', 'fd00::3'),
  pod('friend', 'friend', '10.0.0.4', 'fd00::4'),
];

/** Who may call nobody but friends on port 53. */
const onlyFriends = (role: string) =>
  policy(`${role}-egress`, {
    podSelector: { matchLabels: { role } },
    policyTypes: ['Egress'],
    egress: [{ to: [{ podSelector: { matchLabels: { role: 'friend' } } }], ports: [{ port: 53, protocol: 'UDP' }] }],
  });

/** A place whose cluster counts how often it is asked whose an address is: twice or more for each verdict. */
function placeWith(...policies: readonly object[]): CutPlace & { readonly asked: () => number } {
  const { world } = readManifests(documentsOf([...allPods, ...policies] as never));
  const cluster = new Cluster(world);
  let asked = 0;
  const { ownerOf } = cluster;
  cluster.ownerOf = text => {
    asked++;
    return ownerOf.call(cluster, text);
  };
  const judgement: Judgement = {
    ...{ cluster, enforceEgressToNode: false },
    pods: new Set(allPods.flatMap(({ status }) => status.podIPs.map(({ ip }) => ip))),
  };
  const local = (): ReadonlySet<string> => new Set(['10.0.0.1']);
  return { judgement: () => judgement, local, conntrack, asked: () => asked };
}

const left = (): number => listFlows(socket.exchange).length;

test('only connections of whom a change concerns are judged, whatever others have opened', async () => {
  openFlows(socket.exchange, manyFlows(busy!, stranger!, 3000));
  openFlows(socket.exchange, manyFlows(quiet!, stranger!, 5));
  openFlows(socket.exchange, manyFlows(stranger!, quiet!, 4, 7));
  const look = new Look(placeWith(onlyFriends('quiet'), onlyFriends('busy')), [quiet!]);
  await look.run();
  assert.deepEqual([look.judged, look.cut], [9, 5]);
  assert.equal(left(), 3004);
  const all = new Look(placeWith(onlyFriends('quiet')), [
    quiet!,
    ...Array.from({ length: 9 }, (_, i) => address(`10.7.0.${i}`)),
  ]);
  await all.run();
  assert.equal(all.judged, 4, 'also where so many are concerned that all are listed');
});

test('what two addresses may do with each other is one verdict, whatever the number of connections between them', async () => {
  openFlows(socket.exchange, manyFlows(busy!, friend!, 4000, 53));
  openFlows(socket.exchange, manyFlows(busy!, friend!, 4000, 54));
  const place = placeWith(onlyFriends('busy'), policy('ingress', { podSelector: {}, ingress: [{}] }));
  assert.equal(await cutForbidden(place, [busy!]), 4000);
  assert.equal(left(), 4000);
  assert.ok(place.asked() <= 20, `addresses were asked for ${place.asked()} times in two looks`);
});

test('both families, of pods, of those that they call and of those that call them; the node is never cut', async () => {
  for (const [i, from] of ['10.0.0.2', 'fd00::2'].entries()) {
    openFlows(socket.exchange, manyFlows(address(from), outside[i]!, 2));
    openFlows(socket.exchange, manyFlows(outside[i]!, address(from), 3, 7));
  }
  openFlows(socket.exchange, manyFlows(address('10.0.0.1'), busy!, 1));
  const closed = policy('closed', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
  assert.equal(await cutForbidden(placeWith(closed), 'everywhere'), 10);
  assert.equal(left(), 1);
});

test('others have their turn while thousands of connections are judged and cut', async () => {
  openFlows(socket.exchange, manyFlows(busy!, stranger!, 20_000));
  let turns = 0;
  let isOver = false;
  const others = (): void => {
    turns++;
    if (!isOver) setTimeout(others, 0);
  };
  setTimeout(others, 0);
  const look = new Look(placeWith(onlyFriends('busy')), [busy!]);
  await look.run();
  isOver = true;
  assert.equal(look.cut, 20_000);
  assert.ok(turns > 2, `${turns} turns`);
});

test('a call that is under way has ten turns before the next slice, and one without end does not stop the cutting', async () => {
  // Each between two addresses of its own, and so with a verdict of its own: work for several slices.
  const strangers = Array.from({ length: 5000 }, (_, i) => address(`198.18.${i >> 8}.${i & 255}`));
  openFlows(
    socket.exchange,
    strangers.flatMap(each => manyFlows(busy!, each, 1)),
  );
  const judged: number[] = [];
  const isCalled = (): boolean => judged.push(look.judged) > 0;
  const look: Look = new Look({ ...placeWith(onlyFriends('busy')), isCalled }, [busy!]);
  await look.run();
  assert.equal(look.cut, 5000);
  const turns = [...Map.groupBy(judged, count => count).values()].map(({ length }) => length);
  assert.ok(turns.length > 2);
  assert.deepEqual(new Set(turns), new Set([9]), 'each time, and nothing is judged meanwhile');
});

test("the kernel's walk is part of what a look costs, so that whoever causes many rests in proportion", async () => {
  openFlows(socket.exchange, manyFlows(busy!, friend!, 1, 53));
  const walk = 30;
  const slow: NetlinkChannel = {
    exchange: pool.exchange,
    async *dump(request) {
      await new Promise(resolve => setTimeout(resolve, walk));
      yield* pool.dump(request);
    },
  };
  const look = new Look({ ...placeWith(), conntrack: new Conntrack(slow, () => 1) }, [busy!]);
  await look.run();
  assert.ok(look.judged > 0);
  // A timer may be early by less than a millisecond.
  assert.ok(look.cost >= walk - 1, `${look.cost} ms`);
});

function cutterOf(place: CutPlace) {
  const cuts: number[] = [];
  const cutter = new Cutter({
    ...place,
    cut: count => void cuts.push(count),
    failed: error => assert.fail(String(error)),
  });
  return { cutter, cuts };
}

test('requests merge: whoever is relabelled again and again is not looked at each time, and is looked at twice at last', async () => {
  openFlows(socket.exchange, manyFlows(busy!, stranger!, 2000));
  const { cutter, cuts } = cutterOf(placeWith(onlyFriends('busy')));
  for (let i = 0; i < 200; i++) {
    cutter.request([busy!]);
    await new Promise(resolve => setImmediate(resolve));
  }
  await cutter.settled();
  assert.equal(cuts[0], 2000);
  assert.ok(cuts.length >= 2 && cuts.length < 100, `${cuts.length} looks for 200 requests`);
  openFlows(socket.exchange, manyFlows(quiet!, stranger!, 1));
  cutter.request('everywhere');
  await cutter.settled();
  assert.equal(left(), 1);
  cutter[Symbol.dispose]();
});

test('a change in the middle of a look: what is left is judged by what policies say then', async () => {
  openFlows(socket.exchange, manyFlows(busy!, stranger!, 20_000));
  const closed = placeWith(onlyFriends('busy')).judgement();
  const opened = placeWith().judgement();
  let now = closed;
  const { cutter, cuts } = cutterOf({ ...placeWith(), judgement: () => now });
  cutter.request([busy!]);
  await new Promise(resolve => setTimeout(resolve, 0));
  now = opened;
  cutter.request([busy!]);
  await cutter.settled();
  const cut = cuts.reduce((sum, count) => sum + count, 0);
  assert.ok(cut < 20_000 && left() === 20_000 - cut, `${cut} were cut`);
  cutter[Symbol.dispose]();
});
