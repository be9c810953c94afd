/** The agent's table brought from world to world, against a kernel that refuses what the kernel refuses. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FolderTable } from '../../../lib/enforce/folder-table.ts';
import { LiveTable } from '../../../lib/enforce/live-table.ts';
import { desiredTable } from '../../../lib/gate/desired.ts';
import {
  type LocalPod,
  type NodeState,
  type Owner,
  podKey,
  withoutPod,
  withPod,
} from '../../../lib/gate/node-state.ts';
import { identitiesOfNode, worldOfNode } from '../../../lib/gate/node-world.ts';
import type { GateSettings } from '../../../lib/gate/settings.ts';
import type { CutScope } from '../../../lib/gate/shrunk.ts';
import { waypoints } from '../../../lib/gate/waypoints.ts';
import { formatAddress, parseAddress, parsePrefix } from '../../../lib/ip/address.ts';
import { diff } from '../../../lib/nft/diff.ts';
import type { Key, Table } from '../../../lib/nft/model.ts';
import { ACCEPT } from '../../../lib/nft/statements.ts';
import { nameOperation } from '../../../lib/nft/transaction.ts';
import { compile } from '../../../lib/policy/compile/compile.ts';
import { LiveRules } from '../../../lib/policy/compile/live.ts';
import type { AddressSet, Ruleset } from '../../../lib/policy/compile/ruleset.ts';
import type { BlockPeer, Pod, World } from '../../../lib/policy/model/model.ts';
import { Kernel } from '../../support/fake-nft.ts';
import { untaggedPod } from '../../support/local-pod.ts';
import { MapStore } from '../../support/map-store.ts';
import { hear, plugged, remotePods, turned } from '../../support/turning-worlds.ts';
import { manifests, worldFrom } from '../../support/worlds.ts';

const owner: Owner = { enforcer: 'agent', stateDir: '/state', policies: '/policies' };
const settings: GateSettings = { judge: 'agent', nflogGroup: 7467, enforceEgressToNode: false };

class Room {
  readonly store = new MapStore();
  readonly kernel = new Kernel();
  readonly said: string[] = [];
  readonly shrunk: CutScope[] = [];
  retagged: (pod: LocalPod) => void = () => {};
  rules = new LiveRules();
  readonly #own: boolean;
  table: LiveTable;

  constructor({ own = true }: { readonly own?: boolean } = {}) {
    this.#own = own;
    this.table = this.#open();
  }

  #open(): LiveTable {
    const { store, kernel, rules } = this;
    const log = (line: string): void => void this.said.push(line);
    const retag = (pod: LocalPod): void => {
      kernel.log.push(`retag ${pod.link} ${pod.tag}`);
      this.retagged(pod);
    };
    const shrunk = (scope: CutScope): void => void this.shrunk.push(scope);
    return new LiveTable({
      ...{ store, owner, settings, rules, nft: kernel.nft, own: this.#own, log, retag, shrunk },
      recover: () => ({}),
      isCarried: () => false,
    });
  }

  /** Another process in its place, which hears everything anew. */
  restart(world: World): void {
    this.rules = new LiveRules();
    this.table = this.#open();
    hear(this.rules, undefined, world);
  }

  /** While the agent is away. */
  closeWithoutAgent(key: string): void {
    const { store, kernel } = this;
    const nothing = {
      log: () => {},
      recover: () => ({}),
      isCarried: () => false,
      isAnyTagged: () => false,
      retag: () => {},
    };
    new FolderTable({ store, owner, settings, nft: () => kernel.nft, ...nothing }).close(key);
  }

  /** But for counters of what has gone, which nobody but the agent clears away. */
  assertIs(world: World, state: NodeState): void {
    const want = desiredTable(
      state,
      0,
      compile(worldOfNode({ ...world, pods: remotePods(world) }, state), identitiesOfNode(state)),
    );
    const operations = diff(this.kernel.table, want).operations.filter(
      operation => !(operation.object === 'element' && operation.set.name === 'marker'),
    );
    assert.deepEqual(operations.map(nameOperation), []);
  }
}

