/** The node's table brought from state to state, against a kernel that refuses what the kernel refuses. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { CniError } from '../../../lib/cni/error.ts';
import { FolderTable, type FolderTableOptions } from '../../../lib/enforce/folder-table.ts';
import { TableMemory } from '../../../lib/enforce/footing.ts';
import { desiredTable } from '../../../lib/gate/desired.ts';
import { markersOf } from '../../../lib/gate/marker.ts';
import {
  type LocalPod,
  type NodeState,
  type Owner,
  podKey,
  withoutPod,
  withPod,
} from '../../../lib/gate/node-state.ts';
import { rulesetOfNode } from '../../../lib/gate/node-world.ts';
import type { GateSettings } from '../../../lib/gate/settings.ts';
import { NftError } from '../../../lib/kernel/nft-refusal.ts';
import { diff } from '../../../lib/nft/diff.ts';
import type { Table } from '../../../lib/nft/model.ts';
import { nameOperation } from '../../../lib/nft/transaction.ts';
import { DiskNodeStore } from '../../../lib/nodestore/disk-store.ts';
import type { NodeStore } from '../../../lib/nodestore/node-store.ts';
import { type Kept, manifestsOf } from '../../../lib/nodestore/policy-folder.ts';
import { readDocuments } from '../../../lib/policy/manifest/manifest.ts';
import { asideOf, readText } from '../../../lib/state/atomic.ts';
import { StateError } from '../../../lib/state/error.ts';
import { countReads } from '../../support/counted-reads.ts';
import { Kernel } from '../../support/fake-nft.ts';
import { untaggedPod } from '../../support/local-pod.ts';
import { MapStore } from '../../support/map-store.ts';
import { scratchFolder } from '../../support/scratch.ts';
import { valueIn } from '../../support/sealed.ts';

const owner: Owner = { enforcer: 'inline', stateDir: '/state', policies: '/policies' };
const settings: GateSettings = { judge: 'inline', nflogGroup: 7467, enforceEgressToNode: false };

const here = { dev: 4, ino: 4711 };

class Room implements Disposable {
  runDir = scratchFolder('table');
  readonly kernel = new Kernel();
  readonly said: string[] = [];
  recovered: Record<string, LocalPod> = {};
  /** Absent: a new one of the files for each that opens the table, as processes have them. */
  readonly #store: NodeStore | undefined;
  readonly #memory: TableMemory | undefined;

  constructor(store?: NodeStore, memory?: TableMemory) {
    this.#store = store;
    this.#memory = memory;
  }

  /** All calls are carried out by one process. */
  static warm(memory = new TableMemory()): Room {
    const runDir = scratchFolder('table');
    const room = new Room(new DiskNodeStore(runDir, here), memory);
    rmSync(room.runDir, { recursive: true });
    room.runDir = runDir;
    return room;
  }

  open(changes: Partial<FolderTableOptions> = {}): FolderTable {
    return new FolderTable({
      store: this.#store ?? new DiskNodeStore(this.runDir, here),
      memory: this.#memory,
      owner,
      settings,
      nft: () => this.kernel.nft,
      log: line => void this.said.push(line),
      recover: () => this.recovered,
      isCarried: () => false,
      isAnyTagged: () => false,
      retag: pod => void this.kernel.log.push(`retag ${pod.link} ${pod.tag}`),
      ...changes,
    });
  }

  /** Texts of the files that only another process reads. */
  besideTheRecord(): readonly (string | undefined)[] {
    return ['judging', 'sets', 'rules'].map(kind => readText(join(this.runDir, `4711.${kind}`)));
  }

  /** Equal but for the marker, which is a number that only has to be the file's. */
  assertWhole(table: FolderTable, kept: Kept): void {
    const file = table.store.read()!;
    const { state } = file;
    const want = desiredTable(state, markersOf(file), rulesetOfNode(manifestsOf(kept).world, state));
    assert.deepEqual(diff(this.kernel.table, want).operations.map(nameOperation), []);
  }

  [Symbol.dispose](): void {
    rmSync(this.runDir, { recursive: true, force: true });
  }
}

const pod = (name: string, labels: Record<string, string> = {}, number = name.charCodeAt(0)): Omit<LocalPod, 'tag'> =>
  untaggedPod(name, {
    ...{ labels, given: { config: {}, call: labels } },
    addresses: [`10.0.${number >> 8}.${number & 255}`],
    masquerade: { from: ['10.0.0.0/24'], except: ['10.0.0.0/24'] },
  });

