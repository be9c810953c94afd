/**
 * A tracked connection as the kernel tells of it by the thousand: read in one pass, addresses left as bytes, everything else
 * of the message passed over.
 * @see include/uapi/linux/netfilter/nfnetlink_conntrack.h
 */

import { type Address, addressBytes, addressFromBytes } from '../ip/address.ts';

/** Counts of one direction. */
export interface ConntrackCounters {
  readonly packets: number;
  readonly bytes: number;
}

/** Addresses are their bytes, a character each: 4 or 16, cheap to compare and to look up. */
export interface TrackedEntry {
  /** CTA_ID: with the source port no two that live at once have the same. */
  readonly id: number;
  /** IPPROTO_* */
  readonly protocol: number;
  /** The original direction: who opened it, and where it was sent. Ports are 0 where the protocol has none. */
  readonly from: string;
  readonly sourcePort: number;
  readonly sentTo: string;
  readonly sentToPort: number;
  /** The reply direction: the destination after destination NAT, and the client's address after source NAT. */
  readonly to: string;
  readonly port: number;
  readonly seenFrom: string;
  readonly seenFromPort: number;
  /** Present where nf_conntrack_acct is on. */
  readonly sent: ConntrackCounters | undefined;
  readonly received: ConntrackCounters | undefined;
  /** Seconds since 1970, where nf_conntrack_timestamp is on. */
  readonly start: number | undefined;
  readonly stop: number | undefined;
}

/** A connection, and the message in which the kernel told of it, behind its netlink header. */
export interface TrackedFlow {
  readonly entry: TrackedEntry;
  readonly message: Uint8Array;
}

/** The address as a `TrackedEntry` has it. */
export const addressKey = (address: Address): string => {
  const bytes = addressBytes(address);
  return characters(bytes, 0, bytes.length);
};

export const addressOfKey = (key: string): Address => addressFromBytes(Buffer.from(key, 'latin1'));

const CTA = { TUPLE_ORIG: 1, TUPLE_REPLY: 2, COUNTERS_ORIG: 9, COUNTERS_REPLY: 10, ID: 12, TIMESTAMP: 20 } as const;
const CTA_TUPLE = { IP: 1, PROTO: 2 } as const;
const CTA_IP = { V4_SRC: 1, V4_DST: 2, V6_SRC: 3, V6_DST: 4 } as const;
const CTA_PROTO = { NUM: 1, SRC_PORT: 2, DST_PORT: 3 } as const;
/** CTA_COUNTERS_PACKETS and _BYTES, CTA_TIMESTAMP_START and _STOP: 64 bits each. */
const PAIR = { FIRST: 1, SECOND: 2 } as const;
const TYPE_MASK = 0x3fff;
/** struct nfgenmsg */
const NFGENMSG_LENGTH = 4;
const NANOSECONDS = 1e9;

/** The fields of a tuple; one object for each direction, written anew for each message. */
class TupleScratch {
  source = '';
  destination = '';
  protocol = 0;
  sourcePort = 0;
  destinationPort = 0;
  #bytes: Uint8Array = new Uint8Array(0);

