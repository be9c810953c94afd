/** The rows of the page: in order, bounded, and at a cost that depends on what comes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { keyOf, MOST_ROWS, type Row, Rows } from '../../../lib/cli/flows/flows-page/rows.ts';
import type { Entry, FlowRecord } from '../../../lib/flows/model.ts';

const flow = (id: number, time: number, verdict: FlowRecord['verdict'] = 'allowed'): Entry =>
  ({ kind: 'flow', id, time, verdict }) as FlowRecord;
const loss = (time: number): Entry => ({ kind: 'loss', time, until: time, events: 1 });

const tableOf = (rows: Rows): readonly Row[] => Array.from({ length: rows.size }, (_, i) => rows.at(i)!);
const entriesIn = (rows: Rows): readonly Entry[] => tableOf(rows).map(({ entry }) => entry);

/** What a person expects, sorted anew for each look. */
class SlowRows {
  readonly #all = new Map<number | string, Entry>();

  take(entries: readonly Entry[]): void {
    for (const entry of entries) this.#all.set(keyOf(entry), entry);
  }

  table(isDeniedFirst: boolean): readonly Entry[] {
    const newest = [...this.#all.values()].map((entry, i) => ({ entry, i }));
    const isFront = ({ entry }: { entry: Entry }): boolean =>
      isDeniedFirst && entry.kind === 'flow' && entry.verdict === 'denied';
    newest.sort((a, b) => Number(isFront(b)) - Number(isFront(a)) || b.entry.time - a.entry.time || b.i - a.i);
    return newest.map(({ entry }) => entry);
  }
}

/** A flow of that number has one verdict for good; its time may become another one when it ends. */
const entries = fc.array(
  fc.oneof(
    fc.tuple(fc.nat(30), fc.nat(9)).map(([id, time]) => flow(id, time, id % 3 === 0 ? 'denied' : 'allowed')),
    fc.nat(9).map(loss),
  ),
);

test('whatever comes in whatever order, the newest stands first, each flow once and as it is now', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(entries, fc.boolean())), messages => {
      const [rows, slow] = [new Rows(), new SlowRows()];
      let isDeniedFirst = true;
      for (const [message, isReordered] of messages) {
        if (isReordered) {
          isDeniedFirst = !isDeniedFirst;
          rows.reorder(isDeniedFirst);
        }
        rows.take(message);
        slow.take(message);
        assert.deepEqual(entriesIn(rows), slow.table(isDeniedFirst));
        for (const [at, row] of tableOf(rows).entries()) assert.equal(rows.indexOf(row), at);
      }
    }),
  );
});

test('beyond 10,000 those that came first give way, whatever they are', () => {
  const rows = new Rows();
  rows.take([loss(5), flow(1, 6, 'denied'), flow(2, 4)]);
  rows.take(Array.from({ length: MOST_ROWS - 2 }, (_, i) => flow(3 + i, 10 + i)));
  assert.equal(rows.size, MOST_ROWS);
  assert.deepEqual(
    [0, MOST_ROWS - 2, MOST_ROWS - 1].map(at => keyOf(rows.at(at)!.entry)),
    [1, 3, 2],
    'the loss has gone',
  );
  rows.take([flow(MOST_ROWS + 1, 20_000), flow(MOST_ROWS + 2, 20_001)]);
  assert.equal(rows.size, MOST_ROWS);
  assert.deepEqual(
    [0, 1, MOST_ROWS - 1].map(at => keyOf(rows.at(at)!.entry)),
    [MOST_ROWS + 2, MOST_ROWS + 1, 3],
  );
  rows.clear();
  assert.deepEqual([rows.size, rows.at(0)], [0, undefined]);
});

test('a message has as many rows compared as it is long, however many there are', () => {
  let reads = 0;
  const counted = (id: number, time: number): Entry =>
    Object.defineProperty(flow(id, time), 'time', {
      get: () => {
        reads++;
        return time;
      },
    });
  const rows = new Rows();
  rows.take(Array.from({ length: MOST_ROWS }, (_, i) => counted(i, i)));
  // 90 begin, 90 end, of one of which only now the kernel tells the time, and the table looks at those in sight.
  const begun = Array.from({ length: 90 }, (_, i) => counted(MOST_ROWS + i, MOST_ROWS + i));
  const ended = Array.from({ length: 90 }, (_, i) => counted(5_000 + i, 5_000 + i - Number(i === 7)));
  reads = 0;
  rows.take([...begun, ...ended]);
  for (let at = 0; at < 40; at++) rows.indexOf(rows.at(at)!);
  // Fourteen comparisons find a place among 10,000: one for each that comes, one for each that goes, one for each in sight.
  assert.ok(reads < (90 + 90 + 90 + 40) * 14 * 2, `${reads} times were read`);
});