const plug = (wanted: Omit<LocalPod, 'tag'>) => (state: NodeState) => withPod(state, wanted, () => false).state;
const unplug = (name: string) => (state: NodeState) => withoutPod(state, `net/${name}/eth0`);

/** As calls that go into force together do. */
const bringSome = (table: FolderTable, all: readonly Omit<LocalPod, 'tag'>[], kept: Kept) =>
  table.bring(state => all.reduce((before, wanted) => plug(wanted)(before), state), {
    ...{ kept, only: all.map(wanted => ({ key: podKey(wanted), coming: wanted })) },
  });
const letSomeGo = (table: FolderTable, names: readonly string[], kept: Kept) =>
  table.bring(state => names.reduce((before, name) => unplug(name)(before), state), {
    ...{ kept, only: names.map(name => ({ key: `net/${name}/eth0` })) },
  });
/** As an ADD and a DEL do, by all that they know of the pod beforehand. */
const bringOne = (table: FolderTable, wanted: Omit<LocalPod, 'tag'>, kept: Kept) => bringSome(table, [wanted], kept);
const letOneGo = (table: FolderTable, name: string, kept: Kept) => letSomeGo(table, [name], kept);

const policy = (name: string, podSelector: object, rest: object) => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name, namespace: 'default' },
  spec: { podSelector, ...rest },
});
const fromClients = { ingress: [{ from: [{ podSelector: { matchLabels: { role: 'client' } } }] }] };
const denyAll = policy('deny', {}, { policyTypes: ['Ingress'] });
const allowWeb = policy('web', { matchLabels: { app: 'web' } }, fromClients);
const byPortName = policy(
  'names',
  {},
  {
    policyTypes: ['Ingress', 'Egress'],
    ingress: [{ ports: [{ port: 'http' }] }],
    egress: [{ to: [{ podSelector: {} }], ports: [{ port: 'http' }] }],
  },
);
/** Of what it accepts and what it denies, neither may be seen without the other. */
const ofClients = {
  apiVersion: 'policy.networking.k8s.io/v1alpha2',
  kind: 'ClusterNetworkPolicy',
  metadata: { name: 'clients' },
  spec: {
    ...{ tier: 'Admin', priority: 1, subject: { namespaces: {} } },
    ingress: [80, 81].map(number => ({
      action: number === 80 ? 'Accept' : 'Deny',
      from: [{ pods: { namespaceSelector: {}, podSelector: { matchLabels: { role: 'client' } } } }],
      protocols: [{ tcp: { destinationPort: { number } } }],
    })),
  },
};
/** A pod of another node, under an address that pod `b` has here. */
const elsewhere = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'far', namespace: 'default', labels: { role: 'client' } },
  spec: { containers: [{ name: 'c', ports: [{ name: 'http', containerPort: 80 }] }] },
  status: { podIPs: [{ ip: '10.0.0.98' }] },
};
const podManifest = (name: string, labels: object) => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name, labels } });

let stamp = 0;
const folder = (...values: object[]): Kept => {
  const documents = values.map((value, document) => ({ file: 'f.yaml', document, value }));
  assert.deepEqual(readDocuments(documents).problems, []);
  return { 'f.yaml': { stamp: String(++stamp), documents } };
};

test('a pod that comes is put into the table without reading it, and so is a second one', () => {
  using room = new Room();
  const kept = folder(denyAll, allowWeb);
  room.open().bring(plug(pod('a')), { kept });
  const { reads } = room.kernel;
  room.open().bring(plug(pod('b', { app: 'web' })), { kept });
  room.open().bring(plug(pod('c', { role: 'client' })), { kept });
  assert.equal(room.kernel.reads, reads);
  room.assertWhole(room.open(), kept);
});

test('one of many pods comes and goes without a word about the others, and the whole state is as if all had been asked', () => {
  using room = new Room();
  const kept = folder(denyAll, allowWeb, byPortName);
  const labels = [{}, { app: 'web' }, { role: 'client' }, { app: 'web', role: 'client' }];
  for (let i = 0; i < 120; i++) bringOne(room.open(), pod(`p${i}`, labels[i % 4], i + 1), kept);
  const { reads } = room.kernel;
  const told = new DiskNodeStore(room.runDir, here).readConcerned([{ key: 'net/p7/eth0' }])!;
  assert.ok(Object.keys(told.state.pods).length <= 5, `${Object.keys(told.state.pods).length} pods are told of`);
  for (let i = 0; i < 120; i += 3) letOneGo(room.open(), `p${i}`, kept);
  bringOne(room.open(), pod('p0', { role: 'other' }, 1), kept);
  assert.equal(room.kernel.reads, reads);
  room.assertWhole(room.open(), kept);
  assert.equal(Object.keys(room.open().store.read()!.state.pods).length, 81);
});

