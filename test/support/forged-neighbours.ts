/** Frames that a pod with packet sockets can send to its node so that the node learns neighbours which are not there. */
import type { Address } from '../../lib/ip/address.ts';
import { Netns } from '../../lib/kernel/netns.ts';
import { PROTOCOL } from '../../lib/nft/statements.ts';
import { addList, type Json, type PluginList, startHost } from './cni.ts';
import type { Host } from './host.ts';
import { Tap } from './tap.ts';
import { addressOf, linksOf } from './wired-host.ts';

/** A pod's end of its link, and what it knows of itself and of its gateways. */
export interface Forger {
  readonly tap: Tap;
  readonly own: Readonly<Record<4 | 6, Address>>;
  readonly gateway: Readonly<Record<4 | 6, Address>>;
}

type Forge = (forger: Forger, number: number) => void;

const bytesOf = ({ family, value }: Address): Buffer =>
  Buffer.from(value.toString(16).padStart(family === 4 ? 8 : 32, '0'), 'hex');
const plus = (base: string, number: number): Address => {
  const { family, value } = addressOf(base);
  return { family, value: value + BigInt(number) };
};
const macOf = (number: number): Buffer =>
  Buffer.from((0x02_00_5e_00_00_00 + number).toString(16).padStart(12, '0'), 'hex');

/** Ethernet, IPv4, lengths 6 and 4 (RFC 826). */
const arpHeader = [0, 1, 8, 0, 6, 4, 0];
const REQUEST = 1;
const REPLY = 2;
const arp = ({ tap }: Forger, operation: number, number: number, sender: Address, target: Address): void =>
  tap.sendArp(
    Buffer.concat([
      Uint8Array.of(...arpHeader, operation),
      macOf(number),
      bytesOf(sender),
      Buffer.alloc(6),
      bytesOf(target),
    ]),
  );

const allNodes = addressOf('ff02::1');
const allRouters = addressOf('ff02::2');
const SOURCE_MAC = 1;
const TARGET_MAC = 2;
/** An option with a MAC address (RFC 4861, 4.6.1). */
const macOption = (type: number, number: number): Buffer => Buffer.concat([Uint8Array.of(type, 1), macOf(number)]);
const discovery = (
  { tap }: Forger,
  type: number,
  from: Address,
  to: Address,
  ...payload: readonly Uint8Array[]
): void =>
  tap.send({
    from,
    to,
    protocol: PROTOCOL.icmpv6,
    sport: 0,
    dport: 0,
    type,
    hoplimit: 255,
    payload: Buffer.concat(payload),
  });
const u32 = Buffer.alloc(4);
const solicit = (forger: Forger, number: number, from: Address): void =>
  discovery(forger, 135, from, forger.gateway[6], u32, bytesOf(forger.gateway[6]), macOption(SOURCE_MAC, number));
const advertise = (forger: Forger, number: number, from: Address): void =>
  // The override flag replaces a known entry, as an unsolicited answer does.
  discovery(forger, 136, from, allNodes, Uint8Array.of(0x20, 0, 0, 0), bytesOf(from), macOption(TARGET_MAC, number));

const linkLocal = (number: number): Address => plus('fe80::7467:0:0', number);
const elsewhere = { 4: (number: number) => plus('172.31.0.0', number), 6: (number: number) => plus('fd99::', number) };

