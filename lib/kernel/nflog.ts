/**
 * Packets that rules log to an nflog group: `log prefix "…" group N`. One socket in a network namespace can hold a group.
 * All numbers on this wire are big-endian, but for the error that answers a request.
 * @see include/uapi/linux/netfilter/nfnetlink_log.h
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { type Address, addressFromBytes } from '../ip/address.ts';
import { type Attribute, be16, be32, bodyOf, u8 } from '../netlink/attribute.ts';
import { NLM_F, NLMSG } from '../netlink/header.ts';
import { AttributeReader } from '../netlink/reader.ts';
import { complaintOf, NetlinkError, type NetlinkReply, type NetlinkRequest } from './message.ts';
import { commandOf } from './process.ts';
import { Subscription } from './subscription.ts';

/** (NFNL_SUBSYS_ULOG << 8) | NFULNL_MSG_* */
const NFULNL = { PACKET: 0x400, CONFIG: 0x401 } as const;
const NFULA = { TIMESTAMP: 3, INDEV: 4, OUTDEV: 5, PAYLOAD: 9, PREFIX: 10 } as const;
const names = { prefix: 'NFULA', types: NFULA };
const NFULA_CFG = { CMD: 1, MODE: 2, NLBUFSIZ: 3, TIMEOUT: 4, QTHRESH: 5 } as const;
const BIND = 1;
const COPY_PACKET = 2;
/** Addresses, ports and a few options. */
const SNAPLEN = 128;
/** Hundredths of a second for which the kernel may gather packets before it wakes us. */
const GATHER = 10;
const NFGENMSG_LENGTH = 4;

export interface LoggedPacket {
  readonly prefix: string;
  /** Seconds since 1970. */
  readonly time: number;
  /** ifindex; undefined for what the node itself sends. */
  readonly indev: number | undefined;
  readonly outdev: number | undefined;
  readonly source: Address;
  readonly destination: Address;
  /** IPPROTO_* */
  readonly protocol: number;
  /** TCP, UDP and SCTP, where the packet is a first fragment. */
  readonly sourcePort: number | undefined;
  readonly destinationPort: number | undefined;
}

/** IPv6 extension headers that may stand before the transport's, whose second byte is their length in units of eight. */
const extensions = new Set([0, 43, 60, 135]);
const FRAGMENT = 44;
const withPorts = new Set([6, 17, 132]);

function transport6(packet: Buffer): { readonly protocol: number; readonly at: number | undefined } {
  let protocol = packet.readUInt8(6);
  let at = 40;
  while (at + 8 <= packet.length && (extensions.has(protocol) || protocol === FRAGMENT)) {
    const isLater = protocol === FRAGMENT && packet.readUInt16BE(at + 2) >> 3 !== 0;
    const length = protocol === FRAGMENT ? 8 : (packet.readUInt8(at + 1) + 1) * 8;
    protocol = packet.readUInt8(at);
    if (isLater) return { protocol, at: undefined };
    at += length;
  }
  return { protocol, at };
}

function transport4(packet: Buffer): { readonly protocol: number; readonly at: number | undefined } {
  const isLater = (packet.readUInt16BE(6) & 0x1fff) !== 0;
  return { protocol: packet.readUInt8(9), at: isLater ? undefined : (packet.readUInt8(0) & 15) * 4 };
}

/** Addresses, protocol and ports, from an IP packet's first bytes; undefined where the bytes are no IP packet's. */
export function endsOf(
  bytes: Uint8Array,
): Pick<LoggedPacket, 'source' | 'destination' | 'protocol' | 'sourcePort' | 'destinationPort'> | undefined {
  const packet = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const version = packet.length > 0 ? packet.readUInt8(0) >> 4 : 0;
  const least = version === 4 ? 20 : 40;
  if ((version !== 4 && version !== 6) || packet.length < least) return undefined;
  const [from, size] = version === 4 ? [12, 4] : [8, 16];
  const { protocol, at } = version === 4 ? transport4(packet) : transport6(packet);
  const hasPorts = at !== undefined && withPorts.has(protocol) && at + 4 <= packet.length;
  return {
    source: addressFromBytes(packet.subarray(from, from + size)),
    destination: addressFromBytes(packet.subarray(from + size, from + 2 * size)),
    protocol,
    sourcePort: hasPorts ? packet.readUInt16BE(at) : undefined,
    destinationPort: hasPorts ? packet.readUInt16BE(at + 2) : undefined,
  };
}

/** struct nfulnl_msg_packet_timestamp: seconds, then microseconds, 64 bits each. @returns seconds */
function secondsOf(stamp: Uint8Array | undefined): number {
  if (!stamp || stamp.length < 16) return 0;
  const view = new DataView(stamp.buffer, stamp.byteOffset, stamp.length);
  return Number(view.getBigUint64(0)) + Number(view.getBigUint64(8)) / 1e6;
}

