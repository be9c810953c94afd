/** Forwarding does not cost the node its own way out. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../lib/ip/address.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { inNetns } from '../../lib/kernel/netns.ts';
import { readSysctl, writeSysctl } from '../../lib/kernel/sysctl.ts';
import { forward } from '../../lib/node/forwarding.ts';
import { mainRoutes } from '../../lib/node/routes.ts';
import { Netns, until } from '../support/netns.ts';
import { AF, Descriptor, SOCK, socketAddress } from '../support/tap.ts';

const IPPROTO_IPV6 = 41;
const IPV6_MULTICAST_IF = 17;
const IPV6_MULTICAST_HOPS = 18;
const IPPROTO_ICMPV6 = 58;

/** RFC 4861, 4.2: type, code, checksum (the kernel's), hop limit, flags, lifetime (s), reachable and retransmission time. */
const advertisement = Buffer.from('86000000' + '40000708' + '00000000' + '00000000', 'hex');

/** A node and the router of its link, which advertises itself whenever it is asked to. */
class Link implements Disposable {
  readonly node = new Netns();
  readonly router = new Netns();
  readonly socket: NetlinkSocket;
  readonly #advertiser: Descriptor;
  readonly #everybody = socketAddress(parseAddress('ff02::1')!);

  constructor() {
    const { node, router } = this;
    node.exec('ip', ['link', 'add', 'uplink', 'type', 'veth', 'peer', 'name', 'downlink', 'netns', router.name]);
    for (const [place, link] of [
      [node, 'uplink'],
      [router, 'downlink'],
    ] as const) {
      inNetns(place, () => void writeSysctl(`ipv6/conf/${link}/accept_dad`, 0));
      place.exec('ip', ['link', 'set', link, 'up']);
    }
    this.socket = inNetns(node, () => NetlinkSocket.open('route'));
    const index = Number(router.exec('cat', ['/sys/class/net/downlink/ifindex']).stdout);
    this.#advertiser = new Descriptor(router, AF.INET6, SOCK.RAW, IPPROTO_ICMPV6);
    this.#advertiser.set(IPPROTO_IPV6, IPV6_MULTICAST_IF, index);
    // Any less has crossed a router, and counts for nothing.
    this.#advertiser.set(IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 255);
  }

  get hasDefault(): boolean {
    return mainRoutes(this.socket.exchange).some(({ destination: { family, length } }) => family === 6 && length === 0);
  }

  set acceptRa(value: number) {
    inNetns(this.node, () => void writeSysctl('ipv6/conf/uplink/accept_ra', value));
  }

  get forwarding(): string {
    return inNetns(this.node, () => readSysctl('ipv4/ip_forward') + readSysctl('ipv6/conf/all/forwarding'));
  }

  async advertise(): Promise<void> {
    await until('the node has the advertised default route', () => {
      this.#advertiser.offer(advertisement, this.#everybody);
      return this.hasDefault;
    });
  }

  forward(): string[] {
    return [...inNetns(this.node, () => forward([4, 6], this.socket.exchange)).problems];
  }

  [Symbol.dispose](): void {
    this.#advertiser[Symbol.dispose]();
    this.socket[Symbol.dispose]();
    this.node[Symbol.dispose]();
    this.router[Symbol.dispose]();
  }
}

test('the kernel takes an advertised default route for the price of IPv6 forwarding', async () => {
  using link = new Link();
  await link.advertise();
  inNetns(link.node, () => void writeSysctl('ipv6/conf/all/forwarding', 1));
  assert.equal(link.hasDefault, false);
});

test('a node that lives by advertisements keeps its default route, is told what to set, and goes on once it is', async () => {
  using link = new Link();
  await link.advertise();
  assert.match(
    link.forward().join(),
    /^IPv6 forwarding stays off: .* by fe80::[0-9a-f:]+ on uplink, whose accept_ra is 1; sysctl -w net\/ipv6\/conf\/uplink\/accept_ra=2 first$/,
  );
  assert.deepEqual([link.forwarding, link.hasDefault], ['10', true]);
  link.acceptRa = 2;
  assert.deepEqual(link.forward(), []);
  assert.deepEqual([link.forwarding, link.hasDefault], ['11', true]);
});

test('a default route that somebody else keeps, and none, are no obstacle', () => {
  using link = new Link();
  assert.deepEqual(link.forward(), []);
  inNetns(link.node, () => void writeSysctl('ipv6/conf/all/forwarding', 0));
  link.acceptRa = 0;
  link.node.exec('ip', ['-6', 'route', 'add', 'default', 'via', 'fe80::1', 'dev', 'uplink', 'proto', 'ra']);
  assert.deepEqual(link.forward(), []);
  assert.deepEqual([link.forwarding, link.hasDefault], ['11', true]);
});