/** Forgeries by description: the sender differs from message to message. */
export const forgeries: Readonly<Record<string, Forge>> = {
  'ARP requests by addresses of its own subnet': (f, n) =>
    arp(f, REQUEST, n, { family: 4, value: f.own[4].value + BigInt(n + 1) }, f.gateway[4]),
  'ARP requests by addresses from elsewhere': (f, n) => arp(f, REQUEST, n, elsewhere[4](n), f.gateway[4]),
  'ARP requests for an address beyond the node': (f, n) => arp(f, REQUEST, n, elsewhere[4](n), addressOf('192.0.2.2')),
  'ARP replies that nobody asked for': (f, n) => arp(f, REPLY, n, elsewhere[4](n), f.gateway[4]),
  'gratuitous ARP': (f, n) => arp(f, REQUEST, n, elsewhere[4](n), elsewhere[4](n)),
  'neighbour solicitations by addresses of its own subnet': (f, n) =>
    solicit(f, n, { family: 6, value: f.own[6].value + BigInt(n + 1) }),
  'neighbour solicitations by addresses from elsewhere': (f, n) => solicit(f, n, elsewhere[6](n)),
  'neighbour solicitations by link-local addresses': (f, n) => solicit(f, n, linkLocal(n)),
  'router solicitations by link-local addresses': (f, n) =>
    discovery(f, 133, linkLocal(n), allRouters, u32, macOption(SOURCE_MAC, n)),
  'router solicitations by addresses from elsewhere': (f, n) =>
    discovery(f, 133, elsewhere[6](n), allRouters, u32, macOption(SOURCE_MAC, n)),
  'router advertisements by link-local addresses': (f, n) =>
    discovery(f, 134, linkLocal(n), allNodes, u32, u32, u32, macOption(SOURCE_MAC, n)),
  'neighbour advertisements that nobody asked for': (f, n) => advertise(f, n, elsewhere[6](n)),
  'neighbour advertisements of link-local addresses': (f, n) => advertise(f, n, linkLocal(n)),
  'pings of its gateway by link-local addresses': (f, n) =>
    f.tap.send({ from: linkLocal(n), to: f.gateway[6], protocol: PROTOCOL.icmpv6, sport: n, dport: 0 }),
};

interface Entry {
  readonly dst: string;
  readonly dev: string;
  readonly state: readonly string[];
}

/** The addresses that the node knows neighbours on a link by, apart from the groups that it speaks to. */
export const neighbours = async (host: Host, link: string): Promise<string[]> =>
  (JSON.parse(await host.sh(`ip -4 -j neigh show nud all dev ${link}`)) as Entry[])
    .concat(JSON.parse(await host.sh(`ip -6 -j neigh show nud all dev ${link}`)) as Entry[])
    .filter(({ state }) => !state.includes('NOARP'))
    .map(({ dst }) => dst);

/** The number of frames that the node has received from the pod. */
export const received = async (host: Host, link: string): Promise<number> => {
  const [{ stats64 }] = JSON.parse(await host.sh(`ip -j -s link show dev ${link}`));
  return stats64.rx.packets;
};

/** A pod of the first network of a node of its own. */
export interface Plugged {
  readonly host: Host;
  /** Beyond the node's only wire. */
  readonly outside: string;
  readonly netns: string;
  readonly link: string;
  readonly addresses: readonly string[];
  readonly gateways: readonly string[];
}

/** @param plugins of the network's list */
export async function plug(plugins: readonly Json[]): Promise<Plugged> {
  const host = await startHost();
  const [outside, netns] = [await host.outside(), await host.pod()];
  const list: PluginList = { cniVersion: '1.0.0', name: 'net', plugins };
  const { interfaces, ips } = await addList(host, list, { containerID: 'forger', netns });
  return {
    host,
    outside,
    netns,
    link: interfaces!.find(({ sandbox }) => !sandbox)!.name,
    addresses: ips!.map(({ address }) => address.split('/')[0]!),
    gateways: ips!.map(({ gateway }) => gateway!),
  };
}

export async function forgerIn({ host, netns, link, addresses, gateways }: Plugged): Promise<Forger & Disposable> {
  const [{ address: mac }] = JSON.parse(await host.sh(`ip -j link show dev ${link}`));
  using place = Netns.open(host.path(`/run/netns/${netns}`));
  const tap = new Tap(place, linksOf(place).find(({ name }) => name === 'eth0')!.ifindex, mac);
  const both = ([four, six]: readonly string[]) => ({ 4: addressOf(four!), 6: addressOf(six!) });
  return { tap, own: both(addresses), gateway: both(gateways), [Symbol.dispose]: () => tap[Symbol.dispose]() };
}
