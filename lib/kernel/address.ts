/** Addresses on links. @see include/uapi/linux/if_addr.h */
import { formatAddress, formatAddressAttrs, MessageType, parseAddress } from 'netlink/dist/rt/gen_structs.js';
import { type Address, type Family, formatPrefix, type Prefix } from '../ip/address.ts';
import { NLM_F, type Reply, type Request } from './message.ts';
import { addressBuffer, addressOf, afOf, attributesOf, bodyOf, familyOf, u32Of } from './rtnetlink.ts';

const IFA = { ADDRESS: 1, LOCAL: 2, FLAGS: 8 } as const;
const IFADDRMSG_LENGTH = 8;
const IFA_F = { DADFAILED: 0x08, TENTATIVE: 0x40 } as const;
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

function message(address: LinkAddress, scope: number): Uint8Array[] {
  const { family, value, length, ifindex } = address;
  const local = addressBuffer({ family, value });
  // IFA_F_NODAD: the address is ours alone by construction, and detection would make the pod wait for two seconds.
  const flags = family === 6 ? { flags: { nodad: true } as const } : {};
  return bodyOf(
    formatAddress({ family: afOf(family), prefixlen: length, index: ifindex, scope, ...flags }),
    formatAddressAttrs({ local, address: local }),
  );
}

/** Usable at once, without duplicate address detection; EEXIST where the link has it. */
export function addAddress(address: LinkAddress, scope: keyof typeof scopes = 'global'): Request {
  return {
    operation: `add address ${formatPrefix(address)} to link ${address.ifindex}`,
    type: MessageType.NEWADDR,
    flags: NLM_F.CREATE | NLM_F.EXCL,
    body: message(address, scopes[scope]),
  };
}

/** EADDRNOTAVAIL where the link does not have it. */
export function deleteAddress(address: LinkAddress): Request {
  return {
    operation: `delete address ${formatPrefix(address)} from link ${address.ifindex}`,
    type: MessageType.DELADDR,
    flags: 0,
    body: message(address, 0),
  };
}

/** One reply for each address of the netns, or of one link; ENODEV where there is no such link. */
export function dumpAddresses(filter: { readonly family?: Family; readonly ifindex?: number } = {}): Request {
  const { family, ifindex } = filter;
  return {
    operation: ifindex === undefined ? 'list addresses' : `list addresses of link ${ifindex}`,
    type: MessageType.GETADDR,
    flags: NLM_F.DUMP,
    body: [formatAddress({ family: afOf(family), ...(ifindex === undefined ? {} : { index: ifindex }) })],
  };
}

/** Undefined where it is neither IPv4 nor IPv6. */
export function linkAddressOf({ body }: Reply): FoundAddress | undefined {
  const header = parseAddress(body.subarray(0, IFADDRMSG_LENGTH));
  const attributes = attributesOf(body.subarray(IFADDRMSG_LENGTH));
  // On a point-to-point link IFA_ADDRESS is the other side; IPv6 has no IFA_LOCAL otherwise.
  const address: Address | undefined = addressOf(attributes.get(IFA.LOCAL) ?? attributes.get(IFA.ADDRESS));
  if (!address || familyOf(header.family ?? 0) !== address.family) return undefined;
  const flags = u32Of(attributes.get(IFA.FLAGS)) ?? body.readUInt8(2);
  return {
    ...address,
    length: header.prefixlen ?? 0,
    ifindex: header.index ?? 0,
    scope: header.scope ?? 0,
    tentative: (flags & IFA_F.TENTATIVE) !== 0,
    dadFailed: (flags & IFA_F.DADFAILED) !== 0,
  };
}
