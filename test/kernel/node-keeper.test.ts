/** What the agent does for its node, in the order in which one thing promises the next. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parseConfig } from '../../lib/cni/config.ts';
import { parsePrefix } from '../../lib/ip/address.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { inNetns } from '../../lib/kernel/netns.ts';
import type { ApiRequest, Client } from '../../lib/kube/client.ts';
import { KubeError } from '../../lib/kube/error.ts';
import type { KubeNode } from '../../lib/kube/object.ts';
import { type ConflistSettings, conflistText } from '../../lib/node/conflist.ts';
import { concernsRoutes, NodeKeeper, type NodeKeeperOptions, type NodeStatus } from '../../lib/node/node-network.ts';
import { findNodeRanges, nodeRangesPath } from '../../lib/state/node-ranges.ts';
import { Netns } from '../support/netns.ts';
import { scratchFolder } from '../support/scratch.ts';
import { until } from '../support/until.ts';

const node = (name: string, podCidrs: string, networkUnavailable?: string): KubeNode => ({
  name,
  labels: new Map(),
  addresses: ['192.0.2.1', '2001:db8::1'],
  podCidrs: podCidrs
    .split(' ')
    .filter(Boolean)
    .map(text => parsePrefix(text)!),
  ...(networkUnavailable === undefined ? {} : { networkUnavailable }),
});

const settings: ConflistSettings = {
  owner: { enforcer: 'agent', stateDir: '/var/lib/tollgate', policies: '/etc/tollgate/policies' },
  runDir: '/run/tollgate',
  ipMasq: true,
  nflogGroup: 7467,
  enforceEgressToNode: false,
  established: 'cut',
};

/** A node with a network and folders of its own. */
class Room implements Disposable {
  readonly netns = new Netns();
  readonly folder = scratchFolder('node');
  readonly confDir = join(this.folder, 'net.d');
  readonly cacheDir = join(this.folder, 'cni');
  readonly asked: ApiRequest[] = [];
  readonly said: string[] = [];
  readonly socket: NetlinkSocket;
  refusal: KubeError | undefined;

  constructor() {
    const { netns } = this;
    netns.exec('ip', ['link', 'add', 'wire', 'type', 'veth', 'peer', 'name', 'beyond']);
    netns.exec('ip', ['addr', 'add', '192.0.2.1/24', 'dev', 'wire']);
    netns.exec('ip', ['link', 'set', 'wire', 'up']);
    this.socket = inNetns(netns, () => NetlinkSocket.open('route'));
  }

  keeper(more: Partial<NodeKeeperOptions['conflist']> = {}): NodeKeeper {
    const json = async (request: ApiRequest): Promise<unknown> => {
      this.asked.push(request);
      if (this.refusal) throw this.refusal;
      return {};
    };
    const { folder: runDir, confDir, cacheDir } = this;
    return new NodeKeeper({
      ...{ node: 'a', runDir, host: this.socket.exchange },
      client: { server: 'https://api', json } as unknown as Client,
      log: (_level, message) => void this.said.push(message),
      conflist: { confDir, cacheDir, settings, takeOver: false, removeOnExit: false, ...more },
    });
  }

  /** In the node's namespace, which /proc/sys is taken of; the API is not of this world. */
  update(keeper: NodeKeeper, nodes: readonly KubeNode[], isServing = true): Promise<NodeStatus> {
    const begun = inNetns(this.netns, () => ({ promise: keeper.update(nodes, isServing) }));
    return begun.promise;
  }

  conf(name: string, value: unknown): void {
    mkdirSync(this.confDir, { recursive: true });
    writeFileSync(join(this.confDir, name), typeof value === 'string' ? value : JSON.stringify(value));
  }

  /** As libcni notes it. */
  attached(network: string, id: string): void {
    mkdirSync(join(this.cacheDir, 'results'), { recursive: true });
    const record = { kind: 'cniCacheV1', containerId: id, ifName: 'eth0', networkName: network };
    writeFileSync(join(this.cacheDir, 'results', `${network}-${id}-eth0`), JSON.stringify(record));
  }

  get confs(): string[] {
    return existsSync(this.confDir) ? readdirSync(this.confDir).sort() : [];
  }

  get forwarding(): string {
    const read = 'cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding';
    return this.netns.exec('sh', ['-c', read]).stdout.replaceAll('\n', '');
  }

