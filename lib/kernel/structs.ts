/**
 * How the package reads and writes netlink structures, in host byte order. It has this one door to the rest: a bundle makes a
 * copy of the module's ninety getters for each file that imports it, and asks one of them at each use.
 */
import * as structs from 'netlink/dist/structs.js';

export type { NetlinkAttribute, NetlinkMessage, StreamData } from 'netlink/dist/structs.js';

export const {
  align,
  AttrStream,
  formatAttribute,
  formatHeader,
  HEADER_LENGTH,
  parseAttributes,
  parseMessages,
  putString,
  putU16be,
  putU32,
  readS32,
  readU16,
  readU32,
  writeS32,
  writeU16,
  writeU32,
} = structs;
