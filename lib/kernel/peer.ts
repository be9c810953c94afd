/** Finds the process at the other end of a Unix socket, by the kernel's word. @see unix(7), SO_PEERCRED */
import { errnos } from './errno.ts';
import { checked, libc, socketLibc } from './ffi.ts';
import { MSG, SOL_SOCKET } from './socket.ts';

const SO_PEERCRED = 17;

export interface SocketPeer {
  readonly pid: number;
  /** User id in this process's user namespace: 0 is its root; a user without a number in it is 65534. */
  readonly uid: number;
  readonly gid: number;
}

/** The peer at the moment of connect(). @throws SyscallError where the descriptor is no connected Unix socket */
export function peerOf(fd: number): SocketPeer {
  // struct ucred: pid, uid, gid.
  const value = new Uint32Array(3);
  const length = new Uint32Array([value.byteLength]);
  checked('ask who called', socketLibc().getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, length));
  const [pid, uid, gid] = value as unknown as [number, number, number];
  return { pid, uid, gid };
}

const { EAGAIN, EINTR } = errnos;

/** Whether the other end has closed, and nothing that it sent before is left to be read. Reads nothing, and waits for nothing. */
export function hasHungUp(fd: number): boolean {
  const { recv, errno } = libc();
  const read = recv(fd, new Uint8Array(1), 1n, MSG.PEEK | MSG.DONTWAIT);
  if (read >= 0n) return read === 0n;
  const reason = errno();
  return reason !== EAGAIN && reason !== EINTR;
}
