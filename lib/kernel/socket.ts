/**
 * Sockets of the package `netlink`, with the descriptor that it keeps to itself: setting options and waiting for nothing
 * takes the descriptor.
 */
import { closeSync, openSync, readdirSync } from 'node:fs';
import { RawNetlinkSocket } from 'netlink/dist/raw.js';
import { checked, libc } from './ffi.ts';

/** include/uapi/linux/netlink.h: NETLINK_ROUTE, NETLINK_NETFILTER */
const protocols = { route: 0, netfilter: 12 } as const;
export type Protocol = keyof typeof protocols;

const AF_NETLINK = 16;
export const SOL_SOCKET = 1;
export const SO = { SNDBUF: 7, RCVBUF: 8, SNDBUFFORCE: 32, RCVBUFFORCE: 33, PROTOCOL: 38, MEMINFO: 55 } as const;
export const SOL_NETLINK = 270;

export interface OpenSocket {
  /** Owns the descriptor. Does not keep the process alive. */
  readonly raw: RawNetlinkSocket;
  readonly fd: number;
  /** nl_pid: what answers to it are addressed to. */
  readonly port: number;
}

/** The option's value, as many bytes as the array holds; undefined where the descriptor has no such option. */
function getOption(fd: number, option: number, value: Uint32Array): Uint32Array | undefined {
  const length = new Uint32Array([value.byteLength]);
  return libc().getsockopt(fd, SOL_SOCKET, option, value, length) === 0 ? value : undefined;
}

/** @throws SyscallError "Cannot <operation>: …" */
export function setOption(operation: string, fd: number, level: number, option: number, value: number): void {
  checked(operation, libc().setsockopt(fd, level, option, new Uint32Array([value]), 4));
}

/** How many messages the kernel has dropped because the socket's buffer was full. @see sock_diag.h, SK_MEMINFO_DROPS */
export const dropsOf = (fd: number): number => getOption(fd, SO.MEMINFO, new Uint32Array(9))?.[8] ?? 0;

/** struct sockaddr_nl: family (u16), padding, nl_pid (u32), nl_groups (u32); host byte order. */
function portOf(fd: number): number | undefined {
  const name = new Uint32Array(3);
  const length = new Uint32Array([name.byteLength]);
  if (libc().getsockname(fd, name, length) !== 0) return undefined;
  return new Uint16Array(name.buffer)[0] === AF_NETLINK ? name[1] : undefined;
}

/**
 * Port and protocol are not enough to know the socket by: one of another thread, in another netns, may have the same. So
 * the package sets a receive buffer of random size, and the descriptor must show that size.
 * @param guess the descriptor that was lowest free when the socket was made
 */
function descriptorOf(raw: RawNetlinkSocket, protocol: number, guess: number): number {
  const port = raw.address().port;
  raw.setRecvBufferSize(16_384 + Math.floor(Math.random() * 65_536));
  const size = raw.getRecvBufferSize();
  const isOurs = (fd: number) =>
    portOf(fd) === port &&
    getOption(fd, SO.PROTOCOL, new Uint32Array(1))?.[0] === protocol &&
    getOption(fd, SO.RCVBUF, new Uint32Array(1))?.[0] === size;
  if (isOurs(guess)) return guess;
  const found = readdirSync('/proc/self/fd').map(Number).find(isOurs);
  if (found === undefined) throw new Error(`Cannot find the descriptor of the netlink socket with port ${port}`);
  return found;
}

/** The lowest free descriptor: what the next call that opens one gets, unless another thread is faster. */
function lowestFreeDescriptor(): number {
  const fd = openSync('/dev/null', 'r');
  closeSync(fd);
  return fd;
}

/**
 * Bound to the network namespace that the calling thread is in, whatever the thread does afterwards.
 * @throws SyscallError, or what the package throws where no socket is to be had
 */
export function openSocket(protocol: Protocol): OpenSocket {
  libc();
  const guess = lowestFreeDescriptor();
  const raw = new RawNetlinkSocket(protocols[protocol]);
  try {
    raw.unref();
    const fd = descriptorOf(raw, protocols[protocol], guess);
    return { raw, fd, port: raw.address().port };
  } catch (error) {
    raw.close();
    throw error;
  }
}