test('a pod that only adds takes nothing out of the table, not even the marker of before; one that goes takes all of these', () => {
  using room = new Room();
  const kept = folder(denyAll, allowWeb);
  for (const name of ['a', 'b', 'c', 'd']) bringOne(room.open(), pod(name, { app: 'web' }), kept);
  const markers = () => room.kernel.table!.sets.find(({ name }) => name === 'marker')!.elements.length;
  assert.equal(markers(), 4);
  assert.deepEqual(
    room.kernel.log.filter(line => line.startsWith('delete')),
    [],
  );
  letOneGo(room.open(), 'b', kept);
  assert.equal(markers(), 1);
  room.assertWhole(room.open(), kept);
});

test('markers that nobody takes out are taken out before they are too many', () => {
  using room = new Room();
  const kept = folder();
  for (let i = 0; i < 300; i++) bringOne(room.open(), pod(`p${i}`, {}, i), kept);
  assert.ok(room.kernel.table!.sets.find(({ name }) => name === 'marker')!.elements.length < 256);
  room.assertWhole(room.open(), kept);
});

test('where somebody put an older table back, the next pod that comes makes it whole again', () => {
  using room = new Room();
  const kept = folder(denyAll, allowWeb);
  bringOne(room.open(), pod('a', { app: 'web' }), kept);
  bringOne(room.open(), pod('b', { role: 'client' }), kept);
  const older = room.kernel.table!;
  bringOne(room.open(), pod('c', { role: 'client' }), kept);
  room.kernel.table = older;
  room.recovered = room.open().store.read()!.state.pods as Record<string, LocalPod>;
  bringOne(room.open(), pod('d', { role: 'client' }), kept);
  room.assertWhole(room.open(), kept);
});

test('a call that changes nothing sends nothing', () => {
  using room = new Room();
  const kept = folder(denyAll);
  room.open().bring(plug(pod('a')), { kept });
  const sent = room.kernel.log.length;
  assert.equal(room.open().bring(state => state, { kept }).isChanged, false);
  assert.equal(room.open().bring(unplug('nobody'), { kept }).isChanged, false);
  assert.equal(room.kernel.log.length, sent);
});

test('the last pod takes the table and every file with it', async () => {
  using room = new Room();
  const kept = folder(denyAll);
  using _ = await room.open().store.lock(1000);
  room.open().bring(plug(pod('a')), { kept });
  room.open().bring(unplug('a'), { kept });
  assert.equal(room.kernel.table, undefined);
  assert.deepEqual(readdirSync(room.runDir), []);
});

test('what writers left half-written who were killed is written over, and goes with the last pod', async () => {
  using room = new Room();
  const kept = folder(denyAll);
  using _ = await room.open().store.lock(1000);
  room.open().bring(plug(pod('a')), { kept });
  const files = readdirSync(room.runDir).filter(name => !name.endsWith('.lock'));
  assert.ok(files.length >= 3);
  for (const name of files) writeFileSync(asideOf(join(room.runDir, name)), '{"half');
  room.open().bring(plug(pod('b')), { kept });
  room.assertWhole(room.open(), kept);
  for (const name of ['a', 'b']) room.open().bring(unplug(name), { kept });
  assert.deepEqual(readdirSync(room.runDir), []);
});

test('a pod of a new identity that no policy selects costs no look at the policies of other namespaces that have pods here', () => {
  const reads = (blocks: number): number => {
    using room = new Room();
    const from = Array.from({ length: blocks }, (_, i) => ({ ipBlock: { cidr: `10.9.${i}.0/24` } }));
    const tenants = countReads(policy('large', {}, { ingress: [{ from }] }));
    // As each call in a process of its own has it.
    const kept = (): Kept => {
      const documents = [tenants.value, { ...allowWeb, metadata: { name: 'web', namespace: 'other' } }];
      return {
        'f.yaml': { stamp: '1', documents: documents.map((value, document) => ({ file: 'f', document, value })) },
      };
    };
    bringOne(room.open(), pod('t'), kept());
    bringOne(room.open(), { ...pod('o'), namespace: 'other' }, kept());
    const before = tenants.reads();
    const stranger = { ...pod('s', { role: 'client' }), namespace: 'other' };
    bringOne(room.open(), stranger, kept());
    const read = tenants.reads() - before;
    room.kernel.meddle();
    bringOne(room.open(), { ...stranger, containerID: 's2', name: 's2', addresses: ['10.0.9.9'] }, kept());
    room.assertWhole(room.open(), kept());
    return read;
  };
  assert.equal(reads(200), reads(1));
});

