import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { formatAddress } from '../../lib/ip/address.ts';
import { addAddress, linkAddressOf } from '../../lib/kernel/address.ts';
import { libc, socketLibc } from '../../lib/kernel/ffi.ts';
import { deleteLink, dumpLinks, getLink, type Link, linkOf, newVeth, setLink } from '../../lib/kernel/link.ts';
import { complaintOf, type Exchange, NetlinkError, OutcomeUnknownError } from '../../lib/kernel/message.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { inNetns } from '../../lib/kernel/netns.ts';
import { addRoute } from '../../lib/kernel/route.ts';
import { SocketPool } from '../../lib/kernel/socket-pool.ts';
import { type Listener, RTNLGRP, Subscription } from '../../lib/kernel/subscription.ts';
import { makeNetns, until } from '../support/netns.ts';
import { PATIENCE } from '../support/until.ts';

const netns = makeNetns();
const other = makeNetns();
const socket = inNetns(netns, () => NetlinkSocket.open('route'));
const netfilter = inNetns(netns, () => NetlinkSocket.open('netfilter'));
after(() => {
  for (const resource of [socket, netfilter, netns, other]) resource[Symbol.dispose]();
});

const veth = (name: string) =>
  newVeth({
    name,
    mac: '02:00:00:00:00:01',
    mtu: 1500,
    up: true,
    peer: { name: `p${name}`, mac: '02:00:00:00:00:02', mtu: 1500, netns: other.fd },
  });
const names = (links: readonly Link[]) => links.map(link => link.name).sort();
const openDescriptors = () => readdirSync('/proc/self/fd').map(Number);

test('every answer belongs to its request, and a failure in the middle stops nothing after it', () => {
  const answers = socket.exchange([
    veth('one'),
    veth('one'),
    getLink({ name: 'one' }),
    getLink({ name: 'none' }),
    veth('two'),
  ]);
  assert.deepEqual(
    answers.map(answer => answer.error?.code),
    [undefined, 'EEXIST', undefined, 'ENODEV', undefined],
  );
  assert.equal(linkOf(answers[2]!.replies[0]!).name, 'one');
  assert.throws(() => socket.request([getLink({ name: 'none' }), getLink({ name: 'one' })]), {
    name: 'NetlinkError',
    operation: 'get link none',
    code: 'ENODEV',
    errno: 19,
  });
});

test('a dump between other requests keeps its place', () => {
  const [, dump, gone, again] = socket.exchange([
    setLink({ name: 'one' }, { alias: 'first' }),
    dumpLinks('veth'),
    deleteLink({ name: 'two' }),
    dumpLinks('veth'),
  ]);
  assert.deepEqual(names(dump!.replies.map(linkOf)), ['one', 'two']);
  assert.equal(dump!.replies.map(linkOf).find(link => link.name === 'one')?.alias, 'first');
  assert.equal(gone?.error, undefined);
  assert.deepEqual(names(again!.replies.map(linkOf)), ['one']);
});

test('a dump of many parts is whole', () => {
  const many = Array.from({ length: 150 }, (_, i) => `m${i}`);
  socket.request(many.map(veth));
  assert.deepEqual(names(socket.request([dumpLinks('veth')])[0]!.map(linkOf)), ['one', ...many].sort());
});

test('the kernel’s own words and the offset of the attribute are in the error', () => {
  const destination = { family: 4, value: 0n, length: 0 } as const;
  const [answer] = socket.exchange([addRoute({ destination, gateway: { family: 4, value: 0xc0000201n } })]);
  assert.ok(answer?.error instanceof NetlinkError);
  assert.equal(answer.error.kernelText, 'Nexthop has invalid gateway');
  assert.equal(
    answer.error.message,
    'Cannot add route 0.0.0.0/0 via 192.0.2.1: ENETUNREACH (network is unreachable): Nexthop has invalid gateway',
  );
  const group = { ...setLink({ name: 'one' }, {}), body: Uint8Array.of(...new Uint8Array(16), 4, 0, 4, 0) };
  const [short] = socket.exchange([group]);
  assert.equal(short?.error?.offset, 32);
});

test('complaintOf() reads an error that carries the whole request, as kernels without CAP_ACK send it', () => {
  const data = Buffer.alloc(4 + 20 + 12);
  data.writeInt32LE(-22, 0);
  data.writeUInt32LE(20, 4);
  data.writeUInt16LE(7, 24);
  data.writeUInt16LE(1, 26);
  data.write('no', 28);
  assert.deepEqual(complaintOf({ type: 2, flags: 0x200, body: data.subarray(0, 32) }), { errno: 22, kernelText: 'no' });
});