const worlds = fc.array(manifests().map(worldFrom), { minLength: 2, maxLength: 4 });

test('from world to world the table is what a compiler of the whole makes, and none of it is read but at the start', async () => {
  await fc.assert(
    fc.asyncProperty(worlds, async list => {
      const room = new Room();
      let before: World | undefined;
      for (const world of list) {
        hear(room.rules, before, world);
        await room.table.bring(state => turned(state, world));
        room.assertIs(world, room.table.state);
        before = world;
      }
      assert.equal(room.kernel.reads, 2, 'once for its owner, once to compare');
    }),
    { numRuns: 150 },
  );
});

test('a pod that another process closes while the agent reads the record is not put back', async () => {
  const room = new Room();
  const pod = untaggedPod('web', { addresses: ['10.77.0.2'] });
  const other = untaggedPod('db', { addresses: ['10.77.0.3'] });
  await room.table.bring(state => [pod, other].reduce((now, each) => withPod(now, each, () => false).state, state));
  const { store } = room;
  const read = store.read.bind(store);
  store.read = () => {
    const record = read();
    store.read = read;
    room.closeWithoutAgent(podKey(pod));
    return record;
  };
  room.restart({ pods: [], namespaces: new Map(), policies: [] } as unknown as World);
  await room.table.bring(state => state);
  assert.deepEqual(Object.keys(room.table.state.pods), [podKey(other)]);
});

test('whoever dies and comes back, whatever was closed meanwhile, ends with the same table', async () => {
  await fc.assert(
    fc.asyncProperty(worlds, fc.nat(), async (list, which) => {
      const room = new Room();
      for (const world of list) {
        room.restart(world);
        const keys = Object.keys(room.table.state.pods);
        const gone = keys[which % Math.max(keys.length, 1)];
        if (gone !== undefined) room.closeWithoutAgent(gone);
        await room.table.bring(state => turned(state, world));
        room.assertIs(world, room.table.state);
      }
    }),
    { numRuns: 100 },
  );
});

test('while the agent is away a pod leaves every set and map, and nobody else is touched', async () => {
  const names = ['a', 'b', 'c'];
  const room = new Room();
  const pods = names.map((name, i): Pod => {
    const labels = new Map([['app', i === 2 ? 'other' : 'web']]);
    return {
      namespace: 'shop',
      name,
      labels,
      addresses: [`10.0.0.${i + 1}`, `fd00::${i + 1}`],
      namedPorts: [],
      hostNetwork: false,
      finished: false,
    };
  });
  room.rules.setPolicy({
    ...{ kind: 'NetworkPolicy', namespace: 'shop', name: 'deny', subject: { requirements: [] } },
    ingress: [{ index: 0, peers: [{ kind: 'pods', namespace: 'shop', pods: { requirements: [] } }], ports: 'any' }],
  });
  await room.table.bring(state => pods.map(plugged).reduce((now, pod) => withPod(now, pod, () => false).state, state));
  const has = (text: string): string[] =>
    room.kernel
      .table!.sets.filter(({ elements }) =>
        JSON.stringify(elements, (_, value) => (typeof value === 'bigint' ? `${value}n` : value)).includes(text),
      )
      .map(({ name }) => name.replace(/-.*/, ''));
  const value = (text: string): string => `"${parseAddress(text)!.value}n"`;
  const { tag } = room.table.state.pods['net/shop-c/eth0']!;
  assert.deepEqual(has(value('10.0.0.3')), ['self4', 'pods4']);
  room.closeWithoutAgent('net/shop-c/eth0');
  assert.deepEqual([has(value('10.0.0.3')), has(value('fd00::3')), has(String(tag))], [[], [], []]);
  assert.deepEqual(has(value('10.0.0.1')), ['self4', 'pods4']);
  room.closeWithoutAgent('net/shop-a/eth0');
  const shared = String(room.table.state.pods['net/shop-b/eth0']!.tag);
  assert.deepEqual(
    has(shared),
    ['egress_by_tag', 'ingress_by_tag', 'egress_counts', 'ingress_counts'],
    'b has it still',
  );
  room.closeWithoutAgent('net/shop-b/eth0');
  assert.equal(room.kernel.table, undefined, 'with the last pod the table goes');
});