const chosen = { matchLabels: { app: 'chosen' } };
/** What is done in namespace `other`, where a policy selects the pod. */
const inOther: readonly (readonly [string, (room: Room, kept: () => Kept) => void])[] = [
  [
    'a pod of a new identity that a policy selects, when it comes',
    (room, kept) => void bringOne(room.open(), { ...pod('s', { app: 'chosen' }), namespace: 'other' }, kept()),
  ],
  [
    'the last pod of an identity that a policy selects, when it goes',
    (room, kept) => letOneGo(room.open(), 'o', kept()),
  ],
];
for (const [what, change] of inOther)
  test(`${what}, costs no look at the policies of other namespaces that have pods here`, () => {
    const reads = (blocks: number): number => {
      using room = new Room();
      const from = Array.from({ length: blocks }, (_, i) => ({ ipBlock: { cidr: `10.9.${i}.0/24` } }));
      const tenants = countReads(policy('large', {}, { ingress: [{ from }] }));
      const own = { ...policy('own', chosen, { ingress: [{ from: [{ podSelector: {} }] }] }) };
      const role = { ...policy('role', { matchLabels: { role: 'o' } }, fromClients) };
      // As each call in a process of its own has it.
      const kept = (): Kept => {
        const others = [own, role].map(each => ({ ...each, metadata: { ...each.metadata, namespace: 'other' } }));
        const documents = [tenants.value, ...others];
        return {
          'f.yaml': { stamp: '1', documents: documents.map((value, document) => ({ file: 'f', document, value })) },
        };
      };
      bringOne(room.open(), pod('t'), kept());
      bringOne(room.open(), { ...pod('o', { role: 'o' }), namespace: 'other' }, kept());
      const before = tenants.reads();
      change(room, kept);
      const read = tenants.reads() - before;
      room.assertWhole(room.open(), kept());
      return read;
    };
    assert.equal(reads(200), reads(1));
  });

const meddling: [string, (room: Room) => void][] = [
  [
    'somebody deleted the table',
    room => {
      room.kernel.table = undefined;
    },
  ],
  [
    'somebody emptied a chain and took the marker',
    ({ kernel }) => {
      const { chains, sets } = kernel.table!;
      kernel.table = {
        ...kernel.table!,
        chains: chains.map(chain => (chain.name === 'gate' ? { ...chain, rules: [] } : chain)),
        sets: sets.map(set => (set.name === 'marker' ? { ...set, elements: [] } : set)),
      };
    },
  ],
  [
    'a call died between its commit and its file',
    room => {
      const table = room.open();
      const path = join(room.runDir, '4711.node');
      const text = readFileSync(path);
      room.recovered = {};
      table.bring(plug(pod('x')), { kept: table.store.readApplied() });
      writeFileSync(path, text);
    },
  ],
  ['the state file is garbage', room => writeFileSync(join(room.runDir, '4711.node'), '{"marker": 7')],
  ['the pods file is gone', room => rmSync(join(room.runDir, '4711.pods'))],
  ['the pods file is garbage', room => writeFileSync(join(room.runDir, '4711.pods'), 'x'.repeat(10_000))],
  ['the pods file is cut short', room => truncateSync(join(room.runDir, '4711.pods'), 20)],
  ['the manifests file is garbage', room => writeFileSync(join(room.runDir, '4711.applied'), 'x')],
  ['the runtime folder is gone', room => rmSync(room.runDir, { recursive: true })],
];
for (const [name, meddle] of meddling) {
  test(`where ${name}, the next call makes the table whole again`, async () => {
    using room = new Room();
    const kept = folder(denyAll, allowWeb);
    const { after } = room.open().bring(plug(pod('a', { app: 'web' })), { kept });
    room.recovered = after.state.pods as Record<string, LocalPod>;
    meddle(room);
    const table = room.open();
    using _ = await table.store.lock(1000);
    bringOne(table, pod('b', { role: 'client' }), kept);
    room.assertWhole(table, kept);
    assert.deepEqual(Object.keys(table.store.read()!.state.pods).sort(), ['net/a/eth0', 'net/b/eth0']);
  });
}

