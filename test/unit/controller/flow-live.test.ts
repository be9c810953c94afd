/** Readers of what is live: however many there are and however slowly they read, what waits for them is bounded and told. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FlowRecorder } from '../../../lib/controller/flow-recorder.ts';
import { flowRoutes } from '../../../lib/controller/flow-routes.ts';
import type { HttpStream, Outlet } from '../../../lib/controller/http-server.ts';
import { FlowJournal } from '../../../lib/flows/journal.ts';
import type { Pod } from '../../../lib/policy/model/model.ts';
import { attributionOf, client, connection, sceneOf, web } from '../../support/flow-world.ts';

const SECOND = 1000;

class Reader implements Outlet {
  readonly messages: string[] = [];
  /** Of what was written, not read. */
  waiting = 0;
  isSlow: boolean;
  isOver = false;
  isWhole = false;
  readonly #drained: (() => void)[] = [];
  #begun: Disposable | undefined;

  constructor(isSlow: boolean) {
    this.isSlow = isSlow;
  }

  begin(stream: HttpStream): void {
    this.#begun = stream.begin(this);
  }

  write(text: string): void {
    this.messages.push(text);
    if (this.isSlow) this.waiting += text.length;
  }

  isFull(): boolean {
    return this.waiting > 16_384;
  }

  async drained(): Promise<void> {
    if (this.isFull()) await new Promise<void>(done => this.#drained.push(done));
  }

  /** All that was written. */
  read(): void {
    this.waiting = 0;
    for (const done of this.#drained.splice(0)) done();
  }

  /** As a socket: it is closed only when the loop has turned. */
  cut(): void {
    this.isOver = true;
    setTimeout(() => this.#begun?.[Symbol.dispose](), 0);
  }

  finish(): void {
    this.isWhole = true;
  }

  /** Of the flows that it was sent. */
  get ids(): readonly number[] {
    return this.messages.flatMap(text =>
      (JSON.parse(text.replace(/^data: /, '')).entries as { id: number }[]).map(({ id }) => id),
    );
  }

  /** Entries that it was sent, and changes that it was told to have missed. */
  get told(): { readonly entries: number; readonly skipped: number } {
    const all = this.messages.map(text => JSON.parse(text.replace(/^data: /, '')));
    const sum = (of: (message: { entries: unknown[]; skipped: number }) => number) =>
      all.reduce((before, message) => before + of(message), 0);
    return { entries: sum(({ entries }) => entries.length), skipped: sum(({ skipped }) => skipped) };
  }
}

function start(from: Pod = client, bytes?: number) {
  const journal = new FlowJournal(attributionOf({ now: sceneOf([web, from]) }), bytes);
  const recorder = { journal, readers: new Set<Outlet>() };
  const routes = flowRoutes(() => recorder as unknown as FlowRecorder);
  let opened = 0;
  const open = (count: number): void => {
    for (let i = 0; i < count; i++)
      journal.opened(connection('10.0.0.3', '10.0.0.2', { id: ++opened, sourcePort: opened & 65_535 }), 100);
  };
  const ask = async (path: string, isSlow: boolean, query: Record<string, string>): Promise<Reader> => {
    const reader = new Reader(isSlow);
    reader.begin((await routes[path]!(new URLSearchParams(query))) as HttpStream);
    return reader;
  };
  const read = (isSlow: boolean, query = {}): Promise<Reader> => ask('GET /flows/live', isSlow, query);
  const list = (query: Record<string, string>): Promise<Reader> => ask('GET /flows', true, query);
  return { recorder, open, read, list };
}

test('of a thousand slow readers sixteen stay, and for each at most a message waits beyond what its socket holds', async t => {
  t.mock.timers.enable({ apis: ['setInterval', 'setTimeout', 'Date'] });
  const { recorder, open, read } = start();
  const slow = await Promise.all(Array.from({ length: 1000 }, () => read(true)));
  assert.equal(recorder.readers.size, 16);
  assert.equal(slow.filter(({ isOver }) => isOver).length, 984);
  const quick = await read(false);
  for (let second = 0; second < 60; second++) {
    open(1000);
    t.mock.timers.tick(SECOND);
  }
  const waiting = slow.reduce((sum, each) => sum + each.waiting, 0);
  const largest = Math.max(...slow.flatMap(({ messages }) => messages.map(text => text.length)));
  assert.ok(waiting <= 15 * (16_384 + largest), `${waiting} characters wait, ${largest} in one message`);
  assert.ok(largest < 263_000, `${largest} characters in one message`);
  assert.deepEqual(slow.filter(({ isOver, messages }) => isOver && messages.length > 1).length, 0);
  const { entries, skipped } = quick.told;
  assert.equal(entries + skipped, 60_000, 'the one that reads has all of it, or is told how much it has not');
});

test('a reader that was slow is told how many changes it has missed', async t => {
  t.mock.timers.enable({ apis: ['setInterval', 'setTimeout', 'Date'] });
  const { open, read } = start();
  const reader = await read(true);
  for (let second = 0; second < 30; second++) {
    open(1000);
    t.mock.timers.tick(SECOND);
  }
  const before = reader.told;
  assert.ok(before.entries > 0 && before.entries < 2000, `${before.entries} entries`);
  [reader.waiting, reader.isSlow] = [0, false];
  t.mock.timers.tick(SECOND);
  const { entries, skipped } = reader.told;
  assert.equal(entries + skipped, 30_000);
  assert.ok(skipped > 20_000);
});

test('a message of flows with many labels is no longer than one of others', async t => {
  t.mock.timers.enable({ apis: ['setInterval', 'setTimeout', 'Date'] });
  const labels = new Map(Array.from({ length: 300 }, (_, i) => [`label-${i}`, 'x'.repeat(63)]));
  const { open, read } = start({ ...client, labels });
  const reader = await read(false);
  open(2000);
  t.mock.timers.tick(SECOND);
  const largest = Math.max(...reader.messages.map(text => text.length));
  assert.ok(largest < 263_000, `${largest} characters`);
  const { entries, skipped } = reader.told;
  assert.ok(entries > 5, `${entries} entries`);
  assert.equal(entries + skipped, 2000);
});

test('what has been and what comes are one: flows that open while the list is read come after it, and none twice', async t => {
  t.mock.timers.enable({ apis: ['setInterval', 'setTimeout', 'Date'] });
  const { open, read } = start();
  open(3000);
  const reader = await read(true, { last: '2000' });
  for (let second = 0; second < 30; second++) {
    open(10);
    reader.read();
    // The next piece is written once the loop has turned.
    await new Promise<void>(done => setImmediate(done));
    t.mock.timers.tick(SECOND);
  }
  const ids = reader.ids;
  assert.equal(ids.length, 2300);
  assert.deepEqual(
    ids,
    ids.map((_, i) => 1000 + i),
  );
});

test('of a list that nobody reads one piece waits, whatever its length', async t => {
  t.mock.timers.enable({ apis: ['setInterval', 'setTimeout', 'Date'] });
  const { open, list } = start();
  open(10_000);
  const reader = await list({ last: '10000' });
  assert.equal(reader.messages.length, 1);
  assert.ok(reader.waiting < 70_000, `${reader.waiting} characters wait`);
  while (!reader.isWhole && !reader.isOver) {
    reader.read();
    await new Promise<void>(done => setImmediate(done));
  }
  assert.equal(reader.messages.join('').trim().split('\n').length, 10_000);
});

test('what gave way to newer flows before it was read is told at the end of the list', async t => {
  t.mock.timers.enable({ apis: ['setInterval', 'setTimeout', 'Date'] });
  const { open, list } = start(client, 1 << 20);
  open(5_000);
  const reader = await list({ last: '5000' });
  open(20_000);
  while (!reader.isWhole && !reader.isOver) {
    reader.read();
    await new Promise<void>(done => setImmediate(done));
  }
  const lines = reader.messages.join('').trim().split('\n');
  const { kind, changes } = JSON.parse(lines.pop()!) as { kind: string; changes: number };
  assert.deepEqual([kind, changes + lines.length], ['gap', 5_000]);
});

for (const [what, ask] of [
  ['lists', ({ list }: ReturnType<typeof start>) => list({ last: '1000' })],
  ['readers of what has been and what comes', ({ read }: ReturnType<typeof start>) => read(true, { last: '1000' })],
] as const)
  test(`of a thousand ${what} whose clients do not read, sixteen stay, and a piece waits for each`, async t => {
    t.mock.timers.enable({ apis: ['setInterval', 'setTimeout', 'Date'] });
    const room = start();
    room.open(1000);
    const all = await Promise.all(Array.from({ length: 1000 }, () => ask(room)));
    assert.equal(room.recorder.readers.size, 16);
    assert.equal(all.filter(({ isOver }) => isOver).length, 984);
    for (let second = 0; second < 10; second++) {
      room.open(100);
      t.mock.timers.tick(SECOND);
      await new Promise<void>(done => setImmediate(done));
    }
    const waiting = all.map(each => each.waiting);
    assert.ok(Math.max(...waiting) < 70_000, `${Math.max(...waiting)} characters wait for one`);
    const cut = all.filter(({ isOver }) => isOver);
    for (const each of cut) each.read();
    await new Promise<void>(done => setImmediate(done));
    assert.equal(Math.max(...cut.map(each => each.waiting)), 0, 'nothing is written to one that was cut off');
  });
