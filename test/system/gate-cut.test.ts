/**
 * Connections that policy forbids once they are there. Both ends are in the test's hands, with no stack that would answer
 * in their stead: what is sent after the cut is sent by somebody who goes on as if nothing had happened.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { type Address, type Family, formatAddress } from '../../lib/ip/address.ts';
import { PROTOCOL, TCP_FLAG } from '../../lib/nft/statements.ts';
import type { Json } from '../support/cni.ts';
import type { Packet } from '../support/packet.ts';
import { onlyFrom, type PluggedPod, PORT, PolicyHost, pods, policy } from '../support/policy-host.ts';
import type { End } from '../support/tap.ts';
import { nearAddress, nodeAddress } from '../support/wired-host.ts';

const families: readonly Family[] = [4, 6];
const { syn, ack, psh, fin, rst } = TCP_FLAG;

interface Party {
  readonly end: End;
  readonly address: Address;
}

/** The pod's own stack does not know its addresses, so it has no opinion on what comes. */
async function silence(host: PolicyHost, pod: PluggedPod): Promise<PluggedPod> {
  await host.host.sh('ip addr flush dev eth0; ip -6 addr flush dev eth0', pod.call.netns);
  return pod;
}

/** One connection, segment by segment. */
class Connection {
  readonly #host: PolicyHost;
  readonly #client: Party;
  readonly #server: Party;
  /** Whom the client calls, where that is not the server itself. */
  readonly #called: Address;
  readonly #dport: number;
  readonly #sport: number;
  readonly #next = { client: 1000, server: 5000 };

  constructor(
    host: PolicyHost,
    client: Party,
    server: Party,
    service: { address: Address; port: number },
    sport: number,
  ) {
    this.#host = host;
    this.#client = client;
    this.#server = server;
    this.#called = service.address;
    this.#dport = service.port;
    this.#sport = sport;
  }

  #fromClient(flags: number, payload = new Uint8Array()): Packet {
    const { client: seq, server } = this.#next;
    this.#next.client += payload.length + (flags & (syn | fin) ? 1 : 0);
    const ends = { from: this.#client.address, to: this.#called, sport: this.#sport, dport: this.#dport };
    return { ...ends, protocol: PROTOCOL.tcp, flags, seq, ack: server, payload };
  }

  #fromServer(flags: number, payload = new Uint8Array()): Packet {
    const { server: seq, client } = this.#next;
    this.#next.server += payload.length + (flags & (syn | fin) ? 1 : 0);
    const ends = { from: this.#server.address, to: this.#client.address, sport: PORT, dport: this.#sport };
    return { ...ends, protocol: PROTOCOL.tcp, flags, seq, ack: client, payload };
  }

