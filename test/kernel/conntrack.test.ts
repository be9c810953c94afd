import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { formatAddress, parseAddress } from '../../lib/ip/address.ts';
import type { NetlinkChannel } from '../../lib/kernel/channel.ts';
import { Conntrack, type FlowKey } from '../../lib/kernel/conntrack.ts';
import { addressOfKey, type TrackedEntry, type TrackedFlow } from '../../lib/kernel/conntrack-entry.ts';
import { NetlinkError, type NetlinkReply, type NetlinkRequest } from '../../lib/kernel/message.ts';
import { inNetns } from '../../lib/kernel/netns.ts';
import { findAttribute } from '../../lib/netlink/reader.ts';
import { conntrackBy, type Inside, poolIn } from '../support/conntrack.ts';
import { makeNetns, until } from '../support/netns.ts';
import { scratchFolder } from '../support/scratch.ts';

const netns = makeNetns();
const inside: Inside = work => inNetns(netns, work);
const pool = poolIn(inside);
const conntrack = conntrackBy(pool, inside);
after(() => {
  pool[Symbol.dispose]();
  netns[Symbol.dispose]();
});

const address = (text: string) => parseAddress(text) ?? assert.fail(text);

/**
 * The peer's writing of the table, sorted: `udp src=… dst=… sport=… dport=…` of the
 * original direction; ICMP without type and code.
 */
const seenByConntrack = (family: 'ipv4' | 'ipv6' = 'ipv4'): string[] =>
  netns
    .exec('conntrack', ['-L', '-f', family])
    .stdout.trim()
    .split('\n')
    .filter(line => line !== '')
    .map(line => {
      const at = line.search(/src=/);
      return `${line.split(/\s+/)[0]} ${line
        .slice(at)
        .split(' ')
        .filter(word => !word.startsWith('['))
        .slice(0, 4)
        .filter(word => !/^(type|code)=/.test(word))
        .join(' ')}`;
    })
    .sort();

const names: Readonly<Record<number, string>> = { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'icmpv6', 132: 'sctp' };
const written = ({ protocol, from, sentTo, sourcePort, sentToPort }: TrackedEntry): string => {
  const ports = sourcePort === 0 ? '' : ` sport=${sourcePort} dport=${sentToPort}`;
  return `${names[protocol]} src=${textOf(from)} dst=${textOf(sentTo)}${ports}`;
};
const textOf = (key: string): string => formatAddress(addressOfKey(key));

const insert = (...args: string[]) => netns.exec('conntrack', ['-I', '-t', '600', ...args]);

beforeEach(() => {
  netns.exec('conntrack', ['-F']);
  const udp = (src: string, dst: string, sport: string, dport: string, ...more: string[]) =>
    insert('-p', 'udp', '-s', src, '-d', dst, '--sport', sport, '--dport', dport, ...more);
  udp('10.0.0.2', '10.0.0.9', '1000', '53');
  udp('10.0.0.9', '10.0.0.2', '1001', '8053');
  udp('10.0.0.8', '192.0.2.1', '1002', '5353', '--dst-nat', '10.0.0.2:53');
  udp('10.0.0.8', '192.0.2.1', '1003', '5354');
  insert('-p', 'tcp', '-s', '10.0.0.2', '-d', '10.0.0.7', '--sport', '2000', '--dport', '80', '--state', 'ESTABLISHED');
  insert(
    '-p',
    'tcp',
    '-s',
    '10.0.0.20',
    '-d',
    '10.0.0.7',
    '--sport',
    '2000',
    '--dport',
    '80',
    '--state',
    'ESTABLISHED',
  );
  insert(
    '-p',
    'sctp',
    '-s',
    '10.0.0.2',
    '-d',
    '10.0.0.7',
    '--sport',
    '3000',
    '--dport',
    '99',
    '--state',
    'ESTABLISHED',
    '--orig-vtag',
    '1',
    '--reply-vtag',
    '2',
  );
  insert('-p', 'icmp', '-s', '10.0.0.2', '-d', '10.0.0.7', '--icmp-type', '8', '--icmp-code', '0', '--icmp-id', '77');
  insert('-p', 'udp', '-s', 'fd00::2', '-d', 'fd00::9', '--sport', '1', '--dport', '2');
  insert('-p', 'udp', '-s', 'fd00::3', '-d', 'fd00::4', '--sport', '1', '--dport', '2');
  insert(
    '-p',
    'icmpv6',
    '-s',
    'fd00::2',
    '-d',
    'fd00::9',
    '--icmpv6-type',
    '128',
    '--icmpv6-code',
    '0',
    '--icmpv6-id',
    '5',
  );
  udp('10.0.0.2', '10.0.0.3', '6', '7', '--zone', '5');
});

/** All that a walk gives, or two, one after the other. */
async function list(keys?: readonly FlowKey[], by = conntrack): Promise<TrackedFlow[]> {
  const flows: TrackedFlow[] = [];
  for await (const some of by.flows(keys)) flows.push(...some);
  return flows;
}

