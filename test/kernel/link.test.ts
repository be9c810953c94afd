import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { formatAddress, parseAddress, parsePrefix } from '../../lib/ip/address.ts';
import { addAddress, dumpAddresses, linkAddressOf } from '../../lib/kernel/address.ts';
import {
  createVeth,
  deleteLink,
  deleteLinkGroup,
  dumpLinks,
  getLink,
  isGroupCarried,
  type Link,
  linkOf,
  newVeth,
  setLink,
} from '../../lib/kernel/link.ts';
import { type AsyncExchange, isErrno, must } from '../../lib/kernel/message.ts';
import { getNeighbour, neighbourOf, setNeighbour } from '../../lib/kernel/neighbour.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { inNetns } from '../../lib/kernel/netns.ts';
import { isNetnsGone } from '../../lib/kernel/netnsid.ts';
import { addRoute, deleteRoute, dumpRoutes, getRoute, replaceRoute, routeOf } from '../../lib/kernel/route.ts';
import { findSysctl, readSysctl, writeSysctl, writeSysctlIfPresent } from '../../lib/kernel/sysctl.ts';
import { NLM_F } from '../../lib/netlink/header.ts';
import { makeNetns, until } from '../support/netns.ts';

const host = makeNetns();
const pod = makeNetns();
const hostSocket = inNetns(host, () => NetlinkSocket.open('route'));
const podSocket = inNetns(pod, () => NetlinkSocket.open('route'));
after(() => {
  hostSocket[Symbol.dispose]();
  podSocket[Symbol.dispose]();
  pod[Symbol.dispose]();
  host[Symbol.dispose]();
});

const GROUP = 0x74670000;
const hostMac = '02:00:00:00:00:01';
const podMac = '02:00:00:00:00:02';
const veth = (name: string, peer: string, group = GROUP) => ({
  name,
  mac: hostMac,
  mtu: 1400,
  group,
  up: true,
  peer: { name: peer, mac: podMac, mtu: 1400, netns: pod.fd },
});
const address = (text: string) => parseAddress(text) ?? assert.fail(text);
const prefix = (text: string) => parsePrefix(text) ?? assert.fail(text);
const asked: AsyncExchange = async requests => hostSocket.exchange(requests);
const linksIn = (socket: NetlinkSocket, kind?: string): Link[] => socket.request([dumpLinks(kind)])[0]!.map(linkOf);
const ipJson = (netns: typeof host, ...args: string[]) => JSON.parse(netns.exec('ip', ['-d', '-j', ...args]).stdout);

test('newVeth() makes both ends in one message, as ip sees them, and echoes the host end', async () => {
  const link = await createVeth(asked, veth('tga', 'eth0'));
  const [seen] = ipJson(host, 'link', 'show', 'tga');
  assert.equal(seen.ifindex, link.ifindex);
  assert.equal(seen.address, hostMac);
  assert.equal(seen.mtu, 1400);
  assert.equal(seen.group, String(GROUP));
  assert.equal(seen.linkinfo.info_kind, 'veth');
  assert.ok(seen.flags.includes('UP'), 'the host end is up at once');
  const [peer] = ipJson(pod, 'link', 'show', 'eth0');
  assert.equal(peer.address, podMac);
  assert.equal(peer.mtu, 1400);
  assert.ok(!peer.flags.includes('UP'), 'the peer stays down');
  for (const end of [seen, peer]) assert.deepEqual([end.num_tx_queues, end.num_rx_queues], [1, 1], 'queues');
  assert.deepEqual(link, {
    ifindex: seen.ifindex,
    name: 'tga',
    up: true,
    mtu: 1400,
    group: GROUP,
    mac: hostMac,
    alias: undefined,
    kind: 'veth',
    master: undefined,
    peer: peer.ifindex,
    peerNetnsid: seen.link_netnsid,
  });
});

test('createVeth() asks for the link where the kernel does not echo', async () => {
  const mute = (requests: Parameters<typeof hostSocket.exchange>[0]) =>
    hostSocket.exchange(requests.map(request => ({ ...request, flags: request.flags & ~NLM_F.ECHO })));
  const link = await createVeth(async requests => mute(requests), veth('tgmute', 'mute0'));
  assert.deepEqual(link, linkOf(hostSocket.request([getLink({ name: 'tgmute' })])[0]![0]!));
});

