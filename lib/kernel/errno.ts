/**
 * By number, the same on x64 and arm64: node:os has them too, but would be loaded for nothing else on a call's way.
 * @see include/uapi/asm-generic/errno-base.h, include/uapi/asm-generic/errno.h
 */
export const errnos = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EBADF: 9,
  EAGAIN: 11,
  EINVAL: 22,
  ENOSYS: 38,
  ENOMSG: 42,
  EBADMSG: 74,
  EMSGSIZE: 90,
  ENOBUFS: 105,
} as const;
