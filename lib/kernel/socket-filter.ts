/** What the kernel keeps from a netlink socket. @see include/uapi/linux/filter.h */
import { checked, libc, syscallLibc } from './ffi.ts';
import { SOL_SOCKET } from './socket.ts';

const SO_ATTACH_FILTER = 26;
const LOAD_WORD = 0x20;
const JUMP_IF_EQUAL = 0x15;
const RETURN = 0x06;
/** Of nlmsg_pid in struct nlmsghdr. */
const PORT_AT = 12;
const EVERYTHING = 0xffffffff;
const NOTHING = 0;

/** struct sock_filter: code (u16), instructions to skip if true and if false (u8 each), operand (u32) */
function instruction(code: number, operand: number, ifFalse = 0): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt8(ifFalse, 3);
  bytes.writeUInt32LE(operand, 4);
  return bytes;
}

/** Packets are big-endian to a filter, and netlink is not. */
const asLoaded = (port: number): number => Buffer.from(Uint32Array.of(port).buffer).readUInt32BE();

/** Keeps from the socket what the socket with this port causes: a datagram is of one cause. @throws SyscallError */
export function ignorePort(fd: number, port: number): void {
  const program = Buffer.concat([
    instruction(LOAD_WORD, PORT_AT),
    instruction(JUMP_IF_EQUAL, asLoaded(port), 1),
    instruction(RETURN, NOTHING),
    instruction(RETURN, EVERYTHING),
  ]);
  // struct sock_fprog: number of instructions (u16), padding, address of the first
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16LE(program.length / 8, 0);
  bytes.writeBigUInt64LE(syscallLibc().pointerTo(program), 8);
  checked('filter a netlink socket', libc().setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, bytes, bytes.length));
}
