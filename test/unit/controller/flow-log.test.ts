import assert from 'node:assert/strict';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeEach, test } from 'node:test';
import { FlowLog } from '../../../lib/controller/flow-log.ts';
import { parseFilter } from '../../../lib/flows/filter.ts';
import { FlowJournal } from '../../../lib/flows/journal.ts';
import { attributionOf, client, connection, sceneOf, web } from '../../support/flow-world.ts';
import { scratchFolder } from '../../support/scratch.ts';

let folder: string;
let path: string;
let journal: FlowJournal;
beforeEach(() => {
  folder = scratchFolder('flows');
  path = join(folder, 'flows.jsonl');
  journal = new FlowJournal(attributionOf({ now: sceneOf([web, client]) }), 1 << 20);
});

const said: string[] = [];
const log = (_: string, message: string): void => void said.push(message);
const open = (words = '', most?: number): FlowLog =>
  new FlowLog(journal, { path, filter: parseFilter(words), log, ...(most === undefined ? {} : { most }) });
const at = (id: number) => connection('10.0.0.3', '10.0.0.2', { id, sourcePort: id });
const lines = (file = path) =>
  readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map(line => JSON.parse(line));

test('a flow has its line once it has ended, with all that is known of it, and only root reads it', () => {
  using file = open();
  journal.opened(at(1), 100);
  file.write();
  assert.equal(existsSync(path), false);
  journal.closed(at(1), 101);
  file.write();
  file.write();
  assert.deepEqual(lines(), [journal.get(0)]);
  assert.equal(statSync(path).mode & 0o777, 0o600);
});

test('what the filter leaves out has no line', () => {
  using file = open('pod:nobody');
  journal.opened(at(1), 100);
  journal.closed(at(1), 101);
  file.write();
  assert.equal(existsSync(path), false);
});

test('a full file is exchanged, and a few of those before it are kept', () => {
  using file = open('', 1);
  for (let id = 1; id <= 8; id++) {
    journal.opened(at(id), 100);
    journal.closed(at(id), 101);
    file.write();
  }
  assert.deepEqual(
    readdirSync(folder).sort(),
    ['', '.1', '.2', '.3', '.4'].map(end => `flows.jsonl${end}`),
  );
  assert.equal(lines()[0].id, 7);
  assert.equal(lines(`${path}.4`)[0].id, 3);
});

test('what could not be written is counted, and told in the file as soon as it can be', () => {
  path = join(folder, 'absent', 'flows.jsonl');
  using file = open();
  journal.opened(at(1), 100);
  journal.closed(at(1), 101);
  file.write();
  assert.match(said.at(-1)!, /Cannot write flows to .*ENOENT/);
  mkdirSync(join(folder, 'absent'));
  journal.opened(at(2), 102);
  journal.closed(at(2), 103);
  file.write();
  assert.deepEqual(
    lines().map(({ kind, changes, id }) => [kind, changes, id]),
    [
      ['gap', 1, undefined],
      ['flow', undefined, 1],
    ],
  );
});

test('what came faster than it was written stands as a gap, with the number of changes', () => {
  using file = open();
  for (let id = 1; id <= 70_000; id++) journal.opened(at(id), 100);
  journal.closed(at(70_000), 101);
  file.write();
  assert.deepEqual(
    lines().map(({ kind }) => kind),
    ['gap', 'flow'],
  );
  assert.ok(lines()[0].changes >= 70_001 - 65_536, `${lines()[0].changes} changes`);
});

test('a change is written half a second later; where nothing changes, nothing wakes it', t => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  using file = open();
  void file;
  journal.opened(at(1), 100);
  journal.closed(at(1), 101);
  assert.equal(existsSync(path), false);
  t.mock.timers.tick(500);
  assert.equal(lines().length, 1);
  journal.opened(at(2), 102);
  journal.closed(at(2), 103);
  t.mock.timers.tick(500);
  assert.equal(lines().length, 2);
});

