/**
 * Flows that an agent records beside real packets: each probe once, with its ends, its verdict and the policies that decided,
 * whatever NAT made of it; what was lost is told, and what conntrack counted is what the record says.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import test from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { FlowRecorder } from '../../lib/controller/flow-recorder.ts';
import type { FlowScene } from '../../lib/flows/attribution.ts';
import { parseFilter } from '../../lib/flows/filter.ts';
import type { Entry, FlowRecord, LossNote } from '../../lib/flows/model.ts';
import type { SumRow } from '../../lib/flows/sums.ts';
import { formatAddress } from '../../lib/ip/address.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { PROTOCOL } from '../../lib/nft/statements.ts';
import { Cluster } from '../../lib/policy/evaluate/cluster.ts';
import type { Pod } from '../../lib/policy/model/model.ts';
import { type Agent, command, denialsAreHeard, startAgent } from '../support/agent-process.ts';
import { live } from '../support/cli-host.ts';
import { type Json, runDir, tollgate } from '../support/cni.ts';
import { conntrackBy, type Inside, poolIn } from '../support/conntrack.ts';
import { KubeHost } from '../support/kube-host.ts';
import type { Packet } from '../support/packet.ts';
import { onlyFrom, type PluggedPod, PolicyHost, pods, policy } from '../support/policy-host.ts';
import { manyFlows, openFlows } from '../support/tracked-flows.ts';
import { until } from '../support/until.ts';
import { nearAddress, nodeAddress } from '../support/wired-host.ts';

const families = [4, 6] as const;

/** Flows that the agent of this node tells; sums and losses, which may stand between them, are left out. */
async function flowsOn(host: PolicyHost, ...args: readonly string[]): Promise<readonly FlowRecord[]> {
  const { exit, stdout, stderr } = await host.type(['flows', ...args, '-o', 'json']);
  assert.equal(exit, 0, stderr);
  return stdout
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as Entry)
    .filter(entry => entry.kind === 'flow');
}

class Recorded implements Disposable {
  readonly host: PolicyHost;
  readonly agent: Agent;

  private constructor(host: PolicyHost, agent: Agent) {
    this.host = host;
    this.agent = agent;
  }

  static async start(...options: readonly string[]): Promise<Recorded> {
    const host = await PolicyHost.start();
    const agent = await startAgent(host.host, [...command, '--flows', ...options]);
    await denialsAreHeard(host.host);
    return new Recorded(host, agent);
  }

  flows(...args: readonly string[]): Promise<readonly FlowRecord[]> {
    return flowsOn(this.host, ...args);
  }

  /** The records once there are so many; more than that fail. */
  async settled(count: number, ...args: readonly string[]): Promise<readonly FlowRecord[]> {
    return await until(`${count} flows`, async () => {
      const flows = await this.flows('--last', '100000', ...args);
      assert.ok(flows.length <= count, `${flows.length} flows, not ${count}`);
      return flows.length === count ? flows : undefined;
    });
  }

  [Symbol.dispose](): void {
    this.agent[Symbol.dispose]();
    this.host[Symbol.dispose]();
  }
}

const nameOf = (pod: PluggedPod): string => `default/${pod.name}`;
const portsOf = ({ sourcePort, port, protocol }: FlowRecord): string => `${sourcePort} ${port} ${protocol}`;
const names: Readonly<Record<number, string>> = { [PROTOCOL.tcp]: 'TCP', [PROTOCOL.udp]: 'UDP' };

