/** Messages of nf_tables, and the userdata that nft keeps in them. */
import { type AttributeNames, AttributeReader, textOf } from '../netlink/reader.ts';

const NFGENMSG_LENGTH = 4;

/**
 * Has `read` read a message's attributes, and returns its result.
 * @param body struct nfgenmsg, then the attributes
 * @throws AttributeError an attribute that `read` asked for is malformed
 */
export function readMessage<T>(body: Uint8Array, names: AttributeNames, read: (attributes: AttributeReader) => T): T {
  const attributes = new AttributeReader(body.subarray(NFGENMSG_LENGTH), names);
  const value = read(attributes);
  attributes.check();
  return value;
}

/** Userdata that holds a text of this type: type, length and value, one byte each for the first two. */
export function userdataText(userdata: Uint8Array | undefined, type: number): string | undefined {
  if (!userdata) return undefined;
  for (let at = 0; at + 2 <= userdata.length; at += 2 + userdata[at + 1]!)
    if (userdata[at] === type) return textOf(userdata.subarray(at + 2, at + 2 + userdata[at + 1]!));
  return undefined;
}

export const commentIn = (userdata: Uint8Array | undefined, type: number): { readonly comment?: string } => {
  const comment = userdataText(userdata, type);
  return comment === undefined ? {} : { comment };
};