test('a second veth of the same name is EEXIST, names itself, and leaves the first alone', () => {
  const before = linksIn(hostSocket);
  const [answer] = hostSocket.exchange([newVeth(veth('tga', 'eth1'))]);
  assert.equal(answer?.error?.code, 'EEXIST');
  assert.match(answer.error.message, /^Cannot create veth tga with peer eth1: EEXIST/);
  assert.deepEqual(linksIn(hostSocket), before);
});

test('setLink() changes what is given and leaves the rest', () => {
  const alias = `tollgate:${'ä'.repeat(123)}`;
  assert.equal(Buffer.byteLength(alias), 255);
  hostSocket.request([
    setLink({ name: 'tga' }, { alias }),
    setLink(
      { name: 'tga' },
      { group: GROUP + 5, mtu: 1300, addrGenMode: 'none', ipv4: { rp_filter: 1, arp_notify: 1 } },
    ),
  ]);
  const [seen] = ipJson(host, 'link', 'show', 'tga');
  assert.equal(seen.ifalias, alias);
  assert.equal(seen.group, String(GROUP + 5));
  assert.equal(seen.mtu, 1300);
  assert.equal(seen.inet6_addr_gen_mode, 'none');
  assert.ok(seen.flags.includes('UP'));
  inNetns(host, () => {
    assert.equal(readSysctl('ipv4/conf/tga/rp_filter'), '1');
    assert.equal(readSysctl('ipv4/conf/tga/arp_notify'), '1');
  });
  hostSocket.request([setLink({ name: 'tga' }, { up: false }), setLink({ name: 'tga' }, { alias: '', group: GROUP })]);
  const link = linkOf(hostSocket.request([getLink({ name: 'tga' })])[0]![0]!);
  assert.equal(link.up, false);
  assert.equal(link.alias, undefined);
  assert.equal(link.group, GROUP);
  hostSocket.request([setLink({ ifindex: link.ifindex }, { up: true })]);
  assert.throws(() => setLink({ name: 'tga' }, { alias: 'x'.repeat(256) }), /256 bytes/);
});

test('dumpLinks() gives every link, or those of a kind', () => {
  assert.deepEqual(
    linksIn(hostSocket)
      .map(l => l.name)
      .sort(),
    ['lo', 'tga', 'tgmute'],
  );
  assert.deepEqual(
    linksIn(hostSocket, 'veth')
      .map(l => l.name)
      .sort(),
    ['tga', 'tgmute'],
  );
  assert.deepEqual(
    linksIn(podSocket)
      .map(l => l.name)
      .sort(),
    ['eth0', 'lo', 'mute0'],
  );
});