test('every probe stands there once, with its ends, its verdict and the policies that decided', async () => {
  using recorded = await Recorded.start();
  const { host } = recorded;
  host.put(
    'policies.yaml',
    onlyFrom('web', { app: 'web' }, { app: 'client' }),
    policy('shut', {
      ...pods({ app: 'shut' }),
      policyTypes: ['Egress'],
      egress: [{ ports: [{ port: 81, protocol: 'UDP' }] }],
    }),
  );
  using web = await host.plug('web', { labels: { app: 'web' } });
  using client = await host.plug('client', { labels: { app: 'client' } });
  using shut = await host.plug('shut', { labels: { app: 'shut' } });
  const all = [web, client, shut];
  const probes: { from: PluggedPod; to: PluggedPod; packet: Packet; passes: boolean }[] = [];
  for (const from of all)
    for (const to of all)
      for (const family of families)
        for (const protocol of [PROTOCOL.tcp, PROTOCOL.udp])
          for (const dport of [80, 81]) {
            if (from === to) continue;
            const packet = host.packet(from.addresses[family], to.addresses[family], { protocol, dport });
            probes.push({ from, to, packet, passes: host.arrives(from.end, packet, to.end) });
          }
  assert.ok(probes.some(({ passes }) => passes) && probes.some(({ passes }) => !passes));
  const flows = await recorded.settled(probes.length);
  const byPorts = new Map(flows.map(flow => [portsOf(flow), flow]));
  for (const { from, to, packet, passes } of probes) {
    const what = `${packet.sport} ${packet.dport} ${names[packet.protocol!]}`;
    const flow = byPorts.get(what);
    assert.ok(flow, `${what} is missing`);
    assert.deepEqual([flow.from.name, flow.to.name], [nameOf(from), nameOf(to)], what);
    assert.deepEqual([flow.from.address, flow.to.address], [packet.from, packet.to].map(formatAddress), what);
    assert.equal(flow.verdict, passes ? 'allowed' : 'denied', what);
    assert.equal(flow.egress?.allowed !== false && flow.ingress?.allowed !== false, passes, what);
    assert.equal(flow.doubt, undefined, what);
    const isShut = from === shut;
    assert.deepEqual(flow.egress?.by, isShut ? ['NetworkPolicy/default/shut'] : [], what);
    assert.deepEqual(flow.ingress?.by, to === web ? ['NetworkPolicy/default/web'] : [], what);
    if (passes && to === web) assert.deepEqual(flow.ingress?.rules, ['NetworkPolicy/default/web ingress[0]']);
  }
});

test('a host port, masquerading, a Service and a hairpin show both addresses', async () => {
  using recorded = await Recorded.start();
  const { host } = recorded;
  using web = await host.plug('web', {
    config: { ipMasq: true, runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] } },
  });
  using client = await host.plug('client', { config: { ipMasq: true } });
  const service = '10.96.0.1';
  await host.host.sh(`nft -f - <<'X'
    table ip service {
      chain to_pods { type nat hook prerouting priority -100; ip daddr ${service} tcp dport 443 dnat to ${formatAddress(web.addresses[4])}:80; }
      chain from_pods { type nat hook postrouting priority 100; ip saddr ${formatAddress(web.addresses[4])} ip daddr ${formatAddress(web.addresses[4])} masquerade; }
    }
X`);
  const tcp = { protocol: PROTOCOL.tcp };
  const [near, node] = [nearAddress[4], nodeAddress[4]];
  const toService = { ...client.addresses[4], value: BigInt(0x0a600001) };
  const sends: [name: string, from: PluggedPod | 'near', packet: Packet][] = [
    ['host port', 'near', host.packet(near, node, { ...tcp, dport: 8080 })],
    ['masqueraded', client, host.packet(client.addresses[4], near, { ...tcp, dport: 8000 })],
    ['service', client, host.packet(client.addresses[4], toService, { ...tcp, dport: 443 })],
    ['hairpin', web, host.packet(web.addresses[4], toService, { ...tcp, dport: 443 })],
  ];
  for (const [, from, packet] of sends) (from === 'near' ? host.near : from.end).send(packet);
  host.settle();
  const flows = await recorded.settled(sends.length);
  const [clientIs, webIs, nearIs] = [client, web]
    .map(pod => formatAddress(pod.addresses[4]))
    .concat(formatAddress(near));
  const shown = sends.map(([name, , { sport }]) => {
    const flow = flows.find(({ sourcePort }) => sourcePort === sport);
    assert.ok(flow, name);
    const { from, to, port, sentTo, seenFrom } = flow;
    return [name, from.address, to.address, port, sentTo, seenFrom?.address ?? null];
  });
  const nearSide = '198.51.100.1';
  assert.deepEqual(shown, [
    ['host port', nearIs, webIs, 80, { address: formatAddress(node), port: 8080 }, null],
    ['masqueraded', clientIs, nearIs, 8000, null, nearSide],
    ['service', clientIs, webIs, 80, { address: service, port: 443 }, null],
    ['hairpin', webIs, webIs, 80, { address: service, port: 443 }, '10.77.0.1'],
  ]);
});

