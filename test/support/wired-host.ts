/**
 * A node whose wires end in the test's hands: every packet is made here and counted here, with the kernel's own forwarding,
 * connection tracking and our table in between. Beyond the node there are two networks, near and far.
 */
import { TABLE } from '../../lib/gate/desired.ts';
import { type Address, formatAddress, parseAddress } from '../../lib/ip/address.ts';
import { dumpLinks, type Link, linkOf } from '../../lib/kernel/link.ts';
import { must } from '../../lib/kernel/message.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { inNetns, Netns } from '../../lib/kernel/netns.ts';
import { Nft } from '../../lib/kernel/nft.ts';
import { PROTOCOL } from '../../lib/nft/statements.ts';
import type { Host } from './host.ts';
import { type ConntrackEntry, deleteFlows, listFlows } from './listed-flows.ts';
import type { Packet } from './packet.ts';
import { type End, NodeEnd, settle, Tap } from './tap.ts';

export const addressOf = (text: string): Address => parseAddress(text)!;

/** The node's own; then what is beyond it. */
export const nodeAddress = { 4: addressOf('10.0.0.101'), 6: addressOf('fd00::65') } as const;
export const nearAddress = { 4: addressOf('198.51.100.2'), 6: addressOf('2001:db8:1::2') } as const;
export const farAddress = { 4: addressOf('203.0.113.2'), 6: addressOf('2001:db8:2::2') } as const;
const clockAddress = addressOf('198.18.0.254');

export const macOf = (index: number, side: 1 | 2): string =>
  `02:00:00:00:${index.toString(16).padStart(2, '0')}:0${side}`;

/**
 * Script that wires the node to the namespace `beyond`, where packets to addresses go that no pod has. All neighbours are
 * permanent entries, so that no MAC is asked for.
 */
export const wires = `
  mac() { printf 02:00:00:00:%02x:0%d "$1" "$2"; }
  wire() {
    ip link add $1 address $(mac $2 1) type veth peer name $1 address $(mac $2 2) netns beyond
    ip link set $1 up; ip -n beyond link set $1 up
    ip addr add $3/24 dev $1; ip -6 addr add $4/64 dev $1 nodad
    ip neigh add \${3%.*}.2 lladdr $(mac $2 2) dev $1 nud permanent
    ip neigh add \${4%1}2 lladdr $(mac $2 2) dev $1 nud permanent
  }
  for f in ipv4/conf/all ipv4/conf/default; do echo 0 >/proc/sys/net/$f/rp_filter; done
  echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
  echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
  ip netns add beyond
  wire near 240 198.51.100.1 2001:db8:1::1
  wire far 241 203.0.113.1 2001:db8:2::1
  wire clock 242 198.18.0.1 2001:db8:3::1
  ip neigh add 198.18.0.254 lladdr $(mac 242 2) dev clock nud permanent
  ip addr add 10.0.0.101/32 dev lo; ip addr add fd00::65/128 dev lo
  ip route add 10.0.0.0/24 via 198.51.100.2; ip route add fd00::/64 via 2001:db8:1::2
  ip route add default via 198.51.100.2; ip route add default via 2001:db8:1::2`;

export const tableName = { family: 'inet', name: TABLE } as const;

export class WiredHost implements Disposable {
  readonly host: Host;
  /** The node's network namespace. */
  readonly place: Netns;
  readonly node: NodeEnd;
  readonly near: Tap;
  readonly far: Tap;
  readonly nft: Nft;
  readonly exchange: NetlinkSocket['exchange'];
  readonly #beyond: Netns;
  readonly #route: NetlinkSocket;
  readonly #conntrack: NetlinkSocket;
  readonly #clock: Tap;

  /** @param host that was set up with `wires` */
  constructor(host: Host) {
    this.host = host;
    this.place = Netns.open(`/proc/${host.pid}/ns/net`);
    this.#beyond = Netns.open(host.path('/run/netns/beyond'));
    this.#route = this.inside(() => NetlinkSocket.open('route'));
    this.#conntrack = this.inside(() => NetlinkSocket.open('netfilter'));
    this.nft = this.inside(() => Nft.open());
    this.exchange = this.#route.exchange;
    this.node = new NodeEnd(this.place);
    const links = linksOf(this.#beyond);
    const tapOn = (name: string, index: number) =>
      new Tap(this.#beyond, links.find(link => link.name === name)!.ifindex, macOf(index, 1));
    this.near = tapOn('near', 240);
    this.far = tapOn('far', 241);
    this.#clock = tapOn('clock', 242);
  }

  [Symbol.dispose](): void {
    const all = [this.near, this.far, this.#clock, this.node, this.nft, this.#route, this.#conntrack];
    for (const each of [...all, this.place, this.#beyond, this.host]) each[Symbol.dispose]();
  }

  /** Runs `work` with the calling thread in the node's network namespace. */
  inside<T>(work: () => T): T {
    let result: T | undefined;
    inNetns(this.place, () => {
      result = work();
    });
    return result as T;
  }

  /** Connections that the node tracks, of pods and of others. */
  flows(): ConntrackEntry[] {
    return listFlows(this.#conntrack.exchange).filter(
      ({ original }) => formatAddress(original.destination) !== formatAddress(clockAddress),
    );
  }

  /** The node tracks nothing any more. */
  forget(): void {
    deleteFlows(this.#conntrack.exchange, this.flows());
  }

  /** Everything that was sent before has arrived, or never will. */
  settle(): void {
    const clock = { from: nearAddress[4], to: clockAddress, protocol: PROTOCOL.udp, dport: 9 };
    settle(
      (tick, processor) => this.near.send({ ...clock, sport: 1000 + processor, payload: Buffer.from(String(tick)) }),
      () => this.#clock.take().map(({ payload }) => Number(Buffer.from(payload ?? []).toString())),
    );
  }

  /** Sends the packet from `end`. @returns packets that arrive at `at`, those under way included */
  received(end: End, packet: Packet, at: End): Packet[] {
    at.take();
    end.send(packet);
    this.settle();
    return at.take();
  }
}

export const linksOf = (netns: Netns): Link[] => {
  using socket = inNetns(netns, () => NetlinkSocket.open('route'));
  return must(socket.exchange([dumpLinks()]))
    .flat()
    .map(linkOf);
};

/** Ids of the packets that arrived there: protocol and source port, or the echo's number. */
export const arrivals = (end: End): Set<string> => new Set(end.take().map(packetId));

export const packetId = ({ protocol, sport }: Packet): string => `${protocol}/${sport}`;
