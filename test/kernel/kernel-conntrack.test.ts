import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { formatAddress, parseAddress } from '../../lib/ip/address.ts';
import {
  type ConntrackEntry,
  deleteFlow,
  deleteFlows,
  findFlows,
  flowsOf,
  forgetFlowsOf,
  forgetUdpFlowsToPort,
  listFlows,
} from '../../lib/kernel/conntrack.ts';
import { type Exchange, NetlinkError } from '../../lib/kernel/message.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { inNetns } from '../../lib/kernel/netns.ts';
import { makeNetns } from '../support/netns.ts';

const netns = makeNetns();
const socket = inNetns(netns, () => NetlinkSocket.open('netfilter'));
after(() => {
  socket[Symbol.dispose]();
  netns[Symbol.dispose]();
});

const address = (text: string) => parseAddress(text) ?? assert.fail(text);

/** The peer's writing of the table, sorted: `udp src=… dst=… sport=… dport=…` of the original direction. */
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
        .join(' ')}`;
    })
    .sort();

const names: Readonly<Record<number, string>> = { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'icmpv6', 132: 'sctp' };
const written = ({ original: t }: ConntrackEntry): string =>
  `${names[t.protocol]} src=${formatAddress(t.source)} dst=${formatAddress(t.destination)} ${
    t.icmp ? `type=${t.icmp.type} code=${t.icmp.code}` : `sport=${t.sourcePort} dport=${t.destinationPort}`
  }`;

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

test('listFlows() lists what conntrack lists', () => {
  assert.equal(listFlows(socket.exchange).length, 11);
  assert.deepEqual(listFlows(socket.exchange, 4).map(written).sort(), seenByConntrack('ipv4'));
  assert.deepEqual(listFlows(socket.exchange, 6).map(written).sort(), seenByConntrack('ipv6'));
  const translated = listFlows(socket.exchange, 4).find(flow => flow.original.sourcePort === 1002);
  assert.equal(translated && formatAddress(translated.reply.source), '10.0.0.2');
  assert.ok(translated && translated.status & 32, 'destination NAT shows in the status');
  assert.deepEqual(listFlows(socket.exchange, 4).filter(flow => flow.zone === 5).length, 1);
});

/** Answers as a kernel before 6.8 does: it takes a filter for a dump, but none for a deletion. */
const withoutFilteredFlush: Exchange = requests =>
  requests.map(request => {
    const isFlush = request.type === 0x102 && request.body[1] === 1;
    if (isFlush) return { replies: [], error: new NetlinkError(request.operation, 1, { errno: 22 }) };
    return socket.exchange([request])[0]!;
  });

for (const [kernel, exchange] of [
  ['this kernel', socket.exchange],
  ['a kernel before 6.8', withoutFilteredFlush],
] as const) {
  test(`forgetFlowsOf() forgets every flow of the address, translated and zoned ones too, and no other: ${kernel}`, () => {
    forgetFlowsOf(exchange, address('10.0.0.2'));
    assert.deepEqual(seenByConntrack('ipv4'), [
      'tcp src=10.0.0.20 dst=10.0.0.7 sport=2000 dport=80',
      'udp src=10.0.0.8 dst=192.0.2.1 sport=1003 dport=5354',
    ]);
    assert.equal(seenByConntrack('ipv6').length, 2);
    forgetFlowsOf(exchange, address('fd00::9'));
    assert.deepEqual(seenByConntrack('ipv6'), []);
    forgetFlowsOf(exchange, address('10.0.0.2'));
    assert.equal(seenByConntrack('ipv4').length, 2);
  });

  test(`forgetUdpFlowsToPort() forgets what was sent to that port, and only over UDP: ${kernel}`, () => {
    forgetUdpFlowsToPort(exchange, 4, 80);
    assert.equal(listFlows(socket.exchange, 4).length, 9);
    forgetUdpFlowsToPort(exchange, 4, 5353);
    assert.ok(!seenByConntrack().some(line => line.includes('dport=5353')));
    assert.equal(listFlows(socket.exchange, 4).length, 8);
    assert.equal(listFlows(socket.exchange, 6).length, 2);
  });
}

test('nothing but one request for each place of the address crosses to a kernel that can do it', () => {
  const sent: string[] = [];
  const noting: Exchange = requests => {
    sent.push(...requests.map(({ operation }) => operation));
    return socket.exchange(requests);
  };
  forgetFlowsOf(noting, address('10.0.0.2'));
  const [major = 0, minor = 0] = release().split('.').map(Number);
  if (major > 6 || (major === 6 && minor >= 8))
    assert.deepEqual(sent, Array(4).fill('forget some tracked connections'));
});

test('the kernel filters the dump: it sends only what is asked for', () => {
  let sent = 0;
  const counting: Exchange = requests => {
    const answers = socket.exchange(requests);
    sent += answers.reduce((sum, answer) => sum + answer.replies.length, 0);
    return answers;
  };
  assert.equal(findFlows(counting, 4, [{ direction: 'reply', source: address('10.0.0.9') }]).length, 1);
  assert.equal(sent, 1);
});

test('where the kernel knows no filter, the flows are sorted here', () => {
  const old: Exchange = requests =>
    requests.map(request => {
      // A dump of everything is a struct nfgenmsg alone.
      const filtered = request.body.length > 4;
      if (filtered) return { replies: [], error: new NetlinkError(request.operation, 1, { errno: 22 }) };
      return socket.exchange([request])[0]!;
    });
  assert.deepEqual(
    flowsOf(old, address('10.0.0.2')).map(written).sort(),
    flowsOf(socket.exchange, address('10.0.0.2')).map(written).sort(),
  );
});

test('where the kernel tracks nothing, nothing is to be forgotten', () => {
  const none: Exchange = requests =>
    requests.map(request => ({ replies: [], error: new NetlinkError(request.operation, 1, { errno: 22 }) }));
  assert.doesNotThrow(() => forgetFlowsOf(none, address('10.0.0.2')));
  assert.deepEqual(listFlows(none), []);
});

test('a flow is not taken for a later one of the same addresses', () => {
  const [flow] = findFlows(socket.exchange, 4, [{ direction: 'original', source: address('10.0.0.20') }]);
  assert.ok(flow);
  const [answer] = socket.exchange([deleteFlow({ ...flow, id: (flow.id ^ 1) >>> 0 })]);
  assert.equal(answer?.error?.code, 'ENOENT');
  assert.equal(deleteFlows(socket.exchange, [flow]), 1);
  assert.equal(deleteFlows(socket.exchange, [flow]), 0);
});

test('more flows than one send takes are all forgotten', () => {
  const lines = Array.from(
    { length: 2500 },
    (_, i) => `-I -t 600 -p udp -s 10.9.0.1 -d 10.9.0.2 --sport ${i + 1} --dport 9`,
  );
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-test-'));
  try {
    writeFileSync(join(folder, 'flows'), `${lines.join('\n')}\n`);
    netns.exec('conntrack', ['--load-file', join(folder, 'flows')]);
  } finally {
    rmSync(folder, { recursive: true });
  }
  forgetFlowsOf(withoutFilteredFlush, address('10.9.0.1'));
  assert.equal(listFlows(socket.exchange, 4).length, 9);
});