test('an address that goes from one pod to the next is told by the time', async () => {
  using recorded = await Recorded.start();
  const { host } = recorded;
  // Room for two pods: the address that was freed comes again.
  const small = {
    ipam: {
      type: 'tollgate-ipam',
      ranges: [
        [{ subnet: '10.77.0.0/29', rangeStart: '10.77.0.2', rangeEnd: '10.77.0.3' }],
        [{ subnet: 'fd77::/125', rangeStart: 'fd77::2', rangeEnd: 'fd77::3' }],
      ],
    },
  };
  using web = await host.plug('web', { config: small });
  const first = await host.plug('first', { config: small });
  assert.ok(host.reaches(first, web));
  // The kernel's events carry no time: a pod that has left before they are read is told by its address.
  await recorded.settled(4);
  await first.unplug();
  using second = await host.plug('second', { config: small });
  assert.deepEqual(second.addresses, first.addresses);
  assert.ok(host.reaches(second, web));
  const flows = await recorded.settled(8);
  const ports = flows.toSorted((a, b) => a.sourcePort! - b.sourcePort!).map(({ from }) => from.name);
  assert.deepEqual(ports, [...Array(4).fill('default/first'), ...Array(4).fill('default/second')]);
});

const file = `${runDir}/flows.jsonl`;

test('bytes and packets are those that conntrack counted, and sums are those of all flows', async () => {
  using recorded = await Recorded.start('--flow-accounting', '--flow-log', file, '--flow-log-filter', 'pod:client');
  const { host } = recorded;
  using web = await host.plug('web');
  using client = await host.plug('client');
  const payload = Buffer.alloc(100);
  const packets = Array.from({ length: 3 }, () => host.packet(client.addresses[4], web.addresses[4], { payload }));
  for (const packet of packets) {
    for (let i = 0; i < 5; i++) client.end.send(packet);
    web.end.send({ ...packet, from: packet.to, to: packet.from, sport: packet.dport, dport: packet.sport });
  }
  host.settle();
  const counted = await host.host.sh('conntrack -L -p udp 2>/dev/null');
  await host.host.sh('conntrack -D -p udp >/dev/null 2>&1 || true');
  const flows = await until('all to have closed', async () => {
    const found = await recorded.flows('ns:default');
    return found.length === 3 && found.every(({ state }) => state === 'closed') ? found : undefined;
  });
  for (const { sourcePort, sent, received } of flows) {
    const line =
      counted.split('\n').find(text => text.includes(`sport=${sourcePort} `)) ?? assert.fail(`no ${sourcePort}`);
    const numbers = [...line.matchAll(/(?:packets|bytes)=(\d+)/g)].map(([, number]) => Number(number));
    assert.deepEqual([sent!.packets, sent!.bytes, received!.packets, received!.bytes], numbers);
    assert.deepEqual([sent!.packets, received!.packets], [5, 1]);
  }
  const verified = await host.type(['verify']);
  assert.match(verified.stdout, /Worth knowing:[\s\S]*conntrack counts packets and bytes/);
  const { stdout } = await host.type(['flows', '--sum', 'ns', '-o', 'json']);
  const [row] = JSON.parse(stdout) as [SumRow];
  const bytes = flows.reduce((sum, { sent, received }) => sum + sent!.bytes + received!.bytes, 0);
  assert.deepEqual([row.from, row.to, row.allowed, row.denied, row.bytes], ['default', 'default', 3, 0, bytes]);
  recorded.agent.child.kill('SIGTERM');
  await until('the file to be whole', async () => {
    const { stdout: written } = await host.host.run(['cat', file]);
    // A line that is being written has no end yet.
    const lines = written.split('\n').slice(0, -1);
    return lines.length === 3 && lines.every(line => (JSON.parse(line) as FlowRecord).sent?.packets === 5);
  });
  await until(
    'conntrack to be as it was',
    async () => (await host.host.sh('cat /proc/sys/net/netfilter/nf_conntrack_acct')).trim() === '0',
  );
  const last = flows
    .map(({ end }) => end!)
    .sort()
    .at(-1)!;
  using next = await startAgent(host.host, [...command, '--flows', '--flow-log', file]);
  void next;
  const away = await until('the file to tell of the time without an agent', async () => {
    const lines = (await host.host.sh(`cat ${file}`)).split('\n').slice(0, -1);
    return lines.map(line => JSON.parse(line)).find(({ kind }) => kind === 'away');
  });
  assert.equal(away.time, last);
  assert.ok(away.until > last);
});