const whole = async (): Promise<string[]> => (await list()).map(({ entry }) => written(entry)).sort();

test('flows() without keys gives what conntrack lists, and where each leads after translation', async () => {
  assert.deepEqual(await whole(), [...seenByConntrack('ipv4'), ...seenByConntrack('ipv6')].sort());
  assert.equal((await whole()).length, 12);
  const translated = (await list()).find(({ entry }) => entry.sourcePort === 1002);
  assert.deepEqual([textOf(translated!.entry.to), translated!.entry.port], ['10.0.0.2', 53]);
});

const of = (...texts: readonly string[]): FlowKey[] => texts.map(text => ({ address: address(text) }));

/** What crosses to the kernel; a request that `refused` picks is answered as one that the kernel does not know. */
class Crossing implements NetlinkChannel {
  readonly requests: NetlinkRequest[] = [];
  replies = 0;
  /** Requests that the kernel has not begun to answer, at most. */
  most = 0;
  #now = 0;
  readonly #refused: (request: NetlinkRequest) => boolean;

  constructor(refused: (request: NetlinkRequest) => boolean = () => false) {
    this.#refused = refused;
  }

  get operations(): readonly string[] {
    return this.requests.map(({ operation }) => operation);
  }

  #enter(requests: readonly NetlinkRequest[]): void {
    this.requests.push(...requests);
    this.most = Math.max(this.most, ++this.#now);
  }

