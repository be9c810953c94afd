/** IP packets made and read by hand, so that a test can send what no honest stack would. */
import type { Address } from '../../lib/ip/address.ts';
import { PROTOCOL, TCP_FLAG } from '../../lib/nft/statements.ts';

export interface Packet {
  readonly from: Address;
  readonly to: Address;
  /** IPPROTO_* */
  readonly protocol: number;
  /** Source port; for an ICMP echo its identifier. */
  readonly sport: number;
  readonly dport: number;
  /** TCP_FLAG; a SYN where absent. */
  readonly flags?: number;
  /** Sequence number of TCP. */
  readonly seq?: number;
  readonly ack?: number;
  /** Type of ICMP and ICMPv6; absent: an echo request. */
  readonly type?: number;
  /** Or TTL; 64 where absent. */
  readonly hoplimit?: number;
  /** Bytes after the ports (TCP and UDP) or after the first four bytes (ICMP); for SCTP its one chunk, absent: an INIT. */
  readonly payload?: Uint8Array;
}

const HEADER = { 4: 20, 6: 40 } as const;

function bytesOf({ family, value }: Address): Buffer {
  return Buffer.from(value.toString(16).padStart(family === 4 ? 8 : 32, '0'), 'hex');
}

const addressIn = (family: 4 | 6, bytes: Buffer): Address => ({ family, value: BigInt(`0x${bytes.toString('hex')}`) });