const silent = (): void => undefined;

test('what the kernel had no room for is told where it happened, and made up for by a look at all', async () => {
  using host = await PolicyHost.start();
  using web = await host.plug('web');
  using client = await host.plug('client');
  const [from, to] = [client.addresses[4], web.addresses[4]];
  const pod = (name: string, address: string): Pod => ({
    ...{ namespace: 'default', name, addresses: [address], labels: new Map(), namedPorts: [] },
    ...{ hostNetwork: false, finished: false, local: true },
  });
  const known = [pod('web', formatAddress(to)), pod('client', formatAddress(from))];
  const scene: FlowScene = {
    cluster: new Cluster({ namespaces: new Map(), policies: [], pods: known }),
    pods: new Map(known.map(each => [each.addresses[0]!, each])),
    ...{ own: new Set(), enforceEgressToNode: false },
  };
  const source = { stamp: () => 1, scene: () => scene, chains: () => new Map() };
  const inside: Inside = work => host.inside(work);
  using pool = poolIn(inside);
  const conntrack = conntrackBy(pool, inside);
  const place = { source, nft: host.nft, conntrack, nflogGroup: 7467, accounting: false, buffer: 65_536, log: silent };
  using recorder = host.inside(() => new FlowRecorder(place));
  using socket = host.inside(() => NetlinkSocket.open('netfilter'));
  await recorder.look();
  const many = 3_000;
  // Nobody reads meanwhile.
  openFlows(socket.exchange, manyFlows(from, to, many));
  const { journal } = recorder;
  const loss = await until('the loss to be told', () =>
    [...journal.list({ filter: parseFilter(''), last: many + 1 }, 0)].find(
      (entry): entry is LossNote => entry.kind === 'loss',
    ),
  );
  assert.ok(loss.events > 0 && loss.until >= loss.time);
  const flows = [...journal.list({ filter: parseFilter(''), last: many + 1 }, 0)].filter(
    entry => entry.kind === 'flow',
  );
  assert.equal(flows.length, many, 'each is there once');
  assert.equal(journal.totals.lostEvents, loss.events);
  assert.equal(flows.filter(({ isStartKnown }) => !isStartKnown).length, loss.events, 'those that were lost are found');
  host.forget();
  await recorder.look();
  assert.equal(journal.open, 0, 'whatever was lost of their ends');
});

test('flows that were open before the agent came are found', async () => {
  using host = await PolicyHost.start();
  using web = await host.plug('web');
  using client = await host.plug('client');
  // A SYN that nobody answers is forgotten.
  assert.ok(host.reaches(client, web));
  using agent = await startAgent(host.host, [...command, '--flows']);
  void agent;
  await denialsAreHeard(host.host);
  const flows = await until('them to be found', async () => {
    const found = await flowsOn(host);
    return found.length === 2 ? found : undefined;
  });
  assert.ok(
    flows.every(({ isStartKnown, state, from }) => !isStartKnown && state === 'open' && from.name === 'default/client'),
  );
});