const policyOf = (name: string, port: number): Parameters<LiveRules['setPolicy']>[0] => ({
  ...{ kind: 'NetworkPolicy', namespace: 'default', name, subject: { requirements: [] } },
  ingress: [{ index: 0, peers: 'any', ports: [{ protocol: 'TCP', first: port, last: port }] }],
});
const lone: Pod = {
  namespace: 'default',
  name: 'p',
  labels: new Map(),
  addresses: ['10.0.0.1'],
  namedPorts: [],
  hostNetwork: false,
  finished: false,
};
const ports = ({ table }: Kernel): string[] =>
  table!.chains
    .filter(({ name }) => name.startsWith('in-'))
    .flatMap(({ rules }) => rules.flatMap(({ comment }) => (comment?.startsWith('NetworkPolicy/') ? [comment] : [])));

test('a policy that the kernel refuses closes whom it selects, until it is another policy', async () => {
  const room = new Room();
  room.kernel.refuse = operation =>
    operation.object === 'rule' && operation.verb === 'add' && operation.rule.comment?.includes('default/bad')
      ? 'EINVAL'
      : undefined;
  room.rules.setPolicy(policyOf('good', 80));
  await room.table.bring(state => withPod(state, plugged(lone), () => false).state);
  room.rules.setPolicy(policyOf('bad', 81));
  await room.table.bring(state => state);
  assert.deepEqual(ports(room.kernel), [], 'whatever else selects the pod');
  assert.match(room.said.join(), /refused NetworkPolicy\/default\/bad/);
  room.kernel.refuse = () => undefined;
  room.table.retryRefused();
  room.rules.setPolicy(policyOf('bad', 82));
  await room.table.bring(state => state);
  assert.deepEqual(ports(room.kernel), [
    'NetworkPolicy/default/good ingress[0]',
    'NetworkPolicy/default/bad ingress[0]',
  ]);
});

test('an ADD is judged by what its namespace and all pods are now, and carries none of the 6,000 entries of another', async () => {
  const room = new Room();
  const [here, there] = [
    { ...lone, namespace: 'a' },
    { ...lone, namespace: 'b', addresses: ['10.0.0.2'] },
  ];
  const addAll = (...pods: readonly Pod[]) =>
    pods.map(plugged).reduce((now, pod) => withPod(now, pod, () => false).state, room.table.state);
  const friends = { requirements: [{ key: 'role', operator: 'In', values: ['friend'] }] } as const;
  const anywhere = { kind: 'pods', namespace: { requirements: [] }, pods: friends } as const;
  const friend = {
    ...lone,
    namespace: 'b',
    name: 'friend',
    labels: new Map([['role', 'friend']]),
    addresses: ['10.1.0.1'],
  };
  room.rules.setPolicy({
    ...policyOf('web', 80),
    namespace: 'a',
    ingress: [{ index: 0, peers: [anywhere], ports: 'any' }],
  });
  room.rules.setPolicy({ ...policyOf('web', 80), namespace: 'b' });
  await room.table.bring(() => addAll(here, there));
  const ofBlocks = (i: number) => {
    const peers = Array.from({ length: 2_000 }, (_, j): BlockPeer => {
      const cidr = parsePrefix(`${20 + i}.${j >> 8}.${j & 255}.7/32`)!;
      return { kind: 'block', cidr, except: [] };
    });
    return { ...policyOf(`large${i}`, 80), namespace: 'b', ingress: [{ index: 0, peers, ports: 'any' }] } as const;
  };
  const written = async (work: Promise<unknown>): Promise<number> => {
    const before = room.kernel.log.length;
    await work;
    return room.kernel.log.length - before;
  };
  for (let i = 0; i < 3; i++) room.rules.setPolicy(ofBlocks(i));
  room.rules.setPolicy({ ...policyOf('more', 81), namespace: 'a' });
  room.rules.setPod(friend);
  const newcomer = { ...here, name: 'new', labels: new Map([['app', 'new']]), addresses: ['10.0.0.3'] };
  const adding = room.table.bring(() => addAll(newcomer), { namespaces: ['a'] });
  assert.ok((await written(adding)) < 30);
  assert.deepEqual([...new Set(ports(room.kernel))].toSorted(), [
    'NetworkPolicy/a/more ingress[0]',
    'NetworkPolicy/a/web ingress[0]',
    'NetworkPolicy/b/web ingress[0]',
  ]);
  const isFriend = ([datum]: Key): boolean =>
    typeof datum === 'object' && 'value' in datum && datum.value === 0x0a010001n;
  const peers = room.kernel.table!.sets.filter(({ elements }) => elements.some(({ key }) => isFriend(key)));
  assert.equal(peers.length, 1, 'the friend is a peer already');
  assert.ok((await written(room.table.bring(state => state, { namespaces: ['b'] }))) >= 6_000);
  assert.equal(room.kernel.reads, 2, 'the table was known all the time');
});