test('a pod that changes its labels gets its new entry first, then its tag, and then the old entry goes', () => {
  using room = new Room();
  room.open().bring(plug(pod('a')), { kept: folder(denyAll) });
  const kept = folder(denyAll, allowWeb, podManifest('a', { app: 'web' }));
  const { before, after } = room.open().bring(state => state, { kept });
  const [old, now] = [before, after].map(goal => goal.state.pods['net/a/eth0']!.tag);
  const at = (line: RegExp) => room.kernel.log.findIndex(entry => line.test(entry));
  const added = at(new RegExp(`^add ${now} ingress_by_tag$`));
  const retagged = at(new RegExp(`^retag tg-a ${now}$`));
  const removed = at(new RegExp(`^delete ${old} ingress_by_tag$`));
  assert.ok(added >= 0 && added < retagged && retagged < removed, room.kernel.log.join('\n'));
  room.assertWhole(room.open(), kept);
});

test('who dies while a pod changes its tag leaves both entries, and the next call goes on from there', () => {
  using room = new Room();
  room.open().bring(plug(pod('a')), { kept: folder(denyAll) });
  const kept = folder(denyAll, podManifest('a', { app: 'web' }));
  const dying = new FolderTable({
    ...{ store: new DiskNodeStore(room.runDir, here), owner, settings, log: () => {} },
    nft: () => room.kernel.nft,
    recover: () => ({}),
    isCarried: () => false,
    isAnyTagged: () => false,
    retag: () => {
      throw new Error('killed');
    },
  });
  assert.throws(() => dying.bring(state => state, { kept }), /killed/);
  const entries = room.kernel.table!.sets.find(({ name }) => name === 'ingress_by_tag')!.elements;
  assert.equal(entries.length, 2);
  const { after } = room.open().bring(state => state, { kept });
  assert.ok(room.kernel.log.includes(`retag tg-a ${after.state.pods['net/a/eth0']!.tag}`));
  assert.equal(after.state.leaving, undefined);
  room.assertWhole(room.open(), kept);
});

test('a policy that the kernel refuses closes the pods that it selects, and no others', () => {
  using room = new Room();
  room.kernel.refuse = operation =>
    operation.object === 'set' && operation.verb !== 'delete' && /^pods4/.test(operation.set.name)
      ? 'ENOMEM'
      : undefined;
  const kept = folder(
    allowWeb,
    policy('db', { matchLabels: { app: 'db' } }, { ingress: [{ ports: [{ port: 5432 }] }] }),
  );
  const table = room.open();
  table.bring(plug(pod('a', { app: 'web' })), { kept });
  table.bring(plug(pod('b', { app: 'db' })), { kept });
  table.bring(plug(pod('c', { role: 'client' })), { kept });
  assert.match(room.said.join('\n'), /refused NetworkPolicy\/default\/web/);
  const { state } = table.store.read()!;
  const { tags, chains } = rulesetOfNode(manifestsOf(kept).world, state);
  const gateOf = (name: string) => tags.get(state.pods[`net/${name}/eth0`]!.tag)!.ingress;
  assert.deepEqual(chains.get(gateOf('a'))?.rules, [], 'isolated, and nothing is allowed');
  assert.equal(chains.get(gateOf('b'))?.rules.length, 1);
  assert.equal(gateOf('c'), 'open');
  room.assertWhole(table, kept);
});

test('a refusal that is about no policy fails the call, and the table stays as it was', () => {
  using room = new Room();
  const kept = folder(denyAll);
  room.open().bring(plug(pod('a')), { kept });
  const before = room.kernel.table;
  room.kernel.refuse = () => 'EPERM';
  assert.throws(() => room.open().bring(plug(pod('b')), { kept }), NftError);
  assert.equal(room.kernel.table, before);
  assert.equal(room.open().store.read()!.state.pods['net/b/eth0'], undefined);
});