  read(bytes: Uint8Array, start: number, end: number): void {
    this.#bytes = bytes;
    this.source = this.destination = '';
    this.protocol = this.sourcePort = this.destinationPort = 0;
    eachAttribute(bytes, start, end, this.#part);
  }

  readonly #part: Visit = (type, start, end) => {
    if (type === CTA_TUPLE.IP) eachAttribute(this.#bytes, start, end, this.#address);
    else if (type === CTA_TUPLE.PROTO) eachAttribute(this.#bytes, start, end, this.#transport);
  };

  readonly #address: Visit = (type, start, end) => {
    if (type === CTA_IP.V4_SRC || type === CTA_IP.V6_SRC) this.source = characters(this.#bytes, start, end);
    else if (type === CTA_IP.V4_DST || type === CTA_IP.V6_DST) this.destination = characters(this.#bytes, start, end);
  };

  readonly #transport: Visit = (type, start) => {
    if (type === CTA_PROTO.NUM) this.protocol = this.#bytes[start]!;
    else if (type === CTA_PROTO.SRC_PORT) this.sourcePort = be16(this.#bytes, start);
    else if (type === CTA_PROTO.DST_PORT) this.destinationPort = be16(this.#bytes, start);
  };
}

type Visit = (type: number, start: number, end: number) => void;

/** Stops where a length is impossible: what stands behind it cannot be found. */
function eachAttribute(bytes: Uint8Array, start: number, end: number, visit: Visit): void {
  for (let at = start; at + 4 <= end; ) {
    const length = bytes[at]! | (bytes[at + 1]! << 8);
    if (length < 4 || at + length > end) return;
    visit((bytes[at + 2]! | (bytes[at + 3]! << 8)) & TYPE_MASK, at + 4, at + length);
    at += (length + 3) & ~3;
  }
}

function characters(bytes: Uint8Array, start: number, end: number): string {
  if (end - start === 4)
    return String.fromCharCode(bytes[start]!, bytes[start + 1]!, bytes[start + 2]!, bytes[start + 3]!);
  let text = '';
  for (let at = start; at < end; at++) text += String.fromCharCode(bytes[at]!);
  return text;
}

const be16 = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;

const be32 = (bytes: Uint8Array, at: number): number =>
  ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;

/** Exact below 2^53; a timestamp in nanoseconds loses its last few hundred. */
const be64 = (bytes: Uint8Array, at: number): number => be32(bytes, at) * 2 ** 32 + be32(bytes, at + 4);

/** Two numbers of 64 bits; undefined where the first is absent. */
function pairIn(bytes: Uint8Array, start: number, end: number): readonly [number, number] | undefined {
  let first: number | undefined;
  let second = 0;
  eachAttribute(bytes, start, end, (type, from, to) => {
    if (to - from !== 8) return;
    if (type === PAIR.FIRST) first = be64(bytes, from);
    else if (type === PAIR.SECOND) second = be64(bytes, from);
  });
  return first === undefined ? undefined : [first, second];
}

const countersIn = (bytes: Uint8Array, start: number, end: number): ConntrackCounters | undefined => {
  const pair = pairIn(bytes, start, end);
  return pair && { packets: pair[0], bytes: pair[1] };
};

const seconds = (nanoseconds: number | undefined): number | undefined =>
  nanoseconds ? nanoseconds / NANOSECONDS : undefined;

/** Reads one message after the other; what it gives is the caller's. */
export class ConntrackReader {
  readonly #original = new TupleScratch();
  readonly #reply = new TupleScratch();
  #bytes: Uint8Array = new Uint8Array(0);
  #id = 0;
  #sent: ConntrackCounters | undefined;
  #received: ConntrackCounters | undefined;
  #times: readonly [number, number] | undefined;

  /**
   * @param bytes of a message behind its netlink header, from `start` to `end`
   * @returns undefined for what is no connection over IP
   */
  read(bytes: Uint8Array, start = 0, end = bytes.length): TrackedEntry | undefined {
    const [original, reply] = [this.#original, this.#reply];
    original.source = reply.source = '';
    this.#bytes = bytes;
    this.#id = 0;
    this.#sent = this.#received = this.#times = undefined;
    eachAttribute(bytes, start + NFGENMSG_LENGTH, end, this.#part);
    if (original.source === '' || reply.source === '') return undefined;
    return {
      id: this.#id,
      protocol: original.protocol,
      from: original.source,
      sourcePort: original.sourcePort,
      sentTo: original.destination,
      sentToPort: original.destinationPort,
      to: reply.source,
      port: reply.sourcePort,
      seenFrom: reply.destination,
      seenFromPort: reply.destinationPort,
      sent: this.#sent,
      received: this.#received,
      start: seconds(this.#times?.[0]),
      stop: seconds(this.#times?.[1]),
    };
  }

  readonly #part: Visit = (type, start, end) => {
    const bytes = this.#bytes;
    if (type === CTA.TUPLE_ORIG) this.#original.read(bytes, start, end);
    else if (type === CTA.TUPLE_REPLY) this.#reply.read(bytes, start, end);
    else if (type === CTA.ID && end - start === 4) this.#id = be32(bytes, start);
    else if (type === CTA.COUNTERS_ORIG) this.#sent = countersIn(bytes, start, end);
    else if (type === CTA.COUNTERS_REPLY) this.#received = countersIn(bytes, start, end);
    else if (type === CTA.TIMESTAMP) this.#times = pairIn(bytes, start, end);
  };
}