  readonly exchange: NetlinkChannel['exchange'] = async requests => {
    this.#enter(requests);
    const error = ({ operation }: NetlinkRequest) => new NetlinkError(operation, 1, { errno: 22 });
    const answers = requests.some(this.#refused)
      ? requests.map(request => ({ replies: [], error: error(request) }))
      : await pool.exchange(requests);
    this.#now--;
    return answers;
  };

  async *dump(request: NetlinkRequest): AsyncGenerator<readonly NetlinkReply[], void> {
    this.#enter([request]);
    let isBegun = false;
    try {
      if (this.#refused(request)) throw new NetlinkError(request.operation, 1, { errno: 22 });
      for await (const replies of pool.dump(request)) {
        if (!isBegun) this.#now--;
        isBegun = true;
        this.replies += replies.length;
        yield replies;
      }
    } finally {
      if (!isBegun) this.#now--;
    }
  }
}

/** A deletion by a filter: a kernel before 6.8 takes one for a dump only. */
const isFilteredDeletion = ({ type, body }: NetlinkRequest): boolean => type === 0x102 && body[1] === 1;
const [major = 0, minor = 0] = release().split('.').map(Number);
const isOld = major < 6 || (major === 6 && minor < 8);

const times = (count: number, operation: string): readonly string[] => Array(count).fill(operation);
const forgetOne = 'forget a tracked connection';
const forgetSome = 'forget some tracked connections';
const listAll = 'list tracked connections';
const listSome = 'list some tracked connections';

interface Way {
  readonly node: string;
  /** What the kernel says that it tracks. */
  readonly count: number | undefined;
  readonly refused?: (request: NetlinkRequest) => boolean;
  /** What crosses to forget 9 connections of a pod with two addresses; all but `forgetOne` is a walk. */
  readonly crosses: readonly string[];
  /** The same for connections to a port, one of them. */
  readonly port: readonly string[];
}

// The kernel's filter is no good for IPv6 addresses: connections of that family are listed.
const byFilter = { crosses: [...times(2, forgetSome), listAll, ...times(2, forgetOne)], port: [forgetSome] };
const listed: Way = {
  ...{ node: 'few are tracked by a kernel before 6.8', count: 12, refused: isFilteredDeletion },
  ...{ crosses: [...times(2, forgetSome), listAll, ...times(9, forgetOne)], port: [forgetSome, listSome, forgetOne] },
};
const searched: Way = {
  ...{ ...listed, node: 'many are tracked by a kernel before 6.8', count: 40_000 },
  crosses: [...times(2, forgetSome), ...times(2, listSome), listAll, ...times(9, forgetOne)],
};
const ways: readonly Way[] = [
  { ...(isOld ? listed : byFilter), node: 'few are tracked', count: 12 },
  { ...(isOld ? searched : byFilter), node: 'many are tracked', count: 40_000 },
  { ...(isOld ? searched : byFilter), node: 'the kernel does not tell how many are tracked', count: undefined },
  listed,
  searched,
];

for (const { node, count, refused, crosses, port } of ways) {
  const by = (crossing: Crossing): Conntrack => new Conntrack(crossing, () => count);

  test(`the flows of addresses are forgotten, translated and zoned ones too, and no others: ${node}`, async () => {
    const crossing = new Crossing(refused);
    await by(crossing).forget(of('10.0.0.2', 'fd00::2'));
    assert.deepEqual(await whole(), [
      'tcp src=10.0.0.20 dst=10.0.0.7 sport=2000 dport=80',
      'udp src=10.0.0.8 dst=192.0.2.1 sport=1003 dport=5354',
      'udp src=fd00::3 dst=fd00::4 sport=1 dport=2',
    ]);
    assert.deepEqual(crossing.operations.toSorted(), crosses.toSorted());
  });

  test(`the flows of an address that others called are forgotten: ${node}`, async () => {
    await by(new Crossing(refused)).forget(of('fd00::9'));
    assert.deepEqual(seenByConntrack('ipv6'), ['udp src=fd00::3 dst=fd00::4 sport=1 dport=2']);
    assert.equal(seenByConntrack('ipv4').length, 9);
  });

  test(`what was sent to a port is forgotten, and only over UDP and in that family: ${node}`, async () => {
    await by(new Crossing(refused)).forget([
      { family: 4, udpPort: 80 },
      { family: 6, udpPort: 53 },
    ]);
    assert.equal((await whole()).length, 12);
    const crossing = new Crossing(refused);
    await by(crossing).forget([{ family: 4, udpPort: 5353 }]);
    assert.deepEqual(crossing.operations, port);
    assert.equal((await whole()).length, 11);
    assert.ok(!seenByConntrack().some(line => line.includes('dport=5353')));
  });
}

test('where nothing is tracked, nothing crosses', async () => {
  const crossing = new Crossing();
  const nothing = new Conntrack(crossing, () => 0);
  await nothing.forget(of('10.0.0.2'));
  assert.deepEqual([...(await list(undefined, nothing)), ...(await list(of('10.0.0.2'), nothing))], []);
  await new Conntrack(crossing, () => 11).forget([]);
  assert.deepEqual(crossing.operations, []);
});

test('where the kernel knows no connections, there are none to find and none to forget', async () => {
  for (const count of [1, undefined]) {
    const none = new Conntrack(new Crossing(() => true), () => count);
    await none.forget(of('10.0.0.2'));
    assert.deepEqual(await list(undefined, none), []);
    assert.deepEqual(await list(of('10.0.0.2'), none), []);
  }
});

test('what is asked for during a walk is done together by the next: one that lists all, where many ask', async () => {
  const crossing = new Crossing();
  const shared = new Conntrack(crossing, () => 40_000);
  const first = shared.forget(of('10.0.0.20'));
  await until('the walk begins', () => crossing.operations.length > 0);
  const begun = crossing.operations.length;
  const pods = ['10.0.0.2', 'fd00::2', ...Array.from({ length: 40 }, (_, i) => `10.7.0.${i}`)];
  await Promise.all([first, ...pods.map(text => shared.forget(of(text)))]);
  const walks = crossing.operations.slice(begun).filter(operation => operation !== forgetOne);
  assert.equal(walks.filter(operation => operation === listAll).length, 1);
  if (!isOld) assert.deepEqual(walks, [listAll]);
  assert.deepEqual(await whole(), [
    'udp src=10.0.0.8 dst=192.0.2.1 sport=1003 dport=5354',
    'udp src=fd00::3 dst=fd00::4 sport=1 dport=2',
  ]);
});

test('one request at a time stands before the kernel, whoever asks', async () => {
  const crossing = new Crossing();
  const shared = new Conntrack(crossing, () => 11);
  const flows = await list(of('10.0.0.20'));
  await Promise.all([
    shared.forget(of('10.0.0.2')),
    list(undefined, shared),
    list(of('fd00::2'), shared),
    shared.delete(flows),
  ]);
  assert.ok(crossing.operations.length >= 4);
  assert.equal(crossing.most, 1);
});

test('the kernel filters what it lists: it sends only what is asked for', async () => {
  const crossing = new Crossing();
  const flows = await list(of('10.0.0.9'), new Conntrack(crossing, () => 1_000_000));
  assert.deepEqual([flows.length, crossing.replies], [2, 2]);
});

test('a flow is not taken for a later one of the same addresses', async () => {
  const [flow] = await list(of('10.0.0.20'));
  const message = Uint8Array.from(flow!.message);
  const CTA_ID = 12;
  const id = findAttribute(message, CTA_ID, { start: 4, end: message.length });
  message[id!.start]! ^= 1;
  assert.equal(await conntrack.delete([{ ...flow!, message }]), 0);
  assert.equal((await list(of('10.0.0.20'))).length, 1);
  assert.equal(await conntrack.delete([flow!, flow!]), 1);
  assert.equal((await list(of('10.0.0.20'))).length, 0);
});

for (const { node, count, refused } of ways)
  test(`thousands of an address are forgotten: ${node}`, async () => {
    const lines = Array.from(
      { length: 2500 },
      (_, i) => `-I -t 600 -p udp -s 10.9.0.1 -d 10.9.0.2 --sport ${i + 1} --dport 9`,
    );
    const folder = scratchFolder('test');
    try {
      writeFileSync(join(folder, 'flows'), `${lines.join('\n')}\n`);
      netns.exec('conntrack', ['--load-file', join(folder, 'flows')]);
    } finally {
      rmSync(folder, { recursive: true });
    }
    await new Conntrack(new Crossing(refused), () => count).forget(of('10.9.0.1'));
    assert.equal((await whole()).length, 12);
  });