/** The Internet checksum (RFC 1071) over parts of even length, the last one aside. */
function checksum(...parts: readonly Uint8Array[]): number {
  let sum = 0;
  for (const part of parts) for (let i = 0; i < part.length; i += 2) sum += (part[i]! << 8) | (part[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  let crc = n;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

/** CRC-32C, which SCTP puts into its header in little-endian order (RFC 9260, appendix A). */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = crcTable[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
}

function tcp(packet: Packet): Buffer {
  const { sport, dport, flags = TCP_FLAG.syn, seq = 1000, ack = 2000, payload = new Uint8Array() } = packet;
  const segment = Buffer.alloc(20 + payload.length);
  segment.writeUInt16BE(sport, 0);
  segment.writeUInt16BE(dport, 2);
  segment.writeUInt32BE(seq, 4);
  if (flags & TCP_FLAG.ack) segment.writeUInt32BE(ack, 8);
  segment.set([5 << 4, flags, 0xff, 0xff], 12);
  segment.set(payload, 20);
  return segment;
}

function udp({ sport, dport, payload = new Uint8Array() }: Packet): Buffer {
  const datagram = Buffer.alloc(8 + payload.length);
  datagram.writeUInt16BE(sport, 0);
  datagram.writeUInt16BE(dport, 2);
  datagram.writeUInt16BE(datagram.length, 4);
  datagram.set(payload, 8);
  return datagram;
}

/** An INIT opens an association (RFC 9260, 3.3.2). */
function initChunk(): Buffer {
  const chunk = Buffer.alloc(20);
  chunk.set([1, 0, 0, 20]);
  chunk.writeUInt32BE(0x746f6c6c, 4);
  chunk.writeUInt32BE(0xffff, 8);
  chunk.writeUInt16BE(1, 12);
  chunk.writeUInt16BE(1, 14);
  chunk.writeUInt32BE(1, 16);
  return chunk;
}

/** The verification tag is that of the association; an INIT has none yet. */
function sctp({ sport, dport, payload }: Packet): Buffer {
  const chunk = payload ?? initChunk();
  const bytes = Buffer.alloc(12 + chunk.length);
  bytes.writeUInt16BE(sport, 0);
  bytes.writeUInt16BE(dport, 2);
  bytes.writeUInt32BE(payload ? 0x67617465 : 0, 4);
  bytes.set(chunk, 12);
  bytes.writeUInt32LE(crc32c(bytes), 8);
  return bytes;
}

function icmp({ from, sport, type = from.family === 4 ? 8 : 128, payload }: Packet): Buffer {
  const body = payload ?? Uint8Array.of(sport >> 8, sport & 0xff, 0, 1);
  return Buffer.concat([Uint8Array.of(type, 0, 0, 0), body]);
}

/** Byte offset of the checksum in the transport header; that of SCTP is of another kind, and is written elsewhere. */
const checksumAt: Readonly<Record<number, number>> = {
  [PROTOCOL.tcp]: 16,
  [PROTOCOL.udp]: 6,
  [PROTOCOL.icmp]: 2,
  [PROTOCOL.icmpv6]: 2,
};

function transport(packet: Packet): Buffer {
  const { from, to, protocol } = packet;
  const make = { [PROTOCOL.tcp]: tcp, [PROTOCOL.udp]: udp, [PROTOCOL.sctp]: sctp }[protocol] ?? icmp;
  const bytes = make(packet);
  const at = checksumAt[protocol];
  if (at === undefined) return bytes;
  const pseudo = Buffer.alloc(8);
  pseudo.writeUInt32BE(bytes.length, 0);
  pseudo.writeUInt32BE(protocol, 4);
  const covered = protocol === PROTOCOL.icmp ? [bytes] : [bytesOf(from), bytesOf(to), pseudo, bytes];
  // In UDP a checksum of 0 means that there is none.
  bytes.writeUInt16BE(checksum(...covered) || (protocol === PROTOCOL.udp ? 0xffff : 0), at);
  return bytes;
}

/** The packet from its IP header on. */
export function encodePacket(packet: Packet): Buffer {
  const { from, to, protocol, hoplimit = 64 } = packet;
  const body = transport(packet);
  const header = Buffer.alloc(HEADER[from.family]);
  if (from.family === 4) {
    header[0] = 0x45;
    header.writeUInt16BE(header.length + body.length, 2);
    // Don't fragment, as every modern stack says.
    header[6] = 0x40;
    header.set([hoplimit, protocol], 8);
    header.set(bytesOf(from), 12);
    header.set(bytesOf(to), 16);
    header.writeUInt16BE(checksum(header), 10);
  } else {
    header[0] = 0x60;
    header.writeUInt16BE(body.length, 4);
    header.set([protocol, hoplimit], 6);
    header.set(bytesOf(from), 8);
    header.set(bytesOf(to), 24);
  }
  return Buffer.concat([header, body]);
}

/** Undefined where it is no IP packet, or too short to have ports. */
export function decodePacket(bytes: Buffer): Packet | undefined {
  const family = bytes.length === 0 ? 0 : bytes[0]! >> 4;
  if ((family !== 4 && family !== 6) || bytes.length < HEADER[family] + 8) return undefined;
  const start = family === 4 ? (bytes[0]! & 0xf) * 4 : HEADER[6];
  const from = addressIn(family, family === 4 ? bytes.subarray(12, 16) : bytes.subarray(8, 24));
  const to = addressIn(family, family === 4 ? bytes.subarray(16, 20) : bytes.subarray(24, 40));
  const protocol = bytes[family === 4 ? 9 : 6]!;
  const hoplimit = bytes[family === 4 ? 8 : 7]!;
  const body = bytes.subarray(start);
  if (protocol === PROTOCOL.icmp || protocol === PROTOCOL.icmpv6) {
    const [type = 0] = body;
    return { from, to, protocol, hoplimit, type, sport: body.readUInt16BE(4), dport: 0, payload: body.subarray(4) };
  }
  const ports = { sport: body.readUInt16BE(0), dport: body.readUInt16BE(2) };
  if (protocol === PROTOCOL.tcp && body.length >= 20) {
    const numbers = { flags: body[13]!, seq: body.readUInt32BE(4), ack: body.readUInt32BE(8) };
    return { from, to, protocol, hoplimit, ...ports, ...numbers, payload: body.subarray((body[12]! >> 4) * 4) };
  }
  return { from, to, protocol, hoplimit, ...ports, payload: body.subarray(8) };
}