test('a socket stays in the network namespace that it was opened in', () => {
  using elsewhere = inNetns(other, () => NetlinkSocket.open('route'));
  const [reply] = elsewhere.request([getLink({ name: 'pone' })])[0]!;
  assert.equal(linkOf(reply!).name, 'pone');
  assert.equal(socket.exchange([getLink({ name: 'pone' })])[0]?.error?.code, 'ENODEV');
});

test('a closed socket leaves no descriptor, and says so when it is used', () => {
  const before = openDescriptors();
  const closed = NetlinkSocket.open('route');
  closed[Symbol.dispose]();
  closed[Symbol.dispose]();
  assert.deepEqual(openDescriptors(), before);
  assert.throws(() => closed.exchange([dumpLinks()]), /the netlink socket is closed/);
});

test('asked aside, the answers are the same, and what comes meanwhile is asked of another socket', async () => {
  using aside = inNetns(netns, () => NetlinkSocket.open('route'));
  const coming = aside.exchangeInThreadPool([getLink({ name: 'one' }), getLink({ name: 'none' }), veth('three')]);
  assert.equal(linkOf(socket.request([getLink({ name: 'one' })])[0]![0]!).name, 'one');
  const answers = await coming;
  assert.deepEqual(
    answers.map(answer => answer.error?.code),
    [undefined, 'ENODEV', undefined],
  );
  assert.equal(linkOf(answers[0]!.replies[0]!).name, 'one');
  assert.equal(linkOf(aside.request([getLink({ name: 'three' })])[0]![0]!).name, 'three');
  assert.deepEqual(await aside.exchangeInThreadPool([]), []);
});

test('a socket that is closed while it is asked keeps its descriptor for as long', async () => {
  const before = openDescriptors();
  const closed = inNetns(netns, () => NetlinkSocket.open('route'));
  const coming = closed.exchangeInThreadPool([getLink({ name: 'one' })]);
  closed[Symbol.dispose]();
  assert.equal(openDescriptors().length, before.length + 1);
  await assert.rejects(coming, /^Error: Cannot get link one: the netlink socket is closed$/);
  assert.deepEqual(openDescriptors(), before);
  await assert.rejects(closed.exchangeInThreadPool([getLink({ name: 'one' })]), /the netlink socket is closed/);
  await assert.rejects(closed.sendInThreadPool([getLink({ name: 'one' })]), /the netlink socket is closed/);
  assert.deepEqual(openDescriptors(), before);
});

test('many exchanges aside at a time have their own answers each, and few sockets are kept for later', async () => {
  const before = openDescriptors();
  const aside = new SocketPool(() => NetlinkSocket.open('route'));
  const ask = async (i: number) => {
    const [answer] = await aside.exchange([getLink({ name: i % 2 ? 'lo' : `none${i}` })]);
    return answer!.error?.message ?? linkOf(answer!.replies[0]!).name;
  };
  const answers = await Promise.all(Array.from({ length: 12 }, (_, i) => ask(i)));
  assert.deepEqual(
    answers,
    Array.from({ length: 12 }, (_, i) => (i % 2 ? 'lo' : `Cannot get link none${i}: ENODEV (no such device)`)),
  );
  assert.equal(openDescriptors().length, before.length + 4);
  const under = ask(1);
  aside[Symbol.dispose]();
  assert.equal(await under, 'lo');
  assert.deepEqual(openDescriptors(), before);
});

test('answers that did not fit the buffer are an unknown outcome, and the next exchange is clean', () => {
  const before = new Set(openDescriptors());
  using small = inNetns(netns, () => NetlinkSocket.open('route'));
  const [fd] = openDescriptors().filter(fd => !before.has(fd) && isNetlink(fd));
  assert.ok(fd !== undefined);
  const requests = Array.from({ length: 400 }, () => getLink({ name: 'one' }));
  assert.equal(small.request(requests).length, 400);
  assert.equal(libc().setsockopt(fd, 1, 8, new Uint32Array([4096]), 4), 0);
  assert.throws(
    () => small.exchange(requests),
    (error: unknown) => error instanceof OutcomeUnknownError && error.code === 'ENOBUFS',
  );
  assert.equal(linkOf(small.request([getLink({ name: 'one' })])[0]![0]!).name, 'one');
});

function isNetlink(fd: number): boolean {
  const name = new Uint16Array(6);
  return socketLibc().getsockname(fd, name, new Uint32Array([12])) === 0 && name[0] === 16;
}

