/**
 * `tollgate flows --denied` beside real packets: what `evaluate` refuses is shown with its pods and policies, what it allows
 * never is, and a flood is told to its last packet without being kept.
 */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { createInterface } from 'node:readline';
import test, { after, before } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import type { DeniedFlow, DeniedSum } from '../../lib/controller/flow-denials.ts';
import { desiredTable } from '../../lib/gate/desired.ts';
import type { NetnsIdentity } from '../../lib/kernel/netns.ts';
import { PROTOCOL } from '../../lib/nft/statements.ts';
import { DiskNodeStore } from '../../lib/nodestore/disk-store.ts';
import { GateHost } from '../support/gate-host.ts';
import { PacketWorld } from '../support/packet-world.ts';
import { until } from '../support/until.ts';
import { addressOf, tableName } from '../support/wired-host.ts';
import { type Denial, NodeWorld, type Party, type WorldFlow } from '../support/world-flows.ts';
import { documentsOf, type Manifest, manifests } from '../support/worlds.ts';

const source = fileURLToPath(new URL('../../cmd/tollgate.ts', import.meta.url));
const runDir = '/run/tollgate';

type FlowLine = { readonly kind: 'flow' } & DeniedFlow;
type Line = FlowLine | ({ readonly kind: 'sum' } & DeniedSum);

let host: GateHost;
let packets: PacketWorld;
before(async () => {
  host = await GateHost.start(6);
  mkdirSync(host.host.path(runDir));
  packets = new PacketWorld(host);
  become(new NodeWorld(closed, false), closed);
});
after(() => host[Symbol.dispose]());

const command = ['flows', '--denied', '--follow', '-o', 'json', '--run-dir', runDir];