test('`flows --denied` says the same by the agent’s record as by the node’s log', async () => {
  using host = await PolicyHost.start();
  host.put('policy.yaml', onlyFrom('web', { app: 'web' }, { app: 'client' }));
  using web = await host.plug('web', { labels: { app: 'web' } });
  using stranger = await host.plug('stranger');
  /**
   * What the command tells of each denied flow, without its time and source port. The stranger sends a flow every 200 ms, since
   * the test cannot see when the command begins to listen. Sums are left out: they tell of packets that the kernel has counted
   * and not yet logged, which differ from run to run.
   */
  const watch = async () => {
    const watching = host.type(['flows', '--denied', '--seconds', '8', '-o', 'json']);
    await denialsAreHeard(host.host);
    const ended = watching.then(() => true);
    do assert.ok(!host.arrives(stranger.end, host.packet(stranger.addresses[4], web.addresses[4]), web.end));
    while (!(await Promise.race([ended, pause(200, false)])));
    const { exit, stdout, stderr } = await watching;
    assert.equal(exit, 0, stderr);
    const lines = stdout.split('\n').filter(line => line !== '');
    const flows = lines.map(line => JSON.parse(line) as { kind: string }).filter(({ kind }) => kind === 'flow');
    return [...new Set(flows.map(flow => JSON.stringify({ ...flow, time: 0, sourcePort: 0 })))];
  };
  const alone = await watch();
  assert.equal(alone.length, 1, alone.join('\n'));
  using agent = await startAgent(host.host, [...command, '--flows']);
  void agent;
  assert.deepEqual(await watch(), alone);
});

test('`flows --follow` ends once its reader has closed the pipe', async () => {
  using host = await PolicyHost.start();
  host.put('policy.yaml', onlyFrom('web', { app: 'web' }, { app: 'client' }));
  using web = await host.plug('web', { labels: { app: 'web' } });
  using stranger = await host.plug('stranger');
  const watching = host.host.spawn([tollgate, 'flows', '--denied', '--follow', ...live]);
  let isOver = false;
  const ended = once(watching, 'exit').then(([exit]) => {
    isOver = true;
    return exit as number;
  });
  await denialsAreHeard(host.host);
  watching.stdout!.destroy();
  for (let dport = 1; !isOver; dport++) {
    host.arrives(stranger.end, host.packet(stranger.addresses[4], web.addresses[4], { dport }), web.end);
    await pause(20);
  }
  assert.equal(await ended, 0);
});

test('`flows --denied` leaves the node’s log to an agent that comes, and goes on with what that records', async () => {
  using host = await PolicyHost.start();
  host.put('policy.yaml', onlyFrom('web', { app: 'web' }, { app: 'client' }));
  using web = await host.plug('web', { labels: { app: 'web' } });
  using stranger = await host.plug('stranger');
  const watching = host.host.spawn([tollgate, 'flows', '--denied', '--follow', '-o', 'json', ...live]);
  let told = '';
  let said = '';
  watching.stdout!.on('data', (chunk: Buffer) => {
    told += chunk;
  });
  watching.stderr!.on('data', (chunk: Buffer) => {
    said += chunk;
  });
  /** Sends a flow that is denied, again and again until it is told. */
  const deny = (dport: number, isTold: () => boolean | Promise<boolean>) =>
    until(`port ${dport} to be told: ${said}`, async () => {
      const packet = host.packet(stranger.addresses[4], web.addresses[4], { dport });
      assert.ok(!host.arrives(stranger.end, packet, web.end));
      return await isTold();
    });
  const isHeard = (dport: number) => () => told.includes(`"port":${dport},`);
  await deny(81, isHeard(81));
  using agent = await startAgent(host.host, [...command, '--flows']);
  await deny(82, async () => /"state":"denied"/.test((await host.type(['flows', 'port:82', '-o', 'json'])).stdout));
  await deny(83, isHeard(83));
  assert.equal(agent.said(/are not recorded/), false);
  watching.kill('SIGINT');
  const [exit] = (await once(watching, 'close')) as [number];
  assert.equal(exit, 0, said);
});

