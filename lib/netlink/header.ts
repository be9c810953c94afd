/**
 * Netlink's message header, struct nlmsghdr, in host byte order; Linux on x64 and arm64, for which tollgate is built, is
 * little-endian.
 * @see include/uapi/linux/netlink.h
 */

export const NLM_F = {
  REQUEST: 0x1,
  ACK: 0x4,
  ECHO: 0x8,
  DUMP: 0x300,
  REPLACE: 0x100,
  EXCL: 0x200,
  CREATE: 0x400,
  APPEND: 0x800,
  /** In answers only: the dump met a change that was under way. */
  DUMP_INTR: 0x10,
  /** In errors only: the request's body is left out. */
  CAPPED: 0x100,
  /** In errors only: attributes of the extended ack follow. */
  ACK_TLVS: 0x200,
} as const;

export const NLMSG = { ERROR: 2, DONE: 3 } as const;

export const HEADER_LENGTH = 16;

/** Messages and attributes begin at a multiple of four bytes. */
export const align = (length: number): number => (length + 3) & ~3;

/** A message as it was received. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly seq: number;
  /** Port of the socket that the message answers, or whose request caused it. */
  readonly port: number;
  /** All behind the header. */
  readonly body: Uint8Array;
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

export const readU16 = (bytes: Uint8Array, at: number): number => viewOf(bytes).getUint16(at, true);
export const readU32 = (bytes: Uint8Array, at: number): number => viewOf(bytes).getUint32(at, true);
export const readS32 = (bytes: Uint8Array, at: number): number => viewOf(bytes).getInt32(at, true);

/** The header of a message with a body of `bodyLength` bytes. The kernel fills in the port of the sender. */
export function formatHeader(type: number, flags: number, seq: number, bodyLength: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_LENGTH);
  const view = viewOf(bytes);
  view.setUint32(0, HEADER_LENGTH + bodyLength, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  view.setUint32(8, seq, true);
  return bytes;
}

/**
 * The lengths of the messages that stand in a row in `bytes`, headers included, padding not.
 * @throws RangeError a length that is shorter than a header or longer than what is there
 */
function* lengthsOf(bytes: Uint8Array): Generator<readonly [at: number, length: number]> {
  for (let at = 0; at + HEADER_LENGTH <= bytes.length; ) {
    const length = readU32(bytes, at);
    if (length < HEADER_LENGTH || at + length > bytes.length)
      throw new RangeError(`Cannot read a netlink message of ${length} bytes at ${at} of ${bytes.length}`);
    yield [at, length];
    at += align(length);
  }
}

/** The messages of a datagram; their bodies share its memory. @throws RangeError a length that is impossible */
export function parseMessages(bytes: Uint8Array): readonly Message[] {
  const messages: Message[] = [];
  for (const [at, length] of lengthsOf(bytes))
    messages.push({
      type: readU16(bytes, at + 4),
      flags: readU16(bytes, at + 6),
      seq: readU32(bytes, at + 8),
      port: readU32(bytes, at + 12),
      body: bytes.subarray(at + HEADER_LENGTH, at + length),
    });
  return messages;
}

/** How many messages stand in `bytes`. @throws RangeError a length that is impossible */
export function countMessages(bytes: Uint8Array): number {
  let count = 0;
  for (const _ of lengthsOf(bytes)) count++;
  return count;
}
