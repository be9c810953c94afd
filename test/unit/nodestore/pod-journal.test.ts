/** The node's pods on disk: what a writer who died leaves, what a reader meets in between, and how much is written. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, copyFileSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { emptyNode, type LocalPod, type NodeState, podKey, withoutPod, withPod } from '../../../lib/gate/node-state.ts';
import { DiskNodeStore } from '../../../lib/nodestore/disk-store.ts';
import { PodJournal } from '../../../lib/nodestore/pod-journal.ts';
import { firstIdentity } from '../../../lib/tag/tag.ts';
import { tapFs } from '../../support/fs-tap.ts';
import { untaggedPod } from '../../support/local-pod.ts';
import { scratchFolder } from '../../support/scratch.ts';

const owner = { enforcer: 'inline', stateDir: '/state', policies: '/policies' };
const empty = emptyNode(owner, { judge: 'inline', nflogGroup: 1, enforceEgressToNode: false });

const pod = (name: string, more: Partial<LocalPod> = {}): Omit<LocalPod, 'tag'> =>
  untaggedPod(name, { labels: { app: name.slice(0, 1) }, addresses: [`10.0.0.${name.charCodeAt(0)}`], ...more });

const plug = (state: NodeState, wanted: Omit<LocalPod, 'tag'>) => withPod(state, wanted, () => false).state;

class Room implements Disposable {
  readonly runDir = scratchFolder('roster');
  readonly head = join(this.runDir, '1.node');
  readonly pods = join(this.runDir, '1.pods');
  #marker = 0;

  open(): DiskNodeStore {
    return new DiskNodeStore(this.runDir, { dev: 1, ino: 1 });
  }

  /** Read and written as a call does. */
  change(change: (state: NodeState) => NodeState, files = this.open()): NodeState {
    const state = change(files.read()?.state ?? empty);
    files.write({ marker: ++this.#marker, folder: '[]', state });
    return state;
  }

  [Symbol.dispose](): void {
    rmSync(this.runDir, { recursive: true });
  }
}

test('what is written is read again, pods in the order in which they came', () => {
  using room = new Room();
  const names = ['b', 'a', 'ü "\n', '1'];
  const state = names.reduce((_, name) => room.change(before => plug(before, pod(name))), empty);
  assert.deepEqual(room.open().read()!.state, state);
  assert.deepEqual(
    Object.values(room.open().read()!.state.pods).map(({ name }) => name),
    names,
  );
  room.change(before => plug(before, pod('b', { addresses: ['10.0.0.1'] })));
  assert.equal(Object.values(room.open().read()!.state.pods).at(-1)?.name, 'b');
});

test('a pod that comes or goes is one line more, however many there are', () => {
  using room = new Room();
  for (let i = 0; i < 200; i++) room.change(state => plug(state, pod(`p${i}`)));
  const [{ size, ino }, lines] = [statSync(room.pods), readFileSync(room.pods, 'utf8').split('\n').length];
  room.change(state => plug(state, pod('new')));
  room.change(state => withoutPod(state, podKey(pod('p7'))));
  assert.equal(statSync(room.pods).ino, ino);
  assert.equal(readFileSync(room.pods, 'utf8').split('\n').length, lines + 2);
  assert.ok(statSync(room.pods).size - size < 600);
  assert.ok(statSync(room.head).size < 1_000, `${statSync(room.head).size} bytes`);
});

const torn: Readonly<Record<string, string>> = {
  'a line that was not finished': '+"net/x/eth0" {"network":"net","contai',
  'a whole line': `+"net/x/eth0" ${JSON.stringify({ ...pod('x'), tag: firstIdentity })}\n`,
  'more than the next writer writes': 'garbage\n'.repeat(500),
};
for (const [what, text] of Object.entries(torn))
  test(`a writer who died before the state was replaced left ${what}: it does not count, and is written over`, () => {
    using room = new Room();
    room.change(state => plug(state, pod('a')));
    appendFileSync(room.pods, text);
    assert.deepEqual(Object.keys(room.open().read()!.state.pods), ['net/a/eth0']);
    assert.equal(room.open().find('net/x/eth0'), undefined);
    const state = room.change(before => plug(before, pod('b')));
    assert.deepEqual(room.open().read()!.state, state);
  });

const broken: Readonly<Record<string, (room: Room) => void>> = {
  'the file of pods is gone': ({ pods }) => rmSync(pods),
  'the file of pods is shorter than it was': ({ pods }) => writeFileSync(pods, readFileSync(pods).subarray(0, -1)),
  'the file of pods is another one': ({ pods }) =>
    writeFileSync(pods, readFileSync(pods, 'latin1').replace(/^./, '~'), 'latin1'),
  'a line of it is not what we write': ({ pods }) =>
    writeFileSync(pods, readFileSync(pods, 'latin1').replace('"net"', 'net"",'), 'latin1'),
  'a number of the state is another one': ({ head }) =>
    writeFileSync(head, readFileSync(head, 'utf8').replace('"marker":', '"marker":1')),
  'the state has no word of pods': ({ head }) => writeFileSync(head, '{"marker":1,"folder":"[]","state":{"owner":{}}}'),
};
for (const [name, breaks] of Object.entries(broken))
  test(`where ${name}, there is no state, and the next one is written whole`, () => {
    using room = new Room();
    room.change(state => plug(state, pod('a')));
    breaks(room);
    const files = room.open();
    assert.equal(files.read(), undefined);
    assert.equal(files.readConcerned([{ key: 'net/a/eth0' }]), undefined);
    const state = plug(empty, pod('c'));
    files.write({ marker: 9, folder: '[]', state });
    assert.deepEqual(room.open().read(), { marker: 9, folder: '[]', state });
  });

for (const name of ['the file of pods is gone', 'the file of pods is shorter than it was'])
  test(`where ${name}, a process that knew what it said does not go on from there`, () => {
    using room = new Room();
    room.change(state => plug(state, pod('a')));
    room.change(state => plug(state, pod('b')));
    for (let i = 0; i < 3; i++) assert.ok(room.open().read());
    broken[name]!(room);
    assert.equal(room.open().read(), undefined);
    assert.equal(room.open().readConcerned([{ key: 'net/a/eth0' }]), undefined);
  });

test('who looks call after call finds what one finds who looks once', () => {
  const names = ['a', 'b', 'c', 'd'] as const;
  const address = fc.constantFrom('10.0.0.1', '10.0.0.2', 'fd00::1');
  const port = fc.constantFrom(80, 81).map(hostPort => ({ hostPort, containerPort: 80, protocol: 'tcp' as const }));
  const change = fc.oneof(
    fc.record({
      name: fc.constantFrom(...names),
      addresses: fc.uniqueArray(address, { maxLength: 2 }),
      hostPorts: fc.array(port, { maxLength: 1 }),
    }),
    fc.record({ name: fc.constantFrom(...names) }),
  );
  const wanted = fc.record({ addresses: fc.uniqueArray(address), hostPorts: fc.array(port, { maxLength: 1 }) });
  fc.assert(
    fc.property(fc.array(change, { minLength: 2, maxLength: 12 }), wanted, (changes, coming) => {
      using room = new Room();
      const journal = new PodJournal(room.pods);
      let extent = journal.replace({});
      let often = journal.read(extent)!;
      for (const { name, ...more } of changes) {
        const came = 'addresses' in more ? [[name, { ...pod(name, more), tag: firstIdentity }] as const] : [];
        extent = journal.extend(extent, { came, went: came.length > 0 ? [] : [name] });
        often = journal.read(extent)!;
      }
      const copy = join(room.runDir, 'copy');
      copyFileSync(room.pods, copy);
      const once = new PodJournal(copy).read(extent)!;
      assert.notEqual(often.constructor, once.constructor);
      assert.deepEqual(Object.entries(often.all()), Object.entries(once.all()));
      assert.deepEqual([...often.sharing([coming])], [...once.sharing([coming])]);
      for (const each of names) assert.deepEqual(often.find(each), once.find(each));
    }),
  );
});

test('a writer whose state was not replaced knows no more than the file, whoever writes over what he left', () => {
  using room = new Room();
  for (const name of ['a', 'b', 'c']) room.change(state => plug(state, pod(name)));
  {
    using _ = tapFs((operation, args, run) => {
      if (operation === 'renameSync' && args[1] === room.head)
        throw Object.assign(new Error('no'), { code: 'EIO', errno: -5, syscall: 'rename' });
      return run();
    });
    assert.throws(() => room.change(state => plug(state, pod('x'))), /Cannot write/);
  }
  // Another process, with a line as long as his.
  const other = `
    const { DiskNodeStore } = await import(${JSON.stringify(new URL('../../../lib/nodestore/disk-store.ts', import.meta.url).href)});
    const { withPod } = await import(${JSON.stringify(new URL('../../../lib/gate/node-state.ts', import.meta.url).href)});
    const files = new DiskNodeStore(${JSON.stringify(room.runDir)}, { dev: 1, ino: 1 });
    const { state, ...rest } = files.read();
    files.write({ ...rest, marker: 9, state: withPod(state, ${JSON.stringify(pod('y'))}, () => false).state });`;
  execFileSync(process.execPath, ['--input-type=module', '-e', other]);
  const found = room.open().read()!;
  assert.deepEqual(
    Object.values(found.state.pods).map(({ name }) => name),
    ['a', 'b', 'c', 'y'],
  );
});

test('lines of pods that are gone do not pile up', () => {
  using room = new Room();
  for (let i = 0; i < 10; i++) room.change(state => plug(state, pod(`p${i}`)));
  for (let i = 0; i < 300; i++) {
    room.change(state => plug(state, pod('short-lived')));
    room.change(state => withoutPod(state, podKey(pod('short-lived'))));
  }
  assert.ok(readFileSync(room.pods, 'utf8').split('\n').length < 100);
  assert.equal(Object.keys(room.open().read()!.state.pods).length, 10);
});

test('who knows only what concerns one pod writes no less than who knows all, also when the file is written anew', () => {
  using room = new Room();
  for (let i = 0; i < 10; i++) room.change(state => plug(state, pod(`p${i}`)));
  for (let i = 0; i < 100; i++) {
    const files = room.open();
    const wanted = pod('short-lived');
    const came = files.readConcerned([{ key: podKey(wanted), coming: wanted }])!;
    files.write({ ...came, state: plug(came.state, wanted) });
    const going = files.readConcerned([{ key: podKey(wanted) }])!;
    files.write({ ...going, state: withoutPod(going.state, podKey(wanted)) });
  }
  const { pods } = room.open().read()!.state;
  assert.deepEqual(
    Object.keys(pods),
    Array.from({ length: 10 }, (_, i) => `net/p${i}/eth0`),
  );
});

/** A pod comes and goes with each marker, so that the marker says which pods there are. */
const present = (marker: number): string[] =>
  Array.from({ length: 7 }, (_, i) => i)
    .filter(i => Math.ceil((marker - i) / 7) % 2 === 1)
    .map(i => `p${i}`);

const writer = `
  const { parentPort, workerData } = require('node:worker_threads');
  Promise.all(workerData.modules.map(module => import(module))).then(([{ DiskNodeStore }, { withPod, withoutPod }]) => {
    const files = new DiskNodeStore(workerData.runDir, { dev: 1, ino: 1 });
    let state = workerData.empty;
    for (let marker = 1; marker <= 1500; marker++) {
      const pod = workerData.pods[(marker - 1) % 7];
      const key = 'net/' + pod.containerID + '/eth0';
      state = state.pods[key] ? withoutPod(state, key) : withPod(state, pod, () => false).state;
      files.write({ marker, folder: '[]', state });
    }
    parentPort.postMessage('done');
  });`;

test('a reader without the lock never sees half of a change', async () => {
  using room = new Room();
  const modules = ['nodestore/disk-store', 'gate/node-state'].map(
    name => new URL(`../../../lib/${name}.ts`, import.meta.url).href,
  );
  const pods = present(7).map(name => pod(name));
  const thread = new Worker(writer, { eval: true, workerData: { modules, runDir: room.runDir, empty, pods } });
  let isDone = false;
  thread.once('message', () => {
    isDone = true;
  });
  const ended = once(thread, 'exit');
  let reads = 0;
  while (!isDone) {
    const file = room.open().read();
    assert.ok(file || reads === 0, `nothing there after ${reads} reads`);
    if (file) reads++;
    const names = Object.values(file?.state.pods ?? {}).map(({ name }) => name);
    assert.deepEqual(names.sort(), present(file?.marker ?? 0));
    await nextTurn();
  }
  assert.ok(reads > 0);
  assert.deepEqual(await ended, [0]);
});

test('what concerns a pod: who has its address or a port of the node, and of all how many have each tag and way of masquerading', () => {
  const names = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f');
  const more = fc.record({
    labels: fc.constantFrom<Record<string, string>>({ app: 'x' }, { app: 'y' }),
    addresses: fc.constantFrom(['10.0.0.1'], ['10.0.0.1', 'fd00::1'], ['10.0.0.11'], []),
    hostPorts: fc.constantFrom<LocalPod['hostPorts']>([], [{ hostPort: 80, containerPort: 80, protocol: 'tcp' }]),
    masquerade: fc.constantFrom({ from: ['10.0.0.0/8'], except: [] }, { from: ['fd00::/8'], except: ['10.0.0.0/8'] }),
  });
  fc.assert(
    fc.property(
      fc.array(fc.record({ name: names, more }), { minLength: 1, maxLength: 8 }),
      names,
      more,
      (pods, name, own) => {
        using room = new Room();
        for (const each of pods) room.change(state => plug(state, pod(each.name, each.more)));
        const wanted = pod(name, own);
        const all = room.open().read()!.state;
        const { pods: told, ...state } = room.open().readConcerned([{ key: podKey(wanted), coming: wanted }])!.state;
        assert.deepEqual(state, (({ pods: _, ...rest }) => rest)(all));
        const concerns = (each: LocalPod) =>
          podKey(each) === podKey(wanted) ||
          [wanted, all.pods[podKey(wanted)]].some(
            mine =>
              mine?.addresses.some(address => each.addresses.includes(address)) ||
              (mine && mine.hostPorts.length > 0 && each.hostPorts.length > 0),
          );
        assert.deepEqual(new Set(Object.values(told)), new Set(Object.values(all.pods).filter(concerns)));
        const present = Object.values(all.pods);
        const { counts } = all;
        assert.equal(counts.pods, present.length);
        assert.deepEqual(new Set(Object.keys(counts.tags)), new Set(present.map(({ tag }) => String(tag))));
        const ways = present.flatMap(({ masquerade }) => (masquerade ? [JSON.stringify(masquerade)] : []));
        assert.deepEqual(new Set(Object.keys(counts.ways)), new Set(ways));
      },
    ),
    { numRuns: 300 },
  );
});