test('a request that cannot be sent throws', () => {
  const before = new Set(openDescriptors());
  using small = inNetns(netns, () => NetlinkSocket.open('route'));
  const [fd] = openDescriptors().filter(fd => !before.has(fd) && isNetlink(fd));
  assert.ok(fd !== undefined);
  const requests = Array.from({ length: 2000 }, () => getLink({ name: 'one' }));
  assert.equal(small.request(requests).length, 2000);
  assert.equal(libc().setsockopt(fd, 1, 7, new Uint32Array([4608]), 4), 0);
  assert.throws(() => small.exchange(requests), {
    name: 'SyscallError',
    code: 'EMSGSIZE',
    operation: 'send 2000 netlink requests',
  });
  assert.equal(linkOf(small.request([getLink({ name: 'one' })])[0]![0]!).name, 'one');
});

test('what a listener throws is an uncaught exception, not the end of the process by the package', () => {
  const here = fileURLToPath(new URL('../../lib/kernel/', import.meta.url));
  const program = `
    const { Subscription } = await import('${here}subscription.ts');
    const { Netns, inNetns } = await import('${here}netns.ts');
    const { NetlinkSocket } = await import('${here}netlink.ts');
    const { setLink } = await import('${here}link.ts');
    using netns = Netns.open('${netns.path}');
    process.on('uncaughtException', error => { console.log(error.message); process.exit(0); });
    const fail = () => { throw new Error('mine'); };
    inNetns(netns, () => new Subscription('route', [1], { onMessage: fail, onLost: fail }));
    inNetns(netns, () => NetlinkSocket.open('route')).request([setLink({ name: 'one' }, { alias: 'thrown' })]);
    setTimeout(() => {}, 20_000);`;
  const done = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    timeout: PATIENCE,
  });
  assert.deepEqual([done.stdout, done.stderr, done.status], ['mine\n', '', 0]);
});

/** struct nlmsghdr and struct nfgenmsg before the attributes. */
function nfMessage(
  type: number,
  flags: number,
  seq: number,
  family: number,
  resource: number,
  attributes: Buffer,
): Buffer {
  const header = Buffer.alloc(20);
  header.writeUInt32LE(20 + attributes.length, 0);
  header.writeUInt16LE(type, 4);
  header.writeUInt16LE(flags | 1, 6);
  header.writeUInt32LE(seq, 8);
  header.writeUInt8(family, 16);
  header.writeUInt16BE(resource, 18);
  return Buffer.concat([header, attributes]);
}

const NFT = 10 << 8;
const none = Buffer.alloc(0);
/** NFTA_TABLE_NAME */
function tableName(name: string): Buffer {
  const text = Buffer.from(`${name}\0`);
  const attribute = Buffer.alloc(4 + ((text.length + 3) & ~3));
  attribute.writeUInt16LE(4 + text.length, 0);
  attribute.writeUInt16LE(1, 2);
  text.copy(attribute, 4);
  return attribute;
}
const batchOf = (...messages: readonly Buffer[]) =>
  Buffer.concat([nfMessage(16, 0, 1, 0, 10, none), ...messages, nfMessage(17, 0, 99, 0, 10, none)]);
const newTable = (seq: number, name: string) => nfMessage(NFT | 0, 0x400, seq, 1, 0, tableName(name));
const deleteTable = (seq: number, name: string) => nfMessage(NFT | 2, 0, seq, 1, 0, tableName(name));
const tables = () => netns.exec('nft', ['list', 'tables']).stdout;

test('batch() commits, and says nothing', () => {
  assert.deepEqual(netfilter.batch('program nftables', batchOf(newTable(2, 'alpha'), newTable(3, 'beta'))), {
    errors: [],
    replies: [],
  });
  assert.equal(tables(), 'table inet alpha\ntable inet beta\n');
});

test('batch() gives every error with its number and place, and nothing took effect', () => {
  const { errors } = netfilter.batch(
    'program nftables',
    batchOf(newTable(2, 'gamma'), deleteTable(3, 'nowhere'), newTable(4, 'delta'), deleteTable(5, 'neither')),
  );
  assert.deepEqual(errors, [
    { seq: 3, errno: 2, offset: 20 },
    { seq: 5, errno: 2, offset: 20 },
  ]);
  assert.equal(tables(), 'table inet alpha\ntable inet beta\n');
});

test('batch() of thousands of failures loses none of them', () => {
  const failing = Array.from({ length: 5000 }, (_, i) => deleteTable(i + 2, 'nowhere'));
  assert.equal(netfilter.batch('program nftables', batchOf(...failing)).errors.length, 5000);
});