test('what somebody else changed is put right, and counted', async () => {
  const room = new Room();
  room.rules.setPolicy(policyOf('web', 80));
  await room.table.bring(state => withPod(state, plugged(lone), () => false).state);
  const whole = room.kernel.table!;
  assert.deepEqual(await room.table.mend(), []);
  room.kernel.table = {
    ...whole,
    sets: whole.sets.map(set => (set.name === 'egress_by_tag' ? { ...set, elements: [] } : set)),
  };
  assert.deepEqual((await room.table.drift()).map(nameOperation), ['elements of map egress_by_tag']);
  assert.equal((await room.table.mend()).length, 1);
  room.kernel.table = undefined;
  assert.equal((await room.table.mend()).length > 10, true);
  assert.deepEqual(diff(room.kernel.table, room.table.desired()).operations, []);
  assert.equal(room.table.mended > 10, true);
});

test('somebody who deleted the table does not stop the next change', async () => {
  const room = new Room();
  room.rules.setPolicy(policyOf('web', 80));
  await room.table.bring(state => withPod(state, plugged(lone), () => false).state);
  room.kernel.table = undefined;
  room.rules.setPolicy(policyOf('web', 81));
  room.shrunk.length = 0;
  await room.table.bring(state => state);
  assert.deepEqual(room.shrunk, ['everywhere']);
  assert.ok(room.table.mended > 10, 'and is counted');
  assert.deepEqual(diff(room.kernel.table, room.table.desired()).operations, []);
});

test('an agent says of a table that was emptied while there was none that it closes the gate again', async () => {
  const podWorld = (port: number): World => ({
    ...{ namespaces: new Map(), pods: [] },
    policies: [policyOf('web', port)],
  });
  const whole = (table: Table): Table => table;
  const withoutRules = (table: Table): Table => ({
    ...table,
    chains: table.chains.map(chain => ({ ...chain, rules: [] })),
  });
  for (const [what, meanwhile, isTold] of [
    ['nothing happens', whole, false],
    ['it is flushed', withoutRules, true],
    ['its gate is flushed', changedIn('chains', 'gate', chain => ({ ...chain, rules: [] })), true],
    ['it is deleted', () => undefined, true],
  ] as const) {
    const room = new Room();
    room.rules.setPolicy(policyOf('web', 80));
    await room.table.bring(state => withPod(state, plugged(lone), () => false).state);
    room.kernel.table = meanwhile(room.kernel.table!);
    // What the API says is another thing by now, which is no other program's doing.
    room.restart(podWorld(81));
    await room.table.bring(state => state);
    assert.deepEqual(diff(room.kernel.table, room.table.desired()).operations, [], what);
    assert.equal(/Another program changed our table: mended/.test(room.said.join()), isTold, what);
    assert.equal(room.table.mended > 0, isTold, what);
  }
});

