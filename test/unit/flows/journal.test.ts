import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseFilter } from '../../../lib/flows/filter.ts';
import { type Denial, FlowJournal } from '../../../lib/flows/journal.ts';
import type { FlowRecord } from '../../../lib/flows/model.ts';
import {
  attributionOf,
  bytes,
  client,
  connection,
  pod,
  policies,
  sceneOf,
  stranger,
  web,
} from '../../support/flow-world.ts';

const all = parseFilter('');

function start(local = [web, client, stranger], text = policies) {
  const place = { now: sceneOf(local, text) };
  const clock = { now: 0 };
  const attribution = attributionOf(place, { time: () => clock.now });
  const journal = new FlowJournal(attribution, 1 << 20);
  const flows = (): FlowRecord[] =>
    [...journal.list({ filter: all, last: 1000 }, 0)].filter(entry => entry.kind === 'flow');
  return { place, clock, attribution, journal, flows };
}

test('a flow stands there once, from its first packet to its end, with both ends, policies and counters', () => {
  const { journal, flows } = start();
  journal.opened(connection('10.0.0.3', '10.0.0.2'), 100);
  assert.deepEqual(flows(), [
    {
      ...{ kind: 'flow', id: 0, time: 100, isStartKnown: true, end: null, state: 'open', verdict: 'allowed' },
      from: {
        ...{ kind: 'pod', name: 'shop/client', address: '10.0.0.3', namespace: 'shop', pod: 'client' },
        labels: { app: 'client' },
      },
      to: {
        ...{ kind: 'pod', name: 'shop/web', address: '10.0.0.2', namespace: 'shop', pod: 'web' },
        labels: { app: 'web' },
      },
      ...{ protocol: 'TCP', sourcePort: 40_000, port: 80, sentTo: null, seenFrom: null, sent: null, received: null },
      egress: {
        ...{ allowed: true, isolated: false, by: [], rules: [] },
        why: 'No policy isolates shop/client for egress',
      },
      ingress: {
        ...{
          allowed: true,
          isolated: true,
          tier: 'NetworkPolicy',
          by: ['NetworkPolicy/shop/web'],
          rules: ['NetworkPolicy/shop/web ingress[0]'],
        },
        why: 'NetworkPolicy/shop/web ingress[0] allows TCP 80 from shop/client',
      },
    },
  ]);
  const counters = { sent: { packets: 5, bytes: 400 }, received: { packets: 4, bytes: 9000 } };
  journal.closed(connection('10.0.0.3', '10.0.0.2', counters), 101);
  const [{ state, end, sent, received }] = flows() as [FlowRecord];
  assert.deepEqual({ state, end, sent, received }, { state: 'closed', end: 101, ...counters });
});

test('what is no business of a pod of this node is not kept', () => {
  const { journal, flows } = start();
  journal.opened(connection('10.0.0.1', '192.0.2.7'), 100);
  journal.closed(connection('10.0.9.2', '10.0.9.3'), 100);
  assert.deepEqual(flows(), []);
});

const ends: [name: string, from: string, to: string, kinds: string[], judged: boolean[]][] = [
  ['the node', '10.0.0.1', '10.0.0.2', ['node', 'pod'], [false, true]],
  ['an address outside', '10.0.0.2', '192.0.2.7', ['pod', 'outside'], [true, false]],
  ['a pod of another node: its own policies are judged there', '10.0.0.3', '10.0.9.2', ['pod', 'pod'], [true, false]],
];
for (const [name, from, to, kinds, judged] of ends)
  test(`the other end is ${name}`, () => {
    const { journal, flows } = start();
    journal.opened(connection(from, to), 100);
    const [flow] = flows() as [FlowRecord];
    assert.deepEqual([flow.from.kind, flow.to.kind], kinds);
    assert.deepEqual([flow.egress !== null, flow.ingress !== null], judged);
  });

test('a Service, a host port and masquerading show where it was sent, and as whom the client is seen', () => {
  const { journal, flows } = start();
  const nat = { sentTo: bytes('10.96.0.1'), sentToPort: 8080, seenFrom: bytes('192.0.2.1'), seenFromPort: 1025 };
  journal.opened(connection('10.0.0.3', '10.0.0.2', nat), 100);
  const [{ to, sentTo, seenFrom, port }] = flows() as [FlowRecord];
  assert.deepEqual(
    { to: to.name, port, sentTo, seenFrom },
    {
      ...{ to: 'shop/web', port: 80 },
      sentTo: { address: '10.96.0.1', port: 8080 },
      seenFrom: { address: '192.0.2.1', port: 1025 },
    },
  );
});

test('an address that another pod has by now is told by the time: each flow keeps whose it was', () => {
  const { place, attribution, journal, flows } = start();
  journal.opened(connection('10.0.0.3', '10.0.0.2', { id: 1 }), 100);
  place.now = sceneOf([web, pod('shop', 'heir', '10.0.0.3', { app: 'client' })]);
  attribution.outdate();
  journal.opened(connection('10.0.0.3', '10.0.0.2', { id: 2 }), 101);
  assert.deepEqual(
    flows().map(({ from }) => from.name),
    ['shop/client', 'shop/heir'],
  );
});

test('what the kernel tells late of a pod that has left is that pod’s, and says that policies were not asked', () => {
  const { place, clock, attribution, journal, flows } = start();
  journal.opened(connection('10.0.0.4', '192.0.2.7', { id: 1 }), 100);
  place.now = sceneOf([web]);
  attribution.outdate();
  journal.opened(connection('10.0.0.3', '192.0.2.7', { id: 2 }), 101);
  assert.deepEqual(
    flows().map(({ from, doubt }) => [from.name, doubt]),
    [
      ['shop/stranger', undefined],
      ['shop/client', 'changed'],
    ],
  );
  clock.now = 10_000;
  attribution.outdate();
  journal.opened(connection('10.0.0.3', '192.0.2.7', { id: 3 }), 111);
  assert.equal(flows().length, 2, 'nobody knows that address any more');
});