  /** Whether a segment with these flags comes through. */
  #passes(from: End, packet: Packet, to: End): boolean {
    const isIt = ({ protocol, seq, flags }: Packet) =>
      protocol === PROTOCOL.tcp && seq === packet.seq && flags === packet.flags;
    return this.#host.received(from, packet, to).some(isIt);
  }

  clientSends(flags: number = ack | psh, text = 'question'): boolean {
    return this.#passes(this.#client.end, this.#fromClient(flags, Buffer.from(text)), this.#server.end);
  }

  serverSends(flags: number = ack | psh, text = 'answer'): boolean {
    return this.#passes(this.#server.end, this.#fromServer(flags, Buffer.from(text)), this.#client.end);
  }

  /** As TCP does: what does not come through at once is sent again, the same segment. */
  #insists(from: End, packet: Packet, to: End): boolean {
    for (let attempt = 0; attempt < 5; attempt++) if (this.#passes(from, packet, to)) return true;
    return false;
  }

  /** The handshake; a busy machine may lose a segment. */
  open(): this {
    const [client, server] = [this.#client.end, this.#server.end];
    assert.ok(this.#insists(client, this.#fromClient(syn), server), 'the SYN comes through');
    assert.ok(this.#insists(server, this.#fromServer(syn | ack), client), 'its answer comes through');
    assert.ok(this.#insists(client, this.#fromClient(ack), server), 'the ACK comes through');
    assert.ok(this.clientSends() && this.serverSends(), 'both may speak');
    return this;
  }

  /** Without waiting whether it arrives. */
  serverGoesOn(): void {
    this.#server.end.send(this.#fromServer(ack | psh, Buffer.from('more')));
  }
}

let sports = 30_000;

const at = (pod: PluggedPod, f: Family): Party => ({ end: pod.end, address: pod.addresses[f] });

const connect = (host: PolicyHost, client: Party, server: Party): Connection =>
  new Connection(host, client, server, { address: server.address, port: PORT }, ++sports).open();

/** Whatever the server still has to say, none of it arrives, however it says it; nor does what the client says. */
function assertCut(connection: Connection, what: string): void {
  for (let i = 0; i < 3; i++) assert.ok(!connection.serverSends(), `${what}: the server's data`);
  for (const flags of [ack, fin | ack | psh, rst | ack, rst])
    assert.ok(!connection.serverSends(flags), `${what}: the server, flags ${flags}`);
  for (const flags of [ack | psh, fin | ack]) assert.ok(!connection.clientSends(flags), `${what}: the client`);
  assert.ok(!connection.serverSends(), `${what}: the server after the client`);
}

function assertAlive(connection: Connection, what: string): void {
  assert.ok(connection.clientSends() && connection.serverSends(), what);
}

const server = { role: 'server' };
const client = { role: 'client' };
const pod = (name: string, labels: Readonly<Record<string, string>>): Json => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { namespace: 'default', name, labels },
  spec: { containers: [{ name: 'main' }] },
});

interface Change {
  readonly how: string;
  readonly before: Json;
  readonly after: Json;
}

/** Each forbids the client to call the server, and nobody to be called by the server. */
const changes: readonly Change[] = [
  {
    how: 'the server closes itself',
    before: onlyFrom('p', server, client),
    after: policy('p', { ...pods(server), ingress: [] }),
  },
  {
    how: 'the client may call nobody any more',
    before: policy('p', { ...pods(client), egress: [{}], policyTypes: ['Egress'] }),
    after: policy('p', { ...pods(client), policyTypes: ['Egress'] }),
  },
  {
    how: 'another port is the only one from now on',
    before: policy('p', { ...pods(server), ingress: [{ ports: [{ port: PORT }] }] }),
    after: policy('p', { ...pods(server), ingress: [{ ports: [{ port: PORT + 1 }] }] }),
  },
  { how: "the client's labels change", before: pod('client', client), after: pod('client', { role: 'other' }) },
];

for (const { how, before, after } of changes)
  test(`a connection is cut when ${how}, and only that one: the server goes on sending, and nothing arrives`, async () => {
    using host = await PolicyHost.start();
    host.put(
      'base.yaml',
      onlyFrom('base', { role: 'server' }, client),
      onlyFrom('friends', { role: 'server' }, { role: 'friend' }),
    );
    if (before['kind'] === 'NetworkPolicy') host.remove('base.yaml');
    host.put('changing.yaml', before);
    using one = await silence(host, await host.plug('server', { labels: server }));
    using two = await silence(host, await host.plug('client', { labels: before['kind'] === 'Pod' ? {} : client }));
    using beside = await silence(host, await host.plug('beside', { labels: { role: 'beside' } }));
    const doomed = families.map(f => connect(host, at(two, f), at(one, f)));
    const others = families.map(f => connect(host, at(one, f), at(beside, f)));
    const probes = families.map(f => connect(host, { end: host.node, address: nodeAddress[f] }, at(one, f)));
    host.put('changing.yaml', after);
    await host.apply();
    for (const [i, connection] of doomed.entries()) assertCut(connection, `IPv${families[i]}`);
    for (const connection of others) assertAlive(connection, 'a connection of the same pod that is allowed');
    for (const connection of probes) assert.ok(connection.clientSends(), "the node's own connection");
    const between = host.flows().filter(({ original }) => {
      const ends = [original.source, original.destination].map(formatAddress);
      return families.some(
        f => ends.includes(formatAddress(one.addresses[f])) && ends.includes(formatAddress(two.addresses[f])),
      );
    });
    assert.deepEqual(between, [], 'nothing is remembered of it');
  });

test('the cut holds against a server that never stops: not a packet after `policy apply` has returned', async () => {
  using host = await PolicyHost.start();
  host.put('policy.yaml', onlyFrom('p', server, client));
  using one = await silence(host, await host.plug('server', { labels: server }));
  using two = await silence(host, await host.plug('client', { labels: client }));
  for (const f of families) {
    host.put('policy.yaml', onlyFrom('p', server, client));
    await host.apply();
    const connection = connect(host, at(two, f), at(one, f));
    host.put('policy.yaml', policy('p', { ...pods(server), ingress: [] }));
    let isApplied = false;
    const applying = host.apply().then(() => {
      isApplied = true;
    });
    let sent = 0;
    while (!isApplied) {
      for (let i = 0; i < 20; i++, sent++) connection.serverGoesOn();
      await new Promise(resolve => setImmediate(resolve));
    }
    await applying;
    host.settle();
    assert.ok(two.end.take().length < sent, 'it was cut while it was sending');
    assertCut(connection, `IPv${f}`);
  }
});

test('ADD and DEL bring the folder into force, too, and cut what it forbids', async () => {
  using host = await PolicyHost.start();
  host.put('policy.yaml', onlyFrom('p', server, client));
  using one = await silence(host, await host.plug('server', { labels: server }));
  using two = await silence(host, await host.plug('client', { labels: client }));
  const doomed = families.map(f => connect(host, at(two, f), at(one, f)));
  host.put('policy.yaml', policy('p', { ...pods(server), ingress: [] }));
  using _ = await host.plug('bystander');
  for (const connection of doomed) assertCut(connection, 'after an ADD');
});

test('a connection through a hostPort is cut as that between the two that it is', async () => {
  using host = await PolicyHost.start();
  const outside = [{ ipBlock: { cidr: '198.51.100.0/24' } }, { ipBlock: { cidr: '2001:db8:1::/64' } }];
  host.put('policy.yaml', policy('p', { ...pods(server), ingress: [{ from: outside }] }));
  const portMappings = [{ hostPort: 8080, containerPort: PORT, protocol: 'tcp' }];
  using one = await silence(
    host,
    await host.plug('server', { labels: server, config: { runtimeConfig: { portMappings } } }),
  );
  const doomed = families.map(f => {
    const near = { end: host.near, address: nearAddress[f] };
    return new Connection(host, near, at(one, f), { address: nodeAddress[f], port: 8080 }, ++sports);
  });
  for (const connection of doomed) {
    // What comes back to the client has the service's port, so arrival is told by sequence and flags alone.
    connection.open();
  }
  host.put('policy.yaml', onlyFrom('p', server, client));
  await host.apply();
  for (const connection of doomed) assertCut(connection, 'hostPort');
});

test('a flow of UDP that nobody may open is cut: the answers of old do not arrive at a pod that nobody may call', async () => {
  using host = await PolicyHost.start();
  const deaf = policy('deaf', { ...pods(client), ingress: [] });
  host.put('policy.yaml', deaf, onlyFrom('p', server, client));
  using one = await silence(host, await host.plug('server', { labels: server }));
  using two = await silence(host, await host.plug('client', { labels: client }));
  const flows = families.map(f => host.packet(two.addresses[f], one.addresses[f]));
  const answerTo = ({ from, to, sport, dport, ...rest }: Packet): Packet => ({
    ...rest,
    from: to,
    to: from,
    sport: dport,
    dport: sport,
  });
  for (const question of flows) {
    assert.ok(host.arrives(two.end, question, one.end));
    assert.ok(host.arrives(one.end, answerTo(question), two.end));
  }
  host.put('policy.yaml', deaf, policy('p', { ...pods(server), ingress: [] }));
  await host.apply();
  for (const question of flows) {
    assert.ok(!host.arrives(one.end, answerTo(question), two.end));
    assert.ok(!host.arrives(two.end, question, one.end));
  }
});

test('established: keep leaves what is there alone, and forbids what is new', async () => {
  using host = await PolicyHost.start();
  const keep: Json = { established: 'keep' };
  host.put('policy.yaml', onlyFrom('p', server, client));
  using one = await silence(host, await host.plug('server', { labels: server, config: keep }));
  using two = await silence(host, await host.plug('client', { labels: client, config: keep }));
  const kept = families.map(f => connect(host, at(two, f), at(one, f)));
  host.put('policy.yaml', policy('p', { ...pods(server), ingress: [] }));
  await host.apply('--established', 'keep');
  using _ = await host.plug('bystander', { config: keep });
  for (const connection of kept) assertAlive(connection, 'after the policy');
  assert.ok(!host.reaches(two, one));
});
