/** A pod's link on a node that is busy with links of others: the first packet arrives, and no processor is taken in vain. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { parseAddress, parsePrefix } from '../../lib/ip/address.ts';
import { deleteLink } from '../../lib/kernel/link.ts';
import { type Exchange, must } from '../../lib/kernel/message.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { inNetns, Netns } from '../../lib/kernel/netns.ts';
import { readSysctl } from '../../lib/kernel/sysctl.ts';
import { dispatchInline } from '../../lib/pod/dispatch.ts';
import { createPair, type PodInterface, plugIn } from '../../lib/pod/interface.ts';
import { busyWithLinks, makeNetns } from '../support/netns.ts';
import { AF, Descriptor, SOCK, socketAddress, Tap } from '../support/tap.ts';
import { until } from '../support/until.ts';

const PODS = 50;
const PORT = 9;

const node = makeNetns();
const inner = makeNetns();
const socket = inNetns(node, () => NetlinkSocket.open('route'));
after(() => {
  socket[Symbol.dispose]();
  for (const each of [inner, node]) each[Symbol.dispose]();
});
const { exchange: host } = socket;

const address = parseAddress('10.77.0.2')!;
const gateway = parseAddress('10.77.0.1')!;
const wanted: PodInterface = {
  ...{ hostName: 'tgpod', hostMac: '02:00:00:00:00:01', ifname: 'eth0', podMac: '02:00:00:00:00:02', mtu: 1500 },
  ...{ alias: 'tollgate:default/pod:pod', routeLocalnet: false },
  layout: { addresses: [{ address, gateway, subnet: parsePrefix('10.77.0.0/24')! }], routes: [] },
};

/** The number of the datagram that arrives first. */
async function firstToArrive(pod: Netns, ifindex: number): Promise<number> {
  using tap = new Tap(pod, ifindex, wanted.hostMac);
  using sender = new Descriptor(node, AF.INET, SOCK.DGRAM, 0);
  let sent = 0;
  const [first] = await until('a datagram to arrive', () => {
    sender.send(Buffer.from(String(sent++)), socketAddress(address, PORT));
    const arrived = tap.take().filter(({ dport }) => dport === PORT);
    return arrived.length > 0 ? arrived : undefined;
  });
  return Number(Buffer.from(first!.payload ?? []).toString());
}

test('the node sends to a pod from the moment in which it is plugged in, though the kernel is long about its link', async () => {
  using _ = busyWithLinks();
  using pod = Netns.open(inner.path);
  const dispatch = dispatchInline(host);
  const firsts = [];
  for (let i = 0; i < PODS; i++) {
    const link = await createPair(dispatch, host, pod, wanted);
    const meanwhile = async (): Promise<void> => {};
    await inNetns(node, () => ({ plugged: plugIn(host, link, pod, wanted, { dispatch, meanwhile }) })).plugged;
    firsts.push(await firstToArrive(pod, link.peer ?? link.ifindex));
    must(host([deleteLink({ ifindex: link.ifindex })]));
  }
  assert.deepEqual(firsts, Array(PODS).fill(0));
});

test("IPv6 is off on the node's end before it is up, and switched off after a request that waits for the lock of links", async () => {
  using pod = Netns.open(inner.path);
  const link = await createPair(dispatchInline(host), host, pod, wanted);
  const isOff = () => inNetns(node, () => readSysctl(`ipv6/conf/${link.name}/disable_ipv6`));
  const asked: (readonly [isOff: string, what: string])[] = [];
  const watched: Exchange = requests => {
    asked.push(...requests.map(({ operation }) => [isOff(), operation] as const));
    return host(requests);
  };
  const dispatch = dispatchInline(host);
  const meanwhile = async (): Promise<void> => {};
  await inNetns(node, () => ({ plugged: plugIn(watched, link, pod, wanted, { dispatch, meanwhile }) })).plugged;
  must(host([deleteLink({ ifindex: link.ifindex })]));
  assert.deepEqual(asked, [
    ['0', `set alias, ipv4 of link ${link.ifindex}`],
    ['1', `set up of link ${link.ifindex}`],
  ]);
});
