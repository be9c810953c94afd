/**
 * Puts packets on a wire and sees them come off it: packet and raw sockets in any network namespace, straight from libc, none
 * of which blocks. All packets that a test counts as arrived are counted here.
 */
import type { Address } from '../../lib/ip/address.ts';
import { errnoName, fromLibc, libc } from '../../lib/kernel/ffi.ts';
import { inNetns } from '../../lib/kernel/netns.ts';
import { PROTOCOL } from '../../lib/nft/statements.ts';
import { decodePacket, encodePacket, type Packet } from './packet.ts';
import { PATIENCE } from './until.ts';

const c = fromLibc({
  socket: { arguments: ['int32', 'int32', 'int32'], return: 'int32' },
  bind: { arguments: ['int32', 'buffer', 'uint32'], return: 'int32' },
  connect: { arguments: ['int32', 'buffer', 'uint32'], return: 'int32' },
  sendto: { arguments: ['int32', 'buffer', 'uint64', 'int32', 'buffer', 'uint32'], return: 'int64' },
  recv: { arguments: ['int32', 'buffer', 'uint64', 'int32'], return: 'int64' },
  setsockopt: { arguments: ['int32', 'int32', 'int32', 'buffer', 'uint32'], return: 'int32' },
  close: { arguments: ['int32'], return: 'int32' },
  sched_getaffinity: { arguments: ['int32', 'uint64', 'buffer'], return: 'int32' },
  sched_setaffinity: { arguments: ['int32', 'uint64', 'buffer'], return: 'int32' },
});

const EPERM = 1;
const { errno } = libc();

function checked(what: string, result: number | bigint): number {
  if (Number(result) >= 0) return Number(result);
  const code = errnoName(errno());
  throw Object.assign(new Error(`Cannot ${what}: ${code}`), { code });
}

export const AF = { INET: 2, INET6: 10, NETLINK: 16, PACKET: 17 } as const;
export const SOCK = { STREAM: 1, DGRAM: 2, RAW: 3, NONBLOCK: 0o4000, CLOEXEC: 0o2000000 } as const;
const ETH_P = { ALL: 3, IP: 0x800, ARP: 0x806, IPV6: 0x86dd } as const;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SOL_PACKET = 263;
const PACKET_IGNORE_OUTGOING = 23;
const IPPROTO_IPV6 = 41;
const IPV6_ADD_MEMBERSHIP = 20;
const IPPROTO_RAW = 255;
const MSG_DONTWAIT = 0x40;
const RECEIVE_BUFFER = 1 << 25;

/** A network namespace by a descriptor of it. */
export interface Place {
  readonly fd: number;
  readonly path: string;
}

/** A socket that never waits. */
export class Descriptor implements Disposable {
  readonly fd: number;
  readonly #buffer = Buffer.alloc(65_536);

  constructor(place: Place, domain: number, type: number, protocol: number) {
    this.fd = inNetns(place, () =>
      checked('open a socket', c.socket(domain, type | SOCK.NONBLOCK | SOCK.CLOEXEC, protocol)),
    );
    this.set(SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER);
  }

  set(level: number, option: number, value: number): void {
    checked('set a socket option', c.setsockopt(this.fd, level, option, new Uint32Array([value]), 4));
  }

  /** A rule of the sender's own namespace that drops the packet shows as EPERM; then it is dropped, which is no error. */
  send(bytes: Uint8Array, to: Uint8Array): void {
    const sent = c.sendto(this.fd, bytes, BigInt(bytes.length), MSG_DONTWAIT, to, to.length);
    if (sent < 0n && errno() === EPERM) return;
    checked('send a packet', sent);
  }

  /** Whether the stack took it; a stack without an interface does not. */
  offer(bytes: Uint8Array, to: Uint8Array): boolean {
    return c.sendto(this.fd, bytes, BigInt(bytes.length), MSG_DONTWAIT, to, to.length) >= 0n;
  }

