/** Neighbour entries: which MAC an address on a link has. @see include/uapi/linux/neighbour.h */

import { type Address, type Family, formatAddress } from '../ip/address.ts';
import { address as addressValue, bodyOf, mac as macValue } from '../netlink/attribute.ts';
import { NLM_F, readS32, readU16 } from '../netlink/header.ts';
import { AttributeReader } from '../netlink/reader.ts';
import type { NetlinkReply, NetlinkRequest } from './message.ts';
import { afOf, familyOf, RTM } from './rtnetlink.ts';

const NDA = { DST: 1, LLADDR: 2 } as const;
const names = { prefix: 'NDA', types: NDA };
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
function header(family: Family, ifindex: number, state: number): Uint8Array {
  const bytes = new Uint8Array(NDMSG_LENGTH);
  const view = new DataView(bytes.buffer);
  bytes[0] = afOf(family);
  view.setInt32(4, ifindex, true);
  view.setUint16(8, state, true);
  return bytes;
}

/** Sets an entry that never expires and is never asked for, in place of whatever was there. */
export function setNeighbour({ ifindex, address, mac }: Neighbour): NetlinkRequest {
  return {
    operation: `set neighbour ${formatAddress(address)} of link ${ifindex}`,
    type: RTM.NEWNEIGH,
    flags: NLM_F.CREATE | NLM_F.REPLACE,
    body: bodyOf(
      header(address.family, ifindex, NUD_PERMANENT),
      [NDA.DST, addressValue(address)],
      [NDA.LLADDR, macValue(mac)],
    ),
  };
}

/** One reply; ENOENT where there is none. */
export function getNeighbour(ifindex: number, address: Address): NetlinkRequest {
  return {
    operation: `get neighbour ${formatAddress(address)} of link ${ifindex}`,
    type: RTM.GETNEIGH,
    flags: 0,
    body: bodyOf(header(address.family, ifindex, 0), [NDA.DST, addressValue(address)]),
  };
}

/** Undefined for an entry of another family than IPv4 and IPv6. @throws RangeError a malformed attribute */
export function neighbourOf({ body }: NetlinkReply): FoundNeighbour | undefined {
  if (familyOf(body[0] ?? 0) === undefined) return undefined;
  const attributes = new AttributeReader(body.subarray(NDMSG_LENGTH), names);
  const address = attributes.address(NDA.DST);
  const mac = attributes.mac(NDA.LLADDR);
  attributes.check();
  if (!address) return undefined;
  return { ifindex: readS32(body, 4), address, mac, permanent: (readU16(body, 8) & NUD_PERMANENT) !== 0 };
}
