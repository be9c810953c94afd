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

  /** Entries that it was sent, and changes that it was told to have missed. */
  get told(): { readonly entries: number; readonly skipped: number } {
    const all = this.messages.map(text => JSON.parse(text.replace(/^data: /, '')));
    const sum = (of: (message: { entries: unknown[]; skipped: number }) => number) =>
      all.reduce((before, message) => before + of(message), 0);
    return { entries: sum(({ entries }) => entries.length), skipped: sum(({ skipped }) => skipped) };
  }
}

function start(from: Pod = client) {
  const journal = new FlowJournal(attributionOf({ now: sceneOf([web, from]) }));
  const recorder = { journal, readers: new Set<Outlet>() };
  const route = flowRoutes(() => recorder as unknown as FlowRecorder)['GET /flows/live']!;
  let opened = 0;
  const open = (count: number): void => {
    for (let i = 0; i < count; i++)
      journal.opened(connection('10.0.0.3', '10.0.0.2', { id: ++opened, sourcePort: opened & 65_535 }), 100);
  };
  const read = async (isSlow: boolean): Promise<Reader> => {
    const reader = new Reader(isSlow);
    reader.begin((await route(new URLSearchParams())) as HttpStream);
    return reader;
  };
  return { recorder, open, read };
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
