/**
 * A node with pods whose wires end in the test's hands: every packet is made here and counted here, with the kernel's own
 * forwarding, connection tracking and our table in between. Beyond the node there are two networks, near and far.
 */
import { desiredTable, TABLE } from '../lib/enforce/desired.ts';
import type { GateSettings } from '../lib/enforce/gate.ts';
import { emptyNode, type LocalPod, podKey } from '../lib/enforce/node.ts';
import { type Address, type Family, formatAddress, type Prefix, parseAddress } from '../lib/ip/address.ts';
import { deleteFlows, type Flow, listFlows } from '../lib/kernel/conntrack.ts';
import { dumpLinks, type Link, linkOf, setLink } from '../lib/kernel/link.ts';
import { must } from '../lib/kernel/message.ts';
import { NetlinkSocket } from '../lib/kernel/netlink.ts';
import { inNetns, Netns } from '../lib/kernel/netns.ts';
import { Nft } from '../lib/kernel/nft.ts';
import { replaceRoute } from '../lib/kernel/route.ts';
import { diff } from '../lib/nft/diff.ts';
import { PROTOCOL, type Table } from '../lib/nft/model.ts';
import { plugIn } from '../lib/pod/interface.ts';
import { hostPrefix, layout } from '../lib/pod/plan.ts';
import type { Ruleset } from '../lib/policy/ruleset.ts';
import { Host } from './host.ts';
import type { Packet } from './packet.ts';
import { type End, NodeEnd, settle, Tap } from './tap.ts';

export const addressOf = (text: string): Address => parseAddress(text)!;

/** The node's own; then what is beyond it. */
export const nodeAddress = { 4: addressOf('10.0.0.101'), 6: addressOf('fd00::65') } as const;
export const nearAddress = { 4: addressOf('198.51.100.2'), 6: addressOf('2001:db8:1::2') } as const;
export const farAddress = { 4: addressOf('203.0.113.2'), 6: addressOf('2001:db8:2::2') } as const;
const clockAddress = addressOf('198.18.0.254');

export interface GatePod {
  readonly index: number;
  readonly netns: Netns;
  readonly addresses: Readonly<Record<Family, Address>>;
  /** The node's end. */
  readonly link: string;
  readonly ifindex: number;
  /** The pod's end. */
  readonly mac: string;
  readonly end: Tap;
}

const macOf = (index: number, side: 1 | 2): string => `02:00:00:00:${index.toString(16).padStart(2, '0')}:0${side}`;

