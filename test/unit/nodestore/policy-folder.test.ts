/** The policies folder, call after call: what comes, goes or changes is seen at once, and no folder is listed for nothing. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs, { mkdirSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { PolicyFileError } from '../../../lib/nodestore/folder-listing.ts';
import { CONFIRMING, type FolderLook } from '../../../lib/nodestore/kept-file.ts';
import {
  type Folder,
  isWaiting,
  manifestsOf,
  notesOf,
  readFolder,
  refuseBroken,
  warningsOf,
} from '../../../lib/nodestore/policy-folder.ts';
import { scratchFolder } from '../../support/scratch.ts';

const policy = (name: string): string =>
  JSON.stringify({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: name.replaceAll('/', '.') },
    spec: { podSelector: {} },
  });

/** As if so many milliseconds had passed since anything changed. */
const laterBy = ({ mock }: TestContext, ms: number): void =>
  mock.timers.enable({ apis: ['Date'], now: Date.now() + ms });

class Room implements Disposable {
  readonly path = scratchFolder('folder');

  write(name: string): void {
    writeFileSync(join(this.path, name), policy(name));
  }

  async names(): Promise<string[]> {
    return Object.keys((await readFolder(this.path, {})).kept);
  }

  /** Until the file system's clock has gone on since the folder changed: with the clock of the test it has done so long ago. */
  tick(): void {
    const changed = statSync(this.path, { bigint: true }).ctimeNs;
    const probe = `${this.path}-probe`;
    do writeFileSync(probe, '');
    while (statSync(probe, { bigint: true }).ctimeNs <= changed);
    rmSync(probe);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

for (const [what, age] of [
  ['has just changed', 0],
  ['has not changed for long', 60_000],
] as const)
  test(`of a folder that ${what}, all that comes, goes, or is another folder by then is seen`, async context => {
    laterBy(context, age);
    using room = new Room();
    const change = (work: () => void): void => {
      if (age > 0) room.tick();
      work();
    };
    assert.deepEqual(await room.names(), []);
    change(() => room.write('a.json'));
    assert.deepEqual(await room.names(), ['a.json']);
    for (let i = 0; i < 20; i++) {
      change(() => room.write('b.json'));
      assert.deepEqual(await room.names(), ['a.json', 'b.json']);
      change(() => rmSync(join(room.path, 'b.json')));
      assert.deepEqual(await room.names(), ['a.json']);
    }
    change(() => renameSync(join(room.path, 'a.json'), join(room.path, 'c.json')));
    assert.deepEqual(await room.names(), ['c.json']);
    rmSync(room.path, { recursive: true });
    assert.deepEqual(await room.names(), []);
    mkdirSync(room.path);
    assert.deepEqual(await room.names(), []);
  });

for (const [what, age, lists] of [
  ['has not changed for long is listed once', 60_000, 1],
  ['has just changed is listed each time', 0, 5],
] as const)
  test(`a folder that ${what}`, async context => {
    laterBy(context, age);
    const list = context.mock.method(fs, 'readdirSync');
    syncBuiltinESMExports();
    using room = new Room();
    room.write('a.json');
    for (let i = 0; i < 5; i++) assert.deepEqual(await room.names(), ['a.json']);
    assert.equal(list.mock.callCount(), lists);
    list.mock.restore();
    syncBuiltinESMExports();
  });

test('a folder that cannot be listed is an error, and not what it was', async context => {
  laterBy(context, 60_000);
  using room = new Room();
  room.write('a.json');
  assert.deepEqual(await room.names(), ['a.json']);
  rmSync(room.path, { recursive: true });
  writeFileSync(room.path, '');
  await assert.rejects(room.names(), /Cannot read the policies folder .*ENOTDIR/);
});

const deny = policy('deny');
const utf16 = (text: string, isBig: boolean): Buffer => {
  const bytes = Buffer.from(`\ufeff${text}`, 'utf16le');
  return isBig ? bytes.swap16() : bytes;
};
const policyNames = ({ kept }: Folder): string[] => manifestsOf(kept).world.policies.map(({ name }) => name);

/** What may come in the place of a manifest, with what is said of it. */
type Content = string | Buffer | ((path: string) => void);
const garbage: readonly (readonly [what: string, content: Content, says: RegExp])[] = [
  ['a syntax error', 'spec: [', /p\.yaml#1: Flow sequence/],
  ['an error page', '404: Not Found\n', /p\.yaml#1 kind: Missing/],
  ['plain words', 'this is not yaml at all\n', /"this is not yaml at all" where an object/],
  ['a number', '7', /7 where an object/],
  ['a list of policies', `- ${deny}`, /a list where an object/],
  [
    'a List whose items are no list',
    '{ apiVersion: v1, kind: List, items: { a: b } }',
    /items: a mapping where a list/,
  ],
  ['gzip', gzipSync(deny), /compressed with gzip: unpack it/],
  ['UTF-16 without a byte order mark', utf16(deny, false).subarray(2), /control character U\+0000 in line 1/],
  ['half a character of UTF-16', utf16(deny, false).subarray(0, -1), /neither UTF-8 nor UTF-16/],
  ['Latin-1', Buffer.from('# \xe4\n', 'latin1'), /neither UTF-8 nor UTF-16/],
  ['a control character', `# \x1b[2J\n${deny}`, /control character U\+001B in line 1/],
  [
    'a kind in other letters',
    deny.replace('"NetworkPolicy"', '"Networkpolicy"'),
    /no kind of networking\.k8s\.io\/v1: write NetworkPolicy/,
  ],
  ['a kind in the plural', deny.replace('"NetworkPolicy"', '"NetworkPolicies"'), /write NetworkPolicy/],
  ['a group that is misspelt', deny.replace('networking.', 'network.'), /write networking\.k8s\.io\/v1/],
  ['a pod without a version', '{ kind: Pod, metadata: { name: p } }', /apiVersion: Missing/],
  ['a namespace in other letters', '{ apiVersion: v1, kind: NameSpace, metadata: { name: p } }', /write Namespace/],
  ['a link to nothing', path => symlinkSync('/nonexistent/x', path), /a link to what is not there/],
  ['a link to itself', path => symlinkSync('p.yaml', path), /ELOOP/],
  ['a folder', path => mkdirSync(path), /a folder, not a file/],
  ['a FIFO', path => execFileSync('mkfifo', [path]), /not a regular file/],
  ['a link to a device without end', path => symlinkSync('/dev/zero', path), /not a regular file/],
  [
    'a file that is longer than text can be',
    path => execFileSync('truncate', ['-s', '600M', path]),
    /longer than 511 MiB/,
  ],
];

function put(path: string, content: Content): void {
  rmSync(path, { force: true, recursive: true });
  if (typeof content === 'function') content(path);
  else writeFileSync(path, content);
}

for (const [what, content, says] of garbage)
  test(`${what} in the place of a good policy leaves that in force, with a warning; where there was none it is an error`, async () => {
    using room = new Room();
    const file = join(room.path, 'p.yaml');
    put(file, deny);
    const good = await readFolder(room.path, {});
    assert.deepEqual(warningsOf(good), []);
    put(file, content);
    const after = await readFolder(room.path, good.kept);
    assert.deepEqual(policyNames(after), ['deny']);
    refuseBroken(after);
    const [warning, ...more] = warningsOf(after);
    assert.deepEqual(more, []);
    assert.match(warning!, /p\.yaml cannot be read as manifests, so its last good version stays in force/);
    assert.match(warning!, says);
    assert.equal((await readFolder(room.path, after.kept)).isChanged, false, 'the next look finds nothing new');
    const fresh = await readFolder(room.path, {});
    assert.throws(
      () => refuseBroken(fresh),
      error => error instanceof PolicyFileError && says.test(error.message),
    );
    put(file, policy('other'));
    const mended = await readFolder(room.path, after.kept);
    assert.deepEqual([policyNames(mended), warningsOf(mended)], [['other'], []]);
  });

for (const [what, text] of [
  ['UTF-16, little end first', utf16(deny, false)],
  ['UTF-16, big end first', utf16(deny, true)],
  ['UTF-8 with a byte order mark', `\ufeff${deny}`],
] as const)
  test(`a manifest in ${what} is read, as kubectl reads it`, async () => {
    using room = new Room();
    put(join(room.path, 'p.yaml'), text);
    const folder = await readFolder(room.path, {});
    refuseBroken(folder);
    assert.deepEqual(policyNames(folder), ['deny']);
  });

for (const [what, text] of [
  ['nothing', ''],
  ['comments', '# gone\n---\n'],
] as const) {
  const empties = async () => {
    const room = new Room();
    put(join(room.path, 'p.yaml'), deny);
    const { kept } = await readFolder(room.path, {});
    put(join(room.path, 'p.yaml'), text);
    const look = (before: Folder['kept'], how: FolderLook) => readFolder(room.path, before, how);
    return { room, kept, look };
  };

  test(`a file that has come to hold ${what} counts once a second look, 2 s later, finds it so`, async () => {
    const { room, kept, look } = await empties();
    using _ = room;
    const first = await look(kept, { now: 1_000 });
    assert.deepEqual([policyNames(first), isWaiting(first.kept)], [['deny'], true]);
    assert.match(warningsOf(first).join(), /it has become empty, which counts once it is confirmed/);
    const soon = await look(first.kept, { now: 1_000 + CONFIRMING - 1 });
    assert.deepEqual([policyNames(soon), soon.isChanged], [['deny'], false]);
    const later = await look(soon.kept, { now: 1_000 + CONFIRMING });
    assert.deepEqual([policyNames(later), later.isChanged, isWaiting(later.kept)], [[], true, false]);
    assert.deepEqual(warningsOf(later), []);
  });

  test(`a file that has come to hold ${what}, and again after a change, is waited for anew`, async () => {
    const { room, kept, look } = await empties();
    using _ = room;
    const first = await look(kept, { now: 1_000 });
    put(join(room.path, 'p.yaml'), `${text} `);
    const other = await look(first.kept, { now: 1_000 + CONFIRMING });
    assert.deepEqual([policyNames(other), isWaiting(other.kept)], [['deny'], true]);
    // As after a start of the machine, whose clock begins again.
    const rebooted = await look(other.kept, { now: 5 });
    assert.deepEqual(policyNames(rebooted), ['deny']);
  });

  test(`a file that has come to hold ${what} counts at once where it is confirmed`, async () => {
    const { room, kept, look } = await empties();
    using _ = room;
    assert.deepEqual(policyNames(await look(kept, { isConfirmed: true })), []);
    const first = await look(kept, {});
    assert.deepEqual(policyNames(await look(first.kept, { isConfirmed: true })), []);
  });
}

/** What may become of all files of a folder at once. */
const ends: readonly (readonly [what: string, end: (room: Room) => void])[] = [
  ['is not there any more', room => rmSync(room.path, { recursive: true })],
  [
    'is another one, as an empty mount over it makes it',
    room => {
      renameSync(room.path, `${room.path}-before`);
      mkdirSync(room.path);
      rmSync(`${room.path}-before`, { recursive: true });
    },
  ],
  ['has lost all its files', room => ['a.json', 'b.json'].forEach(name => void rmSync(join(room.path, name)))],
];

for (const [what, end] of ends) {
  const ended = async () => {
    const room = new Room();
    for (const name of ['a.json', 'b.json']) room.write(name);
    const { kept } = await readFolder(room.path, {});
    end(room);
    const look = (before: Folder['kept'], how: FolderLook) => readFolder(room.path, before, how);
    return { room, kept, look };
  };

  test(`a folder that ${what} stays in force until a second look, 2 s later, finds it so`, async () => {
    const { room, kept, look } = await ended();
    using _ = room;
    const first = await look(kept, { now: 1_000 });
    refuseBroken(first);
    assert.deepEqual([policyNames(first), isWaiting(first.kept)], [['a.json', 'b.json'], true]);
    const [warning, ...more] = warningsOf(first);
    assert.deepEqual(more, [], 'one line, however many files');
    assert.match(warning!, /holds no manifest any more.*what it said last stays in force/);
    const soon = await look(first.kept, { now: 1_000 + CONFIRMING - 1 });
    assert.deepEqual([policyNames(soon), soon.isChanged], [['a.json', 'b.json'], false]);
    const later = await look(soon.kept, { now: 1_000 + CONFIRMING });
    assert.deepEqual([policyNames(later), later.isChanged, isWaiting(later.kept)], [[], true, false]);
    assert.deepEqual(warningsOf(later), []);
  });

  test(`a folder that ${what} counts at once where it is confirmed, and as it is where it comes back`, async () => {
    const { room, kept, look } = await ended();
    using _ = room;
    assert.deepEqual(policyNames(await look(kept, { isConfirmed: true })), []);
    const first = await look(kept, { now: 1_000 });
    assert.deepEqual(policyNames(await look(first.kept, { isConfirmed: true })), []);
    mkdirSync(room.path, { recursive: true });
    room.write('a.json');
    const back = await look(first.kept, { now: 1_001 });
    assert.deepEqual([policyNames(back), isWaiting(back.kept), warningsOf(back)], [['a.json'], false, []]);
  });
}

test('a file that never held anything is empty, and no more is said of it', async () => {
  using room = new Room();
  put(join(room.path, 'p.yaml'), '');
  const folder = await readFolder(room.path, {});
  refuseBroken(folder);
  assert.deepEqual([warningsOf(folder), isWaiting(folder.kept)], [[], false]);
});

test('a policies folder that is a link to nothing is as it was, with a warning, and an error where nothing was known of it', async () => {
  using room = new Room();
  using real = new Room();
  real.write('p.json');
  rmSync(room.path, { recursive: true });
  symlinkSync(real.path, room.path);
  const { kept } = await readFolder(room.path, {});
  rmSync(room.path);
  symlinkSync('/nonexistent/folder', room.path);
  const folder = await readFolder(room.path, kept);
  assert.deepEqual(policyNames(folder), ['p.json']);
  assert.match(warningsOf(folder).join(), /it is a link to what is not there: what it said last stays in force/);
  await assert.rejects(readFolder(room.path, {}), /Cannot read the policies folder .* link to what is not there/);
});

test('policies that this version does not enforce are named; kinds of other groups are nobody’s business', async () => {
  using room = new Room();
  const objects = [
    { apiVersion: 'crd.antrea.io/v1beta1', kind: 'ClusterNetworkPolicy', metadata: { name: 'all' } },
    { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { namespace: 'a', name: 'c' } },
    { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'd' } },
    { apiVersion: 'v1', kind: 'Service', metadata: { name: 's' } },
    { apiVersion: 'example.com/v1', kind: 'AllowList', items: ['10.0.0.1'] },
  ];
  put(join(room.path, 'p.yaml'), objects.map(object => JSON.stringify(object)).join('\n---\n'));
  const folder = await readFolder(room.path, {});
  refuseBroken(folder);
  assert.deepEqual(warningsOf(folder), []);
  assert.match(
    notesOf(folder).join(),
    /p\.yaml: ClusterNetworkPolicy\/all and 1 more are not enforced by this version$/,
  );
});

test('policies of the folder staged/ are tried: read, told where they are broken, and no reason to refuse a pod', async () => {
  using room = new Room();
  room.write('real.json');
  mkdirSync(join(room.path, 'staged'));
  room.write('staged/try.json');
  const { kept } = await readFolder(room.path, {});
  assert.deepEqual(Object.keys(kept), ['real.json', 'staged/try.json']);
  const { world } = manifestsOf(kept);
  assert.deepEqual(
    world.policies.map(({ name }) => name),
    ['real.json'],
  );
  assert.deepEqual(
    world.staged?.policies.map(({ name }) => name),
    ['staged.try.json'],
  );
  put(join(room.path, 'staged/broken.yaml'), 'kind: [');
  const again = await readFolder(room.path, kept);
  assert.equal(again.kept['staged/try.json'], kept['staged/try.json'], 'not read again');
  refuseBroken(again);
  assert.match(warningsOf(again).join(), /staged\/broken\.yaml cannot be read as manifests, so nothing of it is tried/);
});

test('a folder that holds staged policies alone says nothing of those in force, and these are not believed to be gone', async () => {
  using room = new Room();
  room.write('real.json');
  mkdirSync(join(room.path, 'staged'));
  room.write('staged/try.json');
  const { kept } = await readFolder(room.path, {});
  rmSync(join(room.path, 'real.json'));
  const folder = await readFolder(room.path, kept);
  assert.deepEqual(
    manifestsOf(folder.kept).world.policies.map(({ name }) => name),
    ['real.json'],
  );
  assert.match(folder.damage ?? '', /holds no manifest any more/);
});

test('what was staged and is moved beside the others is in force, and the other way round', async () => {
  using room = new Room();
  room.write('real.json');
  mkdirSync(join(room.path, 'staged'));
  room.write('staged/try.json');
  const { kept } = await readFolder(room.path, {});
  renameSync(join(room.path, 'staged/try.json'), join(room.path, 'try.json'));
  const folder = await readFolder(room.path, kept);
  const { world } = manifestsOf(folder.kept);
  assert.deepEqual([world.policies.length, world.staged], [2, undefined]);
});