const others: [string, Partial<Owner>][] = [
  ['another enforcer', { enforcer: 'none' }],
  ['another stateDir', { stateDir: '/elsewhere' }],
  ['another policies folder', { policies: '/elsewhere' }],
];
for (const [name, change] of others) {
  test(`${name} is refused with code 7, naming both, and may still let its pods go`, () => {
    using room = new Room();
    const kept = folder(denyAll);
    room.open().bring(plug(pod('a')), { kept });
    room.open().bring(plug(pod('b')), { kept });
    const other = room.open({ owner: { ...owner, ...change } });
    assert.throws(
      () => other.bring(plug(pod('c')), { kept }),
      (error: CniError) => error.code === 7 && Object.values(change).every(value => error.message.includes(value)),
    );
    rmSync(join(room.runDir, '4711.node'));
    assert.throws(
      () => other.bring(plug(pod('c')), { kept }),
      CniError,
      "the table's own word counts where the file is gone",
    );
    room.recovered = {};
    room.open().bring(plug(pod('a')), { kept });
    other.bring(unplug('a'), { kept, asFound: true });
    assert.equal(room.kernel.table, undefined);
  });
}

const rooms: readonly (readonly [string, () => Room])[] = [
  ['each brought about by a process of its own', () => new Room()],
  ['all by one process', () => Room.warm()],
  ['with a store in memory', () => new Room(new MapStore())],
];
for (const [how, open] of rooms)
  test(`after any sequence of pods and policies, ${how}, the table is the whole desired one`, () => {
    const labels = fc.constantFrom<Record<string, string>>(
      {},
      { app: 'web' },
      { role: 'client' },
      { app: 'web', role: 'client' },
    );
    const more = fc.constantFrom<Partial<LocalPod>>(
      {},
      {},
      { namedPorts: [{ name: 'http', protocol: 'TCP', port: 8080 }] },
      { masquerade: { from: ['10.1.0.0/16'], except: [] } },
      { hostPorts: [{ hostPort: 80, containerPort: 8080, protocol: 'tcp' }] },
    );
    const names = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'e'), { minLength: 1, maxLength: 3 });
    const step = fc.oneof(
      fc.record({
        kind: fc.constantFrom('plug' as const, 'plugSome' as const),
        names,
        labels,
        more,
      }),
      fc.record({ kind: fc.constantFrom('unplug' as const, 'unplugSome' as const), names }),
      fc.record({ kind: fc.constant('folder' as const), which: fc.nat(4) }),
      fc.record({ kind: fc.constant('meddle' as const) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 16 }), steps => {
        using room = open();
        const folders = [
          folder(),
          folder(denyAll),
          folder(denyAll, allowWeb),
          folder(allowWeb, podManifest('a', { app: 'web' })),
          folder(allowWeb, byPortName, elsewhere),
        ];
        let kept = folders[0]!;
        for (const each of steps) {
          const table = room.open();
          const wanted = 'labels' in each ? each.names.map(name => ({ ...pod(name, each.labels), ...each.more })) : [];
          if (each.kind === 'plug') for (const one of wanted) table.bring(plug(one), { kept });
          else if (each.kind === 'plugSome') bringSome(table, wanted, kept);
          else if (each.kind === 'unplug') for (const name of each.names) table.bring(unplug(name), { kept });
          else if (each.kind === 'unplugSome') letSomeGo(table, each.names, kept);
          else if (each.kind === 'meddle') room.kernel.table = undefined;
          else if (each.kind === 'folder') {
            kept = folders[each.which]!;
            table.bring(state => state, { kept });
          }
          const file = table.store.read();
          room.recovered = (file?.state.pods ?? {}) as Record<string, LocalPod>;
          if (file && each.kind !== 'meddle') {
            if (!each.kind.endsWith('Some')) table.bring(state => ({ ...state }), { kept });
            room.assertWhole(table, kept);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

/** Other programs act before or after the next commit of ours, and that one alone. */
function atNextCommit({ kernel }: Room, { before, after }: { before?: () => void; after?: () => void }): void {
  const { commit } = kernel;
  kernel.commit = (...given) => {
    kernel.commit = commit;
    before?.();
    commit.apply(kernel, given);
    after?.();
  };
}

suite('other programs commit', () => {
  const gated = (chains: Table['chains']): Table['chains'] =>
    chains.map(chain => (chain.name === 'gate' ? { ...chain, rules: [] } : chain));
  const filled = (room: Room, kept: Kept): FolderTable => {
    const table = room.open();
    for (const name of ['a', 'b']) bringOne(table, pod(name, { app: 'web' }), kept);
    bringOne(table, pod('c', { role: 'client' }), kept);
    return table;
  };

  test('in tables of their own: a pod that comes or goes costs no look at the whole table', () => {
    using room = new Room();
    const kept = folder(allowWeb);
    const table = filled(room, kept);
    const reads = room.kernel.reads;
    for (const name of ['d', 'e']) {
      room.kernel.meddle();
      assert.equal(bringOne(table, pod(name, { app: 'web' }), kept).drift, 0);
    }
    room.kernel.meddle();
    letOneGo(table, 'd', kept);
    assert.equal(room.kernel.reads, reads);
    room.assertWhole(table, kept);
  });

  test('in ours: whoever comes next puts it right, also where others have committed and pods have come since', () => {
    for (const isSeenFirst of [false, true]) {
      using room = new Room();
      const kept = folder(allowWeb);
      const table = filled(room, kept);
      if (isSeenFirst) {
        room.kernel.meddle();
        bringOne(table, pod('d', { app: 'web' }), kept);
      }
      room.kernel.meddle(found => ({ ...found, chains: gated(found.chains) }));
      room.kernel.meddle();
      assert.ok(bringOne(table, pod('e', { app: 'web' }), kept).drift > 0);
      room.assertWhole(table, kept);
    }
  });

  test('in ours, of a pod that has nothing to do with the one that comes: it is found out once that one does', () => {
    using room = new Room();
    const kept = folder(allowWeb);
    const table = filled(room, kept);
    room.kernel.meddle(found => ({
      ...found,
      chains: found.chains.map(chain => (/^in-/.test(chain.name) ? { ...chain, rules: [] } : chain)),
    }));
    assert.equal(bringOne(table, pod('d', { role: 'client' }), kept).drift, 0);
    assert.ok(bringOne(table, pod('e', { app: 'web' }), kept).drift > 0);
    room.assertWhole(table, kept);
  });

  const ways = { 'each by a process of its own': () => new Room(), 'all by one process': () => Room.warm() };
  for (const [how, open] of Object.entries(ways))
    test(`beside cluster policies that accept and deny a pod, ${how}: it takes no look at the whole table, and no file of handles`, () => {
      using room = open();
      const kept = folder(allowWeb, ofClients);
      filled(room, kept);
      const momentNow = () => room.kernel.readChecksums(undefined, ['one-moment'])!.chains.get('one-moment')!;
      const files = () => room.besideTheRecord();
      const [reads, written] = [room.kernel.reads, files()];
      for (const name of ['d', 'e', 'f']) {
        const moment = momentNow();
        if (name !== 'e') room.kernel.meddle();
        assert.equal(bringOne(room.open(), pod(name, { role: 'client' }), kept).drift, 0);
        assert.notDeepEqual(momentNow(), moment);
      }
      room.kernel.meddle();
      letOneGo(room.open(), 'd', kept);
      assert.deepEqual([room.kernel.reads, files()], [reads, written]);
      room.assertWhole(room.open(), kept);
      room.kernel.meddle(found => ({
        ...found,
        chains: found.chains.map(chain => (chain.name === 'one-moment' ? { ...chain, rules: [] } : chain)),
      }));
      assert.ok(bringOne(room.open(), pod('g', { app: 'web' }), kept).drift > 0);
      room.assertWhole(room.open(), kept);
    });

  test('one process carries all calls out: it writes down nothing that only others read, who go on without it', () => {
    using room = Room.warm();
    const kept = folder(allowWeb, ofClients);
    filled(room, kept);
    bringOne(room.open(), pod('d', { app: 'web', of: 'an identity of its own' }), kept);
    letOneGo(room.open(), 'd', kept);
    assert.deepEqual(room.besideTheRecord(), [undefined, undefined, undefined]);
    const other = room.open({ store: new DiskNodeStore(room.runDir, here), memory: undefined });
    assert.equal(bringOne(other, pod('e', { app: 'web' }), kept).drift, 0);
    room.assertWhole(other, kept);
    assert.ok(room.besideTheRecord().every(text => text !== undefined));
    bringOne(room.open(), pod('f', { app: 'web', of: 'another' }), kept);
    room.assertWhole(room.open(), kept);
    bringOne(other, pod('g', { app: 'web' }), kept);
    room.assertWhole(other, kept);
  });

  test('one process carries all calls out, and has rested: others go on at the cost of their change', () => {
    const memory = new TableMemory();
    using room = Room.warm(memory);
    const kept = folder(allowWeb, ofClients);
    filled(room, kept);
    bringOne(room.open(), pod('d', { app: 'web', of: 'an identity of its own' }), kept);
    memory.writeForOthers();
    const written = room.besideTheRecord();
    memory.writeForOthers();
    assert.deepEqual(room.besideTheRecord(), written);
    const { reads } = room.kernel;
    const store = new DiskNodeStore(room.runDir, here);
    const other = room.open({ store, memory: undefined });
    store.read = () => assert.fail('all pods are read');
    assert.equal(bringOne(other, pod('e', { app: 'web' }), kept).drift, 0);
    assert.equal(room.kernel.reads, reads);
    room.assertWhole(room.open(), kept);
    bringOne(room.open(), pod('f', { app: 'web' }), kept);
    room.assertWhole(room.open(), kept);
  });

  test('one process has rested where the disk is full: the record stays, and others go on without the rest', () => {
    const memory = new TableMemory();
    using room = Room.warm(memory);
    const kept = folder(allowWeb);
    filled(room, kept);
    const { store } = room.open();
    const before = store.read();
    for (const method of ['writeIndex', 'writeJudging', 'write'] as const)
      store[method] = () => {
        throw new StateError('write', 'a file', 'ENOSPC', 'no room');
      };
    memory.writeForOthers();
    assert.deepEqual(new DiskNodeStore(room.runDir, here).read(), before);
    const other = room.open({ store: new DiskNodeStore(room.runDir, here), memory: undefined });
    assert.equal(bringOne(other, pod('d', { app: 'web' }), kept).drift, 0);
    room.assertWhole(other, kept);
  });

  test('between a look and a commit: the commit is refused, and the look taken again', () => {
    using room = new Room();
    const kept = folder(allowWeb);
    const table = filled(room, kept);
    const { lookUp } = room.kernel;
    room.kernel.lookUp = (...given) => {
      room.kernel.lookUp = lookUp;
      room.kernel.meddle(found => ({ ...found, chains: gated(found.chains) }));
      return lookUp.apply(room.kernel, given);
    };
    bringOne(table, pod('d', { app: 'web' }), kept);
    room.assertWhole(table, kept);
  });

  test('between a look and a commit, in tables of their own: the commit is repeated, at a cost that grows neither with pods nor with rules', () => {
    using room = new Room();
    const kept = folder(allowWeb);
    const table = filled(room, kept);
    const { reads } = room.kernel;
    const { read } = table.store;
    table.store.read = () => assert.fail('all pods are read');
    atNextCommit(room, { before: () => room.kernel.meddle() });
    assert.equal(bringOne(table, pod('d', { app: 'web' }), kept).drift, 0);
    atNextCommit(room, { before: () => room.kernel.meddle() });
    letOneGo(table, 'd', kept);
    assert.equal(room.kernel.reads, reads);
    table.store.read = read;
    room.assertWhole(table, kept);
  });

  test('in ours, between our commit and the opening of the pod: it is put right before', () => {
    using room = new Room();
    const kept = folder(allowWeb);
    const table = filled(room, kept);
    atNextCommit(room, { after: () => room.kernel.meddle(found => ({ ...found, chains: gated(found.chains) })) });
    assert.ok(bringOne(table, pod('d', { app: 'web' }), kept).drift > 0);
    room.assertWhole(table, kept);
  });

  test('before each commit of ours that asks for none in between: the pod comes all the same, and the table is whole', () => {
    using room = new Room();
    const kept = folder(allowWeb);
    const table = filled(room, kept);
    const { commit } = room.kernel;
    room.kernel.commit = (transaction, options) => {
      if (options?.generation !== undefined) room.kernel.meddle();
      commit.call(room.kernel, transaction, options);
    };
    bringOne(table, pod('d', { app: 'web' }), kept);
    room.assertWhole(table, kept);
  });

  test('and a release of ours whose gate is another one left the table: it is brought to this one', () => {
    using room = new Room();
    const kept = folder(allowWeb);
    const table = filled(room, kept);
    const head = join(room.runDir, '4711.node');
    const { gate: _, ...earlier } = valueIn(readFileSync(head, 'utf8')) as { readonly gate: string };
    writeFileSync(head, JSON.stringify(earlier));
    const { kernel } = room;
    kernel.table = { ...kernel.table!, chains: gated(kernel.table!.chains) };
    bringOne(room.open(), pod('d', { app: 'web' }), kept);
    room.assertWhole(table, kept);
  });
});
