/** Whatever a pod does, what is remembered of flows stays within its bounds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseFilter } from '../../../lib/flows/filter.ts';
import { FlowJournal } from '../../../lib/flows/journal.ts';
import { Minutes } from '../../../lib/flows/minutes.ts';
import type { FlowEnd } from '../../../lib/flows/model.ts';
import { FlowRing, type NewFlow } from '../../../lib/flows/ring.ts';
import { workloadOf } from '../../../lib/flows/workload.ts';
import { attributionOf, client, connection, sceneOf, web } from '../../support/flow-world.ts';

const end = (name: string): FlowEnd => ({ kind: 'outside', name, address: name });

const newFlow = (name: string, more: Partial<NewFlow> = {}): NewFlow => {
  const value = end(name);
  return {
    ...{ time: 1, isStartKnown: true, state: 'open', protocol: 6, sourcePort: 1, port: 2, handle: 0, sumKey: 0 },
    ...{ from: { key: `e${name}`, value }, to: { key: `e${name}`, value } },
    judgements: { key: 'j', value: { egress: null, ingress: null } },
    ...more,
  };
};

test('a ring keeps the newest flows, whole, and never more bytes than it may', () => {
  const flows = fc.array(
    fc.record({
      name: fc.string({ maxLength: 200 }),
      port: fc.integer({ min: 0, max: 65_535 }),
      sentTo: fc.option(
        fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 65_535 })).map(([address, port]) => ({ address, port })),
        {
          nil: undefined,
        },
      ),
      isClosed: fc.boolean(),
    }),
    { minLength: 1, maxLength: 60 },
  );
  fc.assert(
    fc.property(flows, fc.integer({ min: 1, max: 60 }), (list, times) => {
      const gone: number[] = [];
      const ring = new FlowRing(1, (_, id) => gone.push(id));
      const added: (typeof list)[number][] = [];
      for (let i = 0; i < times; i++)
        for (const flow of list) {
          const id = ring.add(newFlow(`${flow.name}${i}`, { port: flow.port, sentTo: flow.sentTo }));
          if (flow.isClosed) assert.ok(ring.close(id, { end: 5 }));
          added.push(flow);
          assert.ok(ring.bytes <= 65_536, `${ring.bytes} bytes`);
        }
      assert.equal(ring.next, added.length);
      assert.deepEqual(
        gone,
        Array.from({ length: ring.first }, (_, id) => id),
        'the oldest go, in order',
      );
      assert.equal(ring.get(ring.first - 1), undefined);
      for (let id = ring.first; id < ring.next; id++) {
        const { port, sentTo, state } = ring.get(id)!;
        const wanted = added[id]!;
        assert.deepEqual(
          [port, sentTo, state],
          [wanted.port, wanted.sentTo ?? null, wanted.isClosed ? 'closed' : 'open'],
        );
      }
    }),
    { numRuns: 30 },
  );
});

test('a scan of a million addresses and ports changes neither what is kept nor how much', () => {
  const attribution = attributionOf({ now: sceneOf([web, client]) });
  const journal = new FlowJournal(attribution, 1 << 20);
  for (let i = 0; i < 200_000; i++) {
    const to = `${11 + (i % 100)}.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`;
    journal.opened(connection('10.0.0.3', to, { id: i, port: i & 65_535 }), 100 + i / 1000);
  }
  assert.ok(journal.bytes < 16 << 20, `${journal.bytes} bytes`);
  assert.equal(journal.open, journal.size, 'what has given way is not waited for');
  assert.equal(journal.totals.allowed, 200_000);
  const sums = journal.minutes.summed(0);
  assert.equal(
    sums.reduce((sum, { flows }) => sum + flows, 0),
    200_000,
    'sums lose none',
  );
});

test('what policies are too busy to be asked of is recorded without an answer, and counted', () => {
  let worked = 0;
  // Each question takes a tenth of the second's budget.
  const attribution = attributionOf({ now: sceneOf([web, client]) }, { work: () => (worked += 5) }, 50);
  const journal = new FlowJournal(attribution, 1 << 20);
  for (let i = 0; i < 50; i++) journal.opened(connection('10.0.0.3', '10.0.0.2', { id: i, port: i }), 1);
  const flows = [...journal.list({ filter: parseFilter(''), last: 100 }, 0)];
  const busy = flows.filter(entry => entry.kind === 'flow' && entry.doubt === 'busy');
  assert.equal(flows.length, 50);
  assert.equal(busy.length, 40);
  assert.equal(attribution.unanswered, busy.length);
  for (const entry of busy) assert.ok(entry.kind === 'flow' && entry.ingress === null, 'unknown is not allowed');
});

test('an agent that waits for a processor is not busy: each of its flows has an answer', () => {
  let now = 0;
  const attribution = attributionOf({ now: sceneOf([web, client]) }, { time: () => (now += 90) }, 50);
  const journal = new FlowJournal(attribution, 1 << 20);
  for (let i = 0; i < 50; i++) journal.opened(connection('10.0.0.3', '10.0.0.2', { id: i, port: i }), 1);
  assert.equal(attribution.unanswered, 0);
});

const counted = (from: string, port = 80) => ({
  ...{ from: end(from), to: { ...end('x'), kind: 'pod', namespace: 'a', pod: from } as FlowEnd, port },
  ...{ protocol: 'TCP', verdict: 'allowed' as const, judgements: { egress: null, ingress: null } },
});

test('minutes keep a day, and what is too much for one goes to all others', () => {
  const minutes = new Minutes({ keys: 5, inMinute: 3 });
  for (let minute = 0; minute < 3000; minute++)
    for (let i = 0; i < 10; i++) minutes.count(minutes.keyOf(counted(`pod${i}x`)), minute * 60, 1, 10);
  const sums = minutes.summed(0);
  assert.equal(minutes.since, (3000 - 1440) * 60);
  assert.equal(
    sums.reduce((sum, { flows }) => sum + flows, 0),
    1440 * 10,
  );
  assert.equal(
    sums.reduce((sum, { bytes }) => sum + bytes, 0),
    1440 * 100,
  );
  assert.ok(sums.some(({ from }) => from.name === 'others'));
  assert.equal(
    minutes.summed(2999 * 60).reduce((sum, { flows }) => sum + flows, 0),
    10,
    'the last minute alone',
  );
});

test('minutes of the busiest day stay within their bound', () => {
  const minutes = new Minutes({ numbers: 300 });
  for (let minute = 0; minute < 1000; minute++)
    for (let i = 0; i < 10; i++) minutes.count(minutes.keyOf(counted(`pod${i}x`)), minute * 60, 1);
  assert.equal(minutes.since, (1000 - 11) * 60, 'ten minutes that are over, and the one of now');
});

test('workloads that are gone for a day make room for those that come, and what is told of them still counts', () => {
  const minutes = new Minutes({ keys: 2 });
  const [stays, goes] = [minutes.keyOf(counted('stays')), minutes.keyOf(counted('goes'))];
  for (const key of [stays, goes]) minutes.count(key, 0, 1);
  const day = 24 * 60;
  for (const minute of [day, day + 1]) minutes.count(stays, minute * 60, 1);
  const now = (day + 2) * 60;
  minutes.count(minutes.keyOf(counted('comes')), now, 1);
  minutes.count(goes, now, 0, 100);
  assert.deepEqual(
    minutes.summed(now).map(({ to, flows, bytes }) => [to.name, flows, bytes]),
    [
      ['a/comes', 1, 0],
      ['others', 0, 100],
    ],
  );
  assert.deepEqual([minutes.knows(stays), minutes.knows(goes)], [true, false]);
});

const names: [pod: string, workload: string][] = [
  ['web-7d9c6b8f5d-x2x9z', 'web'],
  ['node-agent-k4b7z', 'node-agent'],
  ['db-0', 'db'],
  ['web', 'web'],
  ['api-gateway', 'api-gateway'],
];
for (const [name, workload] of names) test(`${name} is of ${workload}`, () => assert.equal(workloadOf(name), workload));
