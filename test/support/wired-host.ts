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
import { type ConntrackEntry, forgetFlows, listFlows } from './listed-flows.ts';
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

interface Wire {
  readonly name: string;
  readonly index: number;
  /** What the node's address begins with, which ends with 1; the other end's ends with 2. */
  readonly v4: string;
  readonly v6: string;
}

const near: Wire = { name: 'near', index: 240, v4: '198.51.100.', v6: '2001:db8:1::' };
const far: Wire = { name: 'far', index: 241, v4: '203.0.113.', v6: '2001:db8:2::' };
const clock: Wire = { name: 'clock', index: 242, v4: '198.18.0.', v6: '2001:db8:3::' };

const wire = ({ name, index, v4, v6 }: Wire): string => `
link add ${name} address ${macOf(index, 1)} type veth peer name ${name} address ${macOf(index, 2)} netns beyond
link set ${name} up
addr add ${v4}1/24 dev ${name}
addr add ${v6}1/64 dev ${name} nodad
neigh add ${v4}2 lladdr ${macOf(index, 2)} dev ${name} nud permanent
neigh add ${v6}2 lladdr ${macOf(index, 2)} dev ${name} nud permanent`;

/**
 * Script that wires the node to the namespace `beyond`, where packets to addresses go that no pod has. All neighbours are
 * permanent entries, so that no MAC is asked for.
 */
export const wires = `
  for f in ipv4/conf/all ipv4/conf/default; do echo 0 >/proc/sys/net/$f/rp_filter; done
  echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
  echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
  ip netns add beyond
  ip -batch - <<END
${[near, far, clock].map(wire).join('')}
neigh add 198.18.0.254 lladdr ${macOf(clock.index, 2)} dev clock nud permanent
addr add 10.0.0.101/32 dev lo
addr add fd00::65/128 dev lo
END
  ip -n beyond -batch - <<END
link set near up
link set far up
link set clock up
END
  ip -batch - <<END
route add 10.0.0.0/24 via 198.51.100.2
route add fd00::/64 via 2001:db8:1::2
route add default via 198.51.100.2
route add default via 2001:db8:1::2
END
`;

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
    const tapOn = ({ name, index }: Wire) =>
      new Tap(this.#beyond, links.find(link => link.name === name)!.ifindex, macOf(index, 1));
    this.near = tapOn(near);
    this.far = tapOn(far);
    this.#clock = tapOn(clock);
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
    forgetFlows(this.#conntrack.exchange);
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