test('batch() refuses what is no batch of messages', () => {
  assert.throws(() => netfilter.batch('program nftables', Buffer.alloc(32)), RangeError);
});

test('a subscription tells of what others do, and not after it has ended', async () => {
  const seen: string[] = [];
  const subscription = inNetns(
    netns,
    () =>
      new Subscription('route', [RTNLGRP.LINK], {
        onMessage: message => seen.push(linkOf(message).name),
        onLost: assert.fail,
      }),
  );
  netns.exec('ip', ['link', 'add', 'told', 'type', 'veth', 'peer', 'name', 'told2']);
  await until('the new link is told of', () => seen.includes('told'));
  subscription[Symbol.dispose]();
});

test('a subscription is not told of what the socket does that it ignores', async () => {
  using own = inNetns(netns, () => NetlinkSocket.open('route'));
  const { ifindex } = linkOf(socket.request([getLink({ name: 'one' })])[0]![0]!);
  const seen: string[] = [];
  const onMessage: Listener['onMessage'] = message => seen.push(formatAddress(linkAddressOf(message)!));
  const listener = { ignored: own.port, onMessage, onLost: assert.fail };
  const subscription = inNetns(netns, () => new Subscription('route', [RTNLGRP.IPV4_IFADDR], listener));
  for (const [i, by] of [own, socket, own, socket].entries())
    by.request([addAddress({ ifindex, family: 4, value: 0x0a4d_0001n + BigInt(i), length: 32 })]);
  await until('the last change is told of', () => seen.includes('10.77.0.4'));
  subscription[Symbol.dispose]();
  assert.deepEqual(seen, ['10.77.0.2', '10.77.0.4']);
});

test('exchanges between turns of the event loop leave its poll handler nothing', async () => {
  let messages = 0;
  const subscription = inNetns(
    netns,
    () => new Subscription('route', [RTNLGRP.LINK], { onMessage: () => messages++, onLost: assert.fail }),
  );
  for (let i = 0; i < 20; i++) {
    assert.equal(linkOf(socket.request([getLink({ name: 'one' })])[0]![0]!).name, 'one');
    await new Promise(resolve => setImmediate(resolve));
  }
  socket.request([setLink({ name: 'one' }, { alias: 'told' })]);
  await until('the change is told of', () => messages > 0);
  subscription[Symbol.dispose]();
});

test('a subscription that cannot keep up says so, and ends', async () => {
  let lost: Error | undefined;
  const subscription = inNetns(
    netns,
    () =>
      new Subscription('route', [RTNLGRP.LINK], {
        onMessage: () => {},
        onLost: error => {
          lost = error;
        },
      }),
  );
  // The event loop stands still while more is told than the buffer holds.
  for (let i = 0; i < 40 && !lost; i++)
    socket.request(Array.from({ length: 100 }, (_, j) => setLink({ name: 'one' }, { alias: `${i}.${j}` })));
  await until('the loss is told of', () => lost !== undefined);
  subscription[Symbol.dispose]();
});

test('in a user namespace, where no buffer may be forced, a hundred answers still fit', () => {
  const here = fileURLToPath(new URL('../../lib/kernel/', import.meta.url));
  const program = `
    const { NetlinkSocket } = await import('${here}netlink.ts');
    const { getLink } = await import('${here}link.ts');
    const socket = NetlinkSocket.open('route');
    console.log(socket.request(Array.from({ length: 100 }, () => getLink({ name: 'lo' }))).length);`;
  const done = spawnSync('unshare', ['-Urn', process.execPath, '--input-type=module', '-e', program], {
    encoding: 'utf8',
  });
  assert.deepEqual([done.stdout, done.stderr, done.status], ['100\n', '', 0]);
});

test('the seam is a function: a fake kernel is one', () => {
  const fake: Exchange = requests =>
    requests.map(request => ({ replies: [], error: new NetlinkError(request.operation, 1, { errno: 1 }) }));
  assert.equal(
    fake([getLink({ name: 'lo' })])[0]?.error?.message,
    'Cannot get link lo: EPERM (operation not permitted)',
  );
});

test('an open socket neither keeps a process alive nor writes to its stderr', () => {
  const here = fileURLToPath(new URL('../../lib/kernel/netlink.ts', import.meta.url));
  const program = `const { NetlinkSocket } = await import(${JSON.stringify(here)}); NetlinkSocket.open('route'); console.log('open');`;
  const done = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    timeout: PATIENCE,
  });
  assert.deepEqual([done.stdout, done.stderr, done.status], ['open\n', '', 0]);
});