test('without an agent that records, and with a filter that means nothing, the command says what to do', async () => {
  using host = await PolicyHost.start();
  using web = await host.plug('web');
  void web;
  const alone = await host.type(['flows']);
  assert.equal(alone.exit, 3);
  assert.match(alone.stderr, /tollgate agent --flows.*flows --denied/);
  using agent = await startAgent(host.host, [...command, '--flows']);
  void agent;
  for (const args of [
    ['prot:80'],
    ['--since', 'yesterday'],
    ['--sum', 'ns', 'ip:10.0.0.1'],
    ['--sum', 'ns', '--follow'],
  ]) {
    const { exit, stderr } = await host.type(['flows', ...args]);
    assert.equal(exit, 2, stderr);
    assert.match(stderr, /Cannot (use|filter|sum)/);
  }
});

test('from what was seen comes a policy that allows it, staged, with its evidence and what it would change', async () => {
  using recorded = await Recorded.start();
  const { host } = recorded;
  using web = await host.plug('web', { labels: { app: 'web' } });
  using client = await host.plug('client', { labels: { app: 'client' } });
  using stranger = await host.plug('stranger', { labels: { app: 'stranger' } });
  assert.ok(host.reaches(client, web));
  await recorded.settled(4);
  const suggest = (...more: readonly string[]) => host.type(['policy', 'suggest', '--for', 'default/web', ...more]);
  const { exit, stdout, stderr } = await suggest();
  assert.equal(exit, 0, stderr);
  assert.match(stdout, /^# ingress\[0\]: 4 flows, the last at .*: default\/client$/m);
  assert.match(stdout, /^# {3}- closes {2}default\/stranger to default\/web$/m);
  assert.match(stdout, /tollgate.dev\/staged: "true"/);
  // What is tried from now on would be seen, too.
  const enforced = (await suggest('--enforced')).stdout;
  host.put('suggested.yaml', stdout);
  await host.apply();
  assert.ok(host.reaches(stranger, web), 'it is staged');
  host.put('suggested.yaml', enforced);
  await host.apply();
  assert.ok(host.reaches(client, web));
  assert.ok(!host.reaches(stranger, web));
  const nobody = await host.type(['policy', 'suggest', '--for', 'default/nobody']);
  assert.equal(nobody.exit, 3);
  assert.match(nobody.stderr, /no flow of it was recorded/);
});

test('on a node of Kubernetes the policies of the API decide, as they are at the moment', async () => {
  await using host = await KubeHost.startCluster();
  host.policy('web', onlyFrom('x', { role: 'web' }, { role: 'friend' })['spec'] as Json);
  using agent = await host.startAgent('--flows');
  await denialsAreHeard(host.host);
  using web = await host.run({ name: 'web', labels: { role: 'web' } });
  using friend = await host.run({ name: 'friend', labels: { role: 'friend' } });
  using stranger = await host.run({ name: 'stranger', labels: { role: 'stranger' } });
  void agent;
  for (const from of [friend, stranger])
    host.arrives(from.end, host.packet(from.addresses[4], web.addresses[4]), web.end);
  const flows = await until('both', async () => {
    const found = await flowsOn(host, 'port:80');
    return found.length === 2 ? found : undefined;
  });
  const seen = flows.map(({ from, verdict, ingress, doubt }) => [from.name, verdict, ingress?.by, doubt]);
  const by = ['NetworkPolicy/default/web'];
  assert.deepEqual(seen.toSorted(), [
    ['default/friend', 'allowed', by, undefined],
    ['default/stranger', 'denied', by, undefined],
  ]);
});

test('the bytes of an open flow are told when they are asked for, where conntrack counts', async () => {
  using recorded = await Recorded.start('--flow-accounting');
  const { host } = recorded;
  using web = await host.plug('web');
  using client = await host.plug('client');
  const packet = host.packet(client.addresses[4], web.addresses[4], { payload: Buffer.alloc(100) });
  const answer = { ...packet, from: packet.to, to: packet.from, sport: packet.dport, dport: packet.sport };
  const send = (count: number): void => {
    for (let i = 0; i < count; i++) client.end.send(packet);
    web.end.send(answer);
    host.settle();
  };
  const counted = (packets: number): Promise<FlowRecord> =>
    until(`${packets} packets`, async () =>
      (await recorded.flows('--bytes')).find(flow => flow.sent?.packets === packets),
    );
  send(3);
  const { state, sent, received } = await counted(3);
  assert.deepEqual([state, sent, received], ['open', { packets: 3, bytes: 3 * 128 }, { packets: 1, bytes: 128 }]);
  send(2);
  await counted(5);
});

test('where conntrack does not count, who asks for bytes is told what to do', async () => {
  using recorded = await Recorded.start();
  const { exit, stderr } = await recorded.host.type(['flows', '--bytes']);
  assert.equal(exit, 0);
  assert.match(stderr, /conntrack counts no bytes on this node: start the agent with --flow-accounting/);
});

/** NETLINK_NETFILTER, and the groups of connections that begin (bit 0) and end (bit 2). */
const LISTENS = /^\S+ +12 +\d+ +00000005 /gm;

test('a recorder that sleeps is woken by the first connection', async () => {
  using recorded = await Recorded.start();
  const { host } = recorded;
  using web = await host.plug('web');
  using client = await host.plug('client');
  const listeners = (): number =>
    readFileSync(`/proc/${host.host.pid}/net/netlink`, 'latin1').match(LISTENS)?.length ?? 0;
  for (const count of [1, 2]) {
    // Beside what waits for the events there is now what wakes their reader, who looks at nothing.
    await until('the recorder to sleep', () => listeners() === 2);
    client.end.send(host.packet(client.addresses[4], web.addresses[4]));
    host.settle();
    await recorded.settled(count);
  }
});

for (const [name, wanted, first] of [
  ['--last', ['--last', '5'], 5],
  ['--since', ['--since', '1h'], undefined],
] as const)
  test(`flows --follow ${name}: what has been and what comes, nothing in between lost or twice`, async () => {
    using recorded = await Recorded.start();
    const { host } = recorded;
    using web = await host.plug('web');
    using client = await host.plug('client');
    using socket = host.inside(() => NetlinkSocket.open('netfilter'));
    const [from, to] = [client.addresses[4], web.addresses[4]];
    // Flows open all the while: before the command asks, while it is answered, and after.
    let opened = 0;
    const busy = setInterval(() => openFlows(socket.exchange, manyFlows(from, to, 2, ++opened)), 10);
    using undo = new DisposableStack();
    undo.defer(() => clearInterval(busy));
    await until('some to be recorded', async () => (await recorded.flows('--last', '1')).length > 0);
    const child = host.host.spawn([tollgate, 'flows', '--follow', '-o', 'json', ...wanted, ...live]);
    undo.defer(() => child.kill('SIGKILL'));
    let said = '';
    child.stderr!.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    const lines: (FlowRecord | { readonly kind: 'live' })[] = [];
    createInterface(child.stdout!).on('line', line => lines.push(JSON.parse(line)));
    const liveAt = (): number => lines.findIndex(({ kind }) => kind === 'live');
    await until('some to come', () => liveAt() >= 0 && lines.length - liveAt() > 50);
    clearInterval(busy);
    const newest = Number((await recorded.settled(2 * opened)).at(-1)!.id);
    await until('the last', () => lines.some(line => line.kind === 'flow' && line.id === newest));
    const ids = lines.flatMap(line => (line.kind === 'flow' ? [line.id] : []));
    const past = lines.slice(0, liveAt()).filter(({ kind }) => kind === 'flow').length;
    assert.equal(past, first ?? past);
    if (first === undefined) assert.equal(ids[0], 0, 'from the first one on');
    assert.deepEqual(
      ids,
      [...new Set(ids)].sort((a, b) => a - b),
      'each once, one after the other',
    );
    // An agent that hardly gets to run leaves some out, and says so.
    const leftOut = [...said.matchAll(/(\d+) changes were left out/g)].reduce(
      (sum, [, count]) => sum + Number(count),
      0,
    );
    assert.equal(newest - ids[0]! + 1, ids.length + leftOut, said);
  });
