/**
 * Error numbers by name, the same on x64 and arm64: node:os has them too, but a call would load it for nothing else.
 * @see include/uapi/asm-generic/errno-base.h, include/uapi/asm-generic/errno.h
 */
export const errnos = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EBADF: 9,
  EAGAIN: 11,
  EACCES: 13,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ENOSYS: 38,
  ENOMSG: 42,
  EBADMSG: 74,
  EMSGSIZE: 90,
  EAFNOSUPPORT: 97,
  ENETUNREACH: 101,
  ENOBUFS: 105,
  EHOSTUNREACH: 113,
} as const;

const names = new Map<number, string>(Object.entries(errnos).map(([name, errno]) => [errno, name]));

/** Undefined where it is none of these: node:util knows more, and takes longer to know the first. */
export const knownErrno = (errno: number): string | undefined => names.get(errno);