/** What another program does to the table, whose marker stays. */
const damages: readonly (readonly [string, (table: Table) => Table])[] = [
  ['the rules of the gate are gone', changedIn('chains', 'gate', chain => ({ ...chain, rules: [] }))],
  [
    'a rule comes before all others',
    changedIn('chains', 'gate', chain => ({ ...chain, rules: [{ statements: [ACCEPT] }, ...chain.rules] })),
  ],
  ["the tag's entry is gone", changedIn('sets', 'ingress_by_tag', map => ({ ...map, elements: [] }))],
  ['its own chain is empty', changedIn('chains', 'in-', chain => ({ ...chain, rules: [] }))],
  ['a set of peers has lost its elements', changedIn('sets', 'pods4', set => ({ ...set, elements: [] }))],
];

/** In all chains or sets whose names begin so. */
function changedIn<K extends 'chains' | 'sets'>(
  kind: K,
  prefix: string,
  change: (item: Table[K][number]) => Table[K][number],
) {
  return (table: Table): Table => ({
    ...table,
    [kind]: table[kind].map(item => (item.name.startsWith(prefix) ? change(item) : item)),
  });
}

/** A pod of this name, with an address of its own. */
const numbered = (name: string, number: number): Omit<LocalPod, 'tag'> =>
  plugged({ ...lone, name, addresses: [`10.0.${number >> 8}.${number & 0xff}`] });

/** As an ADD does before it opens the pod. */
const open = ({ table }: Room, pod: Omit<LocalPod, 'tag'>): Promise<number> =>
  table.bring(state => withPod(state, pod, () => false).state, { opening: [podKey(pod)] });

const fromAll: Parameters<LiveRules['setPolicy']>[0] = {
  ...{ kind: 'NetworkPolicy', namespace: 'default', name: 'deny', subject: { requirements: [] } },
  ingress: [{ index: 0, peers: [{ kind: 'pods', namespace: 'default', pods: { requirements: [] } }], ports: 'any' }],
};

for (const [what, damage] of damages)
  test(`before a pod is opened in a table that others may change, it is whole again, and nothing is read while it is: ${what}`, async () => {
    const room = new Room({ own: false });
    const { kernel, table } = room;
    room.rules.setPolicy(fromAll);
    await open(room, numbered('a', 1));
    const { reads } = kernel;
    await open(room, numbered('b', 2));
    kernel.meddle();
    await open(room, numbered('c', 3));
    room.rules.setPolicy(policyOf('more', 80));
    await open(room, numbered('d', 4));
    kernel.meddle();
    await table.bring(state => withoutPod(state, podKey(numbered('c', 3))));
    await open(room, numbered('e', 5));
    assert.deepEqual([kernel.reads, table.mended], [reads, 0]);
    room.shrunk.length = 0;
    kernel.meddle(damage);
    await open(room, numbered('f', 6));
    assert.deepEqual(diff(kernel.table, table.desired()).operations, []);
    assert.ok(table.mended > 0 && room.said.join().includes('Another program changed our table'));
    assert.ok(room.shrunk.includes('everywhere'), 'what went through meanwhile is looked at');
    const after = kernel.reads;
    await open(room, numbered('g', 7));
    assert.equal(kernel.reads, after, 'and it is known again');
  });