test('a routed pod: addresses, onlink gateway, permanent neighbours, both families, and it pings at once', () => {
  const hostLink = linkOf(hostSocket.request([getLink({ name: 'tga' })])[0]![0]!);
  const podLink = linkOf(podSocket.request([getLink({ name: 'eth0' })])[0]![0]!);
  const [gateway4, gateway6] = [address('169.254.1.1'), address('fe80::1')];
  const [pod4, pod6] = [prefix('10.7.0.2/32'), prefix('fd07::2/128')];
  const oif = podLink.ifindex;
  hostSocket.request([
    addAddress({ ...prefix('10.7.0.1/32'), ifindex: hostLink.ifindex }),
    addAddress({ ...prefix('fe80::1/64'), ifindex: hostLink.ifindex }, 'link'),
  ]);
  podSocket.request([
    setLink({ ifindex: oif }, { up: true, addrGenMode: 'none' }),
    addAddress({ ...pod4, ifindex: oif }),
    addAddress({ ...pod6, ifindex: oif }),
    addRoute({ destination: prefix('169.254.1.1/32'), oif }),
    addRoute({
      destination: prefix('0.0.0.0/0'),
      gateway: gateway4,
      oif,
      onlink: true,
      source: pod4,
      mtu: 1380,
      advmss: 1340,
    }),
    addRoute({ destination: prefix('::/0'), gateway: gateway6, oif, metric: 7 }),
    setNeighbour({ ifindex: oif, address: gateway4, mac: hostMac }),
    setNeighbour({ ifindex: oif, address: gateway6, mac: hostMac }),
  ]);
  hostSocket.request([
    addRoute({ destination: pod4, oif: hostLink.ifindex, source: prefix('10.7.0.1/32') }),
    addRoute({ destination: pod6, oif: hostLink.ifindex }),
    setNeighbour({ ifindex: hostLink.ifindex, address: pod4, mac: podMac }),
    setNeighbour({ ifindex: hostLink.ifindex, address: pod6, mac: podMac }),
  ]);
  const [route4] = ipJson(pod, 'route', 'show', 'default');
  assert.equal(route4.gateway, '169.254.1.1');
  assert.deepEqual(route4.flags, ['onlink']);
  assert.equal(route4.prefsrc, '10.7.0.2');
  assert.deepEqual(route4.metrics, [{ mtu: 1380, advmss: 1340 }]);
  assert.equal(ipJson(pod, '-6', 'route', 'show', 'default')[0].metric, 7);
  // The kernel starts a link's queue a moment after the link is up: the first of them may go before that.
  pod.exec('ping', ['-c5', '-i0.2', '-W30', '10.7.0.1']);
  host.exec('ping', ['-c5', '-i0.2', '-W30', 'fd07::2']);

  const found = podSocket.request([dumpRoutes({ oif, table: 254 })])[0]!.map(routeOf);
  const default4 = found.find(r => r?.destination.family === 4 && r.destination.length === 0);
  assert.deepEqual(
    { ...default4, gateway: default4?.gateway && formatAddress(default4.gateway) },
    {
      destination: prefix('0.0.0.0/0'),
      oif,
      gateway: '169.254.1.1',
      source: address('10.7.0.2'),
      table: 254,
      metric: 0,
      mtu: 1380,
      advmss: 1340,
      type: 1,
      scope: 0,
      protocol: 4,
      onlink: true,
      hops: [{ oif, gateway: gateway4 }],
    },
  );
  const addresses = podSocket.request([dumpAddresses({ ifindex: oif })])[0]!.map(linkAddressOf);
  assert.deepEqual(addresses, [
    { ...pod4, ifindex: oif, scope: 0, tentative: false, dadFailed: false },
    { ...pod6, ifindex: oif, scope: 0, tentative: false, dadFailed: false },
  ]);
  for (const gateway of ['169.254.1.1', 'fe80::1']) {
    const found = neighbourOf(podSocket.request([getNeighbour(oif, address(gateway))])[0]![0]!);
    assert.deepEqual(found, { ifindex: oif, address: address(gateway), mac: hostMac, permanent: true });
  }
});

test('addRoute() never displaces a route; replaceRoute() does; getRoute() tells whose it is', () => {
  const destination = prefix('10.7.0.2/32');
  const other = linkOf(hostSocket.request([getLink({ name: 'tgmute' })])[0]![0]!).ifindex;
  const owner = linkOf(hostSocket.request([getLink({ name: 'tga' })])[0]![0]!).ifindex;
  for (const route of [
    { destination, oif: other },
    { destination: prefix('fd07::2/128'), oif: other },
  ]) {
    const [answer] = hostSocket.exchange([addRoute(route)]);
    assert.equal(answer?.error?.code, 'EEXIST');
    assert.equal(routeOf(hostSocket.request([getRoute(route.destination)])[0]![0]!)?.oif, owner);
    hostSocket.request([replaceRoute(route)]);
    assert.equal(routeOf(hostSocket.request([getRoute(route.destination)])[0]![0]!)?.oif, other);
    hostSocket.request([deleteRoute(route)]);
    assert.equal(hostSocket.exchange([deleteRoute(route)])[0]?.error?.code, 'ESRCH');
  }
});

test('routes in a table of their own, of type blackhole, show there alone', () => {
  hostSocket.request([addRoute({ destination: prefix('10.99.0.0/16'), type: 'blackhole', table: 7467 })]);
  const found = hostSocket.request([dumpRoutes({ family: 4, table: 7467 })])[0]!.map(routeOf);
  assert.deepEqual(
    found.map(r => [r?.destination, r?.type, r?.table]),
    [[prefix('10.99.0.0/16'), 6, 7467]],
  );
  hostSocket.request([deleteRoute({ destination: prefix('10.99.0.0/16'), table: 7467 })]);
});

