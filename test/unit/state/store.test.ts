import assert from 'node:assert/strict';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { asideOf, parseJson, readText, writeJson } from '../../../lib/state/atomic.ts';
import { reserve } from '../../../lib/state/disk-claims.ts';
import { listAttachments } from '../../../lib/state/listed.ts';
import { fileName, listNetworks, openStore } from '../../../lib/state/store.ts';
import { anyText } from '../../support/any-text.ts';
import { adding, contents, existing, from, network, owner, poolsOf, room } from '../../support/state-room.ts';

test('a name of CNI’s own alphabet is its own file name', () => {
  for (const text of ['a', '0123abc', 'cnitool-77383ca0d54f3a1e7b3c', 'A.b_c-d:eth0'])
    assert.equal(fileName(text), text);
});

test('any text has a file name that leads nowhere else, and no two have the same', () => {
  const text = fc.oneof(
    anyText({ maxLength: 300 }),
    fc.constantFrom('', '.', '..', '../x', '/', 'a/b', '\0', '%d', 'a'.repeat(200), 'a'.repeat(201), 'a'.repeat(300)),
    fc.stringMatching(/^[a-z0-9.:~/_-]{0,250}$/),
  );
  fc.assert(
    fc.property(text, text, (a, b) => {
      const name = fileName(a);
      assert.match(name, /^[\w.:@~-]+$/);
      assert.ok(Buffer.byteLength(name) <= 255);
      assert.ok(!name.startsWith('.') && name !== '');
      assert.equal(fileName(name), name);
      if (a !== b) assert.notEqual(name, fileName(b));
    }),
    { numRuns: 500 },
  );
});

test('looking makes nothing', async () => {
  using at = room();
  assert.equal(await existing(at.store, owner('a')), undefined);
  assert.deepEqual(listNetworks(at.store), []);
  assert.deepEqual(listAttachments(at.store, network), []);
  assert.deepEqual(readdirSync(at.stateDir), []);
});

test('a boot begins with nothing, and clears away what the one before held, torn files included', async () => {
  using at = room('one');
  using held = await adding(at.store, owner('a'));
  reserve(held, from(poolsOf('10.0.0.0/30')));
  writeFileSync(join(at.store.folder, 'torn'), '');
  mkdirSync(join(at.stateDir, 'dead-77-boot-zero', 'x'), { recursive: true });
  writeFileSync(join(at.stateDir, 'node.json'), '{}');
  const next = openStore(at.stateDir, { bootId: 'two' });
  assert.deepEqual(contents(next), { attachments: [], claims: [] });
  assert.ok(existsSync(at.store.folder), 'who only looks removes nothing');
  using again = await adding(next, owner('a'));
  reserve(again, from(poolsOf('10.0.0.0/30')));
  assert.deepEqual(readdirSync(at.stateDir).sort(), ['boot-two', 'node.json']);
  assert.deepEqual(contents(next), { attachments: ['a:eth0'], claims: ['10.0.0.2'] });
});

test('the boot is the kernel’s', () => {
  const id = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  assert.equal(openStore('/var/lib/tollgate').folder, `/var/lib/tollgate/boot-${id}`);
});

test('networks are apart, whatever they are called', async () => {
  using at = room();
  const names = ['net', 'other', 'n'.repeat(300), `${'n'.repeat(299)}m`];
  for (const name of names) {
    using held = await adding(at.store, { ...owner('a'), network: name });
    reserve(held, from(poolsOf('10.0.0.0/30')));
  }
  assert.equal(listNetworks(at.store).length, names.length);
  const owners = listNetworks(at.store).flatMap(folder =>
    listAttachments(at.store, folder).map(({ facts }) => facts.network),
  );
  assert.deepEqual(new Set(owners), new Set(names));
});

test('writeJson() replaces a file whole and leaves no other behind', () => {
  using at = room();
  const path = join(at.stateDir, 'x.json');
  assert.deepEqual(parseJson(readText(path)), { kind: 'absent' });
  writeJson(path, { a: 1 });
  writeJson(path, { a: [2] });
  assert.deepEqual(parseJson(readText(path)), { kind: 'value', value: { a: [2] } });
  assert.deepEqual(readdirSync(at.stateDir), ['x.json']);
});

test('a folder where a file of ours belongs gives way to it, and what is in it is moved aside', () => {
  using at = room();
  const path = join(at.stateDir, 'x.json');
  mkdirSync(path);
  writeJson(path, 1);
  assert.deepEqual(parseJson(readText(path)), { kind: 'value', value: 1 });
  rmSync(path);
  mkdirSync(path);
  writeFileSync(join(path, 'theirs'), 'kept');
  assert.deepEqual(parseJson(readText(path)), { kind: 'absent' });
  writeJson(path, 2);
  assert.deepEqual(parseJson(readText(path)), { kind: 'value', value: 2 });
  const aside = readdirSync(at.stateDir).find(name => name.startsWith('.not-ours-'))!;
  assert.equal(readFileSync(join(at.stateDir, aside, 'theirs'), 'utf8'), 'kept');
});

test('a link where a file of ours belongs gives way to it, and what it leads to stays', () => {
  using at = room();
  const [path, theirs] = [join(at.stateDir, 'x.json'), join(at.stateDir, 'theirs')];
  writeFileSync(theirs, 'kept');
  for (const link of [path, asideOf(path)]) {
    symlinkSync(theirs, link);
    writeJson(path, 1);
    assert.deepEqual(parseJson(readText(path)), { kind: 'value', value: 1 });
    assert.ok(lstatSync(path).isFile());
  }
  assert.equal(readFileSync(theirs, 'utf8'), 'kept');
});

test('writeJson() that fails says so and leaves the file as it was', () => {
  using at = room();
  const path = join(at.stateDir, 'x.json');
  writeJson(path, 1);
  assert.throws(() => writeJson(path, undefined), TypeError);
  assert.throws(() => writeJson(join(at.stateDir, 'no', 'y.json'), 1), /Cannot write .*y\.json: ENOENT/);
  assert.deepEqual(readdirSync(at.stateDir), ['x.json']);
});

for (const [sentence, text] of [
  ['an empty file', ''],
  ['half a file', '{"a":'],
  ['NULs', '\0\0\0\0'],
] as const)
  test(`${sentence} is garbage and says why`, () => {
    using at = room();
    const path = join(at.stateDir, 'x.json');
    writeFileSync(path, text);
    const found = parseJson(readText(path));
    assert.ok(found.kind === 'garbage' && found.reason.length > 0);
  });
