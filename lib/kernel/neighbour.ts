/** Neighbour entries: which MAC an address on a link has. @see include/uapi/linux/neighbour.h */

import { type Address, type Family, formatAddress } from '../ip/address.ts';
import { NLM_F, type Reply, type Request } from './message.ts';
import { addressBuffer, addressOf, afOf, attributesOf, bodyOf, macBuffer, macOf, RTM } from './rtnetlink.ts';
import { readS32, readU16, writeS32, writeU16 } from './structs.ts';

const NDA = { DST: 1, LLADDR: 2 } as const;
const NDMSG_LENGTH = 12;
const NUD_PERMANENT = 0x80;

export interface Neighbour {
  readonly ifindex: number;
  readonly address: Address;
  readonly mac: string;
}

export interface FoundNeighbour {
  readonly ifindex: number;
  readonly address: Address;
  /** Unknown while it is being asked for. */
  readonly mac: string | undefined;
  readonly permanent: boolean;
}

/** struct ndmsg: family (u8), padding, ifindex (s32), state (u16), flags (u8), type (u8) */
function header(family: Family | undefined, ifindex: number, state: number): Buffer {
  const bytes = Buffer.alloc(NDMSG_LENGTH);
  bytes[0] = afOf(family);
  writeS32.call(bytes, ifindex, 4);
  writeU16.call(bytes, state, 8);
  return bytes;
}

/** Sets an entry that never expires and is never asked for, in place of whatever was there. */
export function setNeighbour({ ifindex, address, mac }: Neighbour): Request {
  return {
    operation: `set neighbour ${formatAddress(address)} of link ${ifindex}`,
    type: RTM.NEWNEIGH,
    flags: NLM_F.CREATE | NLM_F.REPLACE,
    body: bodyOf(
      header(address.family, ifindex, NUD_PERMANENT),
      [NDA.DST, addressBuffer(address)],
      [NDA.LLADDR, macBuffer(mac)],
    ),
  };
}

/** ENOENT where there is none. */
export function deleteNeighbour(ifindex: number, address: Address): Request {
  return {
    operation: `delete neighbour ${formatAddress(address)} of link ${ifindex}`,
    type: RTM.DELNEIGH,
    flags: 0,
    body: bodyOf(header(address.family, ifindex, 0), [NDA.DST, addressBuffer(address)]),
  };
}

/** One reply for each entry of the netns. */
export function dumpNeighbours(family?: Family): Request {
  return {
    operation: 'list neighbours',
    type: RTM.GETNEIGH,
    flags: NLM_F.DUMP,
    body: [header(family, 0, 0)],
  };
}

/** Undefined where it is not one of IPv4 or IPv6. */
export function neighbourOf({ body }: Reply): FoundNeighbour | undefined {
  const attributes = attributesOf(body.subarray(NDMSG_LENGTH));
  const address = addressOf(attributes.get(NDA.DST));
  if (!address) return undefined;
  const mac = macOf(attributes.get(NDA.LLADDR));
  return { ifindex: readS32.call(body, 4), address, mac, permanent: (readU16.call(body, 8) & NUD_PERMANENT) !== 0 };
}