function packetOf({ body }: NetlinkReply, now: () => number): LoggedPacket | undefined {
  const attributes = new AttributeReader(body.subarray(NFGENMSG_LENGTH), names);
  const ends = endsOf(attributes.get(NFULA.PAYLOAD) ?? new Uint8Array(0));
  if (!ends) return undefined;
  const packet = {
    ...ends,
    prefix: attributes.text(NFULA.PREFIX) ?? '',
    // Packets that the node itself sends carry no time.
    time: secondsOf(attributes.get(NFULA.TIMESTAMP)) || now() / 1000,
    indev: attributes.be32(NFULA.INDEV),
    outdev: attributes.be32(NFULA.OUTDEV),
  };
  attributes.check();
  return packet;
}

function configure(group: number, operation: string, ...attributes: readonly Attribute[]): NetlinkRequest {
  // struct nfgenmsg: family and version 0, the group in network byte order.
  const header = Uint8Array.of(0, 0, ...be16(group)!);
  return { operation, type: NFULNL.CONFIG, flags: NLM_F.ACK, body: bodyOf(header, ...attributes) };
}

/** struct nfulnl_msg_config_mode: copy range (u32), mode (u8), padding. */
const copyMode = Uint8Array.of(...be32(SNAPLEN)!, COPY_PACKET, 0);

export interface LogListener {
  readonly onPacket: (packet: LoggedPacket) => void;
  /** The group could not be had, or what came could not be read; nothing more will come. */
  readonly onEnd: (error: Error) => void;
}

/**
 * Holds the group until it is disposed of. `ready` is fulfilled once the kernel sends packets here. Of packets that come
 * faster than they are read, the later ones are missed.
 */
export class PacketLog implements Disposable {
  readonly #subscription: Subscription;
  readonly ready: Promise<void>;

  constructor(group: number, listener: LogListener, now: () => number = Date.now) {
    const requests = [
      configure(group, `bind to nflog group ${group}`, [NFULA_CFG.CMD, u8(BIND)]),
      configure(
        group,
        `configure nflog group ${group}`,
        [NFULA_CFG.MODE, copyMode],
        [NFULA_CFG.TIMEOUT, be32(GATHER)],
        [NFULA_CFG.QTHRESH, be32(64)],
      ),
    ];
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.ready = promise;
    let pending = requests.length;
    const settle = (reply: NetlinkReply) => {
      const complaint = complaintOf(reply);
      const { operation } = requests[requests.length - pending] ?? requests[0]!;
      if (complaint.errno !== 0) reject(new NetlinkError(operation, 0, complaint));
      pending--;
      if (pending === 0) resolve();
    };
    this.#subscription = new Subscription('netfilter', [], {
      mayMiss: true,
      onMessage: reply => {
        if (reply.type === NLMSG.ERROR) settle(reply);
        const packet = reply.type === NFULNL.PACKET ? packetOf(reply, now) : undefined;
        if (packet) listener.onPacket(packet);
      },
      onLost: error => {
        reject(error);
        listener.onEnd(error);
      },
    });
    for (const request of requests) this.#subscription.send(request);
  }

  /** Whether packets have come that the listener has not been told of. */
  get isBehind(): boolean {
    return this.#subscription.isBehind;
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
  }
}

/** The netlink port that holds the group in this network namespace. @see /proc/net/netfilter/nfnetlink_log */
function portOfGroup(group: number): number | undefined {
  const lines = readFileSync('/proc/net/netfilter/nfnetlink_log', 'latin1').split('\n');
  const found = lines.map(line => line.trim().split(/\s+/).map(Number)).find(([number]) => number === group);
  return found?.[1];
}

const NETLINK_NETFILTER = '12';

function inodeOfPort(port: number): string | undefined {
  const lines = readFileSync('/proc/net/netlink', 'latin1').split('\n').slice(1);
  const fields = lines.map(line => line.trim().split(/\s+/));
  return fields.find(field => field[1] === NETLINK_NETFILTER && Number(field[2]) === port)?.[9];
}

function hasSocket(pid: string, inode: string): boolean {
  try {
    const folder = `/proc/${pid}/fd`;
    return readdirSync(folder).some(fd => {
      try {
        return readlinkSync(`${folder}/${fd}`) === `socket:[${inode}]`;
      } catch {
        return false;
      }
    });
  } catch {
    return false;
  }
}

/** `ulogd -d (pid 417)`: the process that holds the group; undefined where no process does, or none that we can see. */
export function holderOf(group: number): string | undefined {
  const port = portOfGroup(group);
  const inode = port === undefined ? undefined : inodeOfPort(port);
  if (inode === undefined) return undefined;
  const pid = readdirSync('/proc').find(name => /^\d+$/.test(name) && hasSocket(name, inode));
  return pid && `${commandOf(Number(pid))} (pid ${pid})`;
}