  [Symbol.dispose](): void {
    this.socket[Symbol.dispose]();
    this.netns[Symbol.dispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const ours = '10-tollgate.conflist';

/** What inotify says of a folder: `change` for bytes that are written, `rename` for names that come and go. */
function watched(folder: string, heard: (event: string, file: string | null) => void) {
  const watcher = watch(folder, heard);
  return {
    /** Resolves once everything that happened before has been heard. */
    async settled(): Promise<void> {
      const last = Promise.withResolvers<void>();
      watcher.on('change', (_event, file) => file === 'last' && last.resolve());
      mkdirSync(join(folder, 'last'));
      await last.promise;
      rmSync(join(folder, 'last'), { recursive: true });
    },
    [Symbol.dispose]: () => watcher.close(),
  };
}
const noRange =
  /pod CIDR 192\.0\.2\.0\/24 of node a is no range for pods: node a has its own address 192\.0\.2\.1 in it/;
const own = node('a', '10.244.1.0/24 fd44:1::/64');
const other = { cniVersion: '1.0.0', name: 'flat', plugins: [{ type: 'bridge' }] };

describe('A node', () => {
  test('becomes ready: ranges, routes, forwarding, the API’s condition, then the conflist', async () => {
    using room = new Room();
    assert.equal(room.forwarding, '00');
    const status = await room.update(room.keeper(), [own]);
    assert.deepEqual(status, { ready: true, waitsFor: [], problems: [] });
    assert.equal(room.forwarding, '11');
    assert.deepEqual(JSON.parse(readFileSync(nodeRangesPath(room.folder), 'utf8')), {
      node: 'a',
      podCidrs: ['10.244.1.0/24', 'fd44:1::/64'],
    });
    assert.match(room.netns.exec('ip', ['route', 'show', 'proto', '116']).stdout, /^unreachable 10\.244\.1\.0\/24/);
    const [patch] = room.asked;
    assert.equal(`${patch?.method} ${patch?.path}`, 'PATCH /api/v1/nodes/a/status');
    assert.match(JSON.stringify(patch?.body), /"type":"NetworkUnavailable","status":"False","reason":"TollgateIsUp"/);
    assert.deepEqual(room.confs, [ours]);
    assert.equal(statSync(join(room.confDir, ours)).mode & 0o777, 0o644);
  });

  test('that is as it should be is left alone, file for file', async () => {
    using room = new Room();
    const keeper = room.keeper();
    const done = node('a', '10.244.1.0/24', 'False');
    await room.update(keeper, [done]);
    const files = [nodeRangesPath(room.folder), join(room.confDir, ours)];
    const before = files.map(file => statSync(file).ino);
    await room.update(keeper, [done]);
    await room.update(room.keeper(), [done]);
    assert.deepEqual(
      files.map(file => statSync(file).ino),
      before,
    );
    assert.deepEqual(room.asked, []);
  });

  const waits: readonly [name: string, nodes: readonly KubeNode[], why: RegExp][] = [
    ['the API does not know', [node('b', '10.244.2.0/24')], /the API has no node a/],
    ['has no pod CIDR yet', [node('a', '')], /node a has no pod CIDR: kube-controller-manager .*--allocate-node-cidrs/],
  ];
  for (const [name, nodes, why] of waits)
    test(`that ${name} waits, and what stands stays`, async () => {
      using room = new Room();
      const keeper = room.keeper();
      const early = await room.update(keeper, nodes);
      assert.equal(early.ready, false);
      assert.match(early.waitsFor.join(), why);
      assert.deepEqual([room.confs, room.asked, existsSync(nodeRangesPath(room.folder))], [[], [], false]);
      await room.update(keeper, [own]);
      await room.update(keeper, nodes);
      assert.deepEqual(room.confs, [ours]);
      assert.match(room.netns.exec('ip', ['route', 'show', 'proto', '116']).stdout, /^unreachable 10\.244\.1\.0\/24/);
    });

  test('whose calls nobody serves yet gets no conflist', async () => {
    using room = new Room();
    const keeper = room.keeper();
    assert.equal((await room.update(keeper, [own], false)).ready, true);
    assert.deepEqual(room.confs, []);
    await room.update(keeper, [own], true);
    assert.deepEqual(room.confs, [ours]);
  });

  test('whose condition the API refuses has all the rest', async () => {
    using room = new Room();
    room.refusal = new KubeError('set', { status: 403, reason: 'Forbidden', message: 'no' });
    await assert.rejects(room.update(room.keeper(), [own]), KubeError);
    assert.deepEqual(room.confs, [ours]);
    assert.ok(findNodeRanges(room.folder));
  });

  test('says what is wrong once, for as long as it is so', async () => {
    using room = new Room();
    const keeper = room.keeper();
    for (let i = 0; i < 3; i++) await room.update(keeper, []);
    assert.equal(room.said.filter(line => line.includes('no node a')).length, 1);
    assert.deepEqual(keeper.status.waitsFor, ['the API has no node a']);
  });

  test('whose routes and forwarding another program takes away has them again, counted and told; first ones are no mend', async () => {
    using room = new Room();
    const keeper = room.keeper();
    await room.update(keeper, [own]);
    assert.deepEqual(keeper.mended, { routes: 0, forwarding: 0 });
    room.netns.exec('sh', ['-ec', 'ip route flush proto 116; echo 0 >/proc/sys/net/ipv4/ip_forward']);
    await room.update(keeper, [own]);
    assert.equal(room.forwarding, '11');
    assert.match(room.netns.exec('ip', ['route', 'show', 'proto', '116']).stdout, /^unreachable 10\.244\.1\.0\/24/);
    assert.deepEqual(keeper.mended, { routes: 1, forwarding: 1 });
    assert.deepEqual(
      room.said.filter(line => line.startsWith('Another program')),
      ['Another program switched IPv4 forwarding off: on again', 'Another program removed routes of ours: made again'],
    );
    // A node that leaves takes its route with it.
    await room.update(keeper, [node('a', 'fd44:1::/64')]);
    assert.deepEqual(keeper.mended, { routes: 1, forwarding: 1 });
  });

  test('with a pod CIDR that its own address is in gives out no range, and says so', async () => {
    using room = new Room();
    const { ready, waitsFor } = await room.update(room.keeper(), [node('a', '192.0.2.0/24 fd44:1::/64')]);
    assert.equal(ready, false);
    assert.match(waitsFor.join(), noRange);
    assert.equal(findNodeRanges(room.folder), undefined);
    assert.deepEqual(room.confs, []);
  });

  for (const [what, now] of [
    ['has no pod CIDR any more', node('a', '')],
    ['has one now that is no range for pods', node('a', '192.0.2.0/24')],
  ] as const)
    test(`that ${what} gives out no address of the one that it had, says so once, and goes on when it has one`, async () => {
      using room = new Room();
      const keeper = room.keeper();
      await room.update(keeper, [own]);
      for (let i = 0; i < 2; i++) assert.equal((await room.update(keeper, [now])).ready, false);
      assert.equal(findNodeRanges(room.folder), undefined);
      assert.deepEqual(
        room.said.filter(line => line.startsWith('Pods get no more')),
        ['Pods get no more addresses of what was this node’s range'],
      );
      assert.equal((await room.update(keeper, [own])).ready, true);
      assert.deepEqual(findNodeRanges(room.folder)?.podCidrs, own.podCidrs);
    });

  test('keeps its conflist over a restart, and gives it up on request', async () => {
    using room = new Room();
    const [staying, leaving] = [room.keeper(), room.keeper({ removeOnExit: true })];
    await room.update(staying, [own]);
    staying.stop();
    assert.deepEqual(room.confs, [ours]);
    await room.update(leaving, [own]);
    leaving.stop();
    leaving.stop();
    assert.deepEqual(room.confs, []);
  });
});

test('a node’s change concerns its routes where it is seen in them, and where a node comes or goes', () => {
  const changes: readonly (readonly [what: string, after: KubeNode | undefined, concerns: boolean])[] = [
    ['labels', { ...own, labels: new Map([['a', 'b']]) }, false],
    ['a copy', { ...own, podCidrs: [...own.podCidrs], addresses: [...own.addresses] }, false],
    ['an address', { ...own, addresses: ['192.0.2.1'] }, true],
    ['a CIDR', node('a', '10.244.1.0/24'), true],
    ['the condition', { ...own, networkUnavailable: 'True' }, true],
    ['its age: it is another node of that name', { ...own, created: '2026-01-01T00:00:00Z' }, true],
    ['its end', undefined, true],
  ];
  for (const [what, after, concerns] of changes) {
    assert.equal(concernsRoutes({ before: own, after }), concerns, what);
    assert.equal(concernsRoutes({ before: after, after: own }), concerns, `${what}, the other way`);
  }
});

describe('A node of another network', () => {
  interface Case {
    readonly name: string;
    readonly confs: Readonly<Record<string, unknown>>;
    readonly attached?: readonly string[];
    readonly refused?: RegExp;
  }
  const cases: readonly Case[] = [
    {
      name: 'whose file comes first',
      confs: { '05-flat.conflist': other },
      refused:
        /05-flat\.conflist is another network's, and runtimes would take it before ours; delete its pods and its file/,
    },
    { name: 'whose file nobody can read, and that comes first', confs: { '00.conf': 'oops' }, refused: /00\.conf/ },
    { name: 'whose file is null', confs: { '00.conf': 'null' }, refused: /00\.conf is another network's/ },
    {
      name: 'whose file is of other JSON',
      confs: { '00.conf': '7', '01.conf': '[]', '02.conflist': '{"plugins":[null,7]}' },
      refused: /00\.conf.*01\.conf.*02\.conflist/,
    },
    {
      name: 'whose file comes later, and that has pods',
      confs: { '87-flat.conflist': other },
      attached: ['flat', 'flat'],
      refused: /87-flat\.conflist is another network's, and 2 attachments of its network flat are on this node/,
    },
    {
      name: 'whose file comes later, and that has none',
      confs: { '87-flat.conflist': other },
      attached: ['elsewhere'],
    },
    {
      name: 'that is the loopback link',
      confs: { '00-loopback.conf': { name: 'lo', type: 'loopback' } },
      attached: ['lo'],
    },
    {
      name: 'that has been moved away',
      confs: { '05-flat.conflist.before-tollgate': other, '.05-flat.conflist.swp': 'x' },
    },
  ];
  for (const { name, confs, attached = [], refused } of cases)
    test(`${name}: ${refused ? 'refused' : 'no obstacle'}`, async () => {
      using room = new Room();
      for (const [file, value] of Object.entries(confs)) room.conf(file, value);
      for (const [i, network] of attached.entries()) room.attached(network, `c${i}`);
      const { ready, waitsFor } = await room.update(room.keeper(), [own]);
      assert.equal(ready, !refused);
      assert.equal(room.confs.includes(ours), !refused);
      // Never half: all of it, or nothing.
      assert.equal(room.forwarding, refused ? '00' : '11');
      assert.equal(findNodeRanges(room.folder) === undefined, !!refused);
      assert.equal(room.netns.exec('ip', ['route', 'show', 'proto', '116']).stdout === '', !!refused);
      assert.equal(room.asked.length, refused ? 0 : 1);
      if (refused) assert.match(waitsFor.join(), refused);
      else assert.deepEqual(waitsFor, []);
    });

  test('gives way with takeOver: files before ours are moved aside, and ungated pods are told', async () => {
    using room = new Room();
    room.conf('05-flat.conflist', other);
    room.attached('flat', 'c1');
    const { waitsFor, problems } = await room.update(room.keeper({ takeOver: true }), [own]);
    assert.deepEqual(waitsFor, []);
    assert.match(
      problems.join(),
      /1 attachments of its network flat are on this node: its pods stay as they are, with no gate/,
    );
    assert.deepEqual(room.confs, ['05-flat.conflist.before-tollgate', ours]);
    assert.match(room.said.join(), /Moved another network out of the way/);
  });

  test('becomes ours as soon as that network has gone', async () => {
    using room = new Room();
    const keeper = room.keeper();
    room.conf('05-flat.conflist', other);
    assert.equal((await room.update(keeper, [own])).ready, false);
    rmSync(join(room.confDir, '05-flat.conflist'));
    assert.deepEqual(await room.update(keeper, [own]), { ready: true, waitsFor: [], problems: [] });
    assert.deepEqual(room.confs, [ours]);
  });

  test('a FIFO in the place of a file holds nobody: it is told where it comes first, and so is one in the runtime’s notes', async () => {
    using room = new Room();
    room.conf('87-flat.conflist', other);
    room.attached('flat', 'c1');
    const fifos = [join(room.confDir, '00-fifo.conf'), join(room.cacheDir, 'results', 'flat-c0-eth0')];
    for (const fifo of fifos) room.netns.exec('mkfifo', [fifo]);
    const { waitsFor } = await room.update(room.keeper(), [own]);
    assert.match(waitsFor.join(), /00-fifo\.conf is another network's, and runtimes would take it before ours/);
    assert.match(waitsFor.join(), /1 attachments of its network flat/);
  });

  test('a folder that is called like a configuration is none, as for runtimes', async () => {
    using room = new Room();
    mkdirSync(join(room.confDir, '00-x.conf'), { recursive: true });
    assert.deepEqual(await room.update(room.keeper(), [own]), { ready: true, waitsFor: [], problems: [] });
    assert.deepEqual(room.confs, ['00-x.conf', ours]);
  });

  test('what was moved aside before is not overwritten by what is moved aside now', async () => {
    using room = new Room();
    const keeper = room.keeper({ takeOver: true });
    for (const name of ['first', 'second', 'third']) {
      room.conf('05-flat.conflist', { ...other, name });
      await room.update(keeper, [own]);
    }
    const moved = room.confs.filter(file => file !== ours);
    const names = moved.map(file => JSON.parse(readFileSync(join(room.confDir, file), 'utf8')).name);
    assert.deepEqual(
      moved,
      ['', '.2', '.3'].map(end => `05-flat.conflist.before-tollgate${end}`),
    );
    assert.deepEqual(names, ['first', 'second', 'third']);
  });

  test('that comes before ours later makes the node not ready, for as long as runtimes would take it', async () => {
    using room = new Room();
    const keeper = room.keeper();
    assert.equal((await room.update(keeper, [own])).ready, true);
    room.conf('05-flat.conflist', other);
    assert.equal((await room.update(keeper, [own])).ready, false);
    rmSync(join(room.confDir, '05-flat.conflist'));
    assert.equal((await room.update(keeper, [own])).ready, true);
  });

  test('that comes after ours has been written is no reason to go, but one before it is told', async () => {
    using room = new Room();
    const keeper = room.keeper();
    await room.update(keeper, [own]);
    room.conf('87-podman.conflist', { ...other, name: 'podman' });
    room.attached('podman', 'c1');
    assert.deepEqual((await room.update(keeper, [own])).waitsFor, []);
    room.conf('05-flat.conflist', other);
    assert.match((await room.update(keeper, [own])).waitsFor.join(), /The conflist is there, but .*05-flat/);
    assert.equal(room.confs.includes(ours), true);
  });
});

describe('The conflist', () => {
  test('is written where no runtime watches: in their folder nothing is ever half written, and one file is renamed', async () => {
    using room = new Room();
    mkdirSync(room.confDir);
    const seen: string[] = [];
    using watcher = watched(room.confDir, (event, file) => seen.push(`${event} ${file}`));
    await room.update(room.keeper(), [own]);
    await until('the events', () => seen.some(event => event.endsWith(ours)));
    await room.update(room.keeper(), [own]);
    await watcher.settled();
    assert.deepEqual(
      seen.filter(event => event.startsWith('change ')),
      [],
    );
    assert.ok(seen.includes(`rename .${ours}.new`), 'containerd hears of renames only');
    assert.deepEqual(room.confs, [ours]);
  });

  const pluginOf = (text: string) => JSON.parse(text).plugins[0];

  test('says what is special only', () => {
    assert.deepEqual(Object.keys(pluginOf(conflistText(settings))), [
      'type',
      'enforcer',
      'ipMasq',
      'ipam',
      'capabilities',
    ]);
  });

  test('means to the plugin what the agent was told', () => {
    const special: ConflistSettings = {
      owner: { enforcer: 'agent', stateDir: '/s', policies: '/p' },
      ...{ runDir: '/r', ipMasq: false, mtu: 1400, nflogGroup: 7, enforceEgressToNode: true, established: 'keep' },
    };
    const text = conflistText(special);
    const { name, cniVersion } = JSON.parse(text);
    const config = parseConfig(JSON.stringify({ name, cniVersion, ...pluginOf(text) }), 'ADD');
    const { enforcer, stateDir, policies, runDir, ipMasq, mtu, nflogGroup, enforceEgressToNode, established } = config;
    assert.deepEqual(
      {
        owner: { enforcer: enforcer.kind, stateDir, policies },
        runDir,
        ipMasq,
        mtu,
        nflogGroup,
        enforceEgressToNode,
        established,
      },
      special,
    );
    assert.deepEqual([config.warnings, config.ipam?.rangeSets], [[], []]);
  });
});
