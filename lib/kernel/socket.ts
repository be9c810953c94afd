/** Netlink sockets and what libc says of them. */
import { checked, libc, socketLibc } from './ffi.ts';

/** include/uapi/linux/netlink.h: NETLINK_ROUTE, NETLINK_NETFILTER */
export const protocols = { route: 0, netfilter: 12 } as const;
export type NetlinkProtocol = keyof typeof protocols;

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
export const SOL_SOCKET = 1;
export const SO = { SNDBUF: 7, RCVBUF: 8, SNDBUFFORCE: 32, RCVBUFFORCE: 33, PROTOCOL: 38, MEMINFO: 55 } as const;
export const SOL_NETLINK = 270;
/** Flags of recv(2) and send(2). */
export const MSG = { PEEK: 0x2, TRUNC: 0x20, DONTWAIT: 0x40 } as const;

/** The option's value, as many bytes as the array holds; undefined where the descriptor has no such option. */
export function getOption(fd: number, option: number, value: Uint32Array): Uint32Array | undefined {
  const length = new Uint32Array([value.byteLength]);
  return socketLibc().getsockopt(fd, SOL_SOCKET, option, value, length) === 0 ? value : undefined;
}

/** @throws SyscallError "Cannot <operation>: …" */
export function setOption(operation: string, fd: number, level: number, option: number, value: number): void {
  checked(operation, libc().setsockopt(fd, level, option, new Uint32Array([value]), 4));
}

/** nl_pid: what answers to the socket are addressed to; undefined where the descriptor is no netlink socket. */
export function portOf(fd: number): number | undefined {
  const name = new Uint32Array(3);
  const length = new Uint32Array([name.byteLength]);
  if (socketLibc().getsockname(fd, name, length) !== 0) return undefined;
  return new Uint16Array(name.buffer)[0] === AF_NETLINK ? name[1] : undefined;
}

/**
 * Bound to the network namespace that the calling thread is in, whatever the thread does afterwards; the kernel gives it a port
 * as soon as it sends something. It is in no event loop, and nothing waits for what comes: the kernel answers while it is asked.
 * @returns the descriptor, its caller's to close
 * @throws SyscallError
 */
export const openSocket = (protocol: NetlinkProtocol): number =>
  checked(
    'open a netlink socket',
    libc().socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocols[protocol]),
  );

/** Has the kernel choose the socket's port now. @throws SyscallError */
export function bindToAnyPort(fd: number): void {
  // struct sockaddr_nl: family (u16), padding, nl_pid (u32), nl_groups (u32); host byte order.
  const anyPort = new Uint32Array(3);
  new Uint16Array(anyPort.buffer)[0] = AF_NETLINK;
  checked('bind a netlink socket', socketLibc().bind(fd, anyPort, anyPort.byteLength));
}