/** Routes of the node, for as long as no pod has the address; nobody beyond ever has to be asked for his MAC. */
const wires = `
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

const MTU = 1500;

export interface TableOptions {
  readonly settings?: Partial<GateSettings>;
  readonly ruleset?: Ruleset;
}

export class GateHost implements Disposable {
  readonly host: Host;
  readonly pods: readonly GatePod[];
  readonly node: NodeEnd;
  readonly near: Tap;
  readonly far: Tap;
  readonly nft: Nft;
  readonly exchange: NetlinkSocket['exchange'];
  readonly #here: Netns;
  readonly #beyond: Netns;
  readonly #route: NetlinkSocket;
  readonly #conntrack: NetlinkSocket;
  readonly #clock: Tap;
  #table: Table | undefined;

  /** Pod i has the addresses 10.0.0.<i+1> and fd00::<i+1>, and is in quarantine. */
  static async start(count: number): Promise<GateHost> {
    const host = await Host.start({ setup: wires });
    try {
      const names = await host.netns(count);
      return new GateHost(host, names);
    } catch (error) {
      host[Symbol.dispose]();
      throw error;
    }
  }

  private constructor(host: Host, names: readonly string[]) {
    this.host = host;
    this.#here = Netns.open(`/proc/${host.pid}/ns/net`);
    this.#beyond = Netns.open(host.path('/run/netns/beyond'));
    this.#route = this.inside(() => NetlinkSocket.open('route'));
    this.#conntrack = this.inside(() => NetlinkSocket.open('netfilter'));
    this.nft = this.inside(() => Nft.open());
    this.exchange = this.#route.exchange;
    this.node = new NodeEnd(this.#here);
    const links = linksOf(this.#beyond);
    const tapOn = (name: string, index: number) =>
      new Tap(this.#beyond, links.find(link => link.name === name)!.ifindex, macOf(index, 1));
    this.near = tapOn('near', 240);
    this.far = tapOn('far', 241);
    this.#clock = tapOn('clock', 242);
    this.pods = names.map((name, index) => this.#plug(Netns.open(host.path(`/run/netns/${name}`)), index));
  }

  /** The node's network namespace. */
  get place(): Netns {
    return this.#here;
  }

  /** With the calling thread on the node. */
  inside<T>(work: () => T): T {
    let result: T | undefined;
    inNetns(this.#here, () => {
      result = work();
    });
    return result as T;
  }

  #plug(netns: Netns, index: number): GatePod {
    const addresses = {
      4: { family: 4, value: 0x0a000001n + BigInt(index) },
      6: { family: 6, value: (0xfd00n << 112n) + 1n + BigInt(index) },
    } as const;
    const ips = Object.values(addresses).map(address => ({ address: subnetOf(address) }));
    const link = `tgpod${index}`;
    const wanted = {
      hostName: link,
      hostMac: macOf(index, 1),
      ifname: 'eth0',
      podMac: macOf(index, 2),
      mtu: MTU,
      alias: `tollgate:test/p${index}:${index}`,
      layout: layout({ interfaces: [], ips, routes: [] }),
      routeLocalnet: true,
    };
    const { ifindex } = this.inside(() => plugIn(this.exchange, netns, wanted)).link;
    const inner = linksOf(netns).find(({ name }) => name === 'eth0')!;
    return {
      index,
      netns,
      addresses,
      link,
      ifindex,
      mac: wanted.podMac,
      end: new Tap(netns, inner.ifindex, wanted.hostMac),
    };
  }

  [Symbol.dispose](): void {
    for (const { end, netns } of this.pods) {
      end[Symbol.dispose]();
      netns[Symbol.dispose]();
    }
    const all = [this.near, this.far, this.#clock, this.node, this.nft, this.#route, this.#conntrack];
    for (const each of [...all, this.#here, this.#beyond, this.host]) each[Symbol.dispose]();
  }

  /** Gives the pod's link a group: a tag, quarantine, or any other. */
  tag({ ifindex }: GatePod, group: number): void {
    must(this.exchange([setLink({ ifindex }, { group })]));
  }

  /** The node's route to an address leads to the pod's link, or beyond. */
  lead(address: Address, to: GatePod | 'near'): void {
    const destination = hostPrefix(address);
    const beyond = { gateway: nearAddress[address.family], oif: this.#ifindexOf('near') };
    must(this.exchange([replaceRoute({ destination, ...(to === 'near' ? beyond : { oif: to.ifindex }) })]));
  }

  #ifindexOf(name: string): number {
    return must(this.exchange([dumpLinks('veth')]))
      .flat()
      .map(linkOf)
      .find(link => link.name === name)!.ifindex;
  }

  /** Whatever the table is, it becomes this one, in one transaction. */
  bring(table: Table): void {
    this.nft.commit(diff(this.#table, table));
    this.#table = table;
  }

  /** What the node tracks, of pods' connections and others'. */
  flows(): Flow[] {
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
}

const linksOf = (netns: Netns): Link[] => {
  using socket = inNetns(netns, () => NetlinkSocket.open('route'));
  return must(socket.exchange([dumpLinks()]))
    .flat()
    .map(linkOf);
};

const subnetOf = ({ family, value }: Address): Prefix => ({ family, value, length: family === 4 ? 24 : 64 });

/** What the node's state says of a pod here; its labels tell the one from the other. */
export const localPod = (
  pod: GatePod,
  tag: number,
  more: Partial<Omit<LocalPod, 'masquerade'>> & Pick<LocalPod, 'masquerade'> = {},
): LocalPod => ({
  network: 'test',
  containerID: `c${pod.index}`,
  ifname: 'eth0',
  link: pod.link,
  namespace: 'test',
  name: `p${pod.index}`,
  labels: {},
  namedPorts: [],
  addresses: Object.values(pod.addresses).map(formatAddress),
  given: { config: {}, call: {} },
  hostPorts: [],
  tag,
  ...more,
});

const owner = { enforcer: 'inline', stateDir: '/none', policies: '/none' };

/** The table of a node with these pods. */
export function tableOf(pods: readonly LocalPod[], { settings = {}, ruleset }: TableOptions = {}): Table {
  const all = { judge: 'inline', nflogGroup: 7467, enforceEgressToNode: false, ...settings } as const;
  const state = { ...emptyNode(owner, all), pods: Object.fromEntries(pods.map(pod => [podKey(pod), pod])) };
  return desiredTable(state, 1, ruleset);
}

export const tableName = { family: 'inet', name: TABLE } as const;

/** Which of the packets arrived there, by what makes them this test's: protocol and source port, or the echo's number. */
export const arrivals = (end: End): Set<string> => new Set(end.take().map(packetId));

export const packetId = ({ protocol, sport }: Packet): string => `${protocol}/${sport}`;
