/** Receives what rules log to an nflog group, as ulogd would. @see include/uapi/linux/netfilter/nfnetlink_log.h */
import { AttributeReader } from '../../lib/netlink/reader.ts';
import { decodePacket, type Packet } from './packet.ts';
import { AF, Descriptor, type Place, SOCK } from './tap.ts';

const NETLINK_NETFILTER = 12;
/** (NFNL_SUBSYS_ULOG << 8) | NFULNL_MSG_* */
const MSG = { PACKET: 0x400, CONFIG: 0x401 } as const;
const CFG = { CMD: 1, MODE: 2, QTHRESH: 5 } as const;
const CMD_BIND = 1;
const COPY_PACKET = 2;
const ATTR = { PAYLOAD: 9, PREFIX: 10 } as const;
const NLM_F_REQUEST = 1;
const HEADER = 16;
const NFGENMSG = 4;

/** struct nlattr with its value, padded */
function attribute(type: number, value: Uint8Array): Buffer {
  const bytes = Buffer.alloc((4 + value.length + 3) & ~3);
  bytes.writeUInt16LE(4 + value.length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(value, 4);
  return bytes;
}

function message(group: number, attributes: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(HEADER + NFGENMSG);
  const bytes = Buffer.concat([head, ...attributes]);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt16LE(MSG.CONFIG, 4);
  bytes.writeUInt16LE(NLM_F_REQUEST, 6);
  bytes.writeUInt16BE(group, HEADER + 2);
  return bytes;
}

const u32be = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

export interface Logged {
  readonly prefix: string;
  readonly packet: Packet | undefined;
}

/** The one reader of a group in a network namespace. */
export class NflogReader implements Disposable {
  readonly #socket: Descriptor;

  constructor(place: Place, group: number) {
    this.#socket = new Descriptor(place, AF.NETLINK, SOCK.RAW, NETLINK_NETFILTER);
    const kernel = Buffer.alloc(12);
    kernel.writeUInt16LE(AF.NETLINK);
    const mode = Buffer.concat([u32be(0xffff), Uint8Array.of(COPY_PACKET, 0)]);
    for (const attributes of [
      [attribute(CFG.CMD, Uint8Array.of(CMD_BIND))],
      // Each packet at once, where ulogd would wait for a hundred.
      [attribute(CFG.MODE, mode), attribute(CFG.QTHRESH, u32be(1))],
    ])
      this.#socket.send(message(group, attributes), kernel);
  }

  /** Packets that were logged since the last call. */
  take(): Logged[] {
    return this.#socket.receive().flatMap(datagram => {
      const found: Logged[] = [];
      for (let at = 0; at + HEADER <= datagram.length; at += (datagram.readUInt32LE(at) + 3) & ~3) {
        if (datagram.readUInt16LE(at + 4) !== MSG.PACKET) continue;
        const body = datagram.subarray(at + HEADER + NFGENMSG, at + datagram.readUInt32LE(at));
        const attributes = new AttributeReader(body, { prefix: 'NFULA', types: ATTR });
        const payload = attributes.get(ATTR.PAYLOAD);
        found.push({
          prefix: attributes.text(ATTR.PREFIX) ?? '',
          packet: payload && decodePacket(Buffer.from(payload)),
        });
      }
      return found;
    });
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}