test('what is not there has a code of its own', () => {
  const oif = linkOf(podSocket.request([getLink({ name: 'eth0' })])[0]![0]!).ifindex;
  const cases: [string, Parameters<NetlinkSocket['exchange']>[0][number], string][] = [
    ['link', getLink({ name: 'nowhere' }), 'ENODEV'],
    ['link to delete', deleteLink({ ifindex: 4711 }), 'ENODEV'],
    ['link group', deleteLinkGroup(0x74671234), 'ENODEV'],
    ['neighbour', getNeighbour(oif, address('10.1.1.1')), 'ENOENT'],
  ];
  for (const [what, request, code] of cases) {
    const [answer] = podSocket.exchange([request]);
    assert.ok(isErrno(answer?.error, code), `${what}: ${answer?.error?.message}`);
  }
});

test('deleteLinkGroup() deletes the links of the group, all and alone', async () => {
  for (let i = 0; i < 5; i++) await createVeth(asked, veth(`tgd${i}`, `d${i}`, 0x7467ffff));
  hostSocket.request([deleteLinkGroup(0x7467ffff)]);
  assert.deepEqual(
    linksIn(hostSocket, 'veth')
      .map(l => l.name)
      .sort(),
    ['tga', 'tgmute'],
  );
  assert.throws(() => deleteLinkGroup(0), RangeError);
});

test('isGroupCarried() tells a group with a link from one without, whatever kind it is of, and changes nothing', async () => {
  const [used, unused] = [GROUP + 40, GROUP + 41];
  assert.equal(isGroupCarried(hostSocket.exchange, used), false);
  await createVeth(asked, veth('tgprobe', 'probe', used));
  host.exec('ip', ['link', 'add', 'tgbridge', 'type', 'bridge']);
  host.exec('ip', ['link', 'set', 'tgbridge', 'group', String(used + 2)]);
  const before = linksIn(hostSocket);
  assert.equal(isGroupCarried(hostSocket.exchange, used), true);
  assert.equal(isGroupCarried(hostSocket.exchange, used + 2), true);
  assert.equal(isGroupCarried(hostSocket.exchange, unused), false);
  assert.deepEqual(linksIn(hostSocket), before);
  hostSocket.request([deleteLink({ name: 'tgprobe' }), deleteLink({ name: 'tgbridge' })]);
  assert.equal(isGroupCarried(hostSocket.exchange, used), false);
  assert.throws(() => isGroupCarried(hostSocket.exchange, 0), RangeError);
});

test('writeSysctl() inside the window writes the pod’s own value, and only where it differs', () => {
  inNetns(pod, () => {
    const have = readSysctl('ipv6/conf/mute0/accept_ra');
    assert.equal(writeSysctl('ipv6/conf/mute0/accept_ra', have), false);
    assert.equal(writeSysctl('ipv6/conf/mute0/accept_ra', have === '0' ? 1 : 0), true);
    assert.notEqual(readSysctl('ipv6/conf/mute0/accept_ra'), have);
    assert.throws(() => writeSysctl('ipv4/conf/nowhere/rp_filter', 1), { name: 'SysctlError', code: 'ENOENT' });
    assert.throws(() => writeSysctl('ipv4/ip_forward', 'many'), { name: 'SysctlError', code: 'EINVAL' });
    assert.equal(findSysctl('ipv4/conf/nowhere/rp_filter'), undefined);
    assert.equal(writeSysctlIfPresent('ipv4/conf/nowhere/rp_filter', 1), false);
  });
  assert.equal(findSysctl('ipv6/conf/mute0/accept_ra'), undefined, 'the test’s own netns has no such link');
  assert.throws(() => readSysctl('../kernel/hostname'), RangeError);
});

test('must() gives every reply or throws the first failure', () => {
  assert.throws(() => must(hostSocket.exchange([getLink({ name: 'lo' }), getLink({ name: 'nowhere' })])), {
    name: 'NetlinkError',
    code: 'ENODEV',
    operation: 'get link nowhere',
  });
});

test('isNetnsGone() says no while a socket holds the namespace of the other end, and yes once nothing does', async () => {
  const other = makeNetns();
  const ends = veth('tgdies', 'eth0');
  const { peerNetnsid } = await createVeth(asked, { ...ends, peer: { ...ends.peer, netns: other.fd } });
  const isGone = () => isNetnsGone(hostSocket.exchange, peerNetnsid!);
  const inside = inNetns(other, () => NetlinkSocket.open('route'));
  other[Symbol.dispose]();
  assert.equal(isGone(), false);
  inside[Symbol.dispose]();
  await until('the namespace is gone', isGone);
});
