/** Neighbour entries: which MAC an address on a link has. @see include/uapi/linux/neighbour.h */
import { formatNeighbor, formatNeighborAttrs, MessageType, parseNeighbor } from 'netlink/dist/rt/gen_structs.js';
import { type Address, type Family, formatAddress } from '../ip/address.ts';
import { NLM_F, type Reply, type Request } from './message.ts';
import { addressBuffer, addressOf, afOf, attributesOf, bodyOf, macBuffer, macOf } from './rtnetlink.ts';

const NDA = { DST: 1, LLADDR: 2 } as const;
const NDMSG_LENGTH = 12;

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

/** Sets an entry that never expires and is never asked for, in place of whatever was there. */
export function setNeighbour({ ifindex, address, mac }: Neighbour): Request {
  return {
    operation: `set neighbour ${formatAddress(address)} of link ${ifindex}`,
    type: MessageType.NEWNEIGH,
    flags: NLM_F.CREATE | NLM_F.REPLACE,
    body: bodyOf(
      formatNeighbor({ family: afOf(address.family), ifindex, state: { permanent: true } }),
      formatNeighborAttrs({ dst: addressBuffer(address), lladdr: macBuffer(mac) }),
    ),
  };
}

/** ENOENT where there is none. */
export function deleteNeighbour(ifindex: number, address: Address): Request {
  return {
    operation: `delete neighbour ${formatAddress(address)} of link ${ifindex}`,
    type: MessageType.DELNEIGH,
    flags: 0,
    body: bodyOf(
      formatNeighbor({ family: afOf(address.family), ifindex }),
      formatNeighborAttrs({ dst: addressBuffer(address) }),
    ),
  };
}

/** One reply for each entry of the netns. */
export function dumpNeighbours(family?: Family): Request {
  return {
    operation: 'list neighbours',
    type: MessageType.GETNEIGH,
    flags: NLM_F.DUMP,
    body: [formatNeighbor({ family: afOf(family) })],
  };
}

/** Undefined where it is not one of IPv4 or IPv6. */
export function neighbourOf({ body }: Reply): FoundNeighbour | undefined {
  const header = parseNeighbor(body.subarray(0, NDMSG_LENGTH));
  const attributes = attributesOf(body.subarray(NDMSG_LENGTH));
  const address = addressOf(attributes.get(NDA.DST));
  if (!address) return undefined;
  const mac = macOf(attributes.get(NDA.LLADDR));
  return { ifindex: header.ifindex ?? 0, address, mac, permanent: header.state?.permanent === true };
}