test('a pod that gets another identity gets its tag once the table is whole, whatever another program took away', async () => {
  const room = new Room({ own: false });
  room.rules.setPolicy(fromAll);
  await open(room, numbered('a', 1));
  room.kernel.meddle(damages[0]![1]);
  const rules: number[] = [];
  room.retagged = () => rules.push(room.kernel.table!.chains.find(({ name }) => name === 'gate')!.rules.length);
  const other = { ...numbered('a', 1), labels: { app: 'other' } };
  await room.table.bring(state => withPod(state, other, () => false).state);
  assert.equal(rules.length, 1);
  assert.ok(rules[0]! > 0);
});

test('whose connections a change may forbid is told whoever brings it about: an ADD of another pod as well', async () => {
  const room = new Room();
  await open(room, numbered('a', 1));
  room.rules.setPolicy(policyOf('web', 80));
  room.shrunk.length = 0;
  await open(room, numbered('b', 2));
  assert.ok(room.shrunk.some(scope => scope !== 'everywhere' && scope.map(formatAddress).includes('10.0.0.1')));
});

test('what another program put into a chain is not taken for ours because we change that chain as well', async () => {
  const room = new Room({ own: false });
  room.rules.setPolicy(policyOf('web', 80));
  await open(room, numbered('a', 1));
  room.kernel.meddle(damages[1]![1]);
  room.kernel.meddle(
    changedIn('chains', 'in-', chain => ({ ...chain, rules: [{ statements: [ACCEPT] }, ...chain.rules] })),
  );
  room.rules.setPolicy(policyOf('web', 81));
  await open(room, numbered('b', 2));
  assert.deepEqual(diff(room.kernel.table, room.table.desired()).operations, []);
});

const set = (name: string, ...texts: string[]): [string, AddressSet] => [
  name,
  { kind: 'addresses', name, family: 4, comment: '', pods: [], elements: texts.map(text => parseAddress(text)!) },
];
const identity = { namespace: 'a', labels: new Map<string, string>(), namedPorts: [] };
const part = (egress: string | undefined, ...sets: [string, AddressSet][]): Ruleset => ({
  sets: new Map(sets),
  chains: new Map(),
  tags: new Map(egress === undefined ? [] : [[1, { identity, egress, ingress: 'open' }]]),
});
const shown = ({ sets, tags }: Ruleset): string => {
  const members = [...sets.values()].map(
    ({ name, elements }) => `${name}:${(elements as AddressSet['elements']).map(formatAddress).join('+')}`,
  );
  return [...members, ...[...tags.values()].map(({ egress }) => egress)].join(' ');
};

const ways: readonly (readonly [string, Ruleset, Ruleset, readonly string[]])[] = [
  [
    'what only opens is one step',
    part(undefined, set('s')),
    part(undefined, set('s', '10.0.0.1')),
    ['s:', 's:10.0.0.1'],
  ],
  [
    'what only closes is one step',
    part(undefined, set('s', '10.0.0.1')),
    part(undefined, set('s')),
    ['s:10.0.0.1', 's:'],
  ],
  [
    'where one set loses and another gains, what is lost goes first',
    part(undefined, set('s', '10.0.0.1'), set('t')),
    part(undefined, set('s'), set('t', '10.0.0.1')),
    ['s:10.0.0.1 t:', 's: t:', 's: t:10.0.0.1'],
  ],
  [
    'where a gate changes, too, it changes in between',
    part('out-a', set('s', '10.0.0.1'), set('t')),
    part('out-b', set('s'), set('t', '10.0.0.1')),
    ['s:10.0.0.1 t: out-a', 's: t: out-a', 's: t: out-b', 's: t:10.0.0.1 out-b'],
  ],
  ['a gate alone is one step', part('out-a', set('s')), part('out-b', set('s')), ['s: out-a', 's: out-b']],
  [
    'a set that is new is whole from the start, since nobody looked into it before',
    part('out-a'),
    part('out-b', set('n', '10.0.0.1')),
    ['out-a', 'n:10.0.0.1 out-b'],
  ],
];

for (const [name, before, after, steps] of ways)
  test(`on the way: ${name}`, () => {
    assert.deepEqual(waypoints({ before, after, isStructural: true }).map(shown), steps);
  });
