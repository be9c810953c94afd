/**
 * Sockets of the package `netlink`, which delivers messages in the event loop, with their descriptors: setting options takes
 * these, and the package keeps them private.
 */
import { closeSync, openSync, readdirSync } from 'node:fs';
import { RawNetlinkSocket } from 'netlink/dist/raw.js';
import { socketLibc } from './ffi.ts';
import { getOption, type NetlinkProtocol, portOf, protocols, SO } from './socket.ts';

export interface EventSocket {
  /** Owns the descriptor. Does not keep the process alive. */
  readonly raw: RawNetlinkSocket;
  readonly fd: number;
}

/** @see include/uapi/linux/sock_diag.h, SK_MEMINFO_* */
const SK_MEMINFO = { RMEM_ALLOC: 0, DROPS: 8 } as const;
const memoryOf = (fd: number, what: number): number => getOption(fd, SO.MEMINFO, new Uint32Array(9))?.[what] ?? 0;

/** How many messages the kernel has dropped because the socket's buffer was full. */
export const dropsOf = (fd: number): number => memoryOf(fd, SK_MEMINFO.DROPS);

/** Whether messages wait to be read. */
export const hasMore = (fd: number): boolean => memoryOf(fd, SK_MEMINFO.RMEM_ALLOC) > 0;

/**
 * Finds the socket's descriptor. Its port and protocol do not identify it, because a socket of another thread, in another netns,
 * may have the same. So the package sets a receive buffer of random size, and the descriptor must show that size.
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
export function openEventSocket(protocol: NetlinkProtocol): EventSocket {
  // Descriptors that this opens must not come in between.
  socketLibc();
  const guess = lowestFreeDescriptor();
  const raw = new RawNetlinkSocket(protocols[protocol]);
  try {
    raw.unref();
    const fd = descriptorOf(raw, protocols[protocol], guess);
    return { raw, fd };
  } catch (error) {
    raw.close();
    throw error;
  }
}
