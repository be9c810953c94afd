/** Addresses on links. @see include/uapi/linux/if_addr.h */

import { type Address, type Family, formatPrefix, type Prefix } from '../ip/address.ts';
import { address as addressValue, bodyOf } from '../netlink/attribute.ts';
import { NLM_F, readU32 } from '../netlink/header.ts';
import { AttributeReader } from '../netlink/reader.ts';
import type { NetlinkReply, NetlinkRequest } from './message.ts';
import { afOf, familyOf, RTM } from './rtnetlink.ts';

const IFA = { ADDRESS: 1, LOCAL: 2, FLAGS: 8 } as const;
const names = { prefix: 'IFA', types: IFA };
const IFADDRMSG_LENGTH = 8;
const IFA_F = { NODAD: 0x02, DADFAILED: 0x08, TENTATIVE: 0x40 } as const;
const scopes = { global: 0, link: 253, host: 254 } as const;

export interface LinkAddress extends Prefix {
  readonly ifindex: number;
}

export interface FoundAddress extends LinkAddress {
  /** rtnetlink's number: 0 global, 253 link, 254 host. */
  readonly scope: number;
  /** Still under, or refused by, duplicate address detection: not usable. */
  readonly tentative: boolean;
  readonly dadFailed: boolean;
}

/** struct ifaddrmsg: family, prefix length, flags, scope (u8 each), ifindex (u32) */
function header(family: Family | undefined, length: number, flags: number, scope: number, ifindex: number): Uint8Array {
  const bytes = new Uint8Array(IFADDRMSG_LENGTH);
  bytes.set([afOf(family), length, flags, scope]);
  new DataView(bytes.buffer).setUint32(4, ifindex, true);
  return bytes;
}

function message(address: LinkAddress, scope: number): Uint8Array {
  const { family, length, ifindex } = address;
  // The address is ours alone by construction, and detecting duplicates would make the pod wait for two seconds.
  const flags = family === 6 ? IFA_F.NODAD : 0;
  const bytes = addressValue(address);
  return bodyOf(header(family, length, flags, scope, ifindex), [IFA.LOCAL, bytes], [IFA.ADDRESS, bytes]);
}

/** Usable at once, without duplicate address detection; EEXIST where the link has it. */
export function addAddress(address: LinkAddress, scope: keyof typeof scopes = 'global'): NetlinkRequest {
  return {
    operation: `add address ${formatPrefix(address)} to link ${address.ifindex}`,
    type: RTM.NEWADDR,
    flags: NLM_F.CREATE | NLM_F.EXCL,
    body: message(address, scopes[scope]),
  };
}

/** One reply for each address of the netns, or of one link; ENODEV where there is no such link. */
export function dumpAddresses(filter: { readonly family?: Family; readonly ifindex?: number } = {}): NetlinkRequest {
  const { family, ifindex } = filter;
  return {
    operation: ifindex === undefined ? 'list addresses' : `list addresses of link ${ifindex}`,
    type: RTM.GETADDR,
    flags: NLM_F.DUMP,
    body: header(family, 0, 0, 0, ifindex ?? 0),
  };
}

/** Undefined for an address of another family than IPv4 and IPv6. @throws RangeError a malformed attribute */
export function linkAddressOf({ body }: NetlinkReply): FoundAddress | undefined {
  const [af = 0, length = 0, shortFlags = 0, scope = 0] = body;
  const attributes = new AttributeReader(body.subarray(IFADDRMSG_LENGTH), names);
  // On a point-to-point link IFA_ADDRESS is the other side; IPv6 has no IFA_LOCAL otherwise.
  const address: Address | undefined = attributes.address(IFA.LOCAL) ?? attributes.address(IFA.ADDRESS);
  if (!address || familyOf(af) !== address.family) return undefined;
  const flags = attributes.u32(IFA.FLAGS) ?? shortFlags;
  attributes.check();
  return {
    ...address,
    length,
    ifindex: readU32(body, 4),
    scope,
    tentative: (flags & IFA_F.TENTATIVE) !== 0,
    dadFailed: (flags & IFA_F.DADFAILED) !== 0,
  };
}