test('policies are those of the moment: where they deny what the kernel lets pass, the flow says so', () => {
  const { place, attribution, journal, flows } = start([web, stranger], '');
  journal.opened(connection('10.0.0.4', '10.0.0.2', { id: 1 }), 100);
  place.now = sceneOf([web, stranger]);
  attribution.outdate();
  journal.opened(connection('10.0.0.4', '10.0.0.2', { id: 2 }), 101);
  assert.deepEqual(
    flows().map(({ verdict, ingress, doubt }) => [verdict, ingress?.allowed, doubt]),
    [
      ['allowed', true, undefined],
      ['allowed', false, 'changed'],
    ],
  );
});

const denial: Omit<Denial, 'by'> = {
  ...{ time: 100, direction: 'ingress', protocol: 6, sourcePort: 4000, port: 80 },
  ...{ from: bytes('10.0.0.4'), to: bytes('10.0.0.2') },
};

test('a denied flow names the policies that denied it, and what its other direction says', () => {
  const { journal, flows } = start();
  journal.denied({ ...denial, by: ['NetworkPolicy/shop/web'] });
  const [{ verdict, state, end, egress, ingress, doubt }] = flows() as [FlowRecord];
  assert.deepEqual([verdict, state, end, doubt], ['denied', 'denied', 100, undefined]);
  assert.deepEqual([egress?.allowed, ingress?.allowed], [true, false]);
  assert.deepEqual(ingress?.by, ['NetworkPolicy/shop/web']);
  assert.deepEqual([...journal.totals.deniedBy], [['NetworkPolicy/shop/web', 1]]);
  const byDirection = Object.fromEntries(journal.totals.byDirection.map(([at, how, n]) => [`${at} ${how}`, n]));
  assert.deepEqual([byDirection['ingress denied'], byDirection['egress allowed']], [1, 0]);
});

test('a denial that the policies of the moment do not explain is the chain’s, and says so', () => {
  const { journal, flows } = start([web, stranger], '');
  journal.denied({ ...denial, by: ['NetworkPolicy/shop/before'] });
  const [{ verdict, ingress, doubt }] = flows() as [FlowRecord];
  assert.deepEqual([verdict, ingress?.allowed, doubt], ['denied', false, 'changed']);
  assert.deepEqual(ingress?.by, ['NetworkPolicy/shop/before']);
});

test('a look at all flows adds what was missed, ends what has gone, and leaves what came meanwhile', () => {
  const { journal, flows } = start();
  const at = (id: number) => connection('10.0.0.3', '10.0.0.2', { id, sourcePort: 40_000 + id });
  journal.opened(at(1), 100);
  journal.opened(at(2), 100);
  const begun = journal.lookBegins();
  const found = new Set([journal.found(at(1), 110), journal.found(at(3), 110)].map(Number));
  journal.opened(at(4), 110);
  journal.closed(at(5), 110);
  assert.equal(journal.found(at(5), 110), undefined, 'the dump is older than the event');
  journal.lookEnds(begun, found, 111);
  assert.deepEqual(
    flows().map(({ state, isStartKnown, end }) => [state, isStartKnown, end]),
    [
      ['open', true, null],
      ['closed', true, 111],
      ['open', false, null],
      ['open', true, null],
      ['closed', false, 110],
    ],
  );
});

test('losses and sums stand where they happened', () => {
  const { journal } = start();
  journal.opened(connection('10.0.0.3', '10.0.0.2', { id: 1 }), 100);
  journal.lost({ time: 101, until: 102, events: 7 });
  journal.summed({ time: 103, direction: 'ingress', by: ['NetworkPolicy/shop/web'], packets: 9 });
  journal.opened(connection('10.0.0.3', '10.0.0.2', { id: 2, sourcePort: 2 }), 104);
  assert.deepEqual(
    [...journal.list({ filter: all, last: 100 }, 0)].map(({ kind }) => kind),
    ['flow', 'loss', 'sum', 'flow'],
  );
  const { allowed, denied, summedPackets, lostEvents } = journal.totals;
  assert.deepEqual([allowed, denied, summedPackets, lostEvents], [2, 0, 9, 7]);
});

test('a reader gets each change once, what passes its filter, and the number of what it missed', () => {
  const { journal } = start();
  let { cursor } = journal;
  const read = (most = 100, filter = all) => {
    const page = journal.read(cursor, { filter, most });
    cursor = page.cursor;
    return [page.entries.map(entry => (entry.kind === 'flow' ? entry.id : entry.kind)), page.skipped];
  };
  const at = (id: number, from = '10.0.0.3') => connection(from, '10.0.0.2', { id, sourcePort: 1000 + id });
  for (const id of [1, 2]) journal.opened(at(id), 100);
  journal.closed(at(1), 101);
  assert.deepEqual(read(), [[1, 0], 0], 'one that opened and closed meanwhile comes once, in its newest state');
  assert.deepEqual(read(), [[], 0]);
  for (const id of [3, 4, 5]) journal.opened(at(id), 102);
  assert.deepEqual(read(2), [[3, 4], 1]);
  journal.opened(at(6, '10.0.0.4'), 103);
  journal.opened(at(7), 103);
  assert.deepEqual(read(100, parseFilter('pod:stranger')), [[5], 0]);
  for (let id = 10; id < 70_010; id++) journal.opened(at(id), 104);
  const [entries, skipped] = read(100_000) as [number[], number];
  assert.equal(entries.length + skipped, 70_000, 'nothing is left out in silence');
});