test('what a disk does not take is tried again until it does', t => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  path = join(folder, 'absent', 'flows.jsonl');
  using file = open();
  void file;
  journal.opened(at(1), 100);
  journal.closed(at(1), 101);
  t.mock.timers.tick(500);
  mkdirSync(join(folder, 'absent'));
  t.mock.timers.tick(500);
  assert.deepEqual(
    lines().map(({ kind, changes }) => [kind, changes]),
    [['gap', 1]],
  );
});

/** The files that an agent before this one left, in their order of age; what the next one tells of the time in between. */
const left: readonly {
  readonly what: string;
  readonly files: Readonly<Record<string, string>>;
  /** Time of the last record in seconds; undefined: nothing is told. */
  readonly last: number | undefined;
}[] = [
  { what: 'no file', files: {}, last: undefined },
  { what: 'an empty file', files: { '': '' }, last: undefined },
  { what: 'a flow that ended', files: { '': '{"kind":"flow","time":100,"end":170}\n' }, last: 170 },
  { what: 'a flow that was denied', files: { '': '{"kind":"flow","time":100,"end":null}\n' }, last: 100 },
  { what: 'a loss', files: { '': '{"kind":"loss","time":100,"until":160,"events":3}\n' }, last: 160 },
  { what: 'the agent before it', files: { '': '{"kind":"away","time":100,"until":190}\n' }, last: 190 },
  { what: 'a line that a crash cut', files: { '': '{"kind":"gap","time":150}\n{"kind":"flow","ti' }, last: 150 },
  { what: 'a file that was just exchanged', files: { '.1': '{"kind":"gap","time":155}\n' }, last: 155 },
  {
    what: 'a clock that was set back',
    files: { '': '{"kind":"gap","time":99999999999}\n' },
    last: Number.POSITIVE_INFINITY,
  },
  { what: 'what is none of its lines', files: { '': `${'x'.repeat(600_000)}\n` }, last: 1_000 },
];

for (const { what, files, last } of left)
  test(`the time without an agent is told after ${what}${last === undefined ? ': none' : ''}`, () => {
    for (const [end, text] of Object.entries(files)) {
      writeFileSync(`${path}${end}`, text);
      utimesSync(`${path}${end}`, 1_000, 1_000);
    }
    const before = Date.now() / 1000;
    using file = open('pod:nobody');
    const after = Date.now() / 1000;
    file.write();
    if (last === undefined) {
      assert.equal(existsSync(path) ? readFileSync(path, 'utf8') : '', '');
      return;
    }
    const text = readFileSync(path, 'utf8')
      .slice(files['']?.length ?? 0)
      .trim();
    const { kind, time, until } = JSON.parse(text);
    assert.ok(until >= before && until <= after, text);
    assert.deepEqual({ kind, time }, { kind: 'away', time: Math.min(last, until) });
  });

test('a line that was cut off keeps the next one whole, and the time without an agent is told once', () => {
  writeFileSync(path, '{"kind":"gap","time":150,"changes":1}\n{"kind":"flow","ti');
  using file = open();
  journal.opened(at(1), 100);
  journal.closed(at(1), 101);
  file.write();
  appendFileSync(path, '{"kind":"fl');
  journal.opened(at(2), 102);
  journal.closed(at(2), 103);
  file.write();
  const parts = readFileSync(path, 'utf8').trim().split('\n');
  assert.equal(parts.splice(4, 1)[0], '{"kind":"fl');
  assert.equal(parts.splice(1, 1)[0], '{"kind":"flow","ti');
  assert.deepEqual(
    parts.map(line => JSON.parse(line).kind),
    ['gap', 'away', 'flow', 'flow'],
  );
});

test('the time without an agent is told as soon as the disk takes it', t => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  writeFileSync(path, '{"kind":"gap","time":150,"changes":1}\n');
  // Keeps the full file from being exchanged.
  mkdirSync(`${path}.1`);
  using file = open('', 1);
  void file;
  assert.match(said.at(-1)!, /Cannot write flows to .*EISDIR/);
  rmdirSync(`${path}.1`);
  t.mock.timers.tick(500);
  assert.deepEqual(
    lines().map(({ kind, time }) => [kind, time]),
    [['away', 150]],
  );
});