/** `tollgate flows --denied --follow`, on the node, until it is interrupted. */
class Watcher implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly lines: Line[] = [];
  stderr = '';
  readonly pid: number;

  static async start(): Promise<Watcher> {
    const watcher = new Watcher();
    const held = () => readFileSync(`/proc/${host.host.pid}/net/netfilter/nfnetlink_log`, 'latin1');
    await until('flows to hold the group', () => {
      assert.equal(watcher.#child.exitCode, null, watcher.stderr);
      return /^ *7467 /m.test(held());
    });
    return watcher;
  }

  private constructor() {
    // What enters the namespaces becomes the program.
    this.#child = host.host.spawn([process.execPath, source, ...command]);
    this.pid = this.#child.pid!;
    createInterface({ input: this.#child.stdout! }).on('line', line => this.lines.push(JSON.parse(line) as Line));
    this.#child.stderr!.on('data', (chunk: Buffer) => {
      this.stderr += chunk.toString();
    });
  }

  get flows(): FlowLine[] {
    return this.lines.filter(line => line.kind === 'flow');
  }

  get sums(): DeniedSum[] {
    return this.lines.filter(line => line.kind === 'sum');
  }

  /** Packets that it told of, one by one or together. */
  get told(): number {
    return this.flows.length + this.sums.reduce((total, sum) => total + sum.packets, 0);
  }

  /** The most memory that it ever had resident, in KiB. */
  get peak(): number {
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.pid}/status`, 'latin1'))![1]);
  }

  /** As Ctrl-C does it; what it knows by then it still says. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null) {
      const closed = once(this.#child, 'close');
      this.#child.kill('SIGINT');
      await closed;
    }
    assert.deepEqual([this.#child.exitCode, this.stderr], [0, '']);
  }
}

const here = (): NetnsIdentity => {
  const { dev, ino } = statSync(`/proc/${host.host.pid}/ns/net`);
  return { dev, ino };
};

/** The node with the world's pods plugged in and its manifests applied: table, links and files. */
function become(world: NodeWorld, list: readonly Manifest[]): void {
  // No chain outlives its world, and with it the tokens of its log's rate limit.
  host.bring(desiredTable(world.state, 1));
  packets.become(world);
  const files = new DiskNodeStore(host.host.path(runDir), here());
  const kept = { 'world.yaml': { stamp: String(Math.random()), documents: documentsOf(list) } };
  files.write({ marker: 1, folder: JSON.stringify([['world.yaml', kept['world.yaml'].stamp]]), state: world.state });
  files.writeApplied(kept);
}

const nameOf = ({ place, address }: Party): string => {
  if (place.kind === 'pod') return `${place.pod.namespace}/${place.pod.name}`;
  return place.kind === 'node' ? 'node' : address;
};

const echoes = { 4: 'ICMP', 6: 'ICMPv6' } as const;

/** What `flows` shall say of a refused probe, but when. */
function shown(
  { from, to, family, protocol, port }: WorldFlow,
  sport: number,
  denial: Denial,
): Omit<DeniedFlow, 'time'> {
  const isEcho = protocol === 'other';
  return {
    direction: denial.direction,
    from: nameOf(from),
    to: nameOf(to),
    source: from.address,
    destination: to.address,
    protocol: isEcho ? echoes[family] : protocol,
    sourcePort: isEcho ? null : sport,
    port: isEcho ? null : port,
    by: [...denial.by].sort(),
  };
}

const sorted = ({ kind: _, time: __, by, ...flow }: FlowLine): string =>
  JSON.stringify({ ...flow, by: [...by].sort() });
const expectedText = ({ by, ...flow }: Omit<DeniedFlow, 'time'>): string => JSON.stringify({ ...flow, by });

/** Of each verdict in each world: all worlds together remain below what `flows` remembers of ten seconds. */
const MOST = 130;

const missing = (wanted: readonly string[], found: readonly string[]): string[] => {
  const known = new Set(found);
  return wanted.filter(each => !known.has(each));
};

function some<T>(all: readonly T[], most: number, turn: number): readonly T[] {
  const step = Math.max(1, Math.ceil(all.length / most));
  return all.filter((_, i) => i % step === turn % step);
}

test('every refused probe of random worlds is shown with its pods and policies, and none that was allowed', async () => {
  await using watcher = await Watcher.start();
  const counted = { refused: 0, allowed: 0 };
  /** Of echoes, which have no ports to tell one try from the next: each is tried once. */
  const echoed = new Set<string>();
  const isNew = ({ protocol, from, to }: WorldFlow): boolean => {
    const ends = `${from.address} ${to.address}`;
    if (protocol === 'other' && echoed.has(ends)) return false;
    if (protocol === 'other') echoed.add(ends);
    return true;
  };
  let firstPort = 1000;
  await fc.assert(
    fc.asyncProperty(manifests(), fc.boolean(), fc.nat(20), async (list, enforceEgressToNode, turn) => {
      const world = new NodeWorld(list, enforceEgressToNode);
      become(world, list);
      const [refused, allowed] = [true, false].map(isRefused =>
        [...world.flows()].filter(flow => (world.denial(flow) !== undefined) === isRefused),
      ) as [WorldFlow[], WorldFlow[]];
      const flows = [...some(refused, MOST, turn).filter(isNew), ...some(allowed, MOST, turn)];
      const expected = new Set<string>();
      for (const [i, flow] of flows.entries()) {
        const denial = world.denial(flow);
        if (!denial) counted.allowed++;
        if (!denial) continue;
        const show = shown(flow, firstPort + i, denial);
        expected.add(expectedText(show));
        counted.refused++;
      }
      const before = watcher.flows.length;
      const passed = packets.probe(flows, firstPort);
      assert.equal(passed.size, flows.filter(flow => !world.denial(flow)).length);
      const since = () => watcher.flows.slice(before).map(sorted);
      await until('all refused probes to be shown', () => missing([...expected], since()).length === 0).catch(error => {
        const left = missing([...expected], since());
        throw new Error(`${left.length} not shown, such as ${left[0]}; shown: ${since()[0]}`, { cause: error });
      });
      assert.deepEqual(missing(since(), [...expected]), [], 'nothing else is shown');
      assert.equal(new Set(since()).size, since().length, 'and nothing twice');
      firstPort += flows.length;
    }),
    { numRuns: 30, endOnFailure: true, includeErrorInReport: true },
  );
  const told = watcher.flows.length;
  await watcher[Symbol.asyncDispose]();
  assert.equal(watcher.flows.length, told, 'nothing comes late');
  assert.deepEqual(watcher.sums, [], 'and nothing is left to sum up');
  for (const [what, times] of Object.entries(counted)) assert.ok(times > 0, `no probe of ${what}`);
});

test('a second reader is told who holds the group', async () => {
  await using watcher = await Watcher.start();
  const { exit, stderr } = await host.host.run([process.execPath, source, ...command]);
  assert.equal(exit, 3);
  const said = /^tollgate: Cannot read nflog group 7467: node (.*) \(pid (\d+)\) holds it, and only one process can\n$/;
  const [, whose = '', pid] = said.exec(stderr) ?? assert.fail(stderr);
  assert.ok(whose.startsWith(`${source} flows --denied`), whose);
  assert.equal(Number(pid), watcher.pid);
});

const policy = (name: string, ingress: readonly object[]): Manifest => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { namespace: 'a', name },
  spec: { podSelector: {}, policyTypes: ['Ingress'], ingress },
});
const pod: Manifest = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { namespace: 'a', name: 'p0' },
  spec: { nodeName: 'n1', containers: [{ name: 'main' }] },
  status: { phase: 'Running', podIPs: [{ ip: '10.0.0.1' }] },
};
const closed = [pod, policy('closed', [])];
const dns = [pod, policy('dns', [{ ports: [{ port: 53, protocol: 'UDP' }] }])];

/** What the denying rule of the one policy in force has counted. */
const denied = (): number =>
  host.nft
    .readRuleCounts(tableName)
    .filter(({ chain }) => chain.startsWith('in-'))
    .reduce((total, { counted }) => total + Number(counted.packets), 0);

/** Packets to p0, each of a flow of its own. @returns how many the chain refused: the wire may lose some */
function flood(number: number, from: string): number {
  const before = denied();
  const ends = { from: addressOf(from), to: addressOf('10.0.0.1'), protocol: PROTOCOL.udp };
  for (let i = 0; i < number; i++) {
    host.near.send({ ...ends, sport: 1 + (i % 60_000), dport: 80 + Math.floor(i / 60_000) });
    // No more at once than a processor's backlog holds.
    if (i % 200 === 199) host.settle();
  }
  host.settle();
  return denied() - before;
}

test('what a policy refused is told to its last packet, when another takes its place, too', async () => {
  await using watcher = await Watcher.start();
  become(new NodeWorld(closed, false), closed);
  const first = flood(2000, '192.0.2.1');
  become(new NodeWorld(dns, false), dns);
  const second = flood(3000, '192.0.2.2');
  await until('all packets to be told', () => watcher.told >= first + second);
  const byPolicy = (name: string) => {
    const isBy = ({ by }: { by: readonly string[] }) => by.join() === `NetworkPolicy/a/${name}`;
    return (
      watcher.flows.filter(isBy).length +
      watcher.sums.filter(isBy).reduce((total, { packets: more }) => total + more, 0)
    );
  };
  assert.deepEqual([byPolicy('closed'), byPolicy('dns')], [first, second]);
  assert.ok(first > 1900 && second > 2900, `${first} and ${second} arrived`);
});

/**
 * As it is, and as it would be if the log had no rate limit: then the kernel logs more than anybody can read. What is shown one
 * by one is what the log's limit lets through, and at most what is remembered of ten seconds.
 */
for (const [title, isLimited, number, mostShown] of [
  [
    'a flood of 100,000 refused packets costs bounded memory, and is told to its last packet',
    true,
    100_000,
    (seconds: number) => 500 + 100 * seconds,
  ],
  [
    'so it is with one of which most is lost before it is read',
    false,
    30_000,
    (seconds: number) => 4096 * (1 + seconds / 10),
  ],
] as const)
  test(title, async () => {
    const world = new NodeWorld(closed, false);
    become(world, closed);
    if (!isLimited) {
      const table = desiredTable(world.state, 1, world.ruleset);
      const withoutLimits = table.chains.map(chain => ({
        ...chain,
        rules: chain.rules.map(each => ({
          ...each,
          statements: each.statements.filter(({ kind }) => kind !== 'limit'),
        })),
      }));
      host.bring(desiredTable(world.state, 1));
      host.bring({ ...table, chains: withoutLimits });
    }
    await using watcher = await Watcher.start();
    const start = performance.now();
    const few = flood(5000, '192.0.2.1');
    await until('the few to be told', () => watcher.told >= few);
    const before = watcher.peak;
    // Who does not read has nothing in the end but what the kernel kept for him, and the counter.
    if (!isLimited) process.kill(watcher.pid, 'SIGSTOP');
    const many = flood(number, '192.0.2.2');
    process.kill(watcher.pid, 'SIGCONT');
    await until('the many to be told', () => watcher.told >= few + many);
    const most = mostShown((performance.now() - start) / 1000);
    const growth = watcher.peak - before;
    assert.ok(many > number * 0.95, `only ${many} packets arrived`);
    assert.equal(watcher.told, few + many);
    assert.ok(watcher.flows.length <= most, `${watcher.flows.length} flows are shown one by one, and not ${most}`);
    assert.ok(growth < 48 * 1024, `it grew by ${growth} KiB, from ${before}`);
  });