  /** Begins a connection and gives it up at once: of TCP, a SYN goes out. */
  knock(to: Uint8Array): void {
    c.connect(this.fd, to, to.length);
    c.connect(this.fd, nowhere, nowhere.length);
  }

  /** Packets that have come since the last call. */
  receive(): Buffer[] {
    const received: Buffer[] = [];
    for (;;) {
      const size = Number(c.recv(this.fd, this.#buffer, BigInt(this.#buffer.length), MSG_DONTWAIT));
      if (size < 0) return received;
      received.push(Buffer.from(this.#buffer.subarray(0, size)));
    }
  }

  [Symbol.dispose](): void {
    c.close(this.fd);
  }
}

/** struct sockaddr_ll: family, protocol (big-endian), ifindex, hatype, pkttype, halen, address */
function linkAddress(protocol: number, ifindex: number, mac = ''): Buffer {
  const bytes = Buffer.alloc(20);
  bytes.writeUInt16LE(AF.PACKET, 0);
  bytes.writeUInt16BE(protocol, 2);
  bytes.writeInt32LE(ifindex, 4);
  const address = Buffer.from(mac.replaceAll(':', ''), 'hex');
  bytes[11] = address.length;
  bytes.set(address, 12);
  return bytes;
}

/** struct sockaddr of AF_UNSPEC: a socket that is connected to it is not connected. */
const nowhere = Buffer.alloc(16);

/** struct sockaddr_in, struct sockaddr_in6 */
export function socketAddress({ family, value }: Address, port = 0): Buffer {
  const bytes = Buffer.alloc(family === 4 ? 16 : 28);
  bytes.writeUInt16LE(family === 4 ? AF.INET : AF.INET6, 0);
  bytes.writeUInt16BE(port, 2);
  bytes.set(Buffer.from(value.toString(16).padStart(family === 4 ? 8 : 32, '0'), 'hex'), family === 4 ? 4 : 8);
  return bytes;
}

/** One end of a wire. */
export interface End extends Disposable {
  /** From below the stack of that namespace, whose own opinion of the packet is not asked. */
  readonly send: (packet: Packet) => void;
  /** The IP packets that have arrived since the last look. */
  readonly take: () => Packet[];
}

/** A packet socket on one link of a namespace: sees what arrives before that namespace's own rules do. */
export class Tap implements End {
  readonly #socket: Descriptor;
  readonly #to: Readonly<Record<4 | 6 | 'arp', Buffer>>;

  /** @param mac of the far end of the link */
  constructor(place: Place, ifindex: number, mac: string) {
    this.#socket = new Descriptor(place, AF.PACKET, SOCK.DGRAM, 0);
    this.#socket.set(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
    const address = linkAddress(ETH_P.ALL, ifindex);
    checked('watch a link', c.bind(this.#socket.fd, address, address.length));
    const to = (protocol: number) => linkAddress(protocol, ifindex, mac);
    this.#to = { 4: to(ETH_P.IP), 6: to(ETH_P.IPV6), arp: to(ETH_P.ARP) };
  }

  send(packet: Packet): void {
    this.#socket.send(encodePacket(packet), this.#to[packet.to.family]);
  }

  /** @param message from its hardware type on (RFC 826) */
  sendArp(message: Uint8Array): void {
    this.#socket.send(message, this.#to.arp);
  }

  take(): Packet[] {
    return this.#socket.receive().flatMap(bytes => decodePacket(bytes) ?? []);
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

/** IPv6 raw sockets give no IP header; the rest of the packet says enough. */
const headless = Buffer.alloc(40);
headless[0] = 0x60;

/** The node's own stack: sends through its output hook, and sees what its input hook has let in. */
export class NodeEnd implements End {
  readonly #place: Place;
  readonly #senders: Readonly<Record<4 | 6, Descriptor>>;
  readonly #receivers: readonly { readonly family: 4 | 6; readonly protocol: number; readonly socket: Descriptor }[];

  constructor(place: Place) {
    this.#place = place;
    const open = (family: 4 | 6, protocol: number) =>
      new Descriptor(place, family === 4 ? AF.INET : AF.INET6, SOCK.RAW, protocol);
    this.#senders = { 4: open(4, IPPROTO_RAW), 6: open(6, IPPROTO_RAW) };
    const { tcp, udp, sctp, icmp, icmpv6 } = PROTOCOL;
    const receivers = [...[tcp, udp, sctp, icmp].map(n => [4, n]), ...[tcp, udp, sctp, icmpv6].map(n => [6, n])];
    this.#receivers = (receivers as [4 | 6, number][]).map(([family, protocol]) => {
      return { family, protocol, socket: open(family, protocol) };
    });
  }

  send(packet: Packet): void {
    this.#senders[packet.to.family].send(encodePacket(packet), socketAddress(packet.to));
  }

  /** Packets that have come since the last call; the addresses and hop limit of IPv6 packets are unknown, and given as 0. */
  take(): Packet[] {
    return this.#receivers.flatMap(({ family, protocol, socket }) =>
      socket.receive().flatMap(bytes => {
        if (family === 4) return decodePacket(bytes) ?? [];
        headless[6] = protocol;
        return decodePacket(Buffer.concat([headless, bytes])) ?? [];
      }),
    );
  }

  /** Listens to an IPv6 group on a link, until it is disposed of. */
  join({ value }: Address, ifindex: number): Disposable {
    const socket = new Descriptor(this.#place, AF.INET6, SOCK.DGRAM, 0);
    const request = Buffer.alloc(20);
    request.set(Buffer.from(value.toString(16).padStart(32, '0'), 'hex'));
    request.writeInt32LE(ifindex, 16);
    checked('join a group', c.setsockopt(socket.fd, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, request, request.length));
    return socket;
  }

  [Symbol.dispose](): void {
    for (const sender of Object.values(this.#senders)) sender[Symbol.dispose]();
    for (const { socket } of this.#receivers) socket[Symbol.dispose]();
  }
}

const MASK_BYTES = 128;

/**
 * Runs `work` on each processor in turn. A packet is queued where it was sent, first come, first served: one that is sent
 * after another from the same processor, and by no shorter a way, arrives after it.
 */
function onEachProcessor(work: (processor: number) => void): void {
  const home = Buffer.alloc(MASK_BYTES);
  const length = BigInt(MASK_BYTES);
  checked('ask where this thread may run', c.sched_getaffinity(0, length, home));
  try {
    for (let processor = 0; processor < MASK_BYTES * 8; processor++) {
      if (!(home[processor >> 3]! & (1 << (processor & 7)))) continue;
      const mask = Buffer.alloc(MASK_BYTES);
      mask[processor >> 3] = 1 << (processor & 7);
      checked('move to a processor', c.sched_setaffinity(0, length, mask));
      work(processor);
    }
  } finally {
    checked('move back', c.sched_setaffinity(0, length, home));
  }
}

/** More than a packet and the answer to it take from link to link. */
const ROUNDS = 5;

/**
 * When this returns, everything that was sent before has arrived or never will: packets that no rule stops were sent after
 * it, by a way that is no shorter, from every processor, and have come through, several times over.
 * @param send one such packet, with this number in it
 * @param seen the numbers that have arrived since it was last asked
 */
export function settle(send: (tick: number, processor: number) => void, seen: () => Iterable<number>): void {
  for (let round = 0; round < ROUNDS; round++) {
    const awaited = new Set<number>();
    onEachProcessor(processor => {
      awaited.add(++ticks);
      send(ticks, processor);
    });
    const end = performance.now() + PATIENCE;
    while (awaited.size > 0) {
      for (const tick of seen()) awaited.delete(tick);
      if (performance.now() > end) throw new Error('Cannot wait longer for packets that nobody may stop');
    }
  }
}

let ticks = 0;
